//! The log's bytes: a head that names the image it belongs to, and a record for each change.
//!
//! A record's checksum covers its place in the log and the head's salt, too, so that nothing that lay on the disk
//! before passes for one. Reading ends at the first that is not whole: what is behind it was written later.

use crc32c::{crc32c, crc32c_append};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: [u8; 8] = *b"ami-flsh";
const VERSION: u32 = 1;

/// What a change is to some bytes of the flash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change<'a> {
    /// They are these now.
    Bytes(&'a [u8]),
    /// So many of them are all ones now.
    Erased(u32),
}

/// The start of a log.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Head {
    magic: [u8; 8],
    version: U32,
    /// The image's bytes, and their checksum.
    size: U32,
    image: U32,
    salt: U64,
    /// Of all before it.
    sum: U32,
}

const _: () = assert!(size_of::<Head>() == 32);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct Record {
    sum: U32,
    /// Where in the flash, how many bytes, and what became of them: they follow ([`BYTES`]), or are [`ERASED`].
    offset: U32,
    len: U32,
    kind: U32,
}

const BYTES: U32 = U32::new(1);
const ERASED: U32 = U32::new(2);

/// What lies behind an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// Nothing, or a head that a power cut has torn: no record can have followed it.
    Nothing,
    /// A log: this one's, good for so many bytes with its head.
    Log { head: Head, good: usize },
    /// A log of another version's.
    Newer(u32),
    /// A log that belongs to other bytes than the image's.
    OtherImage,
    /// Something else.
    Foreign,
}

impl Head {
    /// The head of a log for this image.
    #[must_use]
    pub fn new(image: &[u8], salt: u64) -> Head {
        let mut head = Head {
            magic: MAGIC,
            version: U32::new(VERSION),
            size: U32::new(u32::try_from(image.len()).unwrap_or(u32::MAX)),
            image: U32::new(crc32c(image)),
            salt: U64::new(salt),
            sum: U32::ZERO,
        };
        head.sum = head.checksum();
        head
    }

    fn checksum(&self) -> U32 {
        let (before, _) = self.as_bytes().split_at(size_of::<Head>().saturating_sub(size_of::<U32>()));
        U32::new(crc32c(before))
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    /// The record of a change, to stand at `place` in the log, which counts from the head's start.
    #[must_use]
    pub fn record(&self, place: usize, offset: u32, change: Change<'_>) -> Vec<u8> {
        let (kind, len, bytes) = match change {
            Change::Bytes(bytes) => (BYTES, u32::try_from(bytes.len()).unwrap_or(u32::MAX), bytes),
            Change::Erased(len) => (ERASED, len, &[][..]),
        };
        let mut record = Record { sum: U32::ZERO, offset: U32::new(offset), len: U32::new(len), kind };
        record.sum = self.record_sum(place, &record, bytes);
        [record.as_bytes(), bytes].concat()
    }

    fn record_sum(&self, place: usize, record: &Record, bytes: &[u8]) -> U32 {
        let Record { sum: _, offset, len, kind } = record;
        let place = U64::new(place.try_into().unwrap_or(u64::MAX));
        let fields =
            [self.salt.as_bytes(), place.as_bytes(), offset.as_bytes(), len.as_bytes(), kind.as_bytes()];
        let sum = fields.into_iter().fold(0, crc32c_append);
        U32::new(crc32c_append(sum, bytes))
    }
}

/// Makes the log's changes in the image, up to the first record that is not whole.
pub fn replay(log: &[u8], image: &mut [u8]) -> Found {
    let Ok((head, mut rest)) = Head::read_from_prefix(log) else {
        return if is_torn(log) { Found::Nothing } else { Found::Foreign };
    };
    if head.magic != MAGIC || head.sum != head.checksum() {
        return if is_torn(log) { Found::Nothing } else { Found::Foreign };
    }
    if head.version.get() != VERSION {
        return Found::Newer(head.version.get());
    }
    if head != Head::new(image, head.salt.get()) {
        return Found::OtherImage;
    }
    let mut good = size_of::<Head>();
    while let Some(after) = next(&head, good, rest, image) {
        good = good.saturating_add(rest.len().saturating_sub(after.len()));
        rest = after;
    }
    Found::Log { head, good }
}

/// Makes one record's change; None: it is not whole.
fn next<'a>(head: &Head, place: usize, log: &'a [u8], image: &mut [u8]) -> Option<&'a [u8]> {
    let (record, rest) = Record::read_from_prefix(log).ok()?;
    let len = usize::try_from(record.len.get()).ok()?;
    let (bytes, rest) = rest.split_at_checked(if record.kind == BYTES { len } else { 0 })?;
    if record.sum != head.record_sum(place, &record, bytes) {
        return None;
    }
    let target = image.get_mut(usize::try_from(record.offset.get()).ok()?..)?.get_mut(..len)?;
    match record.kind {
        BYTES => target.copy_from_slice(bytes),
        ERASED => target.fill(0xff),
        _ => return None,
    }
    Some(rest)
}

/// Whether this is all that a power cut left of a head, which is made durable before a record follows it.
fn is_torn(log: &[u8]) -> bool {
    let begins = log.iter().zip(MAGIC).all(|(byte, magic)| *byte == magic);
    log.len() <= size_of::<Head>() && (begins || log.iter().all(|byte| *byte == 0))
}
