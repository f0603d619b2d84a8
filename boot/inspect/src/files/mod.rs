//! Files on a file system: where their bytes are on the disk, and a reader over them.
//!
//! A file system here is two questions, asked with the disk in hand: which file is this path, and what names does
//! this folder hold. Nothing is written, and nothing is kept but the numbers of the superblock.

mod ext;
mod fat;
mod identify;

pub(crate) use identify::identify;

use crate::bytes::{long, short};
use crate::contents::{Holds, Partition};
use crate::disk::{Disk, Fault};
use std::io::{self, Read};

/// No file that is looked into is larger: initrds of a distribution with all its firmware are half of it.
const MAX_FILE: u64 = 512 << 20;
/// A folder of ten thousand long names.
const MAX_FOLDER: u64 = 4 << 20;
/// Pieces that one file may lie in.
const MAX_RUNS: usize = 1 << 17;

pub(crate) trait FileSystem {
    /// The file of this path, from the root, with `/`; links are followed.
    fn find(&self, disk: &mut Disk<'_>, path: &str) -> Result<File, Fault>;
    /// The names in this folder, without `.` and `..`.
    fn list(&self, disk: &mut Disk<'_>, folder: &str) -> Result<Vec<String>, Fault>;
}

/// The file system of a partition, if it is one that can be read.
pub(crate) fn open(disk: &mut Disk<'_>, partition: &Partition) -> Result<Box<dyn FileSystem>, Fault> {
    match partition.holds {
        Holds::Fat => Ok(Box::new(fat::Fat::open(disk, partition.first_byte, partition.bytes)?)),
        Holds::Ext => Ok(Box::new(ext::Ext::open(disk, partition.first_byte, partition.bytes)?)),
        Holds::Other(_) | Holds::Unknown | Holds::Nothing => {
            Err(Fault::Unknown("no file system that is read here"))
        }
    }
}

/// Bytes that lie together: on the disk, or a hole of zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    disk: Option<u64>,
    bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) bytes: u64,
    runs: Vec<Run>,
}

impl File {
    fn new(bytes: u64) -> File {
        File { bytes, runs: Vec::new() }
    }

    /// Adds bytes at the file's end, to the last run where they follow it.
    fn push(&mut self, disk: Option<u64>, bytes: u64) -> Result<(), Fault> {
        if let Some(last) = self.runs.last_mut() {
            let follows = match (last.disk, disk) {
                (Some(at), Some(next)) => at.checked_add(last.bytes) == Some(next),
                (None, None) => true,
                _ => false,
            };
            if follows {
                last.bytes = last.bytes.saturating_add(bytes);
                return Ok(());
            }
        }
        if self.runs.len() >= MAX_RUNS {
            return Err(Fault::Broken("a file in more pieces than any has"));
        }
        self.runs.push(Run { disk, bytes });
        Ok(())
    }

    /// All of it, if it is no larger than `most`.
    pub(crate) fn read(&self, disk: &mut Disk<'_>, most: u64) -> Result<Vec<u8>, Fault> {
        if self.bytes > most.min(MAX_FILE) {
            return Err(Fault::TooMuch);
        }
        self.head(disk, short(self.bytes))
    }

    /// Its first bytes, fewer where it is shorter.
    pub(crate) fn head(&self, disk: &mut Disk<'_>, most: usize) -> Result<Vec<u8>, Fault> {
        self.part(disk, 0, most)
    }

    /// Up to `most` bytes from `at`.
    pub(crate) fn part(&self, disk: &mut Disk<'_>, at: u64, most: usize) -> Result<Vec<u8>, Fault> {
        let len = short(self.bytes.saturating_sub(at)).min(most);
        // A hole costs nothing to read, so a size says nothing about what is there.
        if long(len) > MAX_FILE {
            return Err(Fault::TooMuch);
        }
        let mut bytes = vec![0; len];
        let mut reader = self.reader(disk, at, long(len));
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match reader.next(rest)? {
                0 => return Err(Fault::Broken("a file that ends before its size")),
                count => filled = filled.saturating_add(count),
            }
        }
        Ok(bytes)
    }

    /// Reads `len` bytes from `from`.
    pub(crate) fn reader<'f, 'd, 's>(
        &'f self,
        disk: &'d mut Disk<'s>,
        from: u64,
        len: u64,
    ) -> Reader<'f, 'd, 's> {
        let left = self.bytes.saturating_sub(from).min(len);
        let mut reader = Reader { disk, runs: self.runs.iter(), run: Run { disk: None, bytes: 0 }, left };
        reader.skip(from);
        reader
    }
}

/// Reads a part of a file.
pub(crate) struct Reader<'f, 'd, 's> {
    disk: &'d mut Disk<'s>,
    runs: std::slice::Iter<'f, Run>,
    run: Run,
    left: u64,
}

impl Reader<'_, '_, '_> {
    fn next(&mut self, to: &mut [u8]) -> Result<usize, Fault> {
        let wanted = long(to.len()).min(self.left);
        while self.run.bytes == 0 {
            match self.runs.next() {
                Some(run) => self.run = *run,
                None => return Ok(0),
            }
        }
        let count = wanted.min(self.run.bytes);
        let Some(to) = to.get_mut(..short(count)) else { return Ok(0) };
        match self.run.disk {
            Some(at) => self.disk.read(at, to)?,
            None => to.fill(0),
        }
        self.advance(count);
        self.left = self.left.saturating_sub(count);
        Ok(to.len())
    }

    fn advance(&mut self, count: u64) {
        self.run.disk = self.run.disk.map(|at| at.saturating_add(count));
        self.run.bytes = self.run.bytes.saturating_sub(count);
    }

    fn skip(&mut self, mut count: u64) {
        while count > 0 {
            if self.run.bytes == 0 {
                match self.runs.next() {
                    Some(run) => self.run = *run,
                    None => return,
                }
            }
            let step = count.min(self.run.bytes);
            self.advance(step);
            count = count.saturating_sub(step);
        }
    }
}

impl Read for Reader<'_, '_, '_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.next(to).map_err(|fault| io::Error::other(fault.to_string()))
    }
}

/// The names of a path, without empty ones.
fn names(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty() && *name != ".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn a_file_is_read_across_runs_and_holes() {
        let mut source = Cursor::new((0..=255).collect::<Vec<u8>>());
        let mut disk = Disk::new(&mut source, 256, u64::MAX).unwrap();
        let mut file = File::new(10);
        file.push(Some(100), 2).unwrap();
        file.push(Some(102), 2).unwrap();
        file.push(None, 3).unwrap();
        file.push(Some(7), 10).unwrap();
        assert_eq!(file.runs.len(), 3);
        assert_eq!(file.read(&mut disk, 10), Ok(vec![100, 101, 102, 103, 0, 0, 0, 7, 8, 9]));
        assert_eq!(file.part(&mut disk, 3, 3), Ok(vec![103, 0, 0]));
        assert_eq!(file.part(&mut disk, 11, 3), Ok(vec![]));
        assert_eq!(file.read(&mut disk, 9), Err(Fault::TooMuch));
        file.bytes = 100;
        assert!(matches!(file.read(&mut disk, 100), Err(Fault::Broken(_))));
    }
}
