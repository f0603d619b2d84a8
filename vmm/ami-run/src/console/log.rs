//! console.log in an instance's folder: what the console said, bounded.
//!
//! Each start begins a new file, and so does each mebibyte; what was in it before becomes console.log.1, and what was
//! in that is gone.

use crate::ui;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The newest output.
pub(crate) const NEWER: &str = "console.log";
/// What came before it.
pub(crate) const OLDER: &str = "console.log.1";
/// What a file grows to.
const MAX_FILE: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct ConsoleLog {
    folder: PathBuf,
    /// None: it could not be written to, which was said.
    file: Option<File>,
    size: u64,
}

impl ConsoleLog {
    /// Begins the log of one start.
    pub(crate) fn create(folder: &Path) -> io::Result<ConsoleLog> {
        let mut log = ConsoleLog { folder: folder.to_owned(), file: None, size: 0 };
        log.turn()?;
        Ok(log)
    }

    /// Keeps what the guest said. Where that fails, it is said once, and nothing more is kept.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        if self.file.is_none() || bytes.is_empty() {
            return;
        }
        if let Err(cause) = self.write(bytes) {
            ui::note(&format!("warning: the instance's console log ends here: {cause}"));
            self.file = None;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let added = bytes.len() as u64;
        if self.size > 0 && self.size + added > MAX_FILE {
            self.turn()?;
        }
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
            self.size += added;
        }
        Ok(())
    }

    /// Goes on in a new file.
    fn turn(&mut self) -> io::Result<()> {
        let path = self.folder.join(NEWER);
        match fs::rename(&path, self.folder.join(OLDER)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
        self.file = Some(OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?);
        self.size = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(folder: &Path) -> [Option<String>; 2] {
        [OLDER, NEWER].map(|name| fs::read_to_string(folder.join(name)).ok())
    }

    #[test]
    fn each_start_begins_a_file_and_the_last_one_s_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let text = |text: &str| Some(text.to_owned());
        ConsoleLog::create(folder.path()).unwrap().add(b"one");
        assert_eq!(texts(folder.path()), [None, text("one")]);
        let mut log = ConsoleLog::create(folder.path()).unwrap();
        assert_eq!(texts(folder.path()), [text("one"), text("")]);
        log.add(b"tw");
        log.add(b"o");
        assert_eq!(texts(folder.path()), [text("one"), text("two")]);
    }

    #[test]
    fn two_mebibytes_are_all_it_takes_and_the_newest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = ConsoleLog::create(folder.path()).unwrap();
        for number in 0..100 {
            log.add(&[b'a' + number % 26; 100_000]);
            for text in texts(folder.path()).into_iter().flatten() {
                assert!(text.len() as u64 <= MAX_FILE);
            }
        }
        let [older, newer] = texts(folder.path()).map(Option::unwrap);
        assert_eq!(older.len(), 1_000_000);
        assert!(newer.ends_with('v') && newer.len() >= 100_000);
    }

    #[test]
    fn a_disk_that_is_full_is_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = ConsoleLog::create(folder.path()).unwrap();
        log.file = OpenOptions::new().write(true).open("/dev/full").ok();
        log.add(b"x");
        assert!(log.file.is_none());
        log.add(b"y");
        assert!(ConsoleLog::create(Path::new("/proc/self")).is_err());
    }
}
