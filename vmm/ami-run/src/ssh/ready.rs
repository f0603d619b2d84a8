//! Whether a guest's SSH server answers: it is asked for its greeting now and then.

use super::wait::{Event, wait};
use rustix::event::PollFlags;
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::OnceLock;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two attempts.
pub(super) const AGAIN: Duration = Duration::from_millis(500);
/// How long one attempt may take: a guest that has just booted starts its server's processes slowly.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Lines may come before the server's version (RFC 4253 §4.2), and no server sends nearly as many.
const MOST: usize = 1024;

/// What came of listening for a greeting.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// All that the server has said so far.
    Heard(Vec<u8>),
    /// The connection has ended, or nothing was said in time, or nothing that an SSH server says.
    Nothing,
    Stopped,
}

/// Listens for a server's greeting, until `until` or `stop`.
pub(super) fn listen(
    mut stream: &UnixStream,
    stop: (BorrowedFd<'_>, PollFlags),
    until: Instant,
) -> io::Result<Greeting> {
    let mut heard = Vec::new();
    loop {
        match wait(&[stop, (stream.as_fd(), PollFlags::IN)], Some(until))? {
            Some(0) => return Ok(Greeting::Stopped),
            Some(_) => {}
            None => return Ok(Greeting::Nothing),
        }
        let mut bytes = [0; 256];
        match stream.read(&mut bytes) {
            Ok(0) => return Ok(Greeting::Nothing),
            Ok(count) => heard.extend_from_slice(bytes.get(..count).unwrap_or_default()),
            Err(cause) if matches!(cause.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(_) => return Ok(Greeting::Nothing),
        }
        if heard.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"SSH-")) {
            return Ok(Greeting::Heard(heard));
        }
        if heard.len() >= MOST {
            return Ok(Greeting::Nothing);
        }
    }
}

/// Asks a guest until its SSH server answers. It is ready to be read when that was seen.
#[derive(Debug)]
pub(crate) struct Probe {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: Event,
    done: Event,
    seen: OnceLock<Instant>,
}

impl Probe {
    /// `dial` connects to the guest's port: an end of a connection that carries its bytes.
    pub(crate) fn start(dial: impl Fn() -> io::Result<UnixStream> + Send + 'static) -> io::Result<Probe> {
        let shared = Arc::new(Shared { stop: Event::new()?, done: Event::new()?, seen: OnceLock::new() });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("ssh-probe".to_owned()).spawn(move || {
            if let Err(cause) = of_thread.ask(dial) {
                log::warn!("it is not seen when SSH is ready: {cause}");
            }
        })?;
        Ok(Probe { shared, thread: Some(thread) })
    }

    /// When the server was seen.
    pub(crate) fn seen(&self) -> Option<Instant> {
        self.shared.seen.get().copied()
    }
}

impl Shared {
    fn ask(&self, dial: impl Fn() -> io::Result<UnixStream>) -> io::Result<()> {
        let stop = (self.stop.as_fd(), PollFlags::IN);
        loop {
            let now = Instant::now();
            let greeting = match dial() {
                Ok(stream) => listen(&stream, stop, now + PATIENCE)?,
                Err(cause) => {
                    log::debug!("SSH is not reached: {cause}");
                    Greeting::Nothing
                }
            };
            match greeting {
                Greeting::Heard(_) => {
                    self.seen.get_or_init(Instant::now);
                    self.done.happen();
                    return Ok(());
                }
                Greeting::Stopped => return Ok(()),
                Greeting::Nothing if wait(&[stop], Some(Instant::now() + AGAIN))?.is_some() => return Ok(()),
                Greeting::Nothing => {}
            }
        }
    }
}

impl AsFd for Probe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.done.as_fd()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.shared.stop.happen();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that asks for SSH has panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const BOUND: Duration = Duration::from_secs(60);

    fn said(words: &[u8]) -> Greeting {
        let (mut guest, ours) = UnixStream::pair().unwrap();
        guest.write_all(words).unwrap();
        drop(guest);
        let stop = Event::new().unwrap();
        listen(&ours, (stop.as_fd(), PollFlags::IN), Instant::now() + BOUND).unwrap()
    }

    #[test]
    fn only_a_server_s_version_is_a_greeting() {
        for words in [&b"SSH-2.0-x\r\n"[..], b"hello\r\nSSH-2.0-x"] {
            assert_eq!(said(words), Greeting::Heard(words.to_vec()));
        }
        for words in [&b""[..], b"HTTP/1.1 400\r\n", b"x SSH-2.0", &[b'\n'; 5000]] {
            assert_eq!(said(words), Greeting::Nothing);
        }
    }

    #[test]
    fn it_asks_until_the_server_answers_and_no_more() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        // First nobody is there, then nobody listens, then the server answers.
        let probe = Probe::start(move || match count.fetch_add(1, Ordering::SeqCst) {
            0 => Err(ErrorKind::ConnectionRefused.into()),
            1 => UnixStream::pair().map(|(_, ours)| ours),
            _ => {
                let (mut guest, ours) = UnixStream::pair()?;
                guest.write_all(b"SSH-2.0-OpenSSH_9.2\r\n")?;
                Ok(ours)
            }
        });
        let probe = probe.unwrap();
        let ready = wait(&[(probe.as_fd(), PollFlags::IN)], Some(Instant::now() + BOUND)).unwrap();
        assert_eq!(ready, Some(0));
        assert!(probe.seen().is_some());
        drop(probe);
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn it_ends_while_a_guest_says_nothing() {
        let (guest, ours) = UnixStream::pair().unwrap();
        let (dialled, seen) = std::sync::mpsc::channel();
        let probe = Probe::start(move || {
            dialled.send(()).map_err(io::Error::other)?;
            ours.try_clone()
        });
        let probe = probe.unwrap();
        seen.recv_timeout(BOUND).unwrap();
        drop(probe);
        drop(guest);
    }
}
