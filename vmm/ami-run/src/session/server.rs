//! The server of the control protocol: its connections, what they ask for, and the consoles that are attached.
//!
//! No client is ever waited for: what one does not read is dropped and the gap marked, and one that says nothing is
//! closed. What is done about a question is the session's affair.

use crate::console::Screen;
use ami_run_catalog::control::{Action, BACKLOG, Line, Outcome, answer_line, parse_request};
use ami_run_network::Dialer;
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};
use vmm_sys_util::epoll::EventSet;

/// How many may be connected at once.
const MAX_CLIENTS: usize = 64;
/// How long a client may take to ask.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is kept of what was typed, until the guest takes it.
const MAX_TYPED: usize = 4096;
/// How soon a guest that took only a part is offered the rest.
const RETRY: Duration = Duration::from_millis(50);
/// How soon to accept again where the host had nothing left to do it with.
const REST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Server {
    listener: UnixListener,
    /// Into the guest's network, if it has one.
    dialer: Option<Dialer>,
    /// By descriptor: one that is gone keeps its own until the event loop has let go of it.
    clients: BTreeMap<RawFd, Client>,
    /// Until when nobody is accepted.
    rests: Option<Instant>,
    /// What the guest said last.
    recent: VecDeque<u8>,
    /// For the guest, of all clients.
    typed: Vec<u8>,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    phase: Phase,
    /// It will send nothing more.
    said_all: bool,
}

#[derive(Debug)]
enum Phase {
    Asking {
        line: Line,
        by: Instant,
    },
    /// It has its answer, and stays for the machine's end.
    Waiting,
    Console(Screen),
    Gone,
}

impl Server {
    pub(super) fn new(listener: UnixListener, dialer: Option<Dialer>) -> Server {
        Server {
            listener,
            dialer,
            clients: BTreeMap::new(),
            rests: None,
            recent: VecDeque::new(),
            typed: Vec::new(),
        }
    }

    pub(super) fn listener(&self) -> RawFd {
        self.listener.as_raw_fd()
    }

    /// Whether to wait for somebody to connect.
    pub(super) fn accepts(&self) -> bool {
        self.rests.is_none()
    }

    /// What to wait for of each client. A hang-up is told in any case.
    pub(super) fn interests(&self) -> impl Iterator<Item = (RawFd, EventSet)> {
        let here = self.clients.iter().filter(|(_, client)| !client.is_gone());
        here.map(|(fd, client)| (*fd, client.interest(self.typed.len() < MAX_TYPED)))
    }

    /// Closes what is gone. The event loop knows no descriptor of theirs any more.
    pub(super) fn reap(&mut self) {
        self.clients.retain(|_, client| !client.is_gone());
    }

    /// The event loop cannot wait for this client.
    pub(super) fn lost(&mut self, fd: RawFd) {
        if let Some(client) = self.clients.get_mut(&fd) {
            client.phase = Phase::Gone;
        }
    }

    /// Lets in who has come.
    pub(super) fn accept(&mut self, now: Instant) {
        for _ in 0..MAX_CLIENTS {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream, now),
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => return,
                Err(cause)
                    if matches!(cause.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(cause) => {
                    log::warn!("the control socket accepts nobody for a moment: {cause}");
                    self.rests = Some(now + REST);
                    return;
                }
            }
        }
    }

    fn admit(&mut self, stream: UnixStream, now: Instant) {
        let me = rustix::process::geteuid();
        let is_known = socket_peercred(&stream).is_ok_and(|peer| peer.uid == me || peer.uid.is_root());
        if !is_known || stream.set_nonblocking(true).is_err() {
            log::warn!("another user's process has connected to the control socket, and is refused");
            return;
        }
        let fd = stream.as_raw_fd();
        let phase = Phase::Asking { line: Line::default(), by: now + PATIENCE };
        let mut client = Client { stream, phase, said_all: false };
        let here = self.clients.values().filter(|client| !client.is_gone()).count();
        if here >= MAX_CLIENTS {
            let message = format!("{MAX_CLIENTS} connections are open already");
            return client.answer(Outcome::error("RequestLimitExceeded", message));
        }
        self.clients.insert(fd, client);
    }

    /// Sees to a client that something has happened to; what it asks for, if that is not the server's own affair.
    pub(super) fn event(&mut self, fd: RawFd, events: EventSet) -> Option<Action> {
        let client = self.clients.get_mut(&fd)?;
        if let (true, Phase::Console(screen)) = (events.contains(EventSet::OUT), &mut client.phase) {
            client.said_all |= screen.write().is_err();
        }
        let gone = EventSet::HANG_UP | EventSet::ERROR;
        // Who has given up was told that it was not done: so it is not. What was typed before leaving is.
        let unheard = events.intersects(gone) && matches!(client.phase, Phase::Asking { .. });
        let action = if events.intersects(EventSet::IN | gone) && !unheard { self.read(fd) } else { None };
        if events.intersects(gone) {
            self.lost(fd);
        }
        action
    }

    fn read(&mut self, fd: RawFd) -> Option<Action> {
        let client = self.clients.get_mut(&fd)?;
        let mut bytes = [0; 4096];
        let read = match rustix::io::read(&client.stream, &mut bytes) {
            Ok(0) => {
                client.said_all = true;
                &[]
            }
            Ok(count) => bytes.get(..count).unwrap_or_default(),
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Err(_) => {
                client.phase = Phase::Gone;
                return None;
            }
        };
        match &mut client.phase {
            Phase::Asking { line, .. } => {
                let action = match line.add(read) {
                    Ok(None) if client.said_all => {
                        client.phase = Phase::Gone;
                        return None;
                    }
                    Ok(None) => return None,
                    Ok(Some(taken)) => match parse_request(line.bytes()) {
                        Ok(Action::Console) => {
                            let typed = read.get(taken..).unwrap_or_default().to_vec();
                            self.attach(fd, &typed);
                            return None;
                        }
                        Ok(Action::Connect { port }) => {
                            self.connect(fd, port);
                            return None;
                        }
                        other => other,
                    },
                    Err(_) => Err(Outcome::error(
                        ami_run_catalog::control::UNSUPPORTED,
                        "this is no request of the control protocol: the line is too long",
                    )),
                };
                action.map_err(|refusal| client.answer(refusal)).ok()
            }
            Phase::Console(_) => {
                self.typed.extend_from_slice(read);
                None
            }
            // Nothing is to be said any more.
            Phase::Waiting if !read.is_empty() => {
                client.phase = Phase::Gone;
                None
            }
            Phase::Waiting | Phase::Gone => None,
        }
    }

    /// Gives a client its console: what was said last, and from now on all.
    fn attach(&mut self, fd: RawFd, typed: &[u8]) {
        let Some(client) = self.clients.get_mut(&fd) else { return };
        client.answer(Outcome::Done(true));
        match Screen::new(client.stream.as_fd()) {
            Ok(mut screen) if !client.is_gone() => {
                let (older, newer) = self.recent.as_slices();
                screen.show(older);
                screen.show(newer);
                client.said_all |= screen.write().is_err();
                client.phase = Phase::Console(screen);
                self.typed.extend_from_slice(typed);
            }
            _ => client.phase = Phase::Gone,
        }
    }

    /// Gives a client's connection to the guest's network, to lead to this port.
    fn connect(&mut self, fd: RawFd, port: u16) {
        let Some(client) = self.clients.get_mut(&fd) else { return };
        let Some(dialer) = &self.dialer else {
            return client.answer(Outcome::error("UnsupportedOperation", "The instance has no network."));
        };
        client.answer(Outcome::Done(true));
        if !client.is_gone() {
            let given = client.stream.try_clone().and_then(|stream| dialer.dial(stream.into(), port));
            if let Err(cause) = given {
                log::warn!("a connection to the guest's port {port} cannot be made: {cause}");
            }
        }
        client.phase = Phase::Gone;
    }

    /// What became of what a client asked for.
    pub(super) fn answer(&mut self, fd: RawFd, outcome: Outcome) {
        if let Some(client) = self.clients.get_mut(&fd) {
            client.answer(outcome);
        }
    }

    /// Shows all consoles what the guest said, after so many bytes that were lost.
    pub(super) fn show(&mut self, bytes: &[u8], lost: u64) {
        self.recent.extend(bytes);
        let over = self.recent.len().saturating_sub(BACKLOG);
        self.recent.drain(..over);
        for client in self.clients.values_mut() {
            if let Phase::Console(screen) = &mut client.phase {
                screen.lost(lost);
                screen.show(bytes);
                client.said_all |= screen.write().is_err();
            }
        }
    }

    /// Offers the guest what was typed; `to` says how much of it was taken.
    pub(super) fn offer(&mut self, to: impl FnOnce(&[u8]) -> usize) {
        if !self.typed.is_empty() {
            let taken = to(&self.typed);
            self.typed.drain(..taken.min(self.typed.len()));
        }
    }

    /// When to call [`Server::tick`] and [`Server::offer`] next.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let retry = (!self.typed.is_empty()).then(|| now + RETRY);
        let asking = self.clients.values().filter_map(Client::due).min();
        [self.rests, retry, asking].into_iter().flatten().min()
    }

    /// Closes who has not asked in time.
    pub(super) fn tick(&mut self, now: Instant) {
        self.rests.take_if(|until| *until <= now);
        for client in self.clients.values_mut().filter(|client| client.due().is_some_and(|by| by <= now)) {
            client.phase = Phase::Gone;
        }
    }

    /// Gives the consoles' readers a last moment, all of them together.
    pub(super) fn finish(&mut self, within: Duration) {
        let end = Instant::now() + within;
        for client in self.clients.values_mut() {
            if let Phase::Console(screen) = &mut client.phase {
                screen.finish(end.saturating_duration_since(Instant::now()));
            }
        }
    }
}

impl Client {
    fn is_gone(&self) -> bool {
        matches!(self.phase, Phase::Gone)
    }

    fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Asking { by, .. } => Some(by),
            _ => None,
        }
    }

    fn interest(&self, may_type: bool) -> EventSet {
        let reads = !self.said_all && (may_type || !matches!(self.phase, Phase::Console(_)));
        let writes = matches!(&self.phase, Phase::Console(screen) if screen.wants_event());
        let mut interest = EventSet::empty();
        interest.set(EventSet::IN, reads);
        interest.set(EventSet::OUT, writes);
        interest
    }

    /// Sends the one line that a client gets, and closes after an error. It has room: nothing was sent before.
    fn answer(&mut self, outcome: Outcome) {
        let is_error = matches!(outcome, Outcome::Error { .. });
        let line = answer_line(outcome).unwrap_or_default();
        let sent = self.stream.write(&line).is_ok_and(|sent| sent == line.len());
        self.phase = if sent && !is_error { Phase::Waiting } else { Phase::Gone };
    }
}

#[cfg(test)]
#[path = "server_test.rs"]
mod tests;
