//! The service on a TCP port of this computer: one thread that never waits for one client.

use crate::serve;
use crate::session::Signals;
use ami_run_metadata::{Answer, Connection, Now, Service};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{set_ip_ttl, set_ipv6_unicast_hops};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// More clients than these wait until one has gone.
const MOST: usize = 128;
/// How long an accept that this computer has no room for is put off.
const NO_ROOM: Duration = Duration::from_secs(1);

/// One client.
struct Client {
    socket: TcpStream,
    connection: Connection,
    /// What is yet to be sent.
    out: Vec<u8>,
    /// No answer will follow what is to be sent.
    last: bool,
}

enum Fate {
    Stays,
    Goes,
}

/// Serves until a signal comes, which it returns. `before` is called when somebody connects, before anything is
/// answered.
pub(super) fn serve(
    listener: &TcpListener,
    service: &mut Service,
    signals: &mut Signals,
    mut before: impl FnMut(&mut Service, Now),
) -> io::Result<i32> {
    let mut clients: Vec<Client> = Vec::new();
    let mut put_off: Option<Instant> = None;
    loop {
        let now = Now::read();
        put_off = put_off.filter(|until| now.instant < *until);
        clients.retain(|client| now.instant < client.connection.deadline());
        let listens = clients.len() < MOST && put_off.is_none();
        let ready = wait(signals, listens.then_some(listener), &clients, put_off)?;
        if let Some(signal) = serve::ending_signal(signals)? {
            return Ok(signal);
        }
        let now = Now::read();
        let mut ready = ready.into_iter();
        if ready.next() == Some(true) {
            match listener.accept() {
                Ok((socket, from)) => {
                    before(service, now);
                    clients.extend(Client::new(socket, from, now).ok());
                }
                Err(cause) if is_of_a_client(&cause) => {}
                Err(_) => put_off = now.instant.checked_add(NO_ROOM),
            }
        }
        // Who has just come is not among those that were waited for.
        let mut ready = ready.chain(std::iter::repeat(false));
        clients.retain_mut(|client| match ready.next() {
            Some(true) => matches!(client.go_on(service, now), Ok(Fate::Stays)),
            _ => true,
        });
    }
}

/// Whether each of listener and clients is ready. Ends at the next deadline, too.
fn wait(
    signals: &Signals,
    listener: Option<&TcpListener>,
    clients: &[Client],
    put_off: Option<Instant>,
) -> io::Result<Vec<bool>> {
    let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
    match listener {
        Some(listener) => fds.push(PollFd::new(listener, PollFlags::IN)),
        // In its place, so that the others have theirs.
        None => fds.push(PollFd::new(signals, PollFlags::empty())),
    }
    fds.extend(clients.iter().map(|client| {
        let wanted = if client.out.is_empty() { PollFlags::IN } else { PollFlags::OUT };
        PollFd::new(&client.socket, wanted)
    }));
    let deadlines = clients.iter().map(|client| client.connection.deadline()).chain(put_off);
    let patience = deadlines.min().map(|deadline| deadline.saturating_duration_since(Instant::now()));
    // A little late rather than many times too early.
    let patience = patience.map(|patience| patience + Duration::from_millis(1));
    let timeout = patience.map(Timespec::try_from).transpose().unwrap_or_default();
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(cause) => return Err(cause.into()),
    }
    Ok(fds.iter().skip(1).map(|fd| !fd.revents().is_empty()).collect())
}

/// An accept that failed because its client has gone again.
fn is_of_a_client(cause: &io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted)
}

impl Client {
    fn new(socket: TcpStream, from: SocketAddr, now: Now) -> io::Result<Client> {
        socket.set_nonblocking(true)?;
        // An answer is one write.
        socket.set_nodelay(true)?;
        log::debug!("{from} asks");
        Ok(Client { socket, connection: Connection::new(now.instant), out: Vec::new(), last: false })
    }

    /// Reads and answers, or goes on sending; never waits.
    fn go_on(&mut self, service: &mut Service, now: Now) -> io::Result<Fate> {
        if !self.out.is_empty() {
            return self.send();
        }
        let mut bytes = [0; 4096];
        let come = match self.socket.read(&mut bytes) {
            Err(cause) if is_of_a_client(&cause) => return Ok(Fate::Stays),
            come => come?,
        };
        if come == 0 {
            return Ok(Fate::Goes);
        }
        let mut come = bytes.get(..come).unwrap_or_default();
        while !come.is_empty() {
            let taken = self.connection.take(come, now.instant);
            come = come.get(taken..).unwrap_or_default();
            // What was sent in one go is answered in one go: each answer is to an earlier request.
            while let Some(answer) = self.connection.answer(service, now) {
                self.answered(answer)?;
            }
        }
        if self.out.is_empty() { Ok(Fate::Stays) } else { self.send() }
    }

    fn answered(&mut self, answer: Answer) -> io::Result<()> {
        if let Some(limit) = answer.hop_limit {
            match self.socket.local_addr()? {
                SocketAddr::V4(_) => set_ip_ttl(&self.socket, limit.into())?,
                SocketAddr::V6(_) => set_ipv6_unicast_hops(&self.socket, Some(limit))?,
            }
        }
        self.out.extend(answer.bytes);
        self.last = answer.close;
        Ok(())
    }

    fn send(&mut self) -> io::Result<Fate> {
        match self.socket.write(&self.out) {
            Ok(sent) => drop(self.out.drain(..sent)),
            Err(cause) if is_of_a_client(&cause) => {}
            Err(cause) => return Err(cause),
        }
        if self.last && self.out.is_empty() {
            // The client reads to the end; what it still sends is swallowed, or a reset would overtake the answer.
            self.socket.shutdown(Shutdown::Write)?;
        }
        Ok(Fate::Stays)
    }
}
