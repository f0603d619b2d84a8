//! A volume for who waits for each thing before the next: it is read as a file, and flushed.
//!
//! Left out: writing.

use crate::{Op, Queue, Request, SECTOR, Volume};
use ami_run_memory::{Buffers, Gpa, Memory, Range};
use std::io::{self, Read, Seek, SeekFrom};

/// The most that one read gives.
const MOST: u64 = 1 << 20;

impl Volume {
    /// A view of the volume as it is while it is read.
    pub fn reader(&self) -> io::Result<VolumeReader> {
        let arena = Memory::new(&[Range::new(0, MOST)]).map_err(io::Error::other)?;
        Ok(VolumeReader { volume: self.clone(), queue: self.queue(), arena, at: 0 })
    }

    /// Waits until every write that was answered before is on stable storage.
    pub fn flush(&self) -> io::Result<()> {
        run(&mut self.queue(), Op::Flush, 0, 0, None)
    }
}

/// A volume as a file that can only be read.
#[derive(Debug)]
pub struct VolumeReader {
    volume: Volume,
    queue: Queue,
    arena: Memory,
    at: u64,
}

impl Read for VolumeReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let skip = self.at % SECTOR;
        let start = self.at.saturating_sub(skip);
        let wanted = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        // Whole sectors around what is wanted: the volume and the arena end with one.
        let len = skip.saturating_add(wanted).min(MOST).next_multiple_of(SECTOR);
        let len = len.min(self.volume.size().saturating_sub(start));
        let given = len.saturating_sub(skip).min(wanted);
        if given == 0 {
            return Ok(0);
        }
        let mut buffers = self.arena.buffers();
        buffers.push(Gpa(0), len).map_err(io::Error::other)?;
        run(&mut self.queue, Op::Read, start, len, Some(buffers))?;
        let given = usize::try_from(given).unwrap_or_default();
        self.arena.read(Gpa(skip), bytes.get_mut(..given).unwrap_or_default()).map_err(io::Error::other)?;
        self.at = self.at.saturating_add(u64::try_from(given).unwrap_or_default());
        Ok(given)
    }
}

impl Seek for VolumeReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.volume.size().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

fn run(queue: &mut Queue, op: Op, offset: u64, len: u64, buffers: Option<Buffers>) -> io::Result<()> {
    let mut done = Vec::new();
    queue.submit(&mut vec![Request { id: 0, op, offset, len, durable: false, buffers }]);
    queue.run_out(&mut done)?;
    match done.first().map(|completion| completion.result) {
        Some(Ok(())) => Ok(()),
        // Why, the queue has logged.
        _ => Err(io::Error::other(format!("{op:?} of {len} bytes at {offset} failed"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Base;

    #[test]
    fn a_volume_is_read_as_a_file_of_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base.raw");
        let disk: Vec<u8> =
            (0..(MOST * 2 + SECTOR) / 4).flat_map(|n| u32::try_from(n).unwrap().to_le_bytes()).collect();
        std::fs::write(&path, &disk).unwrap();
        let base = Base::open(&path).unwrap();
        let volume = Volume::temporary(base, Some(3 * MOST), folder.path()).unwrap();
        let mut reader = volume.reader().unwrap();
        let mut all = Vec::new();
        assert_eq!(reader.read_to_end(&mut all).unwrap(), 3 << 20);
        assert!(all[..disk.len()] == disk && all[disk.len()..].iter().all(|byte| *byte == 0));
        for (at, len) in [(0, 1), (511, 2), (512, 512), (MOST - 3, 9), (MOST * 2 + 100, 4096)] {
            let mut some = vec![1; usize::try_from(len).unwrap()];
            reader.seek(SeekFrom::Start(at)).unwrap();
            reader.read_exact(&mut some).unwrap();
            let at = usize::try_from(at).unwrap();
            assert!(some == all[at..at + some.len()], "{len} bytes at {at}");
        }
        reader.seek(SeekFrom::End(-7)).unwrap();
        assert_eq!(reader.read(&mut [0; 100]).unwrap(), 7);
        assert_eq!(reader.read(&mut [0; 100]).unwrap(), 0);
        assert!(reader.seek(SeekFrom::Current(-(4 << 20))).is_err());
        volume.flush().unwrap();
    }
}
