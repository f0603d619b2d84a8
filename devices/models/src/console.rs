//! The host's side of a serial console: two bounded queues and an event.
//!
//! The guest's writes never wait: when nobody takes the output, the oldest is dropped and counted.
//!
//! A machine may have several ports on it, one of its firmware and one of its kernel. What they say comes out in
//! order of time, and what is typed goes to the one that spoke last: no other's driver is at work.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Weak;
use std::sync::atomic::{AtomicU32, Ordering};
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
    ports: Mutex<Ports>,
    /// Whose the input is.
    listener: AtomicU32,
}

/// A port, as the console sees it.
pub(crate) trait Receiver: Send + Sync + fmt::Debug {
    /// Moves waiting input into the chip as far as it has room.
    fn pump(&self);
}

/// A port's place at the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plug(u32);

/// The ports of the machine that runs now, and maybe of the one before it.
#[derive(Debug, Default)]
struct Ports {
    connected: Vec<(Plug, Weak<dyn Receiver>)>,
    /// How many there have been.
    count: u32,
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
            ports: Mutex::default(),
            listener: AtomicU32::default(),
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
        self.pump();
        taken.len()
    }

    /// Has the port that listens take what waits for it.
    fn pump(&self) {
        let listener = Plug(self.listener.load(Ordering::Relaxed));
        let ports = self.ports.lock();
        let port = ports.connected.iter().find(|(plug, _)| *plug == listener);
        let port = port.and_then(|(_, port)| port.upgrade());
        drop(ports);
        if let Some(port) = port {
            port.pump();
        }
    }

    /// Connects a port, which listens until another one speaks.
    pub(crate) fn connect(&self, port: Weak<dyn Receiver>) -> Plug {
        let mut ports = self.ports.lock();
        ports.count = ports.count.wrapping_add(1);
        let plug = Plug(ports.count);
        ports.connected.retain(|(_, port)| port.strong_count() != 0);
        ports.connected.push((plug, port));
        self.listener.store(plug.0, Ordering::Relaxed);
        plug
    }

    /// The device's side: one byte from the guest.
    pub(crate) fn put(&self, plug: Plug, byte: u8) {
        if self.listener.swap(plug.0, Ordering::Relaxed) != plug.0 {
            self.pump();
        }
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

    /// The device's side: the next byte for the guest, if it is for this port.
    pub(crate) fn next_input(&self, plug: Plug) -> Option<u8> {
        if self.listener.load(Ordering::Relaxed) != plug.0 {
            return None;
        }
        self.input.lock().pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// The one port of a console to which none was connected.
    const PORT: Plug = Plug(0);

    #[test]
    fn output_is_bounded_and_the_newest_is_kept() {
        let console = Console::new().unwrap();
        for i in 0..=MAX_OUTPUT {
            console.put(PORT, u8::try_from(i & 0x7f).unwrap());
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
        b"before".iter().for_each(|byte| console.put(PORT, *byte));
        console.mark_reset();
        b"after".iter().for_each(|byte| console.put(PORT, *byte));
        assert_eq!(console.take(&mut all).reset, Some(6));
        console.mark_reset();
        assert!(console.event().read().is_ok(), "told though nothing was said");
        assert_eq!(console.take(&mut all).reset, Some(0));
        assert_eq!(console.take(&mut all).reset, None);
        console.put(PORT, b'x');
        console.mark_reset();
        (0..MAX_OUTPUT).for_each(|_| console.put(PORT, b'y'));
        assert_eq!(console.take(&mut all), Taken { dropped: 1, reset: Some(0) });
    }

    #[test]
    fn input_is_bounded() {
        let console = Console::new().unwrap();
        assert_eq!(console.send(&[7; MAX_INPUT + 5]), MAX_INPUT);
        assert_eq!(console.send(&[7]), 0);
        assert_eq!(console.next_input(PORT), Some(7));
        assert_eq!(console.send(&[8, 9]), 1);
    }

    /// A port that takes whatever it is given.
    #[derive(Debug)]
    struct Hungry {
        console: Arc<Console>,
        plug: Mutex<Plug>,
        got: Mutex<Vec<u8>>,
    }

    impl Receiver for Hungry {
        fn pump(&self) {
            let plug = *self.plug.lock();
            while let Some(byte) = self.console.next_input(plug) {
                self.got.lock().push(byte);
            }
        }
    }

    fn connect(console: &Arc<Console>) -> Arc<Hungry> {
        let (plug, got) = (Mutex::new(PORT), Mutex::default());
        let port = Arc::new(Hungry { console: Arc::clone(console), plug, got });
        let weak: Weak<dyn Receiver> = Arc::<Hungry>::downgrade(&port);
        *port.plug.lock() = console.connect(weak);
        port
    }

    #[test]
    fn input_goes_to_the_port_that_spoke_last() {
        let console = Arc::new(Console::new().unwrap());
        let (firmware, kernel) = (connect(&console), connect(&console));
        let says = |port: &Hungry, byte| {
            let plug = *port.plug.lock();
            console.put(plug, byte);
        };
        says(&firmware, b'F');
        assert_eq!(console.send(b"ab"), 2);
        assert_eq!((&**firmware.got.lock(), &**kernel.got.lock()), (&b"ab"[..], &b""[..]));
        says(&kernel, b'K');
        console.send(b"c");
        assert_eq!((&**firmware.got.lock(), &**kernel.got.lock()), (&b"ab"[..], &b"c"[..]));
        let mut all = Vec::new();
        console.take(&mut all);
        assert_eq!(all, b"FK");
        drop((firmware, kernel));
        // Typed while the machine is made anew: it waits for the new port.
        console.send(b"d");
        let port = connect(&console);
        port.pump();
        assert_eq!((&**port.got.lock(), console.ports.lock().connected.len()), (&b"d"[..], 1));
    }
}
