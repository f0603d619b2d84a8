//! Configuration space by memory, ECAM (PCI Express Base Specification 5.0, section 7.2.2): 4 KiB a function, 1 MiB
//! a bus. It is the same space that ports reach on a PC, and the same [`Root`]'s.
//!
//! As in mechanism 1, what no function takes ends in a master abort: absent functions and other buses; the extended
//! registers from 256 on too, which functions without PCI Express have not; and accesses that leave their dword.

use super::Root;
use crate::bus::{Access, Device, Effect};
use std::sync::Arc;

#[derive(Debug)]
pub struct Ecam(Arc<Root>);

impl Ecam {
    /// Bytes of a bus.
    pub const BUS: u64 = 1 << 20;

    #[must_use]
    pub fn new(root: Arc<Root>) -> Ecam {
        Ecam(root)
    }

    /// The function, and the register in it.
    fn target(&self, at: Access) -> Option<(usize, u8)> {
        let register = u8::try_from(at.offset & 0xfff).ok()?;
        let devfn = u8::try_from(at.offset >> 12).ok()?;
        let fits = (register & 3).saturating_add(at.width.bytes()) <= 4;
        fits.then(|| self.0.function(devfn))?.map(|index| (index, register))
    }
}

impl Device for Ecam {
    fn read(&self, at: Access) -> u64 {
        u64::from(self.0.config_read(self.target(at), at.width)) & at.width.ones()
    }

    fn write(&self, at: Access, value: u64) -> Effect {
        let [v0, v1, v2, v3, ..] = value.to_le_bytes();
        self.0.config_write(self.target(at), at.width, u32::from_le_bytes([v0, v1, v2, v3]));
        Effect::None
    }
}

#[cfg(test)]
mod tests {
    use super::super::Window;
    use super::super::root::tests::root;
    use super::*;
    use crate::bus::Width::{self, Byte, Dword, Qword, Word};

    /// Slot 4 of bus 0.
    const SLOT: u64 = 4 << 15;

    fn read(ecam: &Ecam, offset: u64, width: Width) -> u64 {
        ecam.read(Access::new(offset, width))
    }

    #[test]
    fn functions_answer_at_their_places_at_every_width() {
        let ecam = Ecam::new(root());
        assert_eq!(read(&ecam, SLOT, Dword), 0x0002_0001);
        assert_eq!((read(&ecam, SLOT + 2, Word), read(&ecam, SLOT + 1, Byte)), (2, 0));
        assert_eq!(read(&ecam, 0, Word), 0x8086);
        for absent in [3 << 15, SLOT | 1 << 12, SLOT | Ecam::BUS, SLOT | 1 << 28, SLOT | 1 << 63, !3] {
            assert_eq!(read(&ecam, absent, Dword), 0xffff_ffff, "{absent:#x}");
            ecam.write(Access::new(absent, Dword), u64::MAX);
        }
    }

    #[test]
    fn extended_registers_and_accesses_over_a_dword_s_end_reach_nobody() {
        let ecam = Ecam::new(root());
        for (register, width) in
            [(0x118, Dword), (0x418, Byte), (0x1a, Dword), (0x19, Dword), (0x1b, Word), (0x18, Qword)]
        {
            ecam.write(Access::new(SLOT + register, width), u64::MAX);
            assert_eq!(read(&ecam, SLOT + register, width), width.ones().min(0xffff_ffff), "{register:#x}");
        }
        assert_eq!(read(&ecam, SLOT + 0x18, Dword), 0, "the BAR is as it was");
        ecam.write(Access::new(SLOT + 0x18, Dword), 0xffff_ffff);
        assert_eq!(read(&ecam, SLOT + 0x18, Dword), 0xffff_f000, "as it would be sized");
    }

    #[test]
    fn the_window_follows_bars_that_move_by_it() {
        let root = root();
        let (ecam, window) = (Ecam::new(Arc::clone(&root)), Window::new(root, 0x1000_0000));
        ecam.write(Access::new(SLOT + 0x1a, Word), 0x1234);
        assert!(!window.answers(0x0234_0008));
        ecam.write(Access::new(SLOT + 4, Byte), 2);
        assert_eq!(window.read(Access::new(0x0234_0008, Dword)), 2 << 32 | 8);
        ecam.write(Access::new(SLOT + 4, Word), 0);
        assert!(!window.answers(0x0234_0008));
    }
}
