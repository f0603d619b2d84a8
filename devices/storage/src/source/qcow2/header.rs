//! A qcow2 header (QEMU's docs/interop/qcow2.rst, "General", "Header extensions"), checked before the crate that reads
//! the rest sees the file: that no table is larger than the file, and nothing is asked for that would be wrong to
//! leave out.

use crate::StorageError;
use crate::source::read::Reader;
use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The header of version 3; one of version 2 ends behind `snapshots`.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Record {
    magic: [u8; 4],
    version: U32,
    backing_offset: U64,
    backing_len: U32,
    cluster_bits: U32,
    size: U64,
    encryption: U32,
    l1_entries: U32,
    l1_offset: U64,
    refcounts_offset: U64,
    refcounts_clusters: U32,
    snapshot_count: U32,
    snapshots: U64,
    incompatible: U64,
    compatible: U64,
    autoclear: U64,
    refcount_order: U32,
    length: U32,
}

const _: () = assert!(size_of::<Record>() == 104);

const VERSION_2_LEN: usize = 72;

const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

const END: u32 = 0;
const BACKING_FORMAT: u32 = 0xe279_2aca;
const DATA_FILE_NAME: u32 = 0x4441_5441;

/// qemu-img writes three.
const MOST_EXTENSIONS: usize = 32;
const MOST_NAME: u32 = 1023;

const CONVERT: &str = "convert it with `qemu-img convert -O qcow2 FILE NEW.qcow2`";
const CHECK: &str =
    "see what is wrong with `qemu-img check FILE`, mend a copy with `qemu-img check -r all COPY`";
const DECRYPT: &str = "decrypt it into another file with `qemu-img convert --image-opts`";

/// What of a header is used here; the crate reads it again.
#[derive(Clone, Debug)]
pub(super) struct Header {
    /// The disk's, in bytes.
    pub(super) size: u64,
    pub(super) cluster: u64,
    /// Where the first table is, and its length in bytes.
    pub(super) l1_offset: u64,
    pub(super) l1_len: u64,
    pub(super) backing: Option<String>,
    pub(super) backing_format: Option<String>,
    /// The file that holds the data, if it is not this one.
    pub(super) data_file: Option<String>,
}

impl Header {
    pub(super) fn read(reader: &Reader) -> Result<Header, StorageError> {
        let mut bytes = [0; size_of::<Record>()];
        reader.fill(bytes.get_mut(..VERSION_2_LEN).unwrap_or_default(), 0)?;
        let mut record: Record = zerocopy::transmute!(bytes);
        if &record.magic != b"QFI\xfb" {
            return Err(reader.damaged("it does not start as one"));
        }
        match record.version.get() {
            2 => {}
            3 => record = zerocopy::transmute!(reader.array::<{ size_of::<Record>() }>(0)?),
            version => return Err(reader.refused(format!("of version {version}"), CONVERT)),
        }
        check_features(reader, &record)?;
        let bits = record.cluster_bits.get();
        if !(9..=21).contains(&bits) {
            return Err(reader.damaged(format!("its header says clusters of 2^{bits} bytes")));
        }
        let cluster = 1u64 << bits;
        let size = reader.disk_size(record.size.get())?;
        let l1_len = check_first_table(reader, &record, cluster, size)?;
        check_end(reader, &record, cluster)?;
        let backing = match (record.backing_offset.get(), record.backing_len.get()) {
            (0, _) => None,
            (_, len) if len > MOST_NAME => {
                return Err(reader.damaged(format!("the name of its backing file has {len} bytes")));
            }
            (offset, len) => Some(name(reader, offset, len)?),
        };
        let (mut backing_format, mut data_file) = (None, None);
        if record.version.get() == 3 {
            for (kind, text) in extensions(reader, record.length.get(), cluster)? {
                match kind {
                    BACKING_FORMAT => backing_format = Some(text),
                    _ => data_file = Some(text),
                }
            }
        }
        if record.incompatible.get() & DATA_FILE == 0 {
            data_file = None;
        } else if data_file.is_none() {
            return Err(reader.damaged("its data is in another file, which it does not name"));
        }
        let l1_offset = record.l1_offset.get();
        Ok(Header { size, cluster, l1_offset, l1_len, backing, backing_format, data_file })
    }
}

fn check_features(reader: &Reader, record: &Record) -> Result<(), StorageError> {
    if record.encryption.get() != 0 {
        return Err(reader.refused("that is encrypted", DECRYPT));
    }
    let incompatible = record.incompatible.get();
    if incompatible & CORRUPT != 0 {
        return Err(reader.refused("that is marked as corrupt", CHECK));
    }
    if incompatible & DIRTY != 0 {
        return Err(reader.refused("that was not closed (it is marked as dirty)", CHECK));
    }
    if incompatible & COMPRESSION != 0 {
        return Err(reader.refused("with clusters compressed by zstd", CONVERT));
    }
    if incompatible & EXTENDED_L2 != 0 {
        return Err(reader.refused("with extended L2 entries", CONVERT));
    }
    match incompatible & !DATA_FILE {
        0 => Ok(()),
        unknown => Err(reader.refused(format!("with unknown features ({unknown:#x})"), CONVERT)),
    }
}

/// The first table must be in the file and cover the disk: it is read as a whole.
fn check_first_table(reader: &Reader, record: &Record, cluster: u64, size: u64) -> Result<u64, StorageError> {
    let (count, offset) = (u64::from(record.l1_entries.get()), record.l1_offset.get());
    let len = count.saturating_mul(8);
    // An entry leads to a cluster of 8-byte entries, each of which leads to a cluster.
    let needed = size.div_ceil(cluster.saturating_mul(cluster / 8).max(1));
    if count < needed {
        return Err(reader.damaged(format!("its first table has {count} entries, its disk takes {needed}")));
    }
    let end = offset.checked_add(len);
    if offset == 0 || offset & cluster.wrapping_sub(1) != 0 || end.is_none_or(|end| end > reader.size()) {
        let size = reader.size();
        return Err(reader.damaged(format!("its first table at {offset} has {len} bytes, the file {size}")));
    }
    Ok(len)
}

/// A download that stopped early has lost clusters that the tables still count. The last cluster in use is found by
/// the last block of the last table of counts; whatever a hostile file says there, it is no more than a wrong refusal.
fn check_end(reader: &Reader, record: &Record, cluster: u64) -> Result<(), StorageError> {
    let order = if record.version.get() == 2 { 4 } else { record.refcount_order.get() };
    if order > 6 {
        return Err(reader.damaged(format!("its header says counts of 2^{order} bits")));
    }
    let offset = record.refcounts_offset.get();
    let len = u64::from(record.refcounts_clusters.get()).saturating_mul(cluster);
    if offset.checked_add(len).is_none_or(|end| end > reader.size()) {
        return Err(reader.damaged("its table of counts is past its end, so it was cut short"));
    }
    let Some((index, block)) = last_word(reader, offset, len)? else { return Ok(()) };
    if block.checked_add(cluster).is_none_or(|end| end > reader.size()) {
        return Err(reader.damaged("a block of its counts is past its end, so it was cut short"));
    }
    let Some((word, _)) = last_word(reader, block, cluster)? else { return Ok(()) };
    // A block counts 8 * cluster >> order clusters, a word of 8 bytes 64 >> order. The first of the word's is taken:
    // an error of a few clusters only lets through what the reads find later.
    let clusters =
        index.saturating_mul(cluster << 3 >> order).saturating_add(word.saturating_mul(64 >> order));
    if clusters.saturating_mul(cluster) >= reader.size() {
        let (end, size) = (clusters.saturating_mul(cluster), reader.size());
        return Err(reader
            .damaged(format!("a cluster at {end} is in use, the file has {size} bytes; it was cut short")));
    }
    Ok(())
}

/// The last 8 bytes of a table that are not 0, and the how manieth they are.
fn last_word(reader: &Reader, offset: u64, len: u64) -> Result<Option<(u64, u64)>, StorageError> {
    const STEP: u64 = 64 << 10;
    let mut end = len;
    while end > 0 {
        let start = end.saturating_sub(1) & !(STEP.wrapping_sub(1));
        let bytes = reader.up_to(end.saturating_sub(start), offset.saturating_add(start))?;
        let words = bytes.as_chunks::<8>().0;
        if let Some(at) = words.iter().rposition(|word| *word != [0; 8]) {
            let word = words.get(at).copied().unwrap_or_default();
            return Ok(Some(((start / 8).saturating_add(at as u64), u64::from_be_bytes(word))));
        }
        end = start;
    }
    Ok(None)
}

fn name(reader: &Reader, offset: u64, len: u32) -> Result<String, StorageError> {
    let bytes = reader.up_to(u64::from(len), offset)?;
    let text = String::from_utf8(bytes).ok().filter(|text| text.len() as u64 == u64::from(len));
    text.filter(|text| !text.is_empty() && !text.contains('\0'))
        .ok_or_else(|| reader.damaged("a file's name in its header is no text"))
}

/// The extensions that matter: which format the backing file has, which file the data.
fn extensions(reader: &Reader, start: u32, cluster: u64) -> Result<Vec<(u32, String)>, StorageError> {
    let (mut at, mut found) = (u64::from(start), Vec::new());
    for _ in 0..MOST_EXTENSIONS {
        let [k0, k1, k2, k3, l0, l1, l2, l3] = reader.array::<8>(at)?;
        let (kind, len) = (u32::from_be_bytes([k0, k1, k2, k3]), u32::from_be_bytes([l0, l1, l2, l3]));
        if kind == END {
            return Ok(found);
        }
        at = at.saturating_add(8);
        if at.saturating_add(u64::from(len)) > cluster {
            break;
        }
        if matches!(kind, BACKING_FORMAT | DATA_FILE_NAME) {
            if len > MOST_NAME {
                break;
            }
            found.push((kind, name(reader, at, len)?));
        }
        at = at.saturating_add(u64::from(len)).next_multiple_of(8);
    }
    Err(reader.damaged("its header's extensions do not end"))
}
