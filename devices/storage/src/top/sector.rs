//! A sector of the map as it is on disk: 60 words of 32 granules each, and a trailer that tells whether it is whole and
//! in its place. A disk writes a sector whole or not at all, and every entry stands alone, so no copy is kept: after a
//! crash each sector is the old or the new one, and both are right. All zeroes: nothing was ever written.

use crate::map::WORDS;
use crate::top::layout::MAP_SECTOR;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Sector {
    words: [U64; WORDS],
    /// Of the whole sector with this field as zero.
    crc: U32,
    reserved: U32,
    number: U64,
    /// Tells the sectors of one volume from those of another.
    volume: U64,
    reserved2: U64,
}
const _: () = assert!(size_of::<Sector>() as u64 == MAP_SECTOR);

pub(crate) fn encode(number: u64, volume: u64, words: &[u64; WORDS]) -> [u8; 512] {
    let mut sector = Sector {
        words: words.map(U64::new),
        crc: U32::ZERO,
        reserved: U32::ZERO,
        number: U64::new(number),
        volume: U64::new(volume),
        reserved2: U64::ZERO,
    };
    sector.crc = U32::new(crc32c::crc32c(sector.as_bytes()));
    zerocopy::transmute!(sector)
}

/// The words of a sector, if it is whole.
pub(crate) fn decode(number: u64, volume: u64, bytes: &[u8]) -> Option<[u64; WORDS]> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Some([0; WORDS]);
    }
    let mut sector = Sector::read_from_bytes(bytes).ok()?;
    let crc = std::mem::replace(&mut sector.crc, U32::ZERO).get();
    let whole = crc == crc32c::crc32c(sector.as_bytes());
    (whole && sector.number.get() == number && sector.volume.get() == volume)
        .then(|| sector.words.map(U64::get))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_or_out_of_place_is_told() {
        let mut words = [0; WORDS];
        words[59] = 7 << 61;
        let sector = encode(3, 99, &words);
        assert_eq!(decode(3, 99, &sector), Some(words));
        assert_eq!(decode(4, 99, &sector), None, "another place");
        assert_eq!(decode(3, 98, &sector), None, "another volume");
        assert_eq!(decode(3, 99, &[0; 512]), Some([0; WORDS]), "never written");
        assert_eq!(decode(3, 99, &sector[..511]), None);
        for bit in 0..512 * 8 {
            let mut damaged = sector;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(3, 99, &damaged), None, "bit {bit}");
        }
    }
}
