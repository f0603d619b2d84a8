//! What the tests of both architectures' direct boots need: files, memory's content, and numbers by chance; and what
//! both must answer alike.
#![expect(clippy::arithmetic_side_effects, reason = "the numbers are the tests' own")]

use crate::FirmwareError;
use ami_run_memory::{Gpa, Memory};
use std::fmt::Debug;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use tempfile::{NamedTempFile, TempDir};

pub(crate) fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}

pub(crate) fn file(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

pub(crate) fn read(memory: &Memory, address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    memory.read(Gpa(address), &mut bytes).unwrap();
    bytes
}

/// A small generator, so that a failure can be repeated (Marsaglia's xorshift).
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

/// Bytes that counters and sizes are often wrong by.
pub(crate) const INTERESTING: [u8; 6] = [0, 1, 2, 0x7f, 0x80, 0xff];

/// Ten thousand kernels that `kernel` makes by their number and by chance, some cut short: each is an error, or
/// `loads`.
pub(crate) fn ten_thousand_are_answered(
    kernel: impl Fn(usize, &mut Random) -> Vec<u8>,
    loads: impl Fn(&Path) -> bool,
) {
    // One file written over again: a new one each time would wait for the disk.
    let file = NamedTempFile::new().unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut loaded = 0;
    for round in 0..10_000 {
        let mut bytes = kernel(round, &mut random);
        if random.below(4) == 0 {
            bytes.truncate(random.below(bytes.len()));
        }
        file.as_file().write_all_at(&bytes, 0).unwrap();
        file.as_file().set_len(bytes.len() as u64).unwrap();
        loaded += usize::from(loads(file.path()));
    }
    assert!(loaded > 500, "{loaded} kernels were good enough to load");
}

pub(crate) fn the_command_line_has_a_limit_and_no_nul<T: Debug>(
    kernel: &[u8],
    open: impl Fn(&Path, Option<&Path>, &str) -> Result<T, FirmwareError>,
) {
    let kernel = file(kernel);
    let open_with = |line: &str| open(kernel.path(), None, line).map(|_| ());
    open_with(&"x".repeat(2047)).unwrap();
    let long = open_with(&"x".repeat(2048)).unwrap_err();
    assert!(matches!(long, FirmwareError::CommandLineTooLong { length: 2048, limit: 2047 }), "{long}");
    assert!(matches!(open_with("a\0b").unwrap_err(), FirmwareError::CommandLineNul));
}

pub(crate) fn paths_that_are_no_files_are_told<T: Debug>(
    kernel: &[u8],
    open: impl Fn(&Path, Option<&Path>, &str) -> Result<T, FirmwareError>,
) {
    let folder = TempDir::new().unwrap();
    let kernel = file(kernel);
    let empty = file(b"");
    let text = |kernel: &Path, initrd: Option<&Path>| open(kernel, initrd, "").unwrap_err().to_string();
    assert!(text(folder.path(), None).contains("is a directory, not a file; name a kernel"));
    assert!(text(kernel.path(), Some(folder.path())).contains("name an initrd"));
    assert!(text(kernel.path(), Some(empty.path())).contains("is empty"));
    assert!(text(&folder.path().join("none"), None).contains("cannot read"));
}
