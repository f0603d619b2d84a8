//! The socket in an instance's folder: who listens there, and who asks.
//!
//! A socket's path has 108 bytes at most, and state folders may be deep: so the folder is opened, and the socket is
//! reached by its descriptor's name in /proc.

use super::{Action, BadAnswer, Line, Outcome, SOCKET, UNSUPPORTED, parse_answer, request_line};
use crate::error::CatalogError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Mode, OFlags, fchmod, open, unlinkat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// How many clients may stand at the door at once.
const WAITING: i32 = 64;

/// Between two attempts to connect.
const AGAIN: Duration = Duration::from_millis(5);
/// How long an answer is waited for. It takes no time, unless the process was suspended or the host is in trouble.
const PATIENCE: Duration = Duration::from_secs(5);

/// The codes of errors that a server answers with.
const CODES: [&str; 6] = [
    "IncorrectInstanceState",
    "InvalidParameterValue",
    "OperationNotPermitted",
    "RequestLimitExceeded",
    "UnsupportedOperation",
    UNSUPPORTED,
];
/// What any other code counts as.
const OTHER_CODE: &str = "InternalError";

/// To the process that runs an instance's machine.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    /// The instance.
    id: String,
}

impl Connection {
    /// Connects to the instance of this folder. That nobody listens there is an error of the kinds NotFound and
    /// ConnectionRefused; where many stand at the door, it waits for as long as an answer may take.
    pub fn connect(folder: &Path) -> io::Result<Connection> {
        let (_open, address) = address(folder)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let asked = Instant::now();
        loop {
            match rustix::net::connect(&socket, &address) {
                Err(Errno::AGAIN) if asked.elapsed() < PATIENCE => std::thread::sleep(AGAIN),
                connected => break connected?,
            }
        }
        let stream = UnixStream::from(socket);
        stream.set_nonblocking(false)?;
        let id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Connection { stream, id })
    }

    /// Asks, and waits for the answer, some seconds at most. One connection carries one question.
    pub fn ask(&mut self, action: Action) -> Result<Outcome, CatalogError> {
        self.ask_within(action, PATIENCE)
    }

    /// Asks, and waits for the answer so long at most.
    pub fn ask_within(&mut self, action: Action, within: Duration) -> Result<Outcome, CatalogError> {
        let no_answer = |source: io::Error| CatalogError::NoAnswer { id: self.id.clone(), source };
        let line = request_line(action)
            .map_err(io::Error::from)
            .and_then(|line| exchange(&mut self.stream, &line, within))
            .map_err(no_answer)?;
        match parse_answer(&line) {
            Ok(Outcome::Error { code, message }) => Err(refused(&code, message)),
            Ok(outcome) => Ok(outcome),
            Err(BadAnswer::Version(version)) => Err(CatalogError::Protocol { id: self.id.clone(), version }),
            Err(BadAnswer::Unreadable(cause)) => Err(no_answer(cause.into())),
        }
    }

    /// Waits until the process has closed the connection, because its machine has ended; so long at most, if there
    /// is a bound. Whether it has.
    pub fn wait_for_end(&mut self, within: Option<Duration>) -> io::Result<bool> {
        let end = within.and_then(|within| Instant::now().checked_add(within));
        let mut nothing = [0; 64];
        loop {
            if !readable(&self.stream, end)? {
                return Ok(false);
            }
            match self.stream.read(&mut nothing) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(cause) if is_end(&cause) => return Ok(true),
                Err(cause) => return Err(cause),
            }
        }
    }

    /// After [`Action::Console`]'s answer: the console.
    #[must_use]
    pub fn into_stream(self) -> UnixStream {
        self.stream
    }
}

/// Listens in this folder, in the place of what a dead process has left there. Nobody else can connect at any time,
/// and no other process may be listening: who calls this holds the instance's lock.
pub fn listen(folder: &Path) -> io::Result<UnixListener> {
    let (open, address) = address(folder)?;
    match unlinkat(&open, SOCKET, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(cause) => return Err(cause.into()),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Linux gives the file the socket's own mode (net/unix/af_unix.c, unix_bind_bsd): no moment is open to others.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, WAITING)?;
    Ok(UnixListener::from(socket))
}

/// The socket's address, and the folder's descriptor, which it is good as long as.
fn address(folder: &Path) -> io::Result<(OwnedFd, SocketAddrUnix)> {
    let open = open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", open.as_raw_fd()))?;
    Ok((open, address))
}

/// Sends a line, and reads one.
fn exchange(stream: &mut UnixStream, line: &[u8], within: Duration) -> io::Result<Vec<u8>> {
    let end = Instant::now().checked_add(within);
    stream.set_write_timeout(Some(within.max(Duration::from_millis(1))))?;
    // A server that refuses all of its clients may have answered and closed already: its answer counts.
    match stream.write_all(line) {
        Ok(()) => {}
        Err(cause) if is_end(&cause) => {}
        Err(cause) => return Err(late(cause)),
    }
    // What the connection carries behind the answer may stand as long as it likes.
    stream.set_write_timeout(None)?;
    let mut answer = Line::default();
    loop {
        if !readable(stream, end)? {
            return Err(ErrorKind::TimedOut.into());
        }
        // Byte by byte: behind the line is the console, which is somebody else's to read.
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => match answer.add(&byte) {
                Ok(Some(_)) => return Ok(answer.bytes().to_owned()),
                Ok(None) => {}
                Err(_) => return Err(io::Error::new(ErrorKind::InvalidData, "its answer has no end")),
            },
            Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
            Err(cause) if is_end(&cause) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(cause) => return Err(cause),
        }
    }
}

/// The other side has closed, and may have left something unread.
fn is_end(cause: &io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

/// A write that has run out of time says WouldBlock.
fn late(cause: io::Error) -> io::Error {
    if cause.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { cause }
}

/// Waits until there is something to read, or its end; false: not in time.
fn readable(stream: &UnixStream, end: Option<Instant>) -> io::Result<bool> {
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let left =
            left.map(|left| Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 }));
        match poll(&mut [PollFd::new(stream, PollFlags::IN)], left.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
}

fn refused(code: &str, message: String) -> CatalogError {
    let known = CODES.into_iter().find(|known| *known == code);
    CatalogError::refused(known.unwrap_or(OTHER_CODE), message)
}

#[cfg(test)]
#[path = "client_test.rs"]
mod tests;
