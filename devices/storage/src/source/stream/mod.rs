//! A raw disk compressed as one stream: gzip, xz or zstd. It is decoded from start to end, once; what must be random
//! access is the cache that it goes into.
//!
//! Files put behind each other count as one, as the formats' own tools have it. Anything else behind the stream is an
//! error, and so is an end that comes too early.
//!
//! Left out: what is inside of any other format than raw; dictionaries of zstd; decoding by several threads.

mod zstd;

use super::format::{Format, HEAD, tell};
use super::read::{LARGEST, Reader, all_zero};
use super::{Piece, StreamError};
use crate::{SECTOR, StorageError};
use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What `xz -9` and `zstd --ultra -22` need is half of it; `zstd --long=31` needs more.
const MOST_WINDOW: u64 = 128 << 20;

/// What is decoded before it is given on.
const PIECE: usize = 512 << 10;

#[derive(Clone, Debug)]
pub(super) struct Stream {
    reader: Reader,
    format: Format,
}

impl Stream {
    /// Decodes no more than the disk's first bytes.
    pub(super) fn open(reader: Reader, format: Format) -> Result<Stream, StorageError> {
        let stream = Stream { reader, format };
        let mut head = Vec::new();
        let mut decoder = stream.decoder(&Arc::default());
        decoder.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(|error| stream.wrong(&error))?;
        stream.check_inside(&head, &[])?;
        Ok(stream)
    }

    fn decoder(&self, read: &Arc<AtomicU64>) -> Box<dyn Read> {
        let input = Input { reader: self.reader.clone(), at: 0, read: Arc::clone(read) };
        let input = BufReader::with_capacity(128 << 10, input);
        match self.format {
            Format::Xz => {
                let kib = u32::try_from(MOST_WINDOW >> 10).unwrap_or(u32::MAX);
                Box::new(lzma_rust2::XzReader::new_mem_limit(input, true, kib))
            }
            Format::Zstd => Box::new(zstd::Frames::new(input)),
            _ => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        }
    }

    /// Gives all of the disk to `sink`, and its size in bytes.
    pub(super) fn decode(
        &self,
        sink: &mut dyn FnMut(Piece<'_>) -> io::Result<()>,
    ) -> Result<u64, StreamError> {
        let read = Arc::new(AtomicU64::new(0));
        let mut decoder = self.decoder(&read);
        let (mut piece, mut offset) = (vec![0; PIECE], 0u64);
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        loop {
            let len = fill(&mut decoder, &mut piece).map_err(|error| self.wrong(&error))?;
            let bytes = piece.get(..len).unwrap_or_default();
            if offset == 0 {
                head = bytes.iter().copied().take(HEAD).collect();
                self.check_inside(&head, &[])?;
            }
            if offset.saturating_add(len as u64) > LARGEST {
                let what = format!("it holds more than the {} TiB that a volume can have", LARGEST >> 40);
                return Err(self.reader.damaged(what).into());
            }
            if len > 0 {
                tail = bytes.get(len.saturating_sub(512)..).unwrap_or_default().to_vec();
                let bytes = if all_zero(bytes) { &[] } else { bytes };
                let (read, of) = (read.load(Ordering::Relaxed), self.reader.size());
                sink(Piece { offset, bytes, read, of }).map_err(StreamError::Sink)?;
                offset = offset.saturating_add(len as u64);
            }
            if len < PIECE {
                break;
            }
        }
        if offset == 0 {
            return Err(self.reader.damaged("there is nothing in it").into());
        }
        self.check_inside(&head, &tail)?;
        if !offset.is_multiple_of(SECTOR) {
            let what =
                format!("what is in it has {offset} bytes, not a multiple of 512, so it is no raw disk");
            return Err(self.reader.damaged(what).into());
        }
        Ok(offset)
    }

    /// Refuses a stream of anything but a raw disk.
    fn check_inside(&self, head: &[u8], tail: &[u8]) -> Result<(), StorageError> {
        let inside = match tell(head, tail) {
            Ok(Format::Raw) => return Ok(()),
            Ok(format) => format.name(),
            Err(foreign) => foreign.format,
        };
        let advice = match self.format {
            Format::Xz => "unpack it with `xz -dc FILE >NEW`, and give that",
            Format::Zstd => "unpack it with `zstd -dc FILE >NEW`, and give that",
            _ => "unpack it with `gzip -dc FILE >NEW`, and give that",
        };
        Err(self.reader.refused(format!("with {inside} in it"), advice))
    }

    /// What an error of a decoder says about the file.
    fn wrong(&self, error: &io::Error) -> StorageError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.reader.damaged("it ends too early, so it was cut short"),
            io::ErrorKind::OutOfMemory => self.reader.refused(
                format!("that takes more than {} MiB to unpack", MOST_WINDOW >> 20),
                "unpack it yourself, and give what comes out",
            ),
            _ if error.raw_os_error().is_some() => {
                self.reader.unread(io::Error::new(error.kind(), error.to_string()))
            }
            _ => match error.to_string() {
                // flate2's words where another member should begin.
                words if words == "invalid gzip header" => {
                    self.reader.damaged("something that is not gzip is behind its end")
                }
                words => self.reader.damaged(words),
            },
        }
    }
}

/// Fills `bytes`, or as much of them as there is.
fn fill(from: &mut dyn Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut done = 0usize;
    while let Some(rest @ [_, ..]) = bytes.get_mut(done..) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(count) => done = done.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// The file's bytes one after the other, counted.
struct Input {
    reader: Reader,
    at: u64,
    read: Arc<AtomicU64>,
}

impl Read for Input {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let left = self.reader.size().saturating_sub(self.at);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(to.len());
        let to = to.get_mut(..len).unwrap_or_default();
        let count = std::os::unix::fs::FileExt::read_at(&*self.reader.part().file, to, self.at)?;
        self.at = self.at.saturating_add(count as u64);
        self.read.store(self.at, Ordering::Relaxed);
        Ok(count)
    }
}
