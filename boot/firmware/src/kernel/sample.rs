//! What the tests of both architectures' direct boots need: files, memory's content, and numbers by chance.
#![expect(clippy::arithmetic_side_effects, reason = "the numbers are the tests' own")]

use ami_run_memory::{Gpa, Memory};
use std::io::Write;
use tempfile::NamedTempFile;

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
