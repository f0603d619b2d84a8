//! A file that somebody named: opened once, its kind checked before its content.

use crate::FirmwareError;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

/// An open regular file.
#[derive(Debug)]
pub(crate) struct Source {
    pub path: PathBuf,
    pub file: File,
    pub length: u64,
}

impl Source {
    /// `wanted` says what to name instead of a folder or a device.
    pub(crate) fn open(path: &Path, wanted: &'static str) -> Result<Source, FirmwareError> {
        let cannot = |source| FirmwareError::Read { path: path.to_owned(), source };
        // Before opening it: to open a FIFO is to wait for its other end.
        let kind = fs::metadata(path).map_err(cannot)?.file_type();
        if !kind.is_file() {
            let found = match kind {
                _ if kind.is_dir() => "a directory",
                _ if kind.is_fifo() => "a FIFO",
                _ if kind.is_socket() => "a socket",
                _ => "a device",
            };
            return Err(FirmwareError::NotAFile { path: path.to_owned(), found, wanted });
        }
        let file = File::open(path).map_err(cannot)?;
        let length = file.metadata().map_err(cannot)?.len();
        Ok(Source { path: path.to_owned(), file, length })
    }

    pub(crate) fn cannot_read(&self, source: io::Error) -> FirmwareError {
        FirmwareError::Read { path: self.path.clone(), source }
    }

    /// Up to `length` bytes from `offset`; fewer where the file ends.
    pub(crate) fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, FirmwareError> {
        let there = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(there)];
        self.file.read_exact_at(&mut bytes, offset).map_err(|source| self.cannot_read(source))?;
        Ok(bytes)
    }
}
