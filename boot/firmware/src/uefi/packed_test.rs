//! Tests of packed.rs.

use super::*;
use flate2::write::ZlibEncoder;
use std::io::Write;

const LIMIT: usize = 1 << 20;

#[test]
fn what_is_packed_unpacks_to_itself() {
    let long: Vec<u8> = (0..200_000u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
    for bytes in [&b""[..], b"x", b"BootOrder", DICTIONARY, &long] {
        let stream = deflate(bytes).unwrap();
        assert_eq!(inflate(&stream, LIMIT).as_deref(), Ok(bytes));
    }
}

#[test]
fn the_dictionary_is_used() {
    assert_eq!(adler32(DICTIONARY), 0x6bb7_d9f7, "as EC2's own UefiData names it");
    let stream = deflate(DICTIONARY).unwrap();
    assert!(stream.len() < DICTIONARY.len() / 50, "{} bytes", stream.len());
    // Packed without one, as the format allows.
    let mut plain = ZlibEncoder::new(Vec::new(), Compression::best());
    plain.write_all(b"BootOrder").unwrap();
    assert_eq!(inflate(&plain.finish().unwrap(), LIMIT).as_deref(), Ok(&b"BootOrder"[..]));
}

#[test]
fn every_cut_and_every_change_of_the_content_is_found() {
    let bytes = b"BootOrder, and some that the dictionary does not have: 0123456789";
    let stream = deflate(bytes).unwrap();
    for length in 0..stream.len() {
        assert!(inflate(&stream[..length], LIMIT).is_err(), "{length} bytes of {}", stream.len());
    }
    for at in 0..stream.len() {
        let mut changed = stream.clone();
        changed[at] ^= 0x10;
        // Some bits of a stream say nothing.
        assert!(inflate(&changed, LIMIT).map_or(true, |found| found == bytes), "byte {at}");
    }
}

#[test]
fn what_unpacks_to_more_than_allowed_is_given_up_early() {
    let bomb = deflate(&vec![0; 64 << 20]).unwrap();
    assert!(bomb.len() < 100_000);
    assert_eq!(inflate(&bomb, LIMIT), Err(UefiDataError::TooBig { limit: LIMIT }));
    let full = deflate(&vec![0; LIMIT]).unwrap();
    assert_eq!(inflate(&full, LIMIT).map(|bytes| bytes.len()), Ok(LIMIT));
    assert!(inflate(&full, LIMIT - 1).is_err());
}
