//! Tests of aws.rs.

use super::*;
use crate::uefi::sample::{random, signed, some, variable};

const PUBLISHED: &str = include_str!("../../tests/data/uefi_data.base64");

/// UefiData around these bytes.
fn wrapped(unpacked: &[u8], version: u32) -> String {
    let checked = [&version.to_le_bytes()[..], &packed::deflate(unpacked).unwrap()].concat();
    STANDARD.encode([&MAGIC[..], &crc32c::crc32c(&checked).to_le_bytes(), &checked].concat())
}

#[test]
fn a_published_sample_is_read_and_written_exactly() {
    let variables = decode(PUBLISHED).unwrap();
    assert_eq!(variables.len(), 23);
    let find = |name| variables.iter().find(|variable| variable.name == name).unwrap();
    let order: Vec<u8> = (0..7).flat_map(|number: u16| number.to_le_bytes()).collect();
    assert_eq!(find("BootOrder").data.len(), 16);
    assert!(order.chunks(2).all(|number| find("BootOrder").data.chunks(2).any(|it| it == number)));
    assert_eq!((find("PlatformLang").attributes, find("PK").attributes), (7, 0x27));
    assert_eq!(find("db").authentication, Some(Authentication::none()));
    assert_eq!(find("Lang").authentication, None);
    let written = encode(&variables).unwrap();
    assert_eq!(decode(&written).as_ref(), Ok(&variables));
    assert!(written.len() < PUBLISHED.len() + PUBLISHED.len() / 20, "{} characters", written.len());
}

#[test]
fn variables_of_all_kinds_are_read_as_written() {
    for seed in 0..100 {
        let variables = some(seed);
        let text = encode(&variables).unwrap();
        assert_eq!(decode(&text), Ok(variables), "seed {seed}");
    }
    // A digest of another length, and none, are kept as they are.
    let odd = [0, 1, 20].map(|length| {
        let authentication = Authentication { timestamp: [0; 16], digest: vec![5; length] };
        Variable { authentication: Some(authentication), ..signed("S", 0) }
    });
    assert_eq!(decode(&encode(&odd).unwrap()).as_deref(), Ok(&odd[..]));
    let unknown = Variable { authentication: None, ..signed("S", 0) };
    let known = Variable { authentication: Some(Authentication::none()), ..unknown.clone() };
    assert_eq!(decode(&encode(&[unknown]).unwrap()), Ok(vec![known]));
}

#[test]
fn what_is_no_uefi_data_is_said() {
    let good = encode(&[variable("BootOrder", b"\0\0")]).unwrap();
    assert!(decode(&format!(" {}\r\n", good.replace('A', "A\n"))).is_ok(), "line ends do not count");
    let said = |text: &str| decode(text).unwrap_err().to_string();
    let mut bytes = STANDARD.decode(&good).unwrap();
    bytes[20] ^= 1;
    let sized = |length: u64, bytes: &[u8]| [&length.to_le_bytes()[..], bytes].concat();
    let cases = [
        (said("{}"), "it is not base64"),
        (said(""), "does not begin with AMZNUEFI"),
        (said("aGVsbG8sIHdvcmxkLCBoZWxsbw=="), "does not begin with AMZNUEFI"),
        (said("QU1aTlVFRkk="), "cut short"),
        (said(&STANDARD.encode(&bytes)), "with a wrong checksum"),
        (said(&wrapped(&[0; 8], 1)), "UefiData of version 1"),
        (said(&wrapped(&[0; 7], 0)), "it ends within a variable"),
        (said(&wrapped(&[0; 9], 0)), "something follows its last variable"),
        (said(&wrapped(&[0xff; 8], 0)), "it ends within a variable"),
        (said(&wrapped(&sized(1, &sized(u64::MAX, b"A")), 0)), "it ends within a variable"),
        (said(&wrapped(&sized(1, &sized(1, b"\xff")), 0)), "is not UTF-8"),
        (said(&wrapped(&vec![0; MAX_UNPACKED + 1], 0)), "unpacks to more than 1048576 bytes"),
        (said(&"A".repeat(64_001)), "64001 characters, and EC2 takes 64000"),
    ];
    for (found, expected) in cases {
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn a_cut_at_any_place_is_found() {
    let bytes = STANDARD.decode(encode(&some(1)).unwrap()).unwrap();
    for length in 0..bytes.len() {
        let text = STANDARD.encode(&bytes[..length]);
        assert!(decode(&text).is_err(), "{length} bytes of {}", bytes.len());
    }
}

#[test]
fn more_than_ec2_takes_is_not_written() {
    let mut random = random(1);
    let noise: Vec<u8> = (0..60_000).map(|_| random(256)).map(|byte| u8::try_from(byte).unwrap()).collect();
    let found = encode(&[variable("A", &noise)]);
    assert!(matches!(found, Err(UefiDataError::TooLong { limit: MAX_LENGTH, .. })), "{found:?}");
    let found = encode(&[variable("A", &vec![0; MAX_UNPACKED])]);
    assert_eq!(found, Err(UefiDataError::TooBig { limit: MAX_UNPACKED }));
}
