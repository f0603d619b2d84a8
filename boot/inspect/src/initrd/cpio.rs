//! One cpio archive in the "new ASCII" format, with or without checksums (Linux'
//! Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! By hand: the cpio crates take memory for a name of whatever length the header says, and end the program where
//! they cannot have it.

use std::io::{self, Read};

/// Thirteen numbers of eight hexadecimal digits behind the magic.
const MAGIC: usize = 6;
const HEADER: usize = 110;
const SIZE_AT: usize = MAGIC + 6 * 8;
const NAME_SIZE_AT: usize = MAGIC + 11 * 8;
/// Linux' PATH_MAX.
const MAX_NAME: u32 = 4096;
const LAST: &str = "TRAILER!!!";

/// Shows every file's name and content, up to the archive's last entry.
pub(super) fn read(
    source: &mut impl Read,
    see: &mut dyn FnMut(&str, &mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        let mut header = [0; HEADER];
        source.read_exact(&mut header).map_err(|_| broken("ends in the middle of its archive"))?;
        if !(header.starts_with(b"070701") || header.starts_with(b"070702")) {
            return Err(broken("holds an entry without a magic number"));
        }
        let (Some(size), Some(name_size)) = (number(&header, SIZE_AT), number(&header, NAME_SIZE_AT)) else {
            return Err(broken("holds an entry with a number that is none"));
        };
        if name_size == 0 || name_size > MAX_NAME {
            return Err(broken("holds a name longer than a path can be"));
        }
        let name = name(source, name_size)?;
        if name == LAST {
            return Ok(());
        }
        let mut content = source.take(u64::from(size));
        see(&name, &mut content)?;
        io::copy(&mut content, &mut io::sink())?;
        if content.limit() > 0 {
            return Err(broken("ends in the middle of a file"));
        }
        skip(source, padding(size))?;
    }
}

/// Header and name together are padded to four bytes.
fn name(source: &mut impl Read, size: u32) -> io::Result<String> {
    let mut bytes = Vec::new();
    source.take(u64::from(size)).read_to_end(&mut bytes)?;
    let header = u32::try_from(HEADER).unwrap_or(0);
    skip(source, padding(size.saturating_add(header)))?;
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(text).into_owned())
}

fn skip(source: &mut impl Read, count: u64) -> io::Result<()> {
    io::copy(&mut source.take(count), &mut io::sink()).map(drop)
}

fn padding(size: u32) -> u64 {
    u64::from(size.wrapping_neg() & 3)
}

fn number(header: &[u8; HEADER], at: usize) -> Option<u32> {
    let digits = str::from_utf8(header.get(at..)?.get(..8)?).ok()?;
    // A sign would be taken for a digit.
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

fn broken(what: &str) -> io::Error {
    io::Error::other(format!("it {what}"))
}
