//! Disk files that other tools make, read back byte by byte; and what is wrong with files that nobody should make.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "the tests' own numbers"
)]

mod chains;
mod formats;
mod hand;
mod harm;
pub(super) mod maker;
mod refusals;

use super::{BLOCK, Content, Kind, Source, StreamError, open};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with disk files in it.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Files {
        Files { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// Runs a command line in the folder. False, and a word of it: there is no such tool.
    fn run(&self, line: &str) -> bool {
        let mut words = line.split_whitespace();
        let tool = words.next().unwrap();
        match Command::new(tool).args(words).current_dir(self.folder.path()).output() {
            Ok(output) => {
                let errors = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{line}: {errors}");
                true
            }
            Err(error) => {
                let mut uncaptured = std::io::stderr();
                writeln!(uncaptured, "skipped: disk files by {tool}: it cannot be run: {error}").unwrap();
                false
            }
        }
    }
}

/// A small random generator: xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.iter_mut().for_each(|byte| *byte = self.next() as u8);
    }
}

const SIZE: usize = (5 << 20) + 3 * 512;

/// A disk with data at odd places: at both ends, over the edges of every kind of block, alone in its sector, text
/// that compresses well and noise that doesn't.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; SIZE];
    let mut random = Random(7);
    disk[..512].fill(0x90);
    disk[510..512].copy_from_slice(b"\x55\xaa");
    for edge in [64 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20] {
        random.fill(&mut disk[edge - 700..edge + 900]);
    }
    disk[(700 << 10) + 5] = 1;
    random.fill(&mut disk[1_200_000..1_500_000]);
    let text = b"nothing flushed is ever lost. ".iter().cycle();
    disk[2_500_000..3_300_000].iter_mut().zip(text).for_each(|(byte, letter)| *byte = *letter);
    random.fill(&mut disk[SIZE - 100..]);
    disk
}

fn source(path: &Path) -> Source {
    open(path).unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
}

/// All of a disk, as its kind gives it.
fn read(source: &Source) -> Result<Vec<u8>, String> {
    match source.kind() {
        Kind::Raw { file, size } => {
            let mut bytes = vec![0; usize::try_from(*size).unwrap()];
            std::os::unix::fs::FileExt::read_exact_at(&**file, &mut bytes, 0)
                .map_err(|error| error.to_string())?;
            Ok(bytes)
        }
        Kind::Blocks(blocks) => {
            let mut disk = Vec::new();
            let mut fetcher = blocks.fetcher();
            while (disk.len() as u64) < blocks.size() {
                let len = BLOCK.min(blocks.size() - disk.len() as u64);
                let mut block = vec![0xa5; usize::try_from(len).unwrap()];
                match fetcher.fetch(disk.len() as u64, &mut block).map_err(|error| error.to_string())? {
                    Content::Zeroes => disk.resize(disk.len() + block.len(), 0),
                    Content::Data => disk.extend(block),
                }
            }
            Ok(disk)
        }
        Kind::Stream(stream) => {
            let (mut disk, mut last) = (Vec::new(), 0);
            let size = stream.decode(&mut |piece| {
                assert!(piece.read >= last && piece.read <= piece.of);
                last = piece.read;
                let end = usize::try_from(piece.offset).unwrap() + piece.bytes.len();
                disk.resize(disk.len().max(end), 0);
                disk[end - piece.bytes.len()..end].copy_from_slice(piece.bytes);
                Ok(())
            });
            let size = size.map_err(|error| match error {
                StreamError::Source(error) => error.to_string(),
                StreamError::Sink(error) => error.to_string(),
            })?;
            disk.resize(usize::try_from(size).unwrap(), 0);
            Ok(disk)
        }
    }
}

/// Asserts that a file holds this disk; it may have zeroes behind it, up to the next cylinder.
#[track_caller]
fn assert_holds(path: &Path, disk: &[u8]) {
    let found = read(&source(path)).unwrap();
    let at = found.iter().zip(disk).position(|(one, other)| one != other);
    assert_eq!(at, None, "{}", path.display());
    assert!(found.len() >= disk.len() && found[disk.len()..].iter().all(|byte| *byte == 0));
    assert!(found.len() - disk.len() < 1 << 20, "{} has {} bytes", path.display(), found.len());
}

/// What is said when a file is opened, or else read.
#[track_caller]
fn error(path: &Path) -> String {
    let read = |source: Source| read(&source).map(|disk| disk.len());
    match open(path) {
        Err(error) => error.to_string(),
        Ok(source) => read(source).expect_err("something is wrong with it"),
    }
}
