//! The controller's registers (NVMe 1.4, section 3.1) as plain data. What takes more than a register is returned
//! as an ask.

use super::spec::{PAGE, halves};
use crate::bus::{Width, little_endian};

/// CAP.MQES + 1: the most entries of an I/O queue. SeaBIOS needs a power of two.
pub(super) const MAX_ENTRIES: u16 = 1024;
/// MQES, CQR, a time-out of 10 s, doorbells 4 bytes apart, the NVM command set, pages of 4 KiB.
const CAP: u64 = (MAX_ENTRIES as u64 - 1) | 1 << 16 | 0x14 << 24 | 1 << 37;
pub(super) const VERSION: u32 = 0x0001_0400;

const VS_AT: usize = 0x08;
const INTMS: u64 = 0x0c;
const INTMC: u64 = 0x10;
const CC: u64 = 0x14;
const AQA: u64 = 0x24;
const ASQ: u64 = 0x28;
const ACQ: u64 = 0x30;
/// Where the registers modelled here end; what follows, up to the doorbells, reads as zero.
const END: usize = 0x38;

const ENABLE: u32 = 1;
const SHUTDOWN: u32 = 3 << 14;
/// I/O command set, page size, arbitration: only 0 is supported.
const FIXED: u32 = 7 << 4 | 15 << 7 | 7 << 11;
/// Sizes of I/O queue entries, as powers of two: 64 and 16 bytes.
const ENTRY_SIZES: u32 = 6 << 16 | 4 << 20;
const READY: u32 = 1;
const FATAL: u32 = 2;
const SHUTDOWN_DONE: u32 = 2 << 2;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Registers {
    mask: u32,
    cc: u32,
    csts: u32,
    aqa: u32,
    asq: u64,
    acq: u64,
}

/// What a write asks of the controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    Nothing,
    /// Mask and unmask these vectors of pin-based interrupts.
    Mask {
        set: u32,
        clear: u32,
    },
    /// CC is to be written: see [`Registers::configure`].
    Configure(u32),
}

/// What a new CC brings about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Transition {
    None,
    Enable,
    Disable,
    Shutdown,
}

/// Where the admin queues are, and their numbers of entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct AdminQueues {
    pub(super) submissions: (u64, u16),
    pub(super) completions: (u64, u16),
}

impl Registers {
    /// A controller reset (7.3.2) keeps the places of the admin queues, and CC is what was just written.
    pub(super) fn reset(&mut self) {
        let Registers { mask, cc: _, csts, aqa: _, asq: _, acq: _ } = self;
        (*mask, *csts) = (0, 0);
    }

    fn image(&self) -> [u8; END] {
        let mut image = [0; END];
        let fields: [(usize, &[u8]); 9] = [
            (0, &CAP.to_le_bytes()),
            (VS_AT, &VERSION.to_le_bytes()),
            (0x0c, &self.mask.to_le_bytes()),
            (0x10, &self.mask.to_le_bytes()),
            (0x14, &self.cc.to_le_bytes()),
            (0x1c, &self.csts.to_le_bytes()),
            (0x24, &self.aqa.to_le_bytes()),
            (0x28, &self.asq.to_le_bytes()),
            (0x30, &self.acq.to_le_bytes()),
        ];
        for (at, bytes) in fields {
            image.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
        }
        image
    }

    pub(super) fn read(&self, offset: u64, width: Width) -> u64 {
        let image = self.image();
        let rest = usize::try_from(offset).ok().and_then(|from| image.get(from..)).unwrap_or_default();
        little_endian(rest.get(..usize::from(width.bytes())).unwrap_or(rest))
    }

    /// Writes the register at `offset`, which is that of a whole dword.
    pub(super) fn write(&mut self, offset: u64, value: u32) -> Ask {
        match offset {
            INTMS => {
                self.mask |= value;
                return Ask::Mask { set: value, clear: 0 };
            }
            INTMC => {
                self.mask &= !value;
                return Ask::Mask { set: 0, clear: value };
            }
            CC => return Ask::Configure(value),
            AQA => self.aqa = value & 0x0fff_0fff,
            ASQ => self.asq = self.asq & !0xffff_ffff | u64::from(value & 0xffff_f000),
            0x2c => self.asq = self.asq & 0xffff_ffff | u64::from(value) << 32,
            ACQ => self.acq = self.acq & !0xffff_ffff | u64::from(value & 0xffff_f000),
            0x34 => self.acq = self.acq & 0xffff_ffff | u64::from(value) << 32,
            // Among them CSTS: its one bit to clear is of a subsystem reset, which is not supported.
            _ => (),
        }
        Ask::Nothing
    }

    /// Writes CC. The caller sees to it that one transition is complete before the next.
    pub(super) fn configure(&mut self, value: u32) -> Transition {
        let before = std::mem::replace(&mut self.cc, value & 0x00ff_fff1);
        match (before & ENABLE != 0, value & ENABLE != 0) {
            (false, true) => Transition::Enable,
            (true, false) => Transition::Disable,
            _ if value & SHUTDOWN != 0 && before & SHUTDOWN == 0 => Transition::Shutdown,
            _ => Transition::None,
        }
    }

    /// The admin queues, if the driver asks for nothing that is not there.
    pub(super) fn admin_queues(&self) -> Option<AdminQueues> {
        let (submissions, completions) = halves(self.aqa);
        let sound = self.cc & FIXED == 0 && submissions > 0 && completions > 0;
        sound.then_some(AdminQueues {
            submissions: (self.asq, submissions.saturating_add(1)),
            completions: (self.acq, completions.saturating_add(1)),
        })
    }

    pub(super) fn entry_sizes_are_set(&self) -> bool {
        self.cc & 0x00ff_0000 == ENTRY_SIZES
    }

    pub(super) fn set_ready(&mut self) {
        self.csts = READY;
    }

    pub(super) fn set_fatal(&mut self) {
        self.csts = FATAL;
    }

    pub(super) fn set_shut_down(&mut self) {
        self.csts |= SHUTDOWN_DONE;
    }
}

const _: () = assert!(1 << 12 == PAGE, "CC.MPS 0");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_reads_the_same_bytes() {
        let mut registers = Registers::default();
        registers.write(AQA, 0x00ff_003f);
        registers.write(ASQ, 0x1234_5678);
        registers.write(0x2c, 1);
        assert_eq!(registers.read(0, Width::Qword), 0x0020_1401_03ff | 1 << 37);
        assert_eq!(registers.read(8, Width::Dword), 0x0001_0400);
        assert_eq!(registers.read(ASQ, Width::Qword), 0x1_1234_5000);
        for offset in 0..0x1000 {
            let byte = |at: u64| registers.read(at, Width::Byte);
            let expected = (0..8).rev().fold(0, |value, at| value << 8 | byte(offset + at));
            assert_eq!(registers.read(offset, Width::Qword), expected, "{offset:#x}");
            assert_eq!(registers.read(offset, Width::Word), expected & 0xffff);
        }
    }

    #[test]
    fn transitions_follow_enable_and_shutdown() {
        let mut registers = Registers::default();
        assert_eq!(registers.configure(0x0046_0000), Transition::None);
        assert_eq!(registers.configure(0x0046_0001), Transition::Enable);
        assert_eq!(registers.configure(0x0046_0001), Transition::None);
        assert!(registers.entry_sizes_are_set());
        assert_eq!(registers.configure(0x0046_4001), Transition::Shutdown);
        assert_eq!(registers.configure(0x0046_4001), Transition::None, "once");
        assert_eq!(registers.configure(0x0046_0000), Transition::Disable);
    }

    #[test]
    fn admin_queues_of_two_entries_are_the_smallest_and_a_reset_keeps_them() {
        let mut registers = Registers::default();
        assert_eq!(registers.admin_queues(), None);
        registers.write(AQA, 0x0001_0001);
        registers.write(ACQ, 0x5000);
        registers.set_ready();
        registers.write(INTMS, 5);
        assert_eq!(registers.write(INTMC, 4), Ask::Mask { set: 0, clear: 4 });
        assert_eq!(registers.read(INTMC, Width::Dword), 1);
        registers.reset();
        let queues = AdminQueues { submissions: (0, 2), completions: (0x5000, 2) };
        assert_eq!(registers.admin_queues(), Some(queues));
        assert_eq!((registers.read(0x1c, Width::Dword), registers.read(INTMS, Width::Dword)), (0, 0));
        registers.configure(1 << 7);
        assert_eq!(registers.admin_queues(), None, "pages of 8 KiB");
    }
}
