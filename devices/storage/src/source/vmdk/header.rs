//! A VMDK's header and its descriptor, as VMware's Virtual Disk Format 5.0 note has them ("Hosted Sparse Extents",
//! "Stream-Optimized Compressed Sparse Extents", "The Text Descriptor").

use crate::StorageError;
use crate::source::read::{CONVERT, Reader};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `SparseExtentHeader`, packed. Offsets and lengths are in sectors.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Record {
    magic: [u8; 4],
    version: U32,
    flags: U32,
    capacity: U64,
    grain_size: U64,
    descriptor_offset: U64,
    descriptor_size: U64,
    entries: U32,
    spare_directory: U64,
    directory: U64,
    overhead: U64,
    unclean: u8,
    line_ends: [u8; 4],
    compression: U16,
    pad: [u8; 433],
}

const _: () = assert!(size_of::<Record>() == 512);

const LINE_ENDS_VALID: u32 = 1 << 0;
const ZERO_GRAINS: u32 = 1 << 2;
const COMPRESSED: u32 = 1 << 16;
const MARKERS: u32 = 1 << 17;
const DEFLATE: u16 = 1;

/// The directory is where a second header, the footer, says: whoever wrote the file could not go back.
const AT_END: u64 = u64::MAX;

/// Grains have 128 sectors; the note asks for a power of two of more than 8.
const GRAIN_SIZES: std::ops::RangeInclusive<u64> = 8..=2048;
const MOST_ENTRIES: u32 = 512;

/// Descriptors have some hundred bytes, in 20 sectors.
const MOST_DESCRIPTOR: u64 = 2048;

/// What of a header is used; counts are in sectors.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) capacity: u64,
    pub(super) grain: u64,
    /// Grain tables have so many entries.
    pub(super) entries: u64,
    /// None: the footer says where.
    pub(super) directory: Option<u64>,
    pub(super) overhead: u64,
    pub(super) compressed: bool,
    pub(super) markers: bool,
    /// An entry of 1 is a grain of zeroes.
    pub(super) zero_grains: bool,
    descriptor: (u64, u64),
}

/// True where a header, or the footer, starts.
pub(super) fn is_header(sector: &[u8]) -> bool {
    sector.starts_with(b"KDMV")
}

impl Header {
    pub(super) fn read(reader: &Reader, offset: u64) -> Result<Header, StorageError> {
        let record: Record = zerocopy::transmute!(reader.array::<512>(offset)?);
        let (version, flags) = (record.version.get(), record.flags.get());
        if !(1..=3).contains(&version) {
            return Err(reader.refused(format!("of version {version}"), CONVERT));
        }
        if flags & LINE_ENDS_VALID != 0 && &record.line_ends != b"\n \r\n" {
            return Err(reader.damaged("its line ends were changed on the way here: fetch it in binary mode"));
        }
        let compressed = flags & COMPRESSED != 0;
        if compressed && record.compression.get() != DEFLATE {
            let method = record.compression.get();
            return Err(reader.refused(format!("with the unknown compression {method}"), CONVERT));
        }
        let (capacity, grain, entries) =
            (record.capacity.get(), record.grain_size.get(), record.entries.get());
        if !grain.is_power_of_two() || !GRAIN_SIZES.contains(&grain) {
            return Err(reader.damaged(format!("its header says grains of {grain} sectors")));
        }
        if entries == 0 || entries > MOST_ENTRIES {
            return Err(reader.damaged(format!("its header says grain tables of {entries} entries")));
        }
        reader.disk_size(capacity.saturating_mul(512))?;
        let directory = Some(record.directory.get()).filter(|directory| *directory != AT_END);
        Ok(Header {
            capacity,
            grain,
            entries: u64::from(entries),
            directory,
            overhead: record.overhead.get(),
            compressed,
            markers: flags & MARKERS != 0,
            zero_grains: flags & ZERO_GRAINS != 0,
            descriptor: (record.descriptor_offset.get(), record.descriptor_size.get()),
        })
    }

    /// How many entries the grain directory has.
    pub(super) fn tables(&self) -> u64 {
        self.capacity.div_ceil(self.grain.saturating_mul(self.entries).max(1))
    }

    pub(super) fn grain_bytes(&self) -> usize {
        usize::try_from(self.grain.saturating_mul(512)).unwrap_or(0)
    }

    /// Refuses a file that is not a whole disk by itself.
    pub(super) fn check_descriptor(&self, reader: &Reader) -> Result<(), StorageError> {
        let (offset, size) = self.descriptor;
        if offset == 0 {
            return Err(reader.refused("that is one of several, named by a descriptor of its own", CONVERT));
        }
        let bytes =
            reader.up_to(size.min(MOST_DESCRIPTOR).saturating_mul(512), offset.saturating_mul(512))?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.split('\0').next().unwrap_or_default();
        let kind = value(text, "createType").unwrap_or_default();
        if !["streamOptimized", "monolithicSparse"].iter().any(|known| known.eq_ignore_ascii_case(&kind)) {
            return Err(match kind.as_str() {
                "" => reader.damaged("its descriptor has no createType"),
                kind => reader.refused(format!("of the kind {kind:?}"), CONVERT),
            });
        }
        // No parent: all ones.
        if value(text, "parentCID").is_some_and(|parent| !parent.eq_ignore_ascii_case("ffffffff")) {
            return Err(reader.refused("that holds only what differs from another (a delta disk)", CONVERT));
        }
        let extents = text.lines().filter(|line| is_extent(line)).count();
        if extents != 1 {
            return Err(reader.refused(format!("of {extents} extents"), CONVERT));
        }
        Ok(())
    }
}

/// The value of `name="value"` in a descriptor; the quotes may be missing.
fn value(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (left, right) = line.split_once('=')?;
        let value = right.trim().trim_matches('"');
        left.trim().eq_ignore_ascii_case(name).then(|| value.chars().take(64).collect())
    })
}

fn is_extent(line: &str) -> bool {
    matches!(line.split_whitespace().next(), Some("RW" | "RDONLY" | "NOACCESS"))
}
