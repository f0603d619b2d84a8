//! Passes bytes on from one descriptor to another.
//!
//! std's `io::copy` splices where it can, and Linux keeps a pipe locked while it waits for a socket to splice from
//! (fs/splice.c, `splice_file_to_pipe`): who reads that pipe waits for what the socket's other side sends next, though
//! there is something in the pipe. So nothing is spliced here.

use super::wait::wait;
use rustix::event::PollFlags;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;

/// Until `from` has ended. Whoever shares them with this program may have made them non-blocking.
pub(super) fn pass(mut from: impl Read + AsFd, mut to: impl Write + AsFd) -> io::Result<()> {
    let mut bytes = [0; 16 << 10];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => write_all(&mut to, bytes.get(..count).unwrap_or_default())?,
            Err(cause) => ready_again(cause, &from, PollFlags::IN)?,
        }
    }
}

fn write_all(to: &mut (impl Write + AsFd), mut left: &[u8]) -> io::Result<()> {
    while !left.is_empty() {
        match to.write(left) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => left = left.get(count..).unwrap_or_default(),
            Err(cause) => ready_again(cause, to, PollFlags::OUT)?,
        }
    }
    Ok(())
}

/// Waits until what could not be done can be; any other error stays one.
fn ready_again(cause: io::Error, of: &impl AsFd, flags: PollFlags) -> io::Result<()> {
    match cause.kind() {
        ErrorKind::Interrupted => Ok(()),
        ErrorKind::WouldBlock => wait(&[(of.as_fd(), flags)], None).map(drop),
        _ => Err(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::channel;
    use std::thread::JoinHandle;
    use std::time::Duration;

    const BOUND: Duration = Duration::from_secs(60);

    fn thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        std::thread::Builder::new().name("passes".to_owned()).spawn(work).unwrap()
    }

    #[test]
    fn a_pipe_s_reader_gets_what_there_is_while_the_socket_says_nothing() {
        let (mut guest, ours) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let (heard, hears) = channel();
        thread(move || pass(&ours, &writer));
        thread(move || {
            let mut byte = [0];
            while reader.read(&mut byte).unwrap() > 0 {
                heard.send(byte[0]).unwrap();
            }
        });
        for said in [b'a', b'b', b'c'] {
            guest.write_all(&[said]).unwrap();
            assert_eq!(hears.recv_timeout(BOUND), Ok(said));
        }
        drop(guest);
        assert!(hears.recv_timeout(BOUND).is_err(), "the pipe ends with the socket");
    }

    #[test]
    fn neither_side_needs_to_block() {
        let (mut near, from) = UnixStream::pair().unwrap();
        let (to, mut far) = UnixStream::pair().unwrap();
        from.set_nonblocking(true).unwrap();
        to.set_nonblocking(true).unwrap();
        let passed = thread(move || pass(&from, &to));
        let said = vec![b'x'; 1 << 20];
        let sent = said.clone();
        let says = thread(move || near.write_all(&sent));
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).unwrap();
        assert!(heard == said);
        says.join().unwrap().unwrap();
        passed.join().unwrap().unwrap();
    }
}
