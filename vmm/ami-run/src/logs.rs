//! `logs`: what an instance's console said.
//!
//! The files are read, so that it works whether or not there is a process; which file follows which is told by their
//! inodes.

use crate::args::{Logs, Output};
use crate::console::{NEWER, OLDER};
use crate::exit::Code;
use crate::failure::Failure;
use crate::state::{self, catalog_failure};
use crate::{answer, ui};
use ami_run_catalog::{Catalog, control, time};
use serde::Serialize;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Between two looks at a log that is followed.
const PAUSE: Duration = Duration::from_millis(100);

/// The most that is read at once.
const PIECE: u64 = 64 << 10;

/// GetConsoleOutput's result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConsoleOutput {
    instance_id: String,
    /// When it said something last.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    output: String,
}

pub(crate) fn run(args: &Logs) -> Code {
    show(args).unwrap_or_else(|failure| {
        ui::failure(&failure);
        failure.code
    })
}

fn show(args: &Logs) -> Result<Code, Failure> {
    let catalog = state::catalog()?;
    let id = catalog.resolve(&args.instance).map_err(|cause| catalog_failure(&cause))?;
    let folder = catalog.instance_folder(&id);
    let unreadable = |cause: io::Error| {
        Failure::new(Code::Host, format!("cannot read the console log of {id}")).because(&cause)
    };
    match args.output {
        Output::Json => {
            let output = console_output(&folder, &id).map_err(unreadable)?;
            Ok(answer::tell(Output::Json, "", &output, Code::Success))
        }
        Output::Text => {
            let mut log = Log::open(&folder).map_err(unreadable)?;
            loop {
                // Asked before the log is read, so that nothing is missed of what was said before the end.
                let more = args.follow && is_alive(&catalog, &id);
                while let Some(bytes) = log.next().map_err(unreadable)? {
                    if let Err(cause) = ui::raw(&bytes) {
                        return Ok(answer::written(Err(cause), Code::Success));
                    }
                }
                if !more {
                    return Ok(Code::Success);
                }
                thread::sleep(PAUSE);
            }
        }
    }
}

/// Whether it may say something still. One that is gone does not.
fn is_alive(catalog: &Catalog, id: &str) -> bool {
    catalog.describe(id).is_ok_and(|record| record.state.is_alive())
}

/// The last 64 KiB as text.
fn console_output(folder: &Path, id: &str) -> io::Result<ConsoleOutput> {
    let mut log = Log::open(folder)?;
    let timestamp = match log.files.back() {
        Some(file) => Some(time::iso(u64::try_from(file.metadata()?.mtime()).unwrap_or_default())),
        None => None,
    };
    let mut all = Vec::new();
    while let Some(bytes) = log.next()? {
        all.extend(bytes);
        all.drain(..all.len().saturating_sub(control::BACKLOG));
    }
    let output = String::from_utf8_lossy(&all).into_owned();
    Ok(ConsoleOutput { instance_id: id.to_owned(), timestamp, output })
}

/// The log's files, oldest first. The last is the newest, and may grow; what has a successor is complete.
#[derive(Debug)]
struct Log {
    folder: PathBuf,
    files: VecDeque<File>,
}

impl Log {
    fn open(folder: &Path) -> io::Result<Log> {
        let mut log = Log { folder: folder.to_owned(), files: VecDeque::new() };
        log.find()?;
        Ok(log)
    }

    /// What was not read yet, in pieces. None: that is all for now.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let has_successor = self.files.len() > 1;
            if let Some(file) = self.files.front_mut() {
                let mut bytes = Vec::new();
                file.take(PIECE).read_to_end(&mut bytes)?;
                if !bytes.is_empty() {
                    return Ok(Some(bytes));
                }
            }
            if has_successor {
                self.files.pop_front();
            } else if !self.find()? {
                return Ok(None);
            }
        }
    }

    /// Takes up the files that are newer than what there is; whether there are any.
    fn find(&mut self) -> io::Result<bool> {
        // The newest is opened first: if it becomes the older one meanwhile, it is found twice, and none is left out.
        let newest = open(&self.folder.join(NEWER))?;
        let older = open(&self.folder.join(OLDER))?;
        let before = self.files.len();
        if !self.ends_with(newest.as_ref())? {
            for file in [older, newest].into_iter().flatten() {
                if !self.ends_with(Some(&file))? {
                    self.files.push_back(file);
                }
            }
        }
        Ok(self.files.len() > before)
    }

    fn ends_with(&self, file: Option<&File>) -> io::Result<bool> {
        let id = |file: Option<&File>| file.map(id).transpose();
        Ok(file.is_some() && id(file)? == id(self.files.back())?)
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// A file that is open has its number for itself.
fn id(file: &File) -> io::Result<(u64, u64)> {
    let file = file.metadata()?;
    Ok((file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::ConsoleLog;

    fn all(log: &mut Log) -> String {
        let mut all = Vec::new();
        while let Some(bytes) = log.next().unwrap() {
            all.extend(bytes);
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn a_log_is_followed_through_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let mut early = Log::open(folder.path()).unwrap();
        assert_eq!(all(&mut early), "");
        let mut console = ConsoleLog::create(folder.path()).unwrap();
        console.add(b"one ");
        assert_eq!(all(&mut early), "one ");
        console.add(b"two ");
        let mut console = ConsoleLog::create(folder.path()).unwrap();
        console.add(b"three ");
        let mut late = Log::open(folder.path()).unwrap();
        assert_eq!([all(&mut early), all(&mut late)], ["two three ", "one two three "]);
        console.add(b"four ");
        // Twice at once: what is gone by then was read, what is there is read in order.
        ConsoleLog::create(folder.path()).unwrap().add(b"five ");
        ConsoleLog::create(folder.path()).unwrap().add(b"six");
        assert_eq!([all(&mut early), all(&mut late)], ["four five six"; 2]);
        assert_eq!([all(&mut early), all(&mut late)], [""; 2]);
    }

    #[test]
    fn get_console_output_has_the_last_64_kib() {
        let folder = tempfile::tempdir().unwrap();
        let none = console_output(folder.path(), "i-1").unwrap();
        assert_eq!(serde_json::to_string(&none).unwrap(), r#"{"InstanceId":"i-1","Output":""}"#);
        let mut console = ConsoleLog::create(folder.path()).unwrap();
        console.add(&[b'x'; 50_000]);
        let mut console = ConsoleLog::create(folder.path()).unwrap();
        console.add(&[b'y'; 50_000]);
        console.add(b"\xff\x1b[0m");
        let shown = console_output(folder.path(), "i-1").unwrap();
        assert!(shown.timestamp.is_some_and(|time| time.ends_with("+00:00")));
        assert!(shown.output.starts_with('x') && shown.output.ends_with("y\u{fffd}\u{1b}[0m"));
        assert_eq!(shown.output.len(), control::BACKLOG + 2, "the mark of a bad byte has three");
    }
}
