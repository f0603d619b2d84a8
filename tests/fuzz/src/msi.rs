//! Messages on a board like Arm's: a guest that moves, masks and disables the MSI-X tables of an NVMe controller and
//! a virtio device which have something to say, and a hypervisor that notes what it is told and refuses at times.
//!
//! Each function has a hypervisor to itself, so that nobody takes another's vectors unseen. All is done in the play's
//! thread: admin commands are, and so is what a broken virtio queue says.

use crate::host;
use crate::input::{Input, width};
use ami_run_models::bus::{Access, Device, Width};
use ami_run_models::irq::{Doorbell, Hypervisor, Lines, Message, Vector};
use ami_run_models::nvme::{Identity, Nvme};
use ami_run_models::pci::{Address, Ecam, Function, HostBridge, Root, Window, Wiring};
use ami_run_models::virtio::{Rng, Transport};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

const RAM: u64 = 0x4000;
const NVME: Address = Address { slot: 4, function: 0 };
const RNG: Address = Address { slot: 1, function: 2 };
const WINDOW: u64 = 0x1000_0000;
/// The doorbell of the ITS, which drivers write as every message's address.
const TRANSLATER: u32 = 0x0809_0040;
/// Of the admin queues.
const ENTRIES: u32 = 16;
const COMMAND: u8 = 4;
const BAR: u8 = 0x10;
const ENABLE: u16 = 1 << 15;
const MASK_ALL: u16 = 1 << 14;
const MASKED: u32 = 1;
const PIN_OFF: u64 = 1 << 10;

/// One function's hypervisor.
#[derive(Debug)]
struct Side {
    next: Arc<AtomicU32>,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    /// Each vector's GSI, event and message; none: it has none yet, or may have another than the device thinks.
    vectors: Vec<(u32, EventFd, Option<Message>)>,
    /// The messages that were told since the last look.
    told: Vec<Message>,
    bells: Vec<u64>,
    line: bool,
    refuses: bool,
    has_refused: bool,
}

impl Heard {
    fn agree(&mut self) -> io::Result<()> {
        self.has_refused |= self.refuses;
        if self.refuses { Err(io::ErrorKind::OutOfMemory.into()) } else { Ok(()) }
    }
}

impl Hypervisor for Side {
    fn set_line(&self, _: u32, level: bool) {
        self.heard.lock().line = level;
    }
    fn new_vector(&self) -> io::Result<Vector> {
        let mut heard = self.heard.lock();
        let gsi = self.next.fetch_add(1, Ordering::Relaxed);
        let event = EventFd::new(EFD_NONBLOCK)?;
        heard.vectors.push((gsi, event.try_clone()?, None));
        Ok(Vector { gsi, event })
    }
    fn set_message(&self, gsi: u32, message: Message) -> io::Result<()> {
        let mut heard = self.heard.lock();
        let agreed = heard.agree();
        let own = heard.vectors.iter_mut().find(|(other, ..)| *other == gsi);
        let (.., last) = own.expect("a vector of the function's own");
        assert_ne!(*last, Some(message), "told what it knows");
        *last = agreed.is_ok().then_some(message);
        agreed?;
        heard.told.push(message);
        Ok(())
    }
    fn attach_doorbell(&self, bell: &Doorbell) -> io::Result<()> {
        let mut heard = self.heard.lock();
        assert!(!heard.bells.contains(&bell.address), "two doorbells at one place");
        heard.bells.push(bell.address);
        Ok(())
    }
    fn detach_doorbell(&self, bell: &Doorbell) -> io::Result<()> {
        let mut heard = self.heard.lock();
        let place = heard.bells.iter().position(|other| *other == bell.address);
        heard.bells.remove(place.expect("a doorbell that hangs"));
        Ok(())
    }
}

/// A function, and what is expected of it.
struct Card {
    place: Address,
    function: Arc<dyn Function>,
    side: Arc<Side>,
    /// Where its capability is, its table and its pending bits: BAR and offset.
    capability: u8,
    table: (u8, u64),
    pending: (u8, u64),
    /// The table as the guest wrote it, and which entries have an event to deliver.
    entries: Vec<[u32; 4]>,
    due: Vec<bool>,
    /// Something was refused: what is due need not come before it is asked for again.
    stuck: bool,
}

impl Card {
    fn pending_bit(&self, index: usize) -> bool {
        let (bar, offset) = self.pending;
        let at = offset + u64::try_from(index / 64).expect("few entries") * 8;
        self.function.bar_read(bar, Access::new(at, Width::Qword)) >> (index % 64) & 1 != 0
    }

    fn message(&self, index: usize) -> Message {
        let [low, high, data, _] = self.entries[index];
        let address = u64::from(high) << 32 | u64::from(low);
        Message { address, data, requester: self.place.requester() }
    }
}

struct Play<'a> {
    input: Input<'a>,
    ecam: Ecam,
    window: Window,
    cards: Vec<Card>,
    /// The tail of the admin queue.
    tail: u32,
    delivered: usize,
}

impl<'a> Play<'a> {
    fn new(data: &'a [u8]) -> Play<'a> {
        let next = Arc::new(AtomicU32::new(0));
        let side = || Arc::new(Side { next: Arc::clone(&next), heard: Mutex::default() });
        let sides = [side(), side()];
        let memory = host::ram(RAM);
        let wiring = |side: &Arc<Side>| {
            let hypervisor: Arc<dyn Hypervisor> = Arc::clone(side) as Arc<dyn Hypervisor>;
            let lines = Arc::new(Lines::wired(Arc::clone(&hypervisor), [3, 4, 5, 6]));
            let (gate, memory) = (Arc::default(), memory.clone());
            Wiring { memory, hypervisor, lines, gate, trace: None, stages: None }
        };
        let [nvme_side, rng_side] = &sides;
        let identity = Identity::ebs("vol-0123456789abcdef0", "/dev/xvda");
        let nvme: Arc<dyn Function> =
            Nvme::new("msi", NVME, host::volume(), identity, wiring(nvme_side)).expect("events");
        let rng: Arc<dyn Function> =
            Transport::new("msi", RNG, Box::new(Rng), wiring(rng_side)).expect("events");
        let functions: Vec<(Address, Arc<dyn Function>)> = vec![
            (Address { slot: 0, function: 0 }, Arc::new(HostBridge::of_graviton())),
            (RNG, Arc::clone(&rng)),
            (NVME, Arc::clone(&nvme)),
        ];
        let root = Arc::new(Root::new(functions, None));
        let (ecam, window) = (Ecam::new(Arc::clone(&root)), Window::new(root, WINDOW));
        let [nvme_side, rng_side] = sides;
        let cards = [(NVME, nvme, nvme_side), (RNG, rng, rng_side)]
            .map(|(place, function, side)| card(&ecam, place, function, side))
            .into();
        let play = Play { input: Input::new(data), ecam, window, cards, tail: 0, delivered: 0 };
        for card in 0..2 {
            (0..2).for_each(|bar| play.move_bar(card, bar, 0));
            play.config_write(card, COMMAND, Width::Word, 6);
        }
        let sizes = (ENTRIES - 1) << 16 | (ENTRIES - 1);
        for (at, value) in [(0x24, sizes), (0x28, 0x1000), (0x30, 0x2000), (0x14, 0x0046_0001)] {
            play.bar_write(0, 0, at, Width::Dword, value.into());
        }
        play
    }

    fn config_at(&self, card: usize, register: u8) -> u64 {
        let Address { slot, function } = self.cards[card].place;
        u64::from(slot) << 15 | u64::from(function) << 12 | u64::from(register)
    }

    fn config_read(&self, card: usize, register: u8, width: Width) -> u64 {
        self.ecam.read(Access::new(self.config_at(card, register), width))
    }

    fn config_write(&self, card: usize, register: u8, width: Width, value: u64) {
        self.ecam.write(Access::new(self.config_at(card, register), width), value);
    }

    fn control(&self, card: usize) -> u16 {
        let control = self.config_read(card, self.cards[card].capability + 2, Width::Word);
        u16::try_from(control).expect("a word")
    }

    /// One of 64 places, which no other BAR can have.
    fn move_bar(&self, card: usize, bar: u8, place: u8) {
        let own =
            u64::try_from(card).expect("two") << 24 | u64::from(bar) << 20 | u64::from(place & 63) << 14;
        self.config_write(card, BAR + 4 * bar, Width::Dword, WINDOW + own);
    }

    /// Where a BAR is decoded, as the guest can know.
    fn bar(&self, card: usize, bar: u8) -> Option<u64> {
        let on = self.config_read(card, COMMAND, Width::Word) & 2 != 0;
        on.then(|| self.config_read(card, BAR + 4 * bar, Width::Dword))
    }

    /// Writes at an offset of a BAR. False: it is not decoded.
    fn bar_write(&self, card: usize, bar: u8, offset: u64, width: Width, value: u64) -> bool {
        let Some(base) = self.bar(card, bar) else { return false };
        self.window.write(Access::new(base - WINDOW + offset, width), value);
        true
    }

    /// Writes into the table, at a place that goes a little beyond its end. Only whole dwords and qwords are taken.
    fn table_write(&mut self, card: usize, offset: u64, width: Width, value: u64) {
        let (bar, start) = self.cards[card].table;
        if !self.bar_write(card, bar, start + offset, width, value) {
            return;
        }
        let index = usize::try_from(offset / 16).expect("a small offset");
        let Some(entry) = self.cards[card].entries.get_mut(index) else { return };
        let halves = match width {
            Width::Dword => 1,
            Width::Qword => 2,
            Width::Byte | Width::Word => 0,
        };
        if !offset.is_multiple_of(width.bytes().into()) {
            return;
        }
        let words = value.to_le_bytes();
        let words = words.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
        let first = usize::try_from(offset % 16 / 4).expect("less than four");
        entry.iter_mut().skip(first).zip(words.take(halves)).for_each(|(to, from)| *to = from);
    }

    /// Gives an entry a message as drivers do: masked meanwhile.
    fn open(&mut self, card: usize, index: u8, address: u32, data: u32) {
        for (at, value) in [(12, MASKED), (0, address), (4, 0), (8, data), (12, 0)] {
            self.table_write(card, u64::from(index) * 16 + at, Width::Dword, value.into());
        }
    }

    /// An admin command that ends at once: with an error, as it is all zeros.
    fn command(&mut self) {
        let enabled = self.control(0) & ENABLE != 0;
        let tail = (self.tail + 1) % ENTRIES;
        if !self.bar_write(0, 0, 0x1000, Width::Dword, tail.into()) {
            return;
        }
        let pin_off = self.config_read(0, COMMAND, Width::Word) & PIN_OFF != 0;
        assert_eq!(self.cards[0].side.heard.lock().line, !enabled && !pin_off, "the pin of an answer");
        self.bar_write(0, 0, 0x1004, Width::Dword, tail.into());
        assert!(!self.cards[0].side.heard.lock().line, "the answer was taken");
        self.tail = tail;
        self.cards[0].due[0] |= enabled;
    }

    /// A driver that starts the device with a queue outside memory: the device says so at once.
    fn break_queue(&mut self, vector: u8) {
        let (enabled, byte, word) = (self.control(1) & ENABLE != 0, Width::Byte, Width::Word);
        let steps =
            [(20, byte, 0), (20, byte, 3), (8, Width::Dword, 1), (12, Width::Dword, 1), (20, byte, 11)];
        let queue = [(16, word, u64::from(vector)), (36, Width::Dword, 1), (28, word, 1), (20, byte, 15)];
        for (at, width, value) in steps.into_iter().chain(queue) {
            if !self.bar_write(1, 0, at, width, value) {
                return;
            }
        }
        let pin_off = self.config_read(1, COMMAND, Width::Word) & PIN_OFF != 0;
        assert_eq!(self.cards[1].side.heard.lock().line, !enabled && !pin_off, "the pin of a broken queue");
        if let Some(due) = self.cards[1].due.get_mut(usize::from(vector)) {
            *due |= enabled;
        }
    }

    /// Ends refusals: what could not be told is asked for again.
    fn agree(&mut self, card: usize) {
        self.cards[card].side.heard.lock().refuses = false;
        let (control, at) = (self.control(card), self.cards[card].capability + 2);
        self.config_write(card, at, Width::Word, (control | MASK_ALL).into());
        self.config_write(card, at, Width::Word, control.into());
        self.cards[card].stuck = false;
    }

    /// Each step begins with a byte: what to do in its low three bits, which function in the next, how wide in two.
    fn step(&mut self) -> Option<()> {
        let what = self.input.byte()?;
        let (card, width) = (usize::from(what >> 3 & 1), width(what >> 4));
        match what & 7 {
            0 => {
                let offset = u64::from(self.input.word()? & 0x7ff);
                let value = self.input.value(width)?;
                self.table_write(card, offset, width, value);
            }
            1 => {
                let register = self.cards[card].capability + (what >> 6);
                let value = self.input.value(width)?;
                self.config_write(card, register, width, value);
            }
            2 => {
                let value = self.input.word()?;
                self.config_write(card, COMMAND, Width::Word, value.into());
            }
            3 => {
                let place = self.input.byte()?;
                self.move_bar(card, what >> 4 & 1, place);
            }
            4 if card == 0 => self.command(),
            4 => {
                let vector = self.input.byte()?;
                self.break_queue(vector);
            }
            5 if what & 0x10 == 0 => self.cards[card].side.heard.lock().refuses = true,
            5 => self.agree(card),
            6 => {
                let (index, data) = (self.input.byte()?, self.input.word()?);
                self.open(card, index & 63, TRANSLATER, data.into());
            }
            _ => {
                let at = Access::new(u64::from(self.input.word()?), width);
                let (bar, _) = self.cards[card].table;
                assert!(self.cards[card].function.bar_read(bar, at) <= width.ones());
            }
        }
        Some(())
    }

    /// What must be so between any two steps.
    fn check(&mut self, card: usize) {
        let control = self.control(card);
        let (pin_off, bar) = (self.config_read(card, COMMAND, Width::Word) & PIN_OFF != 0, self.bar(card, 0));
        let card = &mut self.cards[card];
        let side = Arc::clone(&card.side);
        let mut heard = side.heard.lock();
        let on = control & (ENABLE | MASK_ALL) == ENABLE;
        let is_open = |entry: &[u32; 4]| on && entry[3] & MASKED == 0;
        assert!(heard.vectors.len() <= card.entries.len(), "more vectors than entries");
        assert!(!heard.line || control & ENABLE == 0 && !pin_off, "a pin beside messages");
        let inside = |bell: &u64| bar.is_some_and(|bar| (bar + 0x1000..bar + 0x4000).contains(bell));
        assert!(heard.bells.iter().all(inside), "a doorbell where nobody is");
        for message in heard.told.drain(..) {
            let entries = card.entries.iter().enumerate();
            let mut sources = entries.filter(|(_, entry)| is_open(entry));
            assert!(sources.any(|(index, _)| card.message(index) == message), "nobody's message");
        }
        card.stuck |= std::mem::take(&mut heard.has_refused);
        let mut came = Vec::new();
        for (_, event, message) in &heard.vectors {
            match event.read() {
                Ok(count) => {
                    assert_eq!(count, 1, "one event, delivered more than once");
                    came.push(message.expect("a message behind an event"));
                }
                Err(cause) => assert_eq!(cause.kind(), io::ErrorKind::WouldBlock),
            }
        }
        let mut expected = Vec::new();
        for index in 0..card.entries.len() {
            let (due, waits) = (card.due[index], card.pending_bit(index));
            let can = due && is_open(&card.entries[index]);
            assert!(due || !waits, "an event out of nothing");
            assert!(can || due == waits, "an event is gone");
            assert!(!(can && waits) || card.stuck, "an event that could have come");
            if can && !waits {
                expected.push(card.message(index));
            }
            card.due[index] = waits;
        }
        let order = |message: &Message| (message.address, message.data);
        came.sort_by_key(order);
        expected.sort_by_key(order);
        assert_eq!(came, expected, "what was delivered");
        self.delivered += came.len();
    }

    fn check_all(&mut self) {
        (0..self.cards.len()).for_each(|card| self.check(card));
    }

    /// Whatever was played: a driver that begins anew gets every event that is due, by the entry that it is due at.
    fn assert_all_comes(&mut self) {
        for card in 0..self.cards.len() {
            let at = self.cards[card].capability + 2;
            self.config_write(card, at, Width::Word, MASK_ALL.into());
            (0..2).for_each(|bar| self.move_bar(card, bar, 1));
            self.config_write(card, COMMAND, Width::Word, 6);
            self.agree(card);
            for (index, data) in (0..).zip(0x2000..).take(self.cards[card].entries.len()) {
                self.open(card, index, TRANSLATER, data);
            }
            self.config_write(card, at, Width::Word, ENABLE.into());
            self.check(card);
            assert!(!self.cards[card].due.contains(&true));
        }
        for _ in 0..2 {
            let before = self.delivered;
            self.command();
            self.break_queue(1);
            self.check_all();
            assert_eq!(self.delivered, before + 2, "both are heard");
        }
    }
}

/// Finds a function's table as a driver does.
fn card(ecam: &Ecam, place: Address, function: Arc<dyn Function>, side: Arc<Side>) -> Card {
    let read = |register: u8, width| {
        let base = u64::from(place.slot) << 15 | u64::from(place.function) << 12;
        ecam.read(Access::new(base | u64::from(register), width))
    };
    let byte = |register| u8::try_from(read(register, Width::Byte)).expect("a byte");
    let mut capability = byte(0x34);
    while byte(capability) != 0x11 {
        capability = byte(capability + 1);
    }
    let part = |register| {
        let value = read(register, Width::Dword);
        (u8::try_from(value & 7).expect("three bits"), value & !7)
    };
    let count = usize::try_from(read(capability + 2, Width::Word) & 0x7ff).expect("a word") + 1;
    Card {
        place,
        function,
        side,
        capability,
        table: part(capability + 4),
        pending: part(capability + 8),
        entries: vec![[0, 0, 0, MASKED]; count],
        due: vec![false; count],
        stuck: false,
    }
}

/// Both functions with their BARs in place, the controller enabled, and MSI-X as after power-on.
pub fn msi(data: &[u8]) {
    play(data);
}

/// Returns how many messages were delivered, before the last driver's.
fn play(data: &[u8]) -> usize {
    let mut play = Play::new(data);
    while play.step().is_some() {
        play.check_all();
    }
    play.check_all();
    let delivered = play.delivered;
    play.assert_all_comes();
    delivered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_has_messages_delivered() {
        for (name, delivered) in [("driver", 4), ("masks", 3), ("moves", 2), ("refused", 2)] {
            let path = format!("{}/corpus/msi/{name}", env!("CARGO_MANIFEST_DIR"));
            assert_eq!(play(&std::fs::read(path).unwrap()), delivered, "{name}");
        }
    }
}
