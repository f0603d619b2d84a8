//! The server: takes connections, a bounded number at once, each with a thread of its own that ends with it.

use super::connection;
use super::handshake::About;
use crate::{Completion, Op, Request, Volume};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

/// nbdcopy makes four, the kernel's client up to sixteen.
const MAX_CONNECTIONS: usize = 16;

/// A volume as clients are to see it.
#[derive(Debug)]
pub struct Export {
    pub volume: Volume,
    pub read_only: bool,
    /// In a few words, for clients that show them.
    pub description: String,
}

/// Serves until it is dropped or [stopped](Server::stop).
#[derive(Debug)]
pub struct Server {
    volume: Volume,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(listener: UnixListener, export: Export) -> io::Result<Server> {
        listener.set_nonblocking(true)?;
        let stop = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let volume = export.volume.clone();
        let about =
            About { size: volume.size(), read_only: export.read_only, description: export.description };
        let accept = Accept { listener, volume: export.volume, about, stop: Arc::clone(&stop) };
        let thread = Builder::new().name("nbd".to_owned()).spawn(move || accept.run())?;
        Ok(Server { volume, stop, thread: Some(thread) })
    }

    /// Ends all connections, after the requests that they have begun, and flushes the volume.
    pub fn stop(mut self) -> io::Result<()> {
        self.end();
        flush(&self.volume)
    }

    fn end(&mut self) {
        // It cannot fail but by 2^64 ends before it.
        rustix::io::write(&self.stop, &1u64.to_ne_bytes()).unwrap_or_default();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the NBD server's thread ended by a bug");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end();
        }
    }
}

fn flush(volume: &Volume) -> io::Result<()> {
    let (mut queue, mut done) = (volume.queue(), Vec::<Completion>::new());
    let flush = Request { id: 0, op: Op::Flush, offset: 0, len: 0, durable: false, buffers: None };
    queue.submit(&mut vec![flush]);
    queue.run_out(&mut done)?;
    match done.first() {
        Some(Completion { result: Ok(()), .. }) => Ok(()),
        _ => Err(io::Error::other("the volume could not be flushed")),
    }
}

struct Accept {
    listener: UnixListener,
    volume: Volume,
    about: About,
    stop: Arc<OwnedFd>,
}

impl Accept {
    fn run(&self) {
        let mut connections: Vec<JoinHandle<()>> = Vec::new();
        while !self.stopped(true) {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let (ended, rest) = connections.into_iter().partition(JoinHandle::is_finished);
                    join(ended);
                    connections = rest;
                    self.welcome(stream, &mut connections);
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
                Err(cause) => {
                    log::warn!("cannot take an NBD connection: {cause}");
                    // Most likely too many files are open: somebody has to close one.
                    if self.stopped(false) {
                        break;
                    }
                }
            }
        }
        join(connections);
    }

    /// Waits for a client, or else for a moment. True: the server ends.
    fn stopped(&self, client: bool) -> bool {
        let moment = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let stop = PollFd::new(&self.stop, PollFlags::IN);
        let mut fds = [stop, PollFd::new(&self.listener, PollFlags::IN)];
        let (used, timeout) = if client { (2, None) } else { (1, Some(&moment)) };
        // Interrupted is as good as nothing new.
        poll(fds.get_mut(..used).unwrap_or_default(), timeout).unwrap_or_default();
        let [stop, _] = &fds;
        !stop.revents().is_empty()
    }

    fn welcome(&self, stream: UnixStream, connections: &mut Vec<JoinHandle<()>>) {
        if connections.len() >= MAX_CONNECTIONS {
            log::info!("closing an NBD connection: there are {MAX_CONNECTIONS} already");
            return;
        }
        let (volume, about, stop) = (self.volume.clone(), self.about.clone(), Arc::clone(&self.stop));
        let serve = move || {
            if let Err(cause) = connection::serve(stream, &volume, about, stop.as_fd()) {
                log::warn!("an NBD connection has ended: {cause}");
            }
        };
        match Builder::new().name("nbd-client".to_owned()).spawn(serve) {
            Ok(thread) => connections.push(thread),
            Err(cause) => log::warn!("cannot take an NBD connection: {cause}"),
        }
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            log::error!("an NBD connection's thread ended by a bug");
        }
    }
}
