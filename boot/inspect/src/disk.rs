//! The disk as it is read: bytes at an offset, zeros between the end of what the snapshot holds and the end of the
//! volume, a fault behind that, and a budget that every read is charged to, so that no disk can keep us reading.

use crate::bytes::{long, short};
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};

/// Anything that a disk can be read from.
pub(crate) trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

/// Why something on the disk could not be read. Small, so that it can be said in a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is no such file or folder.
    Absent,
    /// It lies behind the end of the volume.
    BehindTheEnd,
    /// The disk makes us read more than any honest one would.
    TooMuch,
    /// The host could not read. [`Disk::trouble`] knows why.
    Host,
    /// The disk contradicts itself, or says what nobody says.
    Broken(&'static str),
    /// It is of a kind that is not read here.
    Unknown(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Fault::Absent => "it is not there",
            Fault::BehindTheEnd => "it lies behind the end of the volume",
            Fault::TooMuch => "there is more to read than is looked at",
            Fault::Host => "the host cannot read it",
            Fault::Broken(what) | Fault::Unknown(what) => what,
        })
    }
}

/// The unit that small reads are served from.
const PAGE: usize = 4096;
const IN_PAGE: u64 = 4095;
/// What a read costs beside its bytes, so that many small ones are not free.
const COST: u64 = 256;
/// However small a disk is, this much of it may be read.
const LEAST: u64 = 1 << 20;
/// How often a small disk may be read over.
const OVER: u64 = 16;

pub(crate) struct Disk<'a> {
    source: &'a mut dyn Source,
    /// What the source holds.
    pub(crate) held: u64,
    /// How large the volume is: zeros follow what the source holds.
    pub(crate) bytes: u64,
    budget: u64,
    page_at: Option<u64>,
    page: Box<[u8; PAGE]>,
    trouble: Option<io::Error>,
}

impl<'a> Disk<'a> {
    pub(crate) fn new(source: &'a mut dyn Source, bytes: u64, most: u64) -> io::Result<Disk<'a>> {
        let held = source.seek(SeekFrom::End(0))?;
        let budget = held.min(bytes).saturating_mul(OVER).saturating_add(LEAST).min(most);
        Ok(Disk { source, held, bytes, budget, page_at: None, page: Box::new([0; PAGE]), trouble: None })
    }

    /// Fills `to` from this offset.
    pub(crate) fn read(&mut self, at: u64, to: &mut [u8]) -> Result<(), Fault> {
        let end = at.checked_add(long(to.len())).ok_or(Fault::BehindTheEnd)?;
        if end > self.bytes {
            return Err(Fault::BehindTheEnd);
        }
        self.charge(COST)?;
        let (start, offset) = (at & !IN_PAGE, short(at & IN_PAGE));
        if offset.saturating_add(to.len()) > PAGE {
            self.charge(long(to.len()))?;
            return self.fill(at, to);
        }
        if self.page_at != Some(start) {
            self.charge(long(PAGE))?;
            self.page_at = None;
            let mut page = [0; PAGE];
            self.fill(start, &mut page)?;
            *self.page = page;
            self.page_at = Some(start);
        }
        let from = self.page.get(offset..).and_then(|rest| rest.get(..to.len()));
        to.copy_from_slice(from.ok_or(Fault::BehindTheEnd)?);
        Ok(())
    }

    /// This many bytes from this offset. The caller has bounded `len`.
    pub(crate) fn take(&mut self, at: u64, len: usize) -> Result<Vec<u8>, Fault> {
        // Before memory is taken for it.
        if at.saturating_add(long(len)) > self.bytes {
            return Err(Fault::BehindTheEnd);
        }
        let mut bytes = vec![0; len];
        self.read(at, &mut bytes)?;
        Ok(bytes)
    }

    /// What the host could not read, once.
    pub(crate) fn trouble(&mut self) -> Option<io::Error> {
        self.trouble.take()
    }

    fn charge(&mut self, cost: u64) -> Result<(), Fault> {
        self.budget = self.budget.checked_sub(cost).ok_or(Fault::TooMuch)?;
        Ok(())
    }

    /// From the source as far as it goes, then zeros.
    fn fill(&mut self, at: u64, to: &mut [u8]) -> Result<(), Fault> {
        let there = short(self.held.saturating_sub(at)).min(to.len());
        let (real, zeros) = to.split_at_mut_checked(there).ok_or(Fault::BehindTheEnd)?;
        zeros.fill(0);
        if real.is_empty() {
            return Ok(());
        }
        let result = self.source.seek(SeekFrom::Start(at)).and_then(|_| self.source.read_exact(real));
        result.map_err(|cause| {
            self.trouble.get_or_insert(cause);
            Fault::Host
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn zeros_follow_the_snapshot_and_nothing_follows_the_volume() {
        let mut source = Cursor::new(vec![7; 5000]);
        let mut disk = Disk::new(&mut source, 10_000, u64::MAX).unwrap();
        assert_eq!(disk.take(4998, 4), Ok(vec![7, 7, 0, 0]));
        assert_eq!(disk.take(4090, 10), Ok(vec![7; 10]));
        assert_eq!(disk.take(9999, 1), Ok(vec![0]));
        assert_eq!(disk.take(9999, 2), Err(Fault::BehindTheEnd));
        assert_eq!(disk.take(u64::MAX, 2), Err(Fault::BehindTheEnd));
        assert_eq!(disk.take(0, usize::MAX), Err(Fault::BehindTheEnd));
    }

    #[test]
    fn the_budget_ends_even_reads_of_one_byte() {
        let mut source = Cursor::new(vec![0; 512]);
        let mut disk = Disk::new(&mut source, 512, u64::MAX).unwrap();
        let reads = (0..1_000_000).take_while(|_| disk.take(0, 1).is_ok()).count();
        assert!((1000..5000).contains(&reads), "{reads}");
        assert_eq!(disk.take(0, 1), Err(Fault::TooMuch));
    }

    struct Bad;
    impl Read for Bad {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("a bad sector"))
        }
    }
    impl Seek for Bad {
        fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
            Ok(1 << 20)
        }
    }

    #[test]
    fn the_host_s_trouble_is_kept_in_its_words() {
        let mut source = Bad;
        let mut disk = Disk::new(&mut source, 1 << 20, u64::MAX).unwrap();
        assert_eq!(disk.take(0, 1), Err(Fault::Host));
        assert_eq!(disk.trouble().unwrap().to_string(), "a bad sector");
    }
}
