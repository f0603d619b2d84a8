//! Log pages (NVMe 1.4, section 5.14), and EC2's own.

use super::identity::Identity;
use super::spec::{NAMESPACE, Sqe, log_page};
use super::stats::{Counters, put};

/// Health data counts in thousands of sectors.
const DATA_UNIT: u64 = 512_000;
/// In kelvin: a cool disk.
const TEMPERATURE: u16 = 308;

/// A page's content, if there is such a page.
pub(super) fn page(id: u8, identity: &Identity, counters: &Counters, changed: bool) -> Option<Vec<u8>> {
    match id {
        // No error is kept: the one entry is empty.
        log_page::ERRORS => Some(vec![0; 64]),
        log_page::SMART => Some(health(counters)),
        log_page::FIRMWARE_SLOT => {
            let mut page = vec![0; 512];
            put(&mut page, 0, &[1]);
            put(&mut page, 8, &identity.firmware());
            Some(page)
        }
        log_page::CHANGED_NAMESPACES => {
            let mut page = vec![0; 4096];
            if changed {
                put(&mut page, 0, &NAMESPACE.to_le_bytes());
            }
            Some(page)
        }
        log_page::EBS_STATISTICS if identity.is_ebs() => Some(counters.ebs_page()),
        _ => None,
    }
}

fn health(counters: &Counters) -> Vec<u8> {
    let mut page = vec![0; 512];
    put(&mut page, 1, &TEMPERATURE.to_le_bytes());
    // Spare blocks in per cent, and how few would be a warning.
    put(&mut page, 3, &[100, 10]);
    for (at, direction) in [(32, &counters.reads), (48, &counters.writes)] {
        put(&mut page, at, &direction.bytes().div_ceil(DATA_UNIT).to_le_bytes());
        put(&mut page, at.wrapping_add(32), &direction.operations().to_le_bytes());
    }
    page
}

/// Which part of which page a command asks for (5.14, dwords 10 to 13).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    pub(super) id: u8,
    /// The page's events stay as they are.
    pub(super) retain: bool,
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Wanted {
    pub(super) fn of(command: &Sqe) -> Wanted {
        let [id, flags, n0, n1] = command.cdw10.get().to_le_bytes();
        let [n2, n3, ..] = command.cdw11.get().to_le_bytes();
        let dwords = u64::from(u32::from_le_bytes([n0, n1, n2, n3])).saturating_add(1);
        let offset = u64::from(command.cdw13.get()) << 32 | u64::from(command.cdw12.get());
        Wanted { id, retain: flags & 0x80 != 0, offset, len: dwords.saturating_mul(4) }
    }

    /// The part of the page that is asked for. What would lie behind its end is not sent: the EBS tools ask for
    /// one dword more than their buffer holds.
    pub(super) fn cut<'a>(&self, page: &'a [u8]) -> Option<&'a [u8]> {
        let rest = usize::try_from(self.offset).ok().and_then(|from| page.get(from..))?;
        let len = usize::try_from(self.len).unwrap_or(usize::MAX).min(rest.len());
        rest.get(..len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_where_the_page_does() {
        let command = Sqe { cdw10: (0xd0 | 1024 << 16).into(), cdw11: 0xffff_0000.into(), ..Sqe::default() };
        let wanted = Wanted::of(&command);
        assert_eq!(wanted, Wanted { id: 0xd0, retain: false, offset: 0, len: 4100 });
        assert_eq!(wanted.cut(&[1; 4096]).unwrap().len(), 4096);
        let at = |offset| Wanted { offset, len: u64::MAX, ..wanted }.cut(&[1; 64]).map(<[u8]>::len);
        assert_eq!((at(60), at(64), at(65), at(u64::MAX)), (Some(4), Some(0), None, None));
    }
}
