//! Standard input, on its way to the guest.
//!
//! A terminal is read even while the guest takes nothing, for the escape key's sake; anything else is read only as
//! fast as the guest takes it, until its end, which ends nothing else.

use super::escape::{Command, Escape};
use super::terminal::{self, Raw};
use crate::values::EscapeKey;
use rustix::io::Errno;
use std::io;
use std::time::{Duration, Instant};

/// What is kept for a guest that does not read; beyond it, typed keys are lost.
const MAX_PENDING: usize = 64 << 10;
/// How soon a guest that took only a part is offered the rest.
const RETRY: Duration = Duration::from_millis(50);
/// How soon a terminal that is somebody else's is asked again whose it is.
const FOREGROUND_CHECK: Duration = Duration::from_secs(1);

/// Takes input for the guest; says how many bytes of it were taken.
type Guest<'a> = dyn Fn(&[u8]) -> usize + 'a;

#[derive(Debug)]
pub(crate) struct Input {
    terminal: Option<(Raw, Escape)>,
    for_guest: Vec<u8>,
    ended: bool,
    /// Of a kind that epoll does not take, such as a regular file: it can be read at any time.
    always_ready: bool,
}

impl Input {
    /// `detaches`: the guest goes on without this terminal, which a key leaves then.
    pub(crate) fn open(key: EscapeKey, detaches: bool) -> io::Result<Input> {
        let terminal = Raw::take()?.map(|raw| (raw, Escape::new(key, detaches)));
        Ok(Input { terminal, for_guest: Vec::new(), ended: false, always_ready: false })
    }

    /// Nothing for the guest: standard input held the image.
    pub(crate) fn none() -> Input {
        Input { terminal: None, for_guest: Vec::new(), ended: true, always_ready: false }
    }

    /// The keys in a line, if there is a terminal to type them at.
    pub(crate) fn way_out(&self) -> Option<String> {
        self.terminal.as_ref().map(|(_, escape)| escape.way_out())
    }

    /// The keys in full.
    pub(crate) fn help(&self) -> Option<String> {
        self.terminal.as_ref().map(|(_, escape)| escape.help())
    }

    /// Whether to wait for standard input to become readable.
    pub(crate) fn wants_event(&self) -> bool {
        !self.always_ready && self.may_read()
    }

    pub(crate) fn set_always_ready(&mut self) {
        self.always_ready = true;
    }

    fn may_read(&self) -> bool {
        match self.terminal {
            Some(_) => !self.ended && terminal::is_raw(),
            None => !self.ended && self.for_guest.is_empty(),
        }
    }

    /// When to call [`Input::tick`] next.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        if !self.for_guest.is_empty() {
            Some(now + RETRY)
        } else if self.always_ready && self.may_read() {
            Some(now)
        } else if self.terminal.is_some() && !self.ended && !terminal::is_raw() {
            Some(now + FOREGROUND_CHECK)
        } else {
            None
        }
    }

    /// What needs no event: input that is always there, a terminal that has become ours.
    pub(crate) fn tick(&mut self, guest: &Guest<'_>) -> Vec<Command> {
        if let Some((raw, _)) = &self.terminal
            && let Err(cause) = raw.enter()
        {
            log::warn!("the terminal stays as it is: {cause}");
        }
        let mut commands = Vec::new();
        if self.always_ready && self.may_read() {
            commands = self.read(guest);
        }
        self.offer(guest);
        commands
    }

    /// Reads what is there, sorts it and offers it to the guest.
    pub(crate) fn read(&mut self, guest: &Guest<'_>) -> Vec<Command> {
        let mut bytes = [0; 4096];
        let read = match rustix::io::read(rustix::stdio::stdin(), &mut bytes) {
            Ok(0) => {
                self.ended = true;
                return Vec::new();
            }
            Ok(read) => bytes.get(..read).unwrap_or_default(),
            Err(Errno::AGAIN | Errno::INTR) => return Vec::new(),
            Err(cause) => {
                log::info!("standard input ends here: {cause}");
                self.ended = true;
                return Vec::new();
            }
        };
        let mut commands = Vec::new();
        match &mut self.terminal {
            Some((_, escape)) => commands = escape.sort(read, &mut self.for_guest),
            None => self.for_guest.extend_from_slice(read),
        }
        self.for_guest.truncate(MAX_PENDING);
        self.offer(guest);
        commands
    }

    fn offer(&mut self, guest: &Guest<'_>) {
        if !self.for_guest.is_empty() {
            let taken = guest(&self.for_guest);
            self.for_guest.drain(..taken.min(self.for_guest.len()));
        }
    }

    /// Takes the terminal anew after this program was stopped and went on.
    pub(crate) fn resume(&self) {
        if let Some((raw, _)) = &self.terminal
            && let Err(cause) = raw.enter_again()
        {
            log::warn!("the terminal stays as it is: {cause}");
        }
    }
}
