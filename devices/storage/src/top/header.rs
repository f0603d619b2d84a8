//! A kept top's header: what the volume is, in two copies. The older one is overwritten, so that one is always whole.
//! It is JSON behind a checksum: a person can read it, and a later version can add to it.

use super::layout::{HEADER_LEN, HEADERS};
use crate::identity::Identity;
use serde::{Deserialize, Serialize};
use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(crate) const MAGIC: [u8; 8] = *b"ami-run\x01";
/// What this program writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 1;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Prefix {
    magic: [u8; 8],
    /// Of the JSON text.
    len: U32,
    crc: U32,
}

const ROOM: usize = HEADER_LEN - size_of::<Prefix>();

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) version: u32,
    /// Counts headers: of two that are whole, the higher is the newer.
    pub(crate) sequence: u64,
    pub(crate) size: u64,
    /// In every sector of the map.
    pub(crate) mark: u64,
    /// What it stands on; none: zeroes.
    pub(crate) base: Option<BaseRecord>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BaseRecord {
    /// Of the disk, in bytes.
    pub(crate) size: u64,
    pub(crate) files: Identity,
}

/// What a file says that it is.
#[derive(Debug, PartialEq)]
pub(crate) enum Found {
    Header(Header),
    /// A volume's, but of a version that is not known here.
    Newer(u32),
    /// A volume's, but both copies are damaged.
    Damaged,
    /// Something else.
    None,
}

impl Header {
    /// Where it goes, and as what. None: it is too long, by its base's path.
    pub(crate) fn encode(&self) -> Option<(u64, Vec<u8>)> {
        let json = serde_json::to_vec(self).ok()?;
        let len = u32::try_from(json.len()).ok().filter(|_| json.len() <= ROOM)?;
        let crc = U32::new(crc32c::crc32c(&json));
        let mut bytes = Prefix { magic: MAGIC, len: U32::new(len), crc }.as_bytes().to_vec();
        bytes.extend(json);
        bytes.resize(HEADER_LEN, 0);
        let place = if self.sequence.is_multiple_of(2) { HEADERS[0] } else { HEADERS[1] };
        Some((place, bytes))
    }

    /// The newer of two copies.
    pub(crate) fn decode(copies: [&[u8]; 2]) -> Found {
        let found = copies.map(decode_one);
        let mut best = Found::None;
        for one in found {
            best = match (best, one) {
                (Found::Header(a), Found::Header(b)) => {
                    Found::Header(if a.sequence > b.sequence { a } else { b })
                }
                // A later version has changed it: the copy from before is not what it is.
                (Found::Newer(version), _) | (_, Found::Newer(version)) => Found::Newer(version),
                (Found::Header(a), _) | (_, Found::Header(a)) => Found::Header(a),
                (Found::Damaged, _) | (_, Found::Damaged) => Found::Damaged,
                (Found::None, Found::None) => Found::None,
            };
        }
        best
    }
}

fn decode_one(copy: &[u8]) -> Found {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Ok((prefix, rest)) = Prefix::ref_from_prefix(copy) else { return Found::None };
    if prefix.magic != MAGIC {
        return Found::None;
    }
    let json = usize::try_from(prefix.len.get()).ok().and_then(|len| rest.get(..len));
    let Some(json) = json.filter(|json| crc32c::crc32c(json) == prefix.crc.get()) else {
        return Found::Damaged;
    };
    match serde_json::from_slice::<Version>(json) {
        Ok(Version { version }) if version > VERSION => Found::Newer(version),
        _ => serde_json::from_slice(json).map_or(Found::Damaged, Found::Header),
    }
}

/// True if a file that begins so is a kept volume.
#[must_use]
pub fn is_volume(head: &[u8]) -> bool {
    head.starts_with(&MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(sequence: u64) -> Header {
        Header { version: VERSION, sequence, size: 8 << 30, mark: 7, base: None }
    }

    #[test]
    fn the_newer_whole_copy_counts() {
        let (place, old) = header(4).encode().unwrap();
        let (other, new) = header(5).encode().unwrap();
        assert_eq!((place, other), (0, 4096));
        assert_eq!(Header::decode([&old, &new]), Found::Header(header(5)));
        for at in 0..20 {
            let mut torn = new.clone();
            torn[at] ^= 1;
            assert_eq!(Header::decode([&old, &torn]), Found::Header(header(4)), "byte {at}");
        }
        assert_eq!(Header::decode([&old, &[]]), Found::Header(header(4)));
        assert_eq!(Header::decode([&[0; 4096], &[0; 4096]]), Found::None);
        let mut damaged = old;
        damaged[30] ^= 1;
        assert_eq!(Header::decode([&damaged, &[0; 4096]]), Found::Damaged);
    }

    #[test]
    fn a_newer_version_is_told_whatever_else_it_has() {
        let mut later = header(6);
        later.version = VERSION + 1;
        let (_, bytes) = later.encode().unwrap();
        assert_eq!(Header::decode([&bytes, &[]]), Found::Newer(VERSION + 1));
        let (_, before) = header(5).encode().unwrap();
        assert_eq!(
            Header::decode([&before, &bytes]),
            Found::Newer(VERSION + 1),
            "it was of this version once"
        );
    }
}
