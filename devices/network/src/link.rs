//! What a network card's thread drives, whatever network is behind it.

use crate::dhcp::MTU;
use crate::offload::{Frame, Offload, Takes};
use std::fmt;
use std::os::fd::AsFd;
use std::time::{Instant, SystemTime};

/// The time, as the link's owner has it.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For what must not jump.
    pub instant: Instant,
    /// For the guest's clock.
    pub wall: SystemTime,
}

impl Now {
    pub fn read() -> Now {
        Now { instant: Instant::now(), wall: SystemTime::now() }
    }
}

/// A network of one guest. Whoever has it gives it the guest's frames, takes those for the guest, and calls `poll` when
/// its descriptor is readable or its deadline has come. Nothing here waits.
pub trait Link: AsFd + Send + fmt::Debug {
    /// The guest's driver has said what it takes. A new one knows nothing of what the last one began.
    fn begin(&mut self, takes: Takes);

    /// The guest sends a frame, on which this is still to be done.
    fn send(&mut self, frame: &[u8], offload: Offload, now: Now);

    /// Writes the next frame that the guest is to receive: its length, and what is left to do with it. None: there is none
    /// now.
    fn receive(&mut self, frame: &mut Frame, now: Now) -> Option<(usize, Offload)>;

    /// Takes what happened on the host's side, and what time it is. True: there may be more to take at once.
    fn poll(&mut self, now: Now) -> bool;

    /// When `poll` is to be called, whatever happens.
    fn deadline(&self) -> Option<Instant>;

    /// The longest IP packet that goes through, at the moment when the card is made.
    fn mtu(&self) -> u16 {
        MTU
    }
}
