//! The root of bus 0: configuration mechanism 1 at ports 0xcf8 to 0xcff, and the way from an address in the
//! window of memory BARs to the function that decodes it. Another face of it is in [`super::Ecam`].
//!
//! What no function takes ends as on a real bus, in a master abort: reads give all ones, writes are dropped (PCI
//! Local Bus Specification 3.0, section 3.3.3.1). That goes for absent functions, for other buses, for configuration
//! data while the address register is off, and for the window where no BAR is decoded. The same answer have accesses
//! that mechanism 1 does not define: parts of the address register, and data that leaves its dword.

use super::{Address, Function};
use crate::bus::{Access, Device, Effect, Width};
use crate::ports::ResetControl;
use crate::trace::{Kinds, Trace};
use ami_run_memory::Range;
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Debug)]
pub struct Root {
    functions: Vec<(Address, Arc<dyn Function>)>,
    address: AtomicU32,
    reset: ResetControl,
    /// What is decoded now: range, index into `functions`, BAR.
    decoded: RwLock<Vec<(Range, usize, u8)>>,
    trace: Option<Arc<Trace>>,
}

impl Root {
    #[must_use]
    pub fn new(functions: Vec<(Address, Arc<dyn Function>)>, trace: Option<Arc<Trace>>) -> Root {
        let (address, reset, decoded) = (AtomicU32::new(0), ResetControl::default(), RwLock::default());
        Root { functions, address, reset, decoded, trace }
    }

    /// The function that the address register points at, and the register's offset in it. An access that does
    /// not lie within the dword has none.
    fn target(&self, within: u8, width: Width) -> Option<(usize, u8)> {
        let address = self.address.load(Ordering::Relaxed);
        let [register, devfn, bus, enable] = address.to_le_bytes();
        if enable & 0x80 == 0 || bus != 0 || within.saturating_add(width.bytes()) > 4 {
            return None;
        }
        Some((self.function(devfn)?, register & 0xfc | within))
    }

    /// The function of this number on bus 0.
    pub(super) fn function(&self, devfn: u8) -> Option<usize> {
        let wanted = Address { slot: devfn >> 3, function: devfn & 7 };
        self.functions.iter().position(|(at, _)| *at == wanted)
    }

    fn say(&self, what: &str, index: usize, offset: u8, width: Width, value: u32) {
        if let (Some(trace), Some((at, _))) = (&self.trace, self.functions.get(index)) {
            let bits = width.bytes().saturating_mul(8);
            trace.line(Kinds::PCI, format_args!("{at} {what} {offset:#04x} {bits} {value:#x}"));
        }
    }

    pub(super) fn config_read(&self, target: Option<(usize, u8)>, width: Width) -> u32 {
        let Some((index, offset)) = target else { return u32::MAX };
        let Some((_, function)) = self.functions.get(index) else { return u32::MAX };
        let value = function.config_read(offset, width);
        self.say("read", index, offset, width, value);
        value
    }

    pub(super) fn config_write(&self, target: Option<(usize, u8)>, width: Width, value: u32) {
        let Some((index, offset)) = target else { return };
        let Some((_, function)) = self.functions.get(index) else { return };
        self.say("write", index, offset, width, value);
        function.config_write(offset, width, value);
        // The header's command register and BARs decide what is decoded.
        if offset < 0x28 {
            self.refresh();
        }
    }

    fn refresh(&self) {
        let mut decoded = Vec::new();
        for (index, (_, function)) in self.functions.iter().enumerate() {
            decoded.extend((0..6).filter_map(|bar| function.bar(bar).map(|range| (range, index, bar))));
        }
        *self.decoded.write() = decoded;
    }

    fn find(&self, address: u64) -> Option<(&Arc<dyn Function>, u8, u64)> {
        let decoded = self.decoded.read();
        let (range, index, bar) = decoded.iter().find(|(range, ..)| range.contains(address))?;
        let (_, function) = self.functions.get(*index)?;
        Some((function, *bar, address.wrapping_sub(range.start)))
    }
}

impl Device for Root {
    /// Ports 0xcf8 to 0xcff. The address is only reached by 32-bit accesses; the byte at 0xcf9 is reset control.
    fn read(&self, at: Access) -> u64 {
        match (at.offset, at.width) {
            (0, Width::Dword) => u64::from(self.address.load(Ordering::Relaxed)),
            (1, Width::Byte) => u64::from(self.reset.read()),
            (4..8, _) => {
                let within = (at.offset & 3).to_le_bytes()[0];
                u64::from(self.config_read(self.target(within, at.width), at.width)) & at.width.ones()
            }
            _ => at.width.ones(),
        }
    }

    fn write(&self, at: Access, value: u64) -> Effect {
        let [v0, v1, v2, v3, ..] = value.to_le_bytes();
        match (at.offset, at.width) {
            (0, Width::Dword) => {
                self.address.store(u32::from_le_bytes([v0, v1, v2, v3]), Ordering::Relaxed);
            }
            (1, Width::Byte) => return self.reset.write(v0),
            (4..8, _) => {
                let within = (at.offset & 3).to_le_bytes()[0];
                let target = self.target(within, at.width);
                self.config_write(target, at.width, u32::from_le_bytes([v0, v1, v2, v3]));
            }
            _ => (),
        }
        Effect::None
    }
}

/// The window of memory BARs, as a device on the memory bus.
#[derive(Debug)]
pub struct Window {
    root: Arc<Root>,
    start: u64,
}

impl Window {
    #[must_use]
    pub fn new(root: Arc<Root>, start: u64) -> Window {
        Window { root, start }
    }
}

impl Device for Window {
    fn read(&self, at: Access) -> u64 {
        match self.root.find(self.start.saturating_add(at.offset)) {
            Some((function, bar, offset)) => function.bar_read(bar, Access { offset, width: at.width }),
            None => at.width.ones(),
        }
    }

    fn write(&self, at: Access, value: u64) -> Effect {
        match self.root.find(self.start.saturating_add(at.offset)) {
            Some((function, bar, offset)) => {
                function.bar_write(bar, Access { offset, width: at.width }, value)
            }
            None => Effect::None,
        }
    }

    fn answers(&self, offset: u64) -> bool {
        self.root.find(self.start.saturating_add(offset)).is_some()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Config, HostBridge, Identity};
    use super::*;
    use parking_lot::Mutex;

    #[derive(Debug)]
    struct Scratch(Mutex<Config>);

    impl Function for Scratch {
        fn config_read(&self, offset: u8, width: Width) -> u32 {
            self.0.lock().read(offset, width)
        }
        fn config_write(&self, offset: u8, width: Width, value: u32) {
            self.0.lock().write(offset, width, value);
        }
        fn bar(&self, index: u8) -> Option<Range> {
            self.0.lock().bar(index)
        }
        fn bar_read(&self, index: u8, at: Access) -> u64 {
            u64::from(index) << 32 | at.offset
        }
    }

    pub(in super::super) fn root() -> Arc<Root> {
        let mut config = Config::new(Identity { vendor: 1, device: 2, ..Identity::default() });
        config.set_bar(2, 0x1000);
        let scratch: Arc<dyn Function> = Arc::new(Scratch(Mutex::new(config)));
        let host: Arc<dyn Function> = Arc::new(HostBridge::new());
        Arc::new(Root::new(
            vec![(Address { slot: 0, function: 0 }, host), (Address { slot: 4, function: 0 }, scratch)],
            None,
        ))
    }

    fn select(root: &Root, slot: u32, register: u32) {
        root.write(Access::new(0, Width::Dword), u64::from(1 << 31 | slot << 11 | register));
    }

    #[test]
    fn functions_answer_at_their_slots_and_nobody_elsewhere() {
        let root = root();
        select(&root, 4, 0);
        assert_eq!(root.read(Access::new(4, Width::Dword)), 0x0002_0001);
        assert_eq!(root.read(Access::new(6, Width::Word)), 2);
        select(&root, 3, 0);
        assert_eq!(root.read(Access::new(4, Width::Dword)), 0xffff_ffff);
        root.write(Access::new(0, Width::Dword), 4 << 11);
        assert_eq!(root.read(Access::new(4, Width::Word)), 0xffff, "not enabled");
        assert_eq!(root.write(Access::new(1, Width::Byte), 6), Effect::Reset);
    }

    #[test]
    fn an_access_that_leaves_the_dword_reaches_nobody() {
        let root = root();
        select(&root, 4, 0x18);
        for (offset, width) in [(5, Width::Dword), (6, Width::Dword), (7, Width::Word), (4, Width::Qword)] {
            root.write(Access::new(offset, width), u64::MAX);
            assert_eq!(root.read(Access::new(offset, width)) & 0xffff, 0xffff);
        }
        assert_eq!(root.read(Access::new(4, Width::Dword)), 0, "the BAR is as it was");
    }

    #[test]
    fn the_window_follows_bars_as_they_move() {
        let root = root();
        let window = Window::new(Arc::clone(&root), 0xc000_0000);
        select(&root, 4, 0x18);
        root.write(Access::new(4, Width::Dword), 0xfebf_0000);
        assert_eq!(window.read(Access::new(0x3ebf_0008, Width::Dword)), 0xffff_ffff);
        select(&root, 4, 4);
        root.write(Access::new(4, Width::Word), 2);
        assert_eq!(window.read(Access::new(0x3ebf_0008, Width::Dword)), 2 << 32 | 8);
        select(&root, 4, 0x18);
        root.write(Access::new(4, Width::Dword), 0xd000_0000);
        assert_eq!(window.read(Access::new(0x1000_0010, Width::Dword)), 2 << 32 | 0x10);
        assert_eq!(window.read(Access::new(0x3ebf_0008, Width::Byte)), 0xff);
        assert_eq!((window.answers(0x3ebf_0008), window.answers(0x1000_0010)), (false, true));
    }
}
