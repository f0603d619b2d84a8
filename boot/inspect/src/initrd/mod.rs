//! What an initrd holds: a chain of cpio archives, plain or packed, as Linux' init/initramfs.c unpacks it. Early
//! ones with microcode stand first, plain; the one with the modules is last, and mostly packed.
//!
//! Nothing is kept of it but which of the wanted modules were seen, and for which kernels. Left out: bzip2, lzma, lzo
//! and lz4, which no current distribution uses by default, and anything behind a packed archive.

mod cpio;

use crate::contents::Driver;
use crate::system::drivers;
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read};

/// What an initrd may unpack to.
const MAX_UNPACKED: u64 = 512 << 20;
/// What unpacking may keep in memory. `zstd --ultra -22` makes windows of 128 MiB; distributions' are of 8.
const MAX_WINDOW: u64 = 64 << 20;
/// modules.builtin is of ten to thirty KiB.
const MAX_BUILTIN: u64 = 1 << 20;
const MAX_VERSIONS: usize = 16;

/// What was seen in an initrd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Initrd {
    /// Drivers that it has as modules.
    pub modules: BTreeSet<Driver>,
    /// Drivers that its list of built-in modules names.
    pub built_in: BTreeSet<Driver>,
    /// The kernels that it has modules for.
    pub versions: BTreeSet<String>,
    /// Names of files, folders and the rest.
    pub entries: u64,
    /// Why not all of it was seen.
    pub unread: Option<String>,
}

const PACKED_BUT_UNKNOWN: [(&[u8], &str); 6] = [
    (b"BZh", "bzip2"),
    (b"\x5d\0\0", "lzma"),
    (b"\x89LZO", "lzo"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"hsqs", "squashfs"),
];

/// Reads an initrd to its end, or as far as it makes sense.
pub fn read(source: impl Read) -> Initrd {
    let mut found = Initrd::default();
    if let Err(cause) = segments(source, &mut found) {
        found.unread = Some(cause.to_string());
    }
    found
}

fn segments(source: impl Read, found: &mut Initrd) -> io::Result<()> {
    let mut source = BufReader::with_capacity(1 << 16, source.take(MAX_UNPACKED));
    // Archives stand at multiples of four; zeros fill the gaps, and tools pad to whole sectors or pages.
    loop {
        let ahead = source.fill_buf()?;
        let zeros = ahead.iter().take_while(|byte| **byte == 0).count();
        let (length, done) = (zeros, zeros < ahead.len() || ahead.is_empty());
        source.consume(length);
        if !done {
            continue;
        }
        // The magic may stand across the end of what is buffered, so it is read and put back.
        let mut magic = [0; 6];
        let count = fill(&mut source, &mut magic)?;
        let magic = magic.get(..count).unwrap_or_default();
        let mut rest = magic.chain(&mut source);
        if magic.is_empty() {
            return Ok(());
        } else if magic.starts_with(b"070701") || magic.starts_with(b"070702") {
            cpio::read(&mut rest, &mut |name, content| see(found, name, content))?;
        } else {
            return packed(magic, rest, found);
        }
    }
}

fn packed(magic: &[u8], rest: impl BufRead, found: &mut Initrd) -> io::Result<()> {
    let unpacked: Box<dyn Read + '_> = if magic.starts_with(b"\x1f\x8b") {
        Box::new(flate2::bufread::GzDecoder::new(rest))
    } else if magic.starts_with(b"\x28\xb5\x2f\xfd") {
        let decoder = ruzstd::decoding::StreamingDecoder::new_with_max_window_size(rest, MAX_WINDOW);
        Box::new(decoder.map_err(|cause| io::Error::other(format!("zstd: {cause}")))?)
    } else if magic.starts_with(b"\xfd7zXZ\0") {
        let kib = u32::try_from(MAX_WINDOW >> 10).unwrap_or(u32::MAX);
        Box::new(lzma_rust2::XzReader::new_mem_limit(rest, true, kib))
    } else {
        let known = PACKED_BUT_UNKNOWN.iter().find(|(known, _)| magic.starts_with(known));
        return Err(io::Error::other(match known {
            Some((_, name)) => format!("it is packed by {name}"),
            None => "it is no archive that Linux would unpack".to_owned(),
        }));
    };
    let mut unpacked = BufReader::with_capacity(1 << 16, unpacked.take(MAX_UNPACKED));
    // A packed initrd is one archive: dracut, initramfs-tools and mkinitcpio all put the plain ones before it.
    cpio::read(&mut unpacked, &mut |name, content| see(found, name, content))
}

/// One file: its name, and its content for whom it concerns.
fn see(found: &mut Initrd, name: &str, content: &mut dyn Read) -> io::Result<()> {
    found.entries = found.entries.saturating_add(1);
    let Some((_, inside)) = name.split_once("lib/modules/") else { return Ok(()) };
    let (version, file) = inside.split_once('/').unwrap_or((inside, ""));
    if found.versions.len() < MAX_VERSIONS {
        found.versions.insert(version.to_owned());
    }
    if file == "modules.builtin" {
        let mut bytes = Vec::new();
        content.take(MAX_BUILTIN).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        found.built_in.extend(text.lines().filter_map(drivers::of_module));
    }
    found.modules.extend(drivers::of_module(file));
    Ok(())
}

/// As many bytes as there are.
fn fill(source: &mut impl Read, to: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = to.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest)? {
            0 => break,
            count => filled = filled.saturating_add(count),
        }
    }
    Ok(filled)
}
