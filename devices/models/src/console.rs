//! The host's side of a serial console: two bounded queues and an event.
//!
//! The guest's writes never wait: when nobody takes the output, the oldest is dropped and counted.

use crate::serial::Port;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Weak};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// Output that is kept until the host takes it.
const MAX_OUTPUT: usize = 1 << 20;
/// Input that is kept until the guest reads it.
const MAX_INPUT: usize = 4096;

#[derive(Debug)]
pub struct Console {
    output: Mutex<Output>,
    input: Mutex<VecDeque<u8>>,
    event: EventFd,
    /// Who is told of new input: the port of the machine that runs now.
    port: Mutex<Weak<Port>>,
}

#[derive(Debug, Default)]
struct Output {
    bytes: VecDeque<u8>,
    dropped: u64,
    /// How many of the bytes came before the last reset, if there was one since the last taking.
    reset: Option<usize>,
}

/// What came with the output that was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Bytes that were lost before it.
    pub dropped: u64,
    /// The machine was reset after so many of the bytes; the last time, if it was several times.
    pub reset: Option<usize>,
}

impl Console {
    pub fn new() -> io::Result<Console> {
        Ok(Console {
            output: Mutex::default(),
            input: Mutex::default(),
            event: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
            port: Mutex::default(),
        })
    }

    /// Readable when there is output to take.
    pub fn event(&self) -> &EventFd {
        &self.event
    }

    /// Makes [`Console::event`] readable though there may be no output: the machine has ended.
    pub fn wake(&self) {
        if let Err(cause) = self.event.write(1) {
            log::warn!("console event: {cause}");
        }
    }

    /// Moves all output to the end of `into`.
    pub fn take(&self, into: &mut Vec<u8>) -> Taken {
        let mut output = self.output.lock();
        let (front, back) = output.bytes.as_slices();
        into.extend_from_slice(front);
        into.extend_from_slice(back);
        output.bytes.clear();
        Taken { dropped: std::mem::take(&mut output.dropped), reset: output.reset.take() }
    }

    /// The machine's side: what follows is said by a machine that starts anew.
    pub fn mark_reset(&self) {
        let mut output = self.output.lock();
        output.reset = Some(output.bytes.len());
        drop(output);
        self.wake();
    }

    /// Offers input; returns how many bytes of it were taken.
    pub fn send(&self, bytes: &[u8]) -> usize {
        let mut input = self.input.lock();
        let room = MAX_INPUT.saturating_sub(input.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        input.extend(taken);
        drop(input);
        let port = self.port.lock().upgrade();
        if let Some(port) = port {
            port.pump();
        }
        taken.len()
    }

    /// Connects the console to a port, which takes the place of any earlier one.
    pub(crate) fn connect(&self, port: &Arc<Port>) {
        *self.port.lock() = Arc::downgrade(port);
    }

    /// The device's side: one byte from the guest.
    pub(crate) fn put(&self, byte: u8) {
        let mut output = self.output.lock();
        let first = output.bytes.is_empty();
        if output.bytes.len() >= MAX_OUTPUT {
            output.bytes.pop_front();
            output.dropped = output.dropped.saturating_add(1);
            output.reset = output.reset.map(|before| before.saturating_sub(1));
        }
        output.bytes.push_back(byte);
        drop(output);
        if first {
            self.wake();
        }
    }

    /// The device's side: the next byte for the guest.
    pub(crate) fn next_input(&self) -> Option<u8> {
        self.input.lock().pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_bounded_and_the_newest_is_kept() {
        let console = Console::new().unwrap();
        for i in 0..=MAX_OUTPUT {
            console.put(u8::try_from(i & 0x7f).unwrap());
        }
        let mut all = Vec::new();
        assert_eq!(console.take(&mut all), Taken { dropped: 1, reset: None });
        assert_eq!((all.len(), all[0]), (MAX_OUTPUT, 1));
        assert_eq!(console.event().read().unwrap(), 1, "one wake-up for many bytes");
        assert_eq!(console.take(&mut all), Taken::default());
    }

    #[test]
    fn a_reset_is_told_with_its_place_in_the_output() {
        let console = Console::new().unwrap();
        let mut all = Vec::new();
        b"before".iter().for_each(|byte| console.put(*byte));
        console.mark_reset();
        b"after".iter().for_each(|byte| console.put(*byte));
        assert_eq!(console.take(&mut all).reset, Some(6));
        console.mark_reset();
        assert!(console.event().read().is_ok(), "told though nothing was said");
        assert_eq!(console.take(&mut all).reset, Some(0));
        assert_eq!(console.take(&mut all).reset, None);
        console.put(b'x');
        console.mark_reset();
        (0..MAX_OUTPUT).for_each(|_| console.put(b'y'));
        assert_eq!(console.take(&mut all), Taken { dropped: 1, reset: Some(0) });
    }

    #[test]
    fn input_is_bounded() {
        let console = Console::new().unwrap();
        assert_eq!(console.send(&[7; MAX_INPUT + 5]), MAX_INPUT);
        assert_eq!(console.send(&[7]), 0);
        assert_eq!(console.next_input(), Some(7));
        assert_eq!(console.send(&[8, 9]), 1);
    }
}
