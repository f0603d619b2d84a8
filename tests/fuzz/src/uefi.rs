//! UEFI variables: a store that a guest's firmware has in flash, and an image's UefiData.

use crate::disk::differ;
use crate::input::Input;
use ami_run_firmware::uefi::{NON_VOLATILE, Store, Variable, aws};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::io::Write;

/// Of the small store: 768 bytes of variables, 256 of the working block, 1024 of the spare area.
const LENGTH: usize = 2048;
const CHECKSUM: usize = 50;

/// The small store, with nothing in it.
fn empty() -> Vec<u8> {
    let mut image = vec![0xff; LENGTH];
    let parts: [(usize, &[u8]); 9] = [
        (0, &[0; 16]),
        (16, b"\x8d\x2b\xf1\xff\x96\x76\x8b\x4c\xa9\x85\x27\x47\x07\x5b\x4f\x50"),
        (32, &[0, 8, 0, 0, 0, 0, 0, 0]),
        (40, b"_FVH\xff\xfe\x04\0\x48\0\0\0\0\0\0\x02"),
        (56, &[8, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (72, b"\x78\x2c\xf3\xaa\x7b\x94\x9a\x43\xa1\x80\x2e\x14\x4e\xc3\x77\x92"),
        (88, &[0xb8, 2, 0, 0, 0x5a, 0xfe, 0, 0, 0, 0, 0, 0]),
        (768, b"\x2b\x29\x58\x9e\x68\x7c\x7d\x49\xa0\xce\x65\x00\xfd\x9f\x1b\x95"),
        (784, &[0x2c, 0xaf, 0x2c, 0x64, 0xfe, 0xff, 0xff, 0xff, 0xe0, 0, 0, 0, 0, 0, 0, 0]),
    ];
    for (at, bytes) in parts {
        image[at..at + bytes.len()].copy_from_slice(bytes);
    }
    correct(&mut image);
    image
}

/// Makes the header's words add up to zero.
fn correct(image: &mut [u8]) {
    image[CHECKSUM..CHECKSUM + 2].fill(0);
    let words = image[..72].chunks(2).map(|word| u16::from(word[0]) | u16::from(word[1]) << 8);
    let sum = words.fold(0, u16::wrapping_add).wrapping_neg();
    image[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.to_le_bytes());
}

/// A play is what differs from an empty store, whose checksum the first byte keeps good, or not.
fn image(data: &[u8]) -> Vec<u8> {
    let mut input = Input::new(data);
    let good = input.byte().is_none_or(|first| first & 1 == 0);
    let mut image = empty();
    differ(&mut image, &mut input);
    if good {
        correct(&mut image);
    }
    image
}

/// Reads the play's image as a store, and writes what is in it again.
pub fn uefi_store(data: &[u8]) {
    let image = image(data);
    let store = match Store::parse(&image) {
        Ok(store) => store,
        Err(error) => {
            assert!(error.to_string().contains("UEFI variable store"), "{error}");
            return;
        }
    };
    let size: usize = store.variables().iter().map(|it| it.data.len() + it.name.len()).sum();
    assert!(
        size <= LENGTH * 3,
        "no byte is read twice, and UTF-8 is at most thrice as long as half of UTF-16"
    );
    let lasting: Vec<Variable> =
        store.variables().iter().filter(|it| it.attributes & NON_VOLATILE != 0).cloned().collect();
    for template in [&image, &empty()] {
        let Ok(again) = Store::build(template, &lasting) else { continue };
        let again = Store::parse(&again).expect("what was written can be read");
        assert_eq!(again.unreadable(), 0);
        assert_eq!(signed(again.variables()), signed(&lasting), "it is read as it was written");
    }
}

/// The variables, where no digest is the same as one of zeros.
fn signed(variables: &[Variable]) -> Vec<Variable> {
    let mut variables = variables.to_vec();
    for authentication in variables.iter_mut().filter_map(|it| it.authentication.as_mut()) {
        if authentication.digest.iter().all(|byte| *byte == 0) {
            authentication.digest.clear();
        }
    }
    variables
}

/// The first byte chooses what the others are: the text, what it is packed in, or what is packed.
fn text(data: &[u8]) -> String {
    match data.split_first() {
        Some((first, rest)) if first % 3 == 1 => wrapped(rest),
        Some((first, rest)) if first % 3 == 2 => wrapped(&packed(rest)),
        _ => String::from_utf8_lossy(data.get(1..).unwrap_or_default()).into_owned(),
    }
}

/// Reads the play's UefiData, and writes what is in it again.
pub fn uefi_data(data: &[u8]) {
    match aws::decode(&text(data)) {
        Ok(variables) => {
            // Packed worse than it came, it may be too long.
            if let Ok(text) = aws::encode(&variables) {
                assert_eq!(aws::decode(&text), Ok(variables), "it is read as it was written");
            }
        }
        Err(error) => assert!(error.to_string().contains("UefiData"), "{error}"),
    }
}

/// With a good header and in base64.
fn wrapped(stream: &[u8]) -> String {
    let checked = [&[0; 4], stream].concat();
    STANDARD.encode([&b"AMZNUEFI"[..], &crc32c::crc32c(&checked).to_le_bytes(), &checked].concat())
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes).and_then(|()| packer.finish()).expect("memory takes what is written")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(path: &str) -> Vec<u8> {
        std::fs::read(format!("{}/corpus/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn the_corpus_gets_through_to_the_variables() {
        for (name, data) in [
            ("states", &b"new."[..]),
            ("signers", b"signed"),
            ("rewrite", b"spare"),
            ("lost_header", b"spare"),
            ("odd_names", b"volatile"),
        ] {
            let store = Store::parse(&image(&seed(&format!("uefi_store/{name}"))));
            let found: Vec<Vec<u8>> = store.unwrap().variables().iter().map(|it| it.data.clone()).collect();
            assert_eq!(found, [data], "{name}");
        }
        for (name, count) in [("text", 0), ("packed", 0), ("unpacked", 2)] {
            let variables = aws::decode(&text(&seed(&format!("uefi_data/{name}"))));
            assert_eq!(variables.map(|it| it.len()), Ok(count), "{name}");
        }
    }
}
