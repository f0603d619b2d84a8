//! Packed code with and without the module that stops, and the distribution's.

use super::*;
use std::path::Path;

/// 256 zeros, SMM_ACCESS, 64 zeros: LZMA as `xz --format=lzma` writes it.
pub(in crate::find) const WITH: [u8; 46] = [
    0x5d, 0x00, 0x10, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x6f, 0xd8,
    0xf4, 0xcf, 0xb2, 0xa3, 0xfe, 0x78, 0x2b, 0xca, 0xce, 0xf1, 0x89, 0x58, 0x49, 0x5f, 0xe2, 0x2a, 0xf9,
    0x05, 0x25, 0x7e, 0xc5, 0x6f, 0x0f, 0x7f, 0xff, 0xfe, 0x61, 0x38, 0x00,
];
/// 256 zeros, "another module!!", 64 zeros.
pub(in crate::find) const WITHOUT: [u8; 46] = [
    0x5d, 0x00, 0x10, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x6f, 0xd8,
    0xa1, 0xcd, 0x97, 0xa9, 0x20, 0x0a, 0x3d, 0xe6, 0x23, 0x0a, 0x6c, 0xf3, 0x0f, 0x71, 0x92, 0xa5, 0x52,
    0x4a, 0xcb, 0x5d, 0xaa, 0xcd, 0x7f, 0xff, 0xff, 0x48, 0x4c, 0x00, 0x00,
];

/// A section of packed bytes.
pub(in crate::find) fn section(packed: &[u8]) -> Vec<u8> {
    let size = u32::try_from(24 + packed.len()).unwrap().to_le_bytes();
    // A section that is defined by a GUID, its data at offset 24, to be processed.
    [&size[..3], &[2], &LZMA, &[24, 0, 1, 0], packed].concat()
}

fn needed(code: &[u8], offset: u64) -> bool {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), code).unwrap();
    is_needed(&Source::open(file.path(), "").unwrap(), offset).unwrap()
}

#[test]
fn the_module_is_found_in_what_is_packed_and_nowhere_else() {
    let code = |packed: &[u8]| [vec![0; 0x90], section(packed), vec![0xff; 9000]].concat();
    assert!(needed(&code(&WITH), 0));
    assert!(!needed(&code(&WITHOUT), 0));
    assert!(needed(&[vec![0; 0x2_0000], code(&WITH)].concat(), 0x2_0000));
    assert!(!needed(&[vec![0; 0x2_0000], code(&WITH)].concat(), 0));
    assert!(!needed(&[vec![0; 0x90], SMM_ACCESS.to_vec()].concat(), 0), "it is not packed");
}

#[test]
fn code_that_is_cut_or_damaged_anywhere_is_not_refused_for_it() {
    let code = [vec![0; 0x90], section(&WITHOUT)].concat();
    for length in 0..code.len() {
        assert!(!needed(&code[..length], 0), "{length}");
    }
    for place in 0x90..code.len() {
        let mut code = code.clone();
        code[place] ^= 0xff;
        assert!(!needed(&code, 0), "{place:#x}");
    }
}

#[test]
fn the_distribution_s_builds_are_told_apart() {
    for (name, expected) in [
        ("OVMF_CODE_4M.fd", false),
        ("OVMF_CODE.fd", false),
        ("OVMF_CODE_4M.secboot.fd", true),
        ("OVMF_CODE.secboot.fd", true),
        ("OVMF_CODE_4M.secboot.strictnx.fd", true),
    ] {
        let path = Path::new("/usr/share/OVMF").join(name);
        match Source::open(&path, "") {
            Ok(source) => assert_eq!(is_needed(&source, 0).unwrap(), expected, "{name}"),
            Err(why) => println!("skipped: {why} (package ovmf)"),
        }
    }
}
