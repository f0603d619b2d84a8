//! The log of dm-log-writes (the kernel's drivers/md/dm-log-writes.c): every write to a device in an order in which a
//! power cut may leave it. What was written and not yet flushed stands behind the flush that covers it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;
/// Magic, version, count of entries, size of a sector.
const SUPER: usize = 28;
/// Sector, count of sectors, flags, length of a mark's text behind it.
const ENTRY: usize = 32;

pub(super) enum Entry {
    /// `data` is where it lies in the log; `sync`: this and, unless it is FUA alone, all before it are on the medium.
    Write {
        offset: u64,
        len: u64,
        data: u64,
        sync: bool,
    },
    Discard {
        offset: u64,
        len: u64,
    },
    Mark(String),
}

/// All entries, in their order.
pub(super) fn read(path: &Path) -> Vec<Entry> {
    let log = File::open(path).unwrap();
    let mut head = [0; SUPER];
    log.read_exact_at(&mut head, 0).unwrap();
    assert_eq!((number(&head, 0), number(&head, 8)), (MAGIC, 1), "no log of version 1");
    let sector = u64::from(u32::from_le_bytes(head[24..].try_into().unwrap()));
    let mut at = sector;
    let mut next = || {
        let mut entry = vec![0; usize::try_from(sector).unwrap()];
        log.read_exact_at(&mut entry, at).unwrap();
        let [start, count, flags, mark] = [0, 8, 16, 24].map(|at| number(&entry, at));
        at += sector;
        let (offset, len, data) = (start * sector, count * sector, at);
        if flags & MARK != 0 {
            let text = &entry[ENTRY..][..usize::try_from(mark).unwrap()];
            return Entry::Mark(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
        }
        if flags & DISCARD != 0 {
            return Entry::Discard { offset, len };
        }
        at += len;
        Entry::Write { offset, len, data, sync: flags & (FLUSH | FUA) != 0 }
    };
    (0..number(&head, 16)).map(|_| next()).collect()
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}
