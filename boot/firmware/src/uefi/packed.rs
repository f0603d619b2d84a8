//! A zlib stream (RFC 1950) with UefiData's preset dictionary. The inflater and deflater of flate2 take no dictionary
//! of their own in pure Rust, but it is all the same to deflate (RFC 1951) whether what a match points back to came
//! from a dictionary or from the stream: so the inflater is first fed the dictionary as one stored block, and the
//! deflater's output for it is thrown away.

use super::UefiDataError;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// The bytes that UefiData of version 0 is packed with; NOTICE says whose they are.
const DICTIONARY: &[u8] = include_bytes!("uefi_data_v0.dict");

/// A stored block that is not the last (RFC 1951 §3.2.4).
const STORED: u8 = 0;
/// Deflate with a window of 32 KiB, packed well, with a preset dictionary (RFC 1950 §2.2).
const HEADER: [u8; 2] = [0x78, 0xf9];
const DEFLATE: u8 = 8;
const PRESET_DICTIONARY: u8 = 0x20;
/// Of the stream's end.
const CHECKSUM: usize = 4;
/// The output grows by this.
const CHUNK: usize = 16 << 10;

/// Unpacks what fits into `limit` bytes.
pub(super) fn inflate(stream: &[u8], limit: usize) -> Result<Vec<u8>, UefiDataError> {
    let damaged = UefiDataError::Damaged { what: "it is not a zlib stream" };
    let [method, flags, rest @ ..] = stream else { return Err(UefiDataError::Truncated) };
    if method & 0x0f != DEFLATE || u16::from_be_bytes([*method, *flags]) % 31 != 0 {
        return Err(damaged);
    }
    let mut inflater = Decompress::new(false);
    let mut rest = rest;
    // A packer that knows no dictionary may do without.
    if flags & PRESET_DICTIONARY != 0 {
        let (dictionary, packed) = rest.split_first_chunk().ok_or(UefiDataError::Truncated)?;
        if u32::from_be_bytes(*dictionary) != adler32(DICTIONARY) {
            return Err(UefiDataError::Damaged { what: "it is packed with an unknown dictionary" });
        }
        rest = packed;
        prime(&mut inflater).ok_or(damaged.clone())?;
    }
    let mut output = Vec::new();
    loop {
        output.reserve(CHUNK);
        let (eaten, made) = (inflater.total_in(), output.len());
        let status =
            inflater.decompress_vec(rest, &mut output, FlushDecompress::None).map_err(|_| damaged.clone())?;
        let eaten = usize::try_from(inflater.total_in().saturating_sub(eaten)).unwrap_or(usize::MAX);
        rest = rest.get(eaten..).unwrap_or_default();
        if output.len() > limit {
            return Err(UefiDataError::TooBig { limit });
        }
        if status == Status::StreamEnd {
            break;
        }
        if eaten == 0 && output.len() == made {
            return Err(UefiDataError::Truncated);
        }
    }
    let checksum: &[u8; CHECKSUM] = rest.first_chunk().ok_or(UefiDataError::Truncated)?;
    if u32::from_be_bytes(*checksum) != adler32(&output) {
        return Err(UefiDataError::Damaged { what: "what is in it has a wrong checksum" });
    }
    Ok(output)
}

/// None where the inflater does not take it.
fn prime(inflater: &mut Decompress) -> Option<()> {
    let length = u16::try_from(DICTIONARY.len()).ok()?;
    let [[a, b], [c, d]] = [length.to_le_bytes(), (!length).to_le_bytes()];
    let block = [&[STORED, a, b, c, d], DICTIONARY].concat();
    let mut thrown_away = vec![0; DICTIONARY.len()];
    inflater.decompress(&block, &mut thrown_away, FlushDecompress::None).ok()?;
    (inflater.total_in() == block.len() as u64 && thrown_away == DICTIONARY).then_some(())
}

/// Packs.
pub(super) fn deflate(bytes: &[u8]) -> Result<Vec<u8>, UefiDataError> {
    let failed = |_| UefiDataError::Damaged { what: "it cannot be packed" };
    let mut deflater = Compress::new(Compression::best(), false);
    // Stored, it would be longer than the dictionary by a few bytes.
    let mut thrown_away = Vec::with_capacity(DICTIONARY.len().saturating_add(CHUNK));
    deflater.compress_vec(DICTIONARY, &mut thrown_away, FlushCompress::Sync).map_err(failed)?;
    let mut stream = [&HEADER[..], &adler32(DICTIONARY).to_be_bytes()].concat();
    let mut rest = bytes;
    loop {
        stream.reserve(CHUNK);
        let eaten = deflater.total_in();
        let status = deflater.compress_vec(rest, &mut stream, FlushCompress::Finish).map_err(failed)?;
        let eaten = usize::try_from(deflater.total_in().saturating_sub(eaten)).unwrap_or(usize::MAX);
        rest = rest.get(eaten..).unwrap_or_default();
        if status == Status::StreamEnd {
            break;
        }
    }
    stream.extend_from_slice(&adler32(bytes).to_be_bytes());
    Ok(stream)
}

fn adler32(bytes: &[u8]) -> u32 {
    simd_adler32::adler32(&bytes)
}

#[cfg(test)]
#[path = "packed_test.rs"]
mod tests;
