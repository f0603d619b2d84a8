//! The headers of an EFI program: its machine, whether it is signed, its table of sections (Microsoft's "PE Format",
//! COFF File Header, Optional Header, Section Table).
//!
//! By hand: it is some numbers and a table. goblin wants the whole file, which may be a hundred megabytes. Left out:
//! what a loader needs to run it, and whether a signature is a good one.

use crate::bytes::{array, long, stands_at, u16_at, u32_at};
use crate::disk::{Disk, Fault};
use crate::files::File;

/// What is read of a file for this: room for the headers and some ninety sections.
pub(crate) const HEAD: usize = 4096;

const HEADER_AT: usize = 0x3c;
/// Behind "PE\0\0", counted from it.
const MACHINE: usize = 4;
const SECTIONS: usize = 6;
const SYMBOLS_AT: usize = 12;
const SYMBOLS: usize = 16;
const OPTIONAL_SIZE: usize = 20;
const OPTIONAL: usize = 24;

/// Where the optional header, of 32 or 64 bits, has the place and size of the certificates.
const PE32: u16 = 0x10b;
const CERTIFICATES_32: usize = 128;
const CERTIFICATES_64: usize = 144;

const SYMBOL: u64 = 18;
const SECTION: usize = 40;
/// The most that Windows and EDK II take.
const MAX_SECTIONS: u16 = 96;
/// The longest name that is looked for here, and its NUL.
const LONG_NAME: usize = 16;

#[derive(Debug)]
pub(crate) struct Pe {
    pub(crate) machine: u16,
    /// It carries a signature.
    pub(crate) signed: bool,
    pub(crate) sections: Vec<Section>,
    /// Where names stand that are longer than eight bytes.
    strings: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    name: [u8; 8],
    /// Where in the file its content is, and how long.
    pub(crate) start: u64,
    pub(crate) len: u64,
}

impl Pe {
    /// What a file's first bytes say. None: it is no such program.
    pub(crate) fn parse(head: &[u8]) -> Option<Pe> {
        let at = usize::try_from(u32_at(head, HEADER_AT)?).ok()?;
        if !stands_at(head, 0, b"MZ") || !stands_at(head, at, b"PE\0\0") {
            return None;
        }
        let header = head.get(at..)?;
        let word = |at| u16_at(header, at).unwrap_or(0);
        let dword = |at| u32_at(header, at).unwrap_or(0);
        let certificates = if word(OPTIONAL) == PE32 { CERTIFICATES_32 } else { CERTIFICATES_64 };
        let table = OPTIONAL.saturating_add(usize::from(word(OPTIONAL_SIZE)));
        let symbols = u64::from(dword(SYMBOLS)).saturating_mul(SYMBOL);
        let count = usize::from(word(SECTIONS).min(MAX_SECTIONS));
        let sections = header.get(table..).unwrap_or_default().chunks_exact(SECTION).take(count);
        Some(Pe {
            machine: u16_at(header, MACHINE)?,
            // An optional header that is too short for it has none.
            signed: usize::from(word(OPTIONAL_SIZE)) >= certificates.saturating_add(8)
                && dword(OPTIONAL.saturating_add(certificates).saturating_add(4)) != 0,
            sections: sections.map(Section::parse).collect(),
            strings: u64::from(dword(SYMBOLS_AT)).saturating_add(symbols),
        })
    }

    /// The section of this name, of eight bytes at most.
    pub(crate) fn section(&self, name: &[u8]) -> Option<Section> {
        self.sections.iter().find(|section| section.short_name() == name).copied()
    }

    /// Whether there is a section of this name, which is longer than eight bytes: the table has its place among the
    /// strings, `/37`.
    pub(crate) fn has_long(&self, disk: &mut Disk<'_>, file: &File, name: &[u8]) -> Result<bool, Fault> {
        for offset in self.sections.iter().filter_map(Section::long_name) {
            let there = file.part(disk, self.strings.saturating_add(offset), LONG_NAME)?;
            if there.split(|byte| *byte == 0).next() == Some(name) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Section {
    fn parse(bytes: &[u8]) -> Section {
        let dword = |at| u64::from(u32_at(bytes, at).unwrap_or(0));
        // The virtual size is the content's; the raw one is padded.
        let len = dword(8).min(dword(16));
        Section { name: array(bytes, 0).unwrap_or_default(), start: dword(20), len }
    }

    fn short_name(&self) -> &[u8] {
        self.name.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn long_name(&self) -> Option<u64> {
        let digits = self.short_name().strip_prefix(b"/")?;
        str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Its text, as far as `most`, up to a NUL.
    pub(crate) fn text(&self, disk: &mut Disk<'_>, file: &File, most: usize) -> Result<String, Fault> {
        let bytes = file.part(disk, self.start, crate::bytes::short(self.len.min(long(most))))?;
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(text).trim().to_owned())
    }
}
