//! The frames of a zstd file (RFC 8878 §3), one after the other. The crate decodes a frame; what is between them, and
//! that a frame's checksum is right, is ours.

use super::MOST_WINDOW;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{self, BufRead, Read};

pub(super) struct Frames<R> {
    input: R,
    decoder: FrameDecoder,
    inside: bool,
}

impl<R: BufRead> Frames<R> {
    pub(super) fn new(input: R) -> Frames<R> {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MOST_WINDOW);
        Frames { input, decoder, inside: false }
    }

    /// Reads the next frame's header. False: there is none.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            if self.input.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.input) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => self.skip(u64::from(length))?,
                Err(error) => return Err(plain(&error)),
            }
        }
    }

    /// Passes over a frame that holds no data (§3.1.2).
    fn skip(&mut self, length: u64) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut self.input).take(length), &mut io::sink())?;
        if skipped < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn check(&self) -> io::Result<()> {
        match (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum()) {
            (Some(told), Some(found)) if told != found => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "the checksum of a frame is wrong"))
            }
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.inside {
                if !self.begin()? {
                    return Ok(0);
                }
                self.inside = true;
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(to);
            }
            if self.decoder.is_finished() {
                self.check()?;
                self.inside = false;
                continue;
            }
            let one = BlockDecodingStrategy::UptoBlocks(1);
            self.decoder.decode_blocks(&mut self.input, one).map_err(|error| plain(&error))?;
        }
    }
}

/// An error in words, and of the kind of what lies under it: the end of the file is told from nonsense in it.
fn plain(error: &FrameDecoderError) -> io::Error {
    let mut kind = io::ErrorKind::InvalidData;
    if matches!(error, FrameDecoderError::WindowSizeTooBig { .. }) {
        kind = io::ErrorKind::OutOfMemory;
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut words = error.to_string();
    while let Some(under) = cause {
        if let Some(found) = under.downcast_ref::<io::Error>() {
            kind = found.kind();
        }
        words = under.to_string();
        cause = under.source();
    }
    io::Error::new(kind, words)
}
