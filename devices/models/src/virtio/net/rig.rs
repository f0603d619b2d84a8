//! A small virtio-net driver for tests, and a link that writes down what it hears and says what it is told to.

use super::Net;
use super::spec::{GUEST_CSUM, GUEST_TSO4, MRG_RXBUF};
use crate::bus::{Access, Width};
use crate::irq::Bell;
use crate::irq::fake::wait_until;
use crate::pci::Function;
use crate::virtio::driver::{BAR, CONFIG, Descriptor, Guest, NEEDS_RESET, NEXT, WRITE};
use ami_run_memory::Gpa;
use ami_run_network::{Frame, Link, Now, Offload, Takes};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

pub(super) const RX: usize = 0;
pub(super) const TX: usize = 1;
pub(super) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Where receive buffers and frames to send lie.
pub(super) const BUFFERS: u64 = 0x2_0000;
pub(super) const FRAMES: u64 = 0x14_0000;
/// All that the device offers to a driver that rings and listens by flags.
pub(super) const ALL: u64 =
    1 << 28 | GUEST_CSUM | GUEST_TSO4 | MRG_RXBUF | 1 << 16 | 1 << 11 | 1 << 5 | 1 << 3 | 1;
pub(super) const EVENT_INDEX: u64 = 1 << 29;

#[derive(Debug)]
pub(super) struct Script {
    bell: Bell,
    pub(super) begun: Vec<Takes>,
    pub(super) sent: Vec<(Vec<u8>, Offload)>,
    /// What it will say.
    pub(super) says: VecDeque<(Vec<u8>, Offload)>,
    /// How much it had heard when it said each.
    pub(super) said_after: Vec<usize>,
    pub(super) polls: u64,
    pub(super) deadline: Option<Instant>,
}

impl AsFd for Script {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Link for Script {
    fn begin(&mut self, takes: Takes) {
        self.begun.push(takes);
    }
    fn send(&mut self, frame: &[u8], offload: Offload, _: Now) {
        self.sent.push((frame.to_vec(), offload));
    }
    fn receive(&mut self, frame: &mut Frame, _: Now) -> Option<(usize, Offload)> {
        let (bytes, offload) = self.says.pop_front()?;
        frame[..bytes.len()].copy_from_slice(&bytes);
        self.said_after.push(self.sent.len());
        Some((bytes.len(), offload))
    }
    fn poll(&mut self, now: Now) -> bool {
        self.polls += 1;
        self.deadline = self.deadline.filter(|at| *at > now.instant);
        self.bell.take()
    }
    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

#[derive(Clone, Copy, Debug)]
struct Side {
    size: u16,
    offered: u16,
    seen: u16,
}

pub(super) struct Rig {
    pub(super) guest: Guest,
    sides: [Side; 2],
    /// The buffers of the frame that was received last.
    last: VecDeque<u16>,
}

impl Rig {
    /// A machine with a card before this link, and nobody driving it.
    pub(super) fn with(link: Arc<Mutex<dyn Link>>) -> Rig {
        let guest = Guest::with(Box::new(Net::new(MAC, link).unwrap()));
        Rig { guest, sides: [Side { size: 0, offered: 0, seen: 0 }; 2], last: VecDeque::new() }
    }

    pub(super) fn scripted() -> (Rig, Arc<Mutex<Script>>) {
        let script = Script {
            bell: Bell::new().unwrap(),
            begun: Vec::new(),
            sent: Vec::new(),
            says: VecDeque::new(),
            said_after: Vec::new(),
            polls: 0,
            deadline: None,
        };
        let link = Arc::new(Mutex::new(script));
        (Rig::with(Arc::clone(&link) as Arc<Mutex<dyn Link>>), link)
    }

    /// Off to driver-ok with queues of these sizes; one of size 0 is left out.
    pub(super) fn start(&mut self, features: u64, sizes: [u16; 2]) {
        self.guest.reset();
        self.guest.memory.clear();
        self.guest.negotiate(features, 1);
        assert_ne!(self.guest.status() & 8, 0, "the features are refused");
        let msix = self.guest.capability(0x11);
        self.guest.device.config_write(msix, Width::Dword, 0x8000_0000);
        for vector in 0..3 {
            let data = u64::from(CONFIG) + vector;
            for (at, value) in [(0, 0xfee0_0000), (4, 0), (8, data), (12, 0)] {
                self.guest.device.bar_write(1, Access::new(vector * 16 + at, Width::Dword), value);
            }
        }
        self.guest.write(16, Width::Word, 0);
        for (queue, size) in sizes.into_iter().enumerate() {
            self.sides[queue] = Side { size, offered: 0, seen: 0 };
            if size == 0 {
                continue;
            }
            let number = u64::try_from(queue).unwrap();
            self.guest.write(22, Width::Word, number);
            self.guest.write(24, Width::Word, size.into());
            self.guest.write(26, Width::Word, number + 1);
            for (at, address) in [(32, table(queue)), (40, available(queue)), (48, used(queue))] {
                self.guest.write(at, Width::Dword, address);
            }
            self.guest.write(28, Width::Word, 1);
        }
        self.guest.write(20, Width::Byte, 0x0f);
    }

    pub(super) fn describe(&self, queue: usize, index: u16, descriptor: Descriptor) {
        self.guest.describe_at(table(queue), index, descriptor);
    }

    /// Puts a chain into the available ring, without ringing.
    pub(super) fn offer(&mut self, queue: usize, head: u16) {
        let side = &mut self.sides[queue];
        let place = available(queue) + 4 + u64::from(side.offered % side.size) * 2;
        side.offered = side.offered.wrapping_add(1);
        self.guest.memory.write_record(Gpa(place), &head).unwrap();
        self.guest.memory.write_record(Gpa(available(queue) + 2), &side.offered).unwrap();
    }

    pub(super) fn kick(&self, queue: usize) {
        let at = 0x3000 + 4 * u64::try_from(queue).unwrap();
        if !self.guest.host.ring(BAR + at) {
            self.guest.write(at, Width::Word, 0);
        }
    }

    /// Asks to be interrupted when so many chains have come back.
    pub(super) fn ask_at(&self, queue: usize, index: u16) {
        let event = available(queue) + 4 + 2 * u64::from(self.sides[queue].size);
        self.guest.memory.write_record(Gpa(event), &index).unwrap();
    }

    pub(super) fn used_index(&self, queue: usize) -> u16 {
        self.guest.memory.read_record(Gpa(used(queue) + 2)).unwrap()
    }

    /// Waits for the next chain that comes back: its head, and the bytes written to it.
    pub(super) fn take_used(&mut self, queue: usize) -> (u32, u32) {
        wait_until("a used chain", || self.used_index(queue) != self.sides[queue].seen);
        self.take_now(queue)
    }

    /// The next chain that has come back, without waiting.
    fn take_now(&mut self, queue: usize) -> (u32, u32) {
        assert_ne!(self.used_index(queue), self.sides[queue].seen, "it should be there");
        let side = &mut self.sides[queue];
        let place = used(queue) + 4 + u64::from(side.seen % side.size) * 8;
        side.seen = side.seen.wrapping_add(1);
        let element: [u32; 2] = self.guest.memory.read_record(Gpa(place)).unwrap();
        (element[0], element[1])
    }

    /// Offers the receive buffers of these numbers, each so long.
    pub(super) fn give_buffers(&mut self, numbers: std::ops::Range<u16>, len: u32) {
        for number in numbers {
            let at = BUFFERS + u64::from(number) * u64::from(len.max(16));
            self.describe(RX, number, Descriptor(at, len, WRITE, 0));
            self.offer(RX, number);
        }
        self.kick(RX);
    }

    /// Waits for the next frame: its header, its bytes, and the bytes in each of its buffers, which were `len` long.
    /// When the first is there, all are.
    pub(super) fn receive(&mut self, len: u32) -> ([u8; 12], Vec<u8>, Vec<u32>) {
        let (mut bytes, mut lens, mut left) = (Vec::new(), Vec::new(), 1);
        self.last.clear();
        while left > 0 {
            let first = lens.is_empty();
            let (head, written) = if first { self.take_used(RX) } else { self.take_now(RX) };
            self.last.push_back(u16::try_from(head).unwrap());
            let mut part = vec![0; usize::try_from(written).unwrap()];
            self.guest
                .memory
                .read(Gpa(BUFFERS + u64::from(head) * u64::from(len.max(16))), &mut part)
                .unwrap();
            bytes.extend(part);
            lens.push(written);
            left = if first { u16::from_le_bytes([bytes[10], bytes[11]]) } else { left } - 1;
        }
        let frame = bytes.split_off(12);
        (bytes.try_into().unwrap(), frame, lens)
    }

    /// Offers the buffers of the frame that was received last once more.
    pub(super) fn give_back(&mut self) {
        while let Some(head) = self.last.pop_front() {
            self.offer(RX, head);
        }
        self.kick(RX);
    }

    /// Offers these descriptors as one chain of the transmit queue, and rings.
    pub(super) fn send_chain(&mut self, descriptors: &[Descriptor]) {
        for (index, Descriptor(at, len, flags, _)) in (0..).zip(descriptors) {
            let last = usize::from(index) + 1 == descriptors.len();
            let flags = if last { *flags } else { flags | NEXT };
            self.describe(TX, index, Descriptor(*at, *len, flags, index + 1));
        }
        self.offer(TX, 0);
        self.kick(TX);
    }

    /// Sends a frame with this header in one buffer, and waits until it comes back.
    pub(super) fn send(&mut self, header: [u8; 12], frame: &[u8]) {
        self.guest.memory.write(Gpa(FRAMES), &[&header, frame].concat()).unwrap();
        self.send_chain(&[Descriptor(FRAMES, u32::try_from(12 + frame.len()).unwrap(), 0, 0)]);
        assert_eq!(self.take_used(TX), (0, 0));
    }

    pub(super) fn wait_for_broken(&self, what: &str) {
        wait_until(what, || self.guest.status() & NEEDS_RESET != 0);
        wait_until("the interrupt of the configuration", || self.guest.host.messages(CONFIG) != 0);
    }
}

/// The link has something to say, and its descriptor tells.
pub(super) fn say(link: &Mutex<Script>, frame: &[u8], offload: Offload) {
    let mut script = link.lock();
    script.says.push_back((frame.to_vec(), offload));
    script.bell.ring();
}

fn place(queue: usize) -> u64 {
    0x1000 + 0x4000 * u64::try_from(queue).unwrap()
}
pub(super) fn table(queue: usize) -> u64 {
    place(queue)
}
pub(super) fn available(queue: usize) -> u64 {
    place(queue) + 0x1000
}
pub(super) fn used(queue: usize) -> u64 {
    place(queue) + 0x2000
}

/// So many bytes, none of which is like its neighbour.
pub(super) fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at * 7 + at / 256) % 251).unwrap()).collect()
}
