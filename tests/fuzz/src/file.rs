//! Disk files that nobody made for us: each is opened and read as far as a volume would read it.
//!
//! Compressed disks are the play's bytes; of the other formats a play is what differs from a good file.

#[path = "../../../devices/storage/src/source/test/maker.rs"]
#[expect(clippy::unwrap_used, reason = "the makers of files are shared with devices/storage's tests")]
mod maker;

use crate::disk::differ;
use crate::input::Input;
use ami_run_storage::StorageError;
use ami_run_storage::source::{BLOCK, Kind, StreamError, open};
use maker::{End, Shape};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

/// What a play may unpack to before its sink is full.
const MOST: u64 = 4 << 20;

/// The file of a thread's plays, in a folder where a qcow2 file's names may lead.
struct Place {
    folder: tempfile::TempDir,
    file: File,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("base"), [0x44; 1024]).expect("room in a temporary folder");
        let file = File::create(folder.path().join("disk")).expect("room in a temporary folder");
        Place { folder, file }
    }

    /// Writes over what was there: a file that is emptied first is written to the disk at once by ext4.
    fn write(&self, bytes: &[u8]) {
        self.file.write_all_at(bytes, 0).expect("room in a temporary folder");
        self.file.set_len(bytes.len() as u64).expect("room in a temporary folder");
    }
}

fn judge(bytes: &[u8]) -> bool {
    thread_local!(static PLACE: Place = Place::new());
    PLACE.with(|place| {
        place.write(bytes);
        judge_file(place.folder.path(), bytes.len() as u64)
    })
}

/// Opens a file of these bytes and reads its start, its end and what is between, if that is little. True: all of it
/// was as it should be.
fn judge_file(folder: &Path, len: u64) -> bool {
    // Every error names the file, or one that its names lead to.
    let named = |error: &StorageError| {
        let (text, folder) = (error.to_string(), folder.display().to_string());
        assert!(text.contains(&folder), "{text}");
        false
    };
    let source = match open(&folder.join("disk")) {
        Ok(source) => source,
        Err(error) => return named(&error),
    };
    match source.kind() {
        Kind::Raw { size, .. } => assert!(*size > 0 && *size <= len),
        Kind::Blocks(blocks) => {
            let size = blocks.size();
            assert!(size > 0 && size % 512 == 0);
            let mut fetcher = blocks.fetcher();
            let last = (size - 1) / BLOCK;
            let mut block = vec![0; usize::try_from(BLOCK.min(size)).expect("half a MiB")];
            for number in [0, 1.min(last), last / 2, last] {
                let len = usize::try_from((size - number * BLOCK).min(BLOCK)).expect("half a MiB");
                if fetcher.fetch(number * BLOCK, &mut block[..len]).is_err() {
                    return false;
                }
            }
        }
        Kind::Stream(stream) => {
            let mut sum = 0;
            let done = stream.decode(&mut |piece| {
                assert!(piece.read <= piece.of);
                sum += piece.bytes.len() as u64;
                if piece.offset < MOST { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
            });
            match done {
                Ok(size) => assert!(size % 512 == 0 && sum <= size),
                Err(StreamError::Source(error)) => return named(&error),
                Err(StreamError::Sink(_)) => return false,
            }
        }
    }
    true
}

pub fn file_gzip(data: &[u8]) {
    judge(data);
}

/// As it is, and with the checksums of the stream's and the first block's header made good: what a header may ask for
/// is seen then.
pub fn file_xz(data: &[u8]) {
    judge(data);
    let mut file = data.to_vec();
    let sum = |file: &mut [u8], from: usize, to: usize| {
        if let Some((bytes, place)) =
            file.get_mut(from..to + 4).and_then(|part| part.split_at_mut_checked(to - from))
        {
            let mut crc = flate2::Crc::new();
            crc.update(bytes);
            place.copy_from_slice(&crc.sum().to_le_bytes());
        }
    };
    sum(&mut file, 6, 8);
    let block = file.get(12).map_or(0, |size| usize::from(*size) * 4);
    sum(&mut file, 12, 12 + block);
    if file != data {
        judge(&file);
    }
}

pub fn file_zstd(data: &[u8]) {
    judge(data);
}

pub fn file_qcow2(data: &[u8]) {
    static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
    let mut file = GOOD.get_or_init(maker::qcow2).clone();
    differ(&mut file, &mut Input::new(data));
    judge(&file);
}

/// A disk with some data.
fn small() -> Vec<u8> {
    let mut disk = vec![0; 64 << 10];
    disk[..700].fill(1);
    disk[40_000..50_000].fill(2);
    disk
}

/// The first byte chooses: tables at the end, no tables, or tables in front of uncompressed grains.
pub fn file_vmdk(data: &[u8]) {
    static GOOD: OnceLock<[Vec<u8>; 3]> = OnceLock::new();
    let make = |end| maker::vmdk(&small(), Shape { grain: 4096, entries: 4, end });
    let good = GOOD.get_or_init(|| [End::Footer, End::Bare, End::Sparse].map(make));
    let mut input = Input::new(data);
    let mut file = good[usize::from(input.byte().unwrap_or(0) % 3)].clone();
    differ(&mut file, &mut input);
    judge(&file);
}

/// The first byte chooses: fixed or dynamic, and whether checksums are made good again.
pub fn file_vhd(data: &[u8]) {
    static GOOD: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let good = GOOD.get_or_init(|| [maker::vhd_dynamic(&small()), maker::vhd_fixed(&small()[..4096])]);
    let mut input = Input::new(data);
    let first = input.byte().unwrap_or(0);
    let mut file = good[usize::from(first & 1)].clone();
    differ(&mut file, &mut input);
    if first & 2 == 0 {
        let end = file.len() - 512;
        maker::vhd_checksum(&mut file[end..], 64);
        if first & 1 == 0 {
            maker::vhd_checksum(&mut file[..512], 64);
            maker::vhd_checksum(&mut file[512..1536], 36);
        }
    }
    judge(&file);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_good_files_are_read_to_the_end() {
        assert!(judge(&maker::qcow2()));
        assert!(judge(&maker::vhd_dynamic(&small())));
        assert!(judge(&maker::vhd_fixed(&small())));
        for end in [End::Footer, End::Bare, End::Sparse] {
            assert!(judge(&maker::vmdk(&small(), Shape { grain: 4096, entries: 4, end })));
        }
    }

    #[test]
    fn the_good_streams_are_read_to_the_end() {
        for name in ["file_gzip/plain", "file_xz/plain", "file_zstd/plain", "file_zstd/frames"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
            assert!(judge(&std::fs::read(path).expect("a file of the corpus")), "{name}");
        }
    }
}
