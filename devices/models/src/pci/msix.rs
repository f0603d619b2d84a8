//! MSI-X (PCI Local Bus Specification 3.0, section 6.8.2): the table, its pending bits, and the events behind. What
//! lies behind the last entry and the last pending bit reads as zero and takes nothing.
//!
//! A vector's event is made when the guest first unmasks it, so a device that is never used costs nothing. While
//! the hypervisor is told a vector's new message no lock is held: signals meanwhile are kept as pending bits.

use super::Address;
use crate::bus::{Access, Width};
use crate::irq::{Hypervisor, Message, Vector};
use crate::trace::{Kinds, Trace};
use parking_lot::Mutex;
use std::sync::Arc;

/// A driver's word for "no interrupt" (virtio 1.2, 4.1.5.1.2).
pub const NO_VECTOR: u16 = 0xffff;
pub(crate) const CAPABILITY: u8 = 0x11;
const ENABLE: u16 = 1 << 15;
const MASK_ALL: u16 = 1 << 14;
const MASKED: u32 = 1;
const ENTRY: u64 = 16;
/// Where the pending bits are, in the page of the table.
pub(crate) const PENDING: u32 = 0x800;

#[derive(Debug)]
pub struct Msix {
    /// The function whose messages they are.
    requester: u16,
    hypervisor: Arc<dyn Hypervisor>,
    state: Mutex<State>,
    trace: Option<Arc<Trace>>,
}

#[derive(Debug)]
struct State {
    control: u16,
    entries: Vec<Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    /// The four dwords of the table: address low and high, data, vector control.
    words: [u32; 4],
    pending: bool,
    source: Option<Arc<Vector>>,
    /// What the hypervisor delivers for `source` now.
    told: Option<Message>,
    /// Somebody is telling the hypervisor.
    busy: bool,
}

impl Entry {
    fn message(&self, requester: u16) -> Message {
        let [low, high, data, _] = self.words;
        Message { address: u64::from(high) << 32 | u64::from(low), data, requester }
    }

    fn masked(&self) -> bool {
        let [.., control] = self.words;
        control & MASKED != 0
    }
}

impl Msix {
    /// `count` vectors of the function at `place`, at most 128 (the table must end below the pending bits).
    #[must_use]
    pub fn new(
        count: u16,
        place: Address,
        hypervisor: Arc<dyn Hypervisor>,
        trace: Option<Arc<Trace>>,
    ) -> Msix {
        let masked = || Entry { words: [0, 0, 0, MASKED], ..Entry::default() };
        let entries = (0..count.min(128)).map(|_| masked()).collect();
        Msix {
            requester: place.requester(),
            hypervisor,
            state: Mutex::new(State { control: 0, entries }),
            trace,
        }
    }

    /// The body of the capability: control, then where table and pending bits lie in BAR `bar`.
    #[must_use]
    pub fn capability(&self, bar: u8) -> [u8; 10] {
        let count = self.state.lock().entries.len();
        let [size, high] = u16::try_from(count.saturating_sub(1)).unwrap_or(0).to_le_bytes();
        let [p0, p1, p2, p3] = (PENDING | u32::from(bar)).to_le_bytes();
        [size, high, bar, 0, 0, 0, p0, p1, p2, p3]
    }

    #[must_use]
    pub fn enabled(&self) -> bool {
        self.state.lock().control & ENABLE != 0
    }

    /// The guest wrote the control word of the capability.
    pub fn set_control(&self, control: u16) {
        let mut state = self.state.lock();
        let before = std::mem::replace(&mut state.control, control);
        let count = state.entries.len();
        drop(state);
        if before != control {
            for index in 0..count {
                self.settle(index);
            }
        }
    }

    pub fn read(&self, at: Access) -> u64 {
        let state = self.state.lock();
        if at.offset >= u64::from(PENDING) {
            let bits =
                state.entries.iter().rev().fold(0u128, |bits, entry| bits << 1 | u128::from(entry.pending));
            let shift = u32::try_from(at.offset.wrapping_sub(u64::from(PENDING))).unwrap_or(u32::MAX);
            let shifted = bits.checked_shr(shift.saturating_mul(8)).unwrap_or(0);
            return u64::try_from(shifted & u128::from(u64::MAX)).unwrap_or(0) & at.width.ones();
        }
        let index = usize::try_from(at.offset / ENTRY).unwrap_or(usize::MAX);
        let Some(entry) = state.entries.get(index) else { return 0 };
        let word = |i: u64| entry.words.get(usize::try_from(i & 3).unwrap_or(0)).copied().unwrap_or(0);
        let first = at.offset % ENTRY / 4;
        match at.width {
            Width::Dword => u64::from(word(first)),
            Width::Qword => u64::from(word(first)) | u64::from(word(first.wrapping_add(1))) << 32,
            Width::Byte | Width::Word => u64::from(word(first)) >> ((at.offset & 3) << 3) & at.width.ones(),
        }
    }

    /// Only whole dwords and qwords are written, at multiples of their size (section 6.8.2).
    pub fn write(&self, at: Access, value: u64) {
        if !at.offset.is_multiple_of(at.width.bytes().into()) {
            return;
        }
        let index = usize::try_from(at.offset / ENTRY).unwrap_or(usize::MAX);
        let first = usize::try_from(at.offset % ENTRY / 4).unwrap_or(0);
        let [v0, v1, v2, v3, v4, v5, v6, v7] = value.to_le_bytes();
        let (low, high) = (u32::from_le_bytes([v0, v1, v2, v3]), u32::from_le_bytes([v4, v5, v6, v7]));
        let mut state = self.state.lock();
        let Some(entry) = state.entries.get_mut(index) else { return };
        let new = match at.width {
            Width::Dword => vec![low],
            Width::Qword => vec![low, high],
            Width::Byte | Width::Word => return,
        };
        for (word, new) in entry.words.iter_mut().skip(first).zip(new) {
            *word = new;
        }
        let ready = !entry.masked();
        drop(state);
        if ready {
            self.settle(index);
        }
    }

    /// Interrupts the guest, or remembers to.
    pub fn signal(&self, vector: u16) {
        let index = usize::from(vector);
        if let Some(entry) = self.state.lock().entries.get_mut(index) {
            entry.pending = true;
        }
        self.settle(index);
    }

    /// Delivers what is pending, if it may be delivered; makes and tells the source first if it must be.
    fn settle(&self, index: usize) {
        loop {
            let mut state = self.state.lock();
            let on = state.control & (ENABLE | MASK_ALL) == ENABLE;
            let Some(entry) = state.entries.get_mut(index) else { return };
            if !on || entry.masked() || entry.busy {
                return;
            }
            let message = entry.message(self.requester);
            let source = entry.source.clone();
            if let Some(source) = source.as_ref().filter(|_| entry.told == Some(message)) {
                if std::mem::take(&mut entry.pending) {
                    drop(state);
                    self.deliver(index, source);
                }
                return;
            }
            // Until it is told, nobody knows which message the source has: a refusal may leave it the old one or none.
            (entry.busy, entry.told) = (true, None);
            drop(state);
            let result = self.tell(index, source, message);
            let mut state = self.state.lock();
            let Some(entry) = state.entries.get_mut(index) else { return };
            entry.busy = false;
            match result {
                Ok(()) => entry.told = Some(message),
                Err(cause) => {
                    log::error!("an interrupt vector cannot be set up: {cause}");
                    return;
                }
            }
        }
    }

    /// A source that was made stays the entry's, even if it cannot be told: what a guest asks for again and again
    /// costs no more than one.
    fn tell(&self, index: usize, source: Option<Arc<Vector>>, message: Message) -> std::io::Result<()> {
        let source = match source {
            Some(source) => source,
            None => {
                let made = Arc::new(self.hypervisor.new_vector()?);
                if let Some(entry) = self.state.lock().entries.get_mut(index) {
                    entry.source = Some(Arc::clone(&made));
                }
                made
            }
        };
        self.hypervisor.set_message(source.gsi, message)
    }

    fn deliver(&self, index: usize, source: &Vector) {
        if let Some(trace) = &self.trace {
            trace.line(Kinds::IRQ, format_args!("msi gsi {} vector {index}", source.gsi));
        }
        if let Err(cause) = source.event.write(1) {
            log::error!("an interrupt was lost: {cause}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irq::Doorbell;
    use crate::irq::fake::Recorder;
    use std::io;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

    const PLACE: Address = Address { slot: 7, function: 2 };

    fn dword(offset: u64) -> Access {
        Access::new(offset, Width::Dword)
    }

    fn events(msix: &Msix, index: usize) -> u64 {
        let source = msix.state.lock().entries[index].source.clone();
        source.map_or(0, |source| source.event.read().unwrap_or(0))
    }

    #[test]
    fn a_masked_vector_waits_and_is_delivered_once() {
        let recorder = Arc::new(Recorder::default());
        let msix = Msix::new(3, PLACE, recorder.clone(), None);
        msix.set_control(ENABLE);
        msix.signal(2);
        msix.signal(2);
        assert_eq!(msix.read(dword(u64::from(PENDING))), 0b100);
        assert!(recorder.told().is_empty(), "nothing is made for a vector that is not used");
        msix.write(Access::new(32, Width::Qword), 0xfee0_1000);
        msix.write(dword(40), 0x4041);
        msix.write(dword(44), 0);
        let message = Message { address: 0xfee0_1000, data: 0x4041, requester: 0x3a };
        assert_eq!(recorder.told(), [Some(message)]);
        assert_eq!((events(&msix, 2), msix.read(dword(u64::from(PENDING)))), (1, 0));
        msix.signal(2);
        assert_eq!(events(&msix, 2), 1);
    }

    #[test]
    fn a_write_that_is_not_aligned_is_none() {
        let msix = Msix::new(2, PLACE, Arc::new(Recorder::default()), None);
        msix.write(Access::new(12, Width::Qword), 0);
        msix.write(dword(14), 0);
        msix.write(Access::new(12, Width::Word), 0);
        assert_eq!(msix.read(dword(12)), 1, "still masked");
        msix.write(dword(12), 0);
        assert_eq!((msix.read(dword(12)), msix.read(dword(28))), (0, 1));
    }

    #[test]
    fn a_source_that_cannot_be_told_is_not_made_again() {
        let host = Arc::new(Refusing::default());
        let msix = Msix::new(1, PLACE, host.clone(), None);
        msix.set_control(ENABLE);
        msix.signal(0);
        let open = |data: u64| {
            msix.write(dword(12), 1);
            msix.write(dword(8), data);
            msix.write(dword(12), 0);
        };
        (1..=3).for_each(open);
        assert_eq!((host.made.load(Ordering::Relaxed), msix.read(dword(u64::from(PENDING)))), (1, 1));
        host.agrees.store(true, Ordering::Relaxed);
        open(3);
        assert_eq!((host.made.load(Ordering::Relaxed), events(&msix, 0)), (1, 1));
        host.agrees.store(false, Ordering::Relaxed);
        open(4);
        host.agrees.store(true, Ordering::Relaxed);
        open(3);
        assert_eq!(*host.told.lock(), [3, 3], "it may have been 4");
    }

    /// A hypervisor that can make sources, and tell them nothing while it does not agree.
    #[derive(Debug, Default)]
    struct Refusing {
        agrees: AtomicBool,
        made: AtomicU32,
        told: Mutex<Vec<u32>>,
    }

    impl Hypervisor for Refusing {
        fn set_line(&self, _: u32, _: bool) {}
        fn new_vector(&self) -> io::Result<Vector> {
            let gsi = self.made.fetch_add(1, Ordering::Relaxed);
            Ok(Vector { gsi, event: EventFd::new(EFD_NONBLOCK)? })
        }
        fn set_message(&self, _: u32, message: Message) -> io::Result<()> {
            if !self.agrees.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            self.told.lock().push(message.data);
            Ok(())
        }
        fn attach_doorbell(&self, _: &Doorbell) -> io::Result<()> {
            Ok(())
        }
        fn detach_doorbell(&self, _: &Doorbell) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_function_mask_holds_everything_back() {
        let msix = Msix::new(1, PLACE, Arc::new(Recorder::default()), None);
        msix.write(dword(12), 0);
        msix.signal(0);
        assert!(!msix.enabled());
        msix.set_control(ENABLE | MASK_ALL);
        assert_eq!((msix.enabled(), events(&msix, 0)), (true, 0));
        msix.set_control(ENABLE);
        assert_eq!(events(&msix, 0), 1);
        msix.signal(7);
        msix.signal(NO_VECTOR);
    }

    #[test]
    fn reads_of_any_width_and_place_are_answered() {
        let msix = Msix::new(2, PLACE, Arc::new(Recorder::default()), None);
        assert_eq!(msix.read(dword(12)), 1);
        assert_eq!(msix.read(Access::new(8, Width::Qword)), 1 << 32);
        for offset in 0..4096 {
            for width in [Width::Byte, Width::Word, Width::Dword, Width::Qword] {
                msix.read(Access::new(offset, width));
                msix.write(Access::new(offset, width), u64::MAX);
            }
        }
    }
}
