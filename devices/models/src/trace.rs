//! The eye to see with: what the guest does to the hardware, a line an event, into a file.
//!
//! Off, it costs one test of an `Option` an exit. On, lines are collected in a buffer that is written when it is
//! full and when the machine ends.

use parking_lot::Mutex;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::str::FromStr;
use std::time::Instant;

bitflags::bitflags! {
    /// What to trace.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Kinds: u8 {
        const EXITS = 1;
        const PCI = 2;
        const FW_CFG = 4;
        const IRQ = 8;
    }
}

const NAMES: [(&str, Kinds); 4] =
    [("exits", Kinds::EXITS), ("pci", Kinds::PCI), ("fwcfg", Kinds::FW_CFG), ("irq", Kinds::IRQ)];

impl FromStr for Kinds {
    type Err = String;

    fn from_str(text: &str) -> Result<Kinds, String> {
        text.split(',').try_fold(Kinds::empty(), |kinds, word| {
            let found = NAMES.iter().find(|(name, _)| *name == word);
            let (_, kind) =
                found.ok_or(format!("cannot trace `{word}`: choose from exits, pci, fwcfg, irq"))?;
            Ok(kinds | *kind)
        })
    }
}

#[derive(Debug)]
pub struct Trace {
    kinds: Kinds,
    start: Instant,
    file: Mutex<BufWriter<File>>,
}

impl Trace {
    pub fn to_file(kinds: Kinds, path: &Path) -> io::Result<Trace> {
        let file = BufWriter::with_capacity(1 << 16, File::create(path)?);
        Ok(Trace { kinds, start: Instant::now(), file: Mutex::new(file) })
    }

    #[must_use]
    pub fn on(&self, kind: Kinds) -> bool {
        self.kinds.contains(kind)
    }

    /// Writes a line: seconds since the start, the kind, what happened. A full disk loses lines, nothing else.
    pub fn line(&self, kind: Kinds, what: fmt::Arguments<'_>) {
        if !self.on(kind) {
            return;
        }
        let name = NAMES.iter().find(|(_, other)| *other == kind).map_or("", |(name, _)| name);
        let at = self.start.elapsed();
        let written =
            writeln!(self.file.lock(), "{:4}.{:06} {name:5} {what}", at.as_secs(), at.subsec_micros());
        if let Err(cause) = written {
            log::warn!("a line of the trace is lost: {cause}");
        }
    }

    pub fn flush(&self) {
        if let Err(cause) = self.file.lock().flush() {
            log::warn!("the end of the trace is lost: {cause}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_and_a_wrong_name_is_told() {
        assert_eq!("exits,irq".parse::<Kinds>().unwrap(), Kinds::EXITS | Kinds::IRQ);
        assert!("exits,".parse::<Kinds>().unwrap_err().contains("choose from exits, pci, fwcfg, irq"));
    }

    #[test]
    fn only_what_was_asked_for_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace");
        let trace = Trace::to_file(Kinds::PCI, &path).unwrap();
        trace.line(Kinds::IRQ, format_args!("no"));
        trace.line(Kinds::PCI, format_args!("00:04.0 read"));
        trace.flush();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("pci   00:04.0 read\n") && text.lines().count() == 1, "{text}");
    }
}
