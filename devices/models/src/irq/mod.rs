//! Interrupts and doorbells between devices and the hypervisor.
//!
//! Lines go through [`Lines`]: those whose edges count (an ISA bus's serial port and clock), and those of ACPI, of
//! PCI INTx and of Arm's chips, whose level does. Messages (MSI-X) go through one event a vector. Which GSI a PCI link
//! reaches is on a PC for its ISA bridge to say, and else for good the board's.

mod bell;
mod doorbells;
#[cfg(test)]
pub(crate) mod fake;

pub use bell::Bell;
pub(crate) use doorbells::Doorbells;

use parking_lot::Mutex;
use std::fmt;
use std::io;
use std::sync::Arc;
use vmm_sys_util::eventfd::EventFd;

/// What a message-signalled interrupt writes, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Message {
    pub address: u64,
    pub data: u32,
    /// The function that writes it, by its requester ID (PCI Express Base Specification 5.0, section 2.2.6.2). An
    /// ITS of Arm's looks up what the data stands for by it; nobody asks for it on a PC.
    pub requester: u16,
}

/// The hypervisor's side of interrupts and doorbells.
pub trait Hypervisor: Send + Sync + fmt::Debug {
    /// Sets the level of an interrupt line.
    fn set_line(&self, gsi: u32, level: bool);
    /// A new source of messages: writing to its event delivers the message that is set for it.
    fn new_vector(&self) -> io::Result<Vector>;
    /// Sets what `gsi`'s event delivers.
    fn set_message(&self, gsi: u32, message: Message) -> io::Result<()>;
    /// From now on a guest's write of any width at this address only rings the bell.
    fn attach_doorbell(&self, bell: &Doorbell) -> io::Result<()>;
    fn detach_doorbell(&self, bell: &Doorbell) -> io::Result<()>;
}

/// One source of message-signalled interrupts.
#[derive(Debug)]
pub struct Vector {
    pub gsi: u32,
    pub event: EventFd,
}

/// A guest-physical address whose writes ring a bell.
#[derive(Debug, Clone)]
pub struct Doorbell {
    pub address: u64,
    pub bell: Arc<Bell>,
}

/// Lines have the first GSIs: as many as an IOAPIC has pins, and no board of Arm's has more SPIs with devices.
const PINS: usize = 24;

/// All lines of a machine. A GSI is high while any of its sources is.
#[derive(Debug)]
pub struct Lines {
    hypervisor: Arc<dyn Hypervisor>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Sources that pull a GSI up by themselves, a bit each.
    pins: [u32; PINS],
    /// PCI slots that pull up links A to D, a bit each.
    links: [u32; 4],
    /// The GSI of each link, if it has one.
    routes: [Option<u8>; 4],
    /// What the hypervisor was told last, a bit a GSI, and which of them have been low since.
    told: u32,
    dips: u32,
    settling: bool,
}

impl State {
    fn wanted(&self) -> u32 {
        let pins = self.pins.iter().rev().fold(0, |bits, sources| (bits << 1) | u32::from(*sources != 0));
        let links = self.links.iter().zip(self.routes).filter(|(slots, _)| **slots != 0);
        links
            .filter_map(|(_, route)| route)
            .fold(pins, |bits, gsi| bits | 1u32.checked_shl(gsi.into()).unwrap_or(0))
    }
}

impl Lines {
    /// PCI's links lead nowhere until they are routed.
    #[must_use]
    pub fn new(hypervisor: Arc<dyn Hypervisor>) -> Lines {
        Lines { hypervisor, state: Mutex::default() }
    }

    /// The lines of a board without a router: PCI's links A to D have these GSIs.
    #[must_use]
    pub fn wired(hypervisor: Arc<dyn Hypervisor>, links: [u8; 4]) -> Lines {
        let state = State { routes: links.map(Some), ..State::default() };
        Lines { hypervisor, state: Mutex::new(state) }
    }

    /// Changes the state and tells the hypervisor what came of it. The lock is not held while it is told: whoever
    /// finds another thread at it leaves the telling to that one, so the last state always wins. A line that was low
    /// in between is told to be: on ISA lines an edge is an interrupt.
    fn change(&self, f: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        f(&mut state);
        state.dips |= state.told & !state.wanted();
        if state.settling {
            return;
        }
        state.settling = true;
        loop {
            let (wanted, told) = (state.wanted(), state.told);
            let dips = std::mem::take(&mut state.dips) & told & wanted;
            if wanted == told && dips == 0 {
                break;
            }
            state.told = wanted;
            drop(state);
            for gsi in 0..32 {
                let bit = 1 << gsi;
                if dips & bit != 0 {
                    self.hypervisor.set_line(gsi, false);
                }
                if (wanted ^ told | dips) & bit != 0 {
                    self.hypervisor.set_line(gsi, wanted & bit != 0);
                }
            }
            state = self.state.lock();
        }
        state.settling = false;
    }

    fn set_pin(&self, gsi: u8, source: u8, level: bool) {
        self.change(|state| {
            if let Some(sources) = state.pins.get_mut(usize::from(gsi)) {
                set_bit(sources, source, level);
            }
        });
    }

    /// Sets the level of INTA of a PCI slot.
    pub fn set_intx(&self, slot: u8, level: bool) {
        self.change(|state| {
            // As chipset boards wire it: slot 1's INTA is link A (facts: SeaBIOS src/fw/pciinit.c). All boards' tables
            // say so.
            let link = usize::from(slot.wrapping_sub(1) & 3);
            if let Some(slots) = state.links.get_mut(link) {
                set_bit(slots, slot, level);
            }
        });
    }

    /// Leads a link to this GSI, or nowhere.
    pub(crate) fn set_route(&self, link: u8, gsi: Option<u8>) {
        self.change(|state| {
            if let Some(route) = state.routes.get_mut(usize::from(link)) {
                *route = gsi;
            }
        });
    }
}

fn set_bit(bits: &mut u32, bit: u8, level: bool) {
    let mask = 1u32 << (bit & 31);
    *bits = if level { *bits | mask } else { *bits & !mask };
}

/// One device's own line.
#[derive(Clone, Debug)]
pub struct Line {
    lines: Arc<Lines>,
    gsi: u8,
}

impl Line {
    /// A device that is alone on its GSI, but for PCI links that are routed there too.
    #[must_use]
    pub fn new(lines: Arc<Lines>, gsi: u8) -> Line {
        Line { lines, gsi }
    }

    fn set(&self, level: bool) {
        self.lines.set_pin(self.gsi, 0, level);
    }

    /// A device's level was `before` and has changed: the line goes where it is now. Whoever changed it calls this,
    /// holding no lock. Of threads that overtake each other the last level wins, and a level that fell is seen to
    /// fall: the line may be taken by its edges.
    pub fn follow(&self, before: bool, level: impl Fn() -> bool) {
        if before {
            self.set(false);
        }
        loop {
            let now = level();
            self.set(now);
            if level() == now {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_line_is_high_while_any_source_is() {
        let recorder = Arc::new(fake::Recorder::default());
        let lines = Arc::new(Lines::new(recorder.clone()));
        lines.set_intx(4, true);
        assert_eq!(*recorder.lines.lock(), [], "links are not routed after reset");
        lines.set_route(3, Some(11));
        lines.set_route(0, Some(11));
        lines.set_intx(5, true);
        lines.set_intx(4, false);
        Line::new(lines.clone(), 11).set(true);
        lines.set_intx(5, false);
        assert_eq!(*recorder.lines.lock(), [(11, true)]);
        Line::new(lines, 11).set(false);
        assert_eq!(*recorder.lines.lock(), [(11, true), (11, false)]);
    }

    #[test]
    fn wired_links_need_no_route() {
        let recorder = Arc::new(fake::Recorder::default());
        let lines = Lines::wired(recorder.clone(), [3, 4, 5, 6]);
        for slot in [1, 4, 31, 8] {
            lines.set_intx(slot, true);
        }
        assert_eq!(*recorder.lines.lock(), [(3, true), (6, true), (5, true)], "slots 4 and 8 share a link");
        lines.set_intx(4, false);
        lines.set_intx(8, false);
        assert_eq!(recorder.lines.lock().last(), Some(&(6, false)));
    }

    /// A hypervisor in whose way another line is down for a moment, as by another thread.
    #[derive(Debug, Default)]
    struct Meanwhile {
        told: Mutex<Vec<(u32, bool)>>,
        other: Mutex<Option<Line>>,
    }

    impl Hypervisor for Meanwhile {
        fn set_line(&self, gsi: u32, level: bool) {
            self.told.lock().push((gsi, level));
            if let Some(line) = self.other.lock().take() {
                line.set(false);
                line.set(true);
            }
        }
        fn new_vector(&self) -> io::Result<Vector> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn set_message(&self, _: u32, _: Message) -> io::Result<()> {
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
    fn an_edge_while_another_line_is_told_is_not_lost() {
        let hypervisor = Arc::new(Meanwhile::default());
        let lines = Arc::new(Lines::new(hypervisor.clone()));
        let (clock, serial) = (Line::new(lines.clone(), 8), Line::new(lines, 4));
        clock.set(true);
        *hypervisor.other.lock() = Some(clock);
        serial.set(true);
        assert_eq!(*hypervisor.told.lock(), [(8, true), (4, true), (8, false), (8, true)]);
    }

    #[test]
    fn a_line_follows_its_device_and_shows_each_fall() {
        let recorder = Arc::new(fake::Recorder::default());
        let line = Line::new(Arc::new(Lines::new(recorder.clone())), 8);
        line.follow(false, || true);
        // It fell, and rose again before its line was set.
        line.follow(true, || true);
        line.follow(true, || false);
        // It changes while its line is set.
        let looks = std::cell::Cell::new(0);
        line.follow(false, || looks.replace(looks.get() + 1) == 0);
        let levels: Vec<bool> = recorder.lines.lock().iter().map(|(_, level)| *level).collect();
        assert_eq!(levels, [true, false, true, false, true, false]);
    }
}
