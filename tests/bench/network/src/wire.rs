//! How frames of the generated guest get to a network and back: our link, in this process, or another program's, by a
//! Unix socket on which each frame follows its length in four bytes, as QEMU's stream and passt have it.

use ami_run_network::{Config, Frame, Guest, Link as _, MAX_FRAME, Now, Offload, Resolvers, Takes, UserLink};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

pub(crate) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Many frames of any length.
const COME: usize = 1 << 20;

pub(crate) enum Wire {
    Link {
        link: Box<UserLink>,
        frame: Box<Frame>,
    },
    Socket {
        stream: UnixStream,
        /// What came and is no whole frame yet is at the front of it.
        come: Box<[u8]>,
        filled: usize,
        out: Vec<u8>,
        /// No frame may come to the other program in pieces.
        whole: bool,
    },
}

/// Who is who on the network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subnet {
    pub(crate) guest: Ipv4Addr,
    /// It leads to the host's loopback.
    pub(crate) router: Ipv4Addr,
    /// The longest payload that the guest gives at a time.
    pub(crate) longest: usize,
    /// The longest payload of a segment that the guest takes.
    pub(crate) segment: u16,
    pub(crate) offloads: bool,
}

pub(crate) const OURS: Subnet = Subnet {
    guest: Ipv4Addr::new(172, 31, 4, 66),
    router: Ipv4Addr::new(172, 31, 0, 1),
    longest: 62_727,
    segment: 8961,
    offloads: true,
};

pub(crate) const SLIRP: Subnet = Subnet {
    guest: Ipv4Addr::new(10, 0, 2, 15),
    router: Ipv4Addr::new(10, 0, 2, 2),
    longest: 1460,
    segment: 1460,
    offloads: false,
};

/// Its segments are as long as its MTU allows, 65,520 bytes: what it has in place of offloads.
pub(crate) const PASST: Subnet = Subnet { longest: 65_480, segment: 65_480, ..SLIRP };

impl Wire {
    pub(crate) fn link() -> io::Result<Wire> {
        let guest = Guest {
            mac: MAC,
            address: OURS.guest,
            prefix: 20,
            ipv6: None,
            host_name: "ip-172-31-4-66".to_owned(),
            domain: "ec2.internal".to_owned(),
        };
        let resolvers = Resolvers::These(Vec::new());
        let config =
            Config { guest, resolvers, services: Vec::new(), forwards: Vec::new(), host_loopback: true };
        let mut link = UserLink::new(config).map_err(io::Error::other)?;
        link.begin(Takes { checksum: true, segments: true });
        let frame =
            vec![0; MAX_FRAME].into_boxed_slice().try_into().map_err(|_| io::Error::other("a frame"))?;
        Ok(Wire::Link { link: Box::new(link), frame })
    }

    pub(crate) fn socket(stream: UnixStream, whole: bool) -> io::Result<Wire> {
        stream.set_nonblocking(true)?;
        Ok(Wire::Socket { stream, come: vec![0; COME].into_boxed_slice(), filled: 0, out: Vec::new(), whole })
    }

    pub(crate) fn send(&mut self, bytes: &[u8], offload: Offload) {
        match self {
            Wire::Link { link, .. } => link.send(bytes, offload, Now::read()),
            Wire::Socket { out, .. } => {
                out.extend(u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes());
                out.extend(bytes);
            }
        }
    }

    /// Hands over every frame that came. False: there was none.
    pub(crate) fn receive(&mut self, mut hear: impl FnMut(&[u8])) -> io::Result<bool> {
        match self {
            Wire::Link { link, frame } => {
                let now = Now::read();
                let mut any = link.poll(now);
                while let Some((len, _)) = link.receive(frame, now) {
                    any = true;
                    hear(frame.get(..len).unwrap_or_default());
                }
                Ok(any)
            }
            Wire::Socket { stream, come, filled, out, whole } => {
                flush(stream, out, *whole)?;
                let count = match stream.read(come.get_mut(*filled..).unwrap_or_default()) {
                    Ok(0) => return Err(io::Error::other("the other program has hung up")),
                    Ok(count) => count,
                    Err(cause) if cause.kind() == ErrorKind::WouldBlock => 0,
                    Err(cause) => return Err(cause),
                };
                let end = *filled + count;
                let mut rest = come.get(..end).unwrap_or_default();
                while let Some((len, more)) = rest.split_first_chunk::<4>() {
                    let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
                    let Some((frame, more)) = more.split_at_checked(len) else { break };
                    hear(frame);
                    rest = more;
                }
                *filled = rest.len();
                come.copy_within(end - *filled..end, 0);
                Ok(count > 0)
            }
        }
    }

    /// Sleeps until something may have come.
    pub(crate) fn wait(&mut self, most: Duration) -> io::Result<()> {
        let most = Timespec { tv_sec: 0, tv_nsec: i64::from(most.subsec_nanos()) };
        match self {
            Wire::Link { link, .. } => poll(&mut [PollFd::new(&**link, PollFlags::IN)], Some(&most))?,
            Wire::Socket { stream, out, whole, .. } => {
                flush(stream, out, *whole)?;
                let room = if out.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
                poll(&mut [PollFd::new(stream, PollFlags::IN | room)], Some(&most))?
            }
        };
        Ok(())
    }
}

/// Gives the other program what it takes; the rest stays.
fn flush(stream: &mut UnixStream, out: &mut Vec<u8>, whole: bool) -> io::Result<()> {
    let mut gone = 0;
    while let Some(rest) = out.get(gone..).filter(|rest| !rest.is_empty()) {
        let rest = if whole { first_frame(rest) } else { rest };
        if whole && !has_room(stream)? {
            break;
        }
        match stream.write(rest) {
            Ok(count) if whole && count < rest.len() => return Err(io::Error::other("a frame was torn")),
            Ok(count) => gone += count,
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => break,
            Err(cause) => return Err(cause),
        }
    }
    out.drain(..gone);
    Ok(())
}

/// With its length before it.
fn first_frame(out: &[u8]) -> &[u8] {
    let len = out.first_chunk().map_or(0, |len| u32::from_be_bytes(*len));
    out.get(..4 + usize::try_from(len).unwrap_or(0)).unwrap_or(out)
}

/// A Unix socket says so while a quarter of its buffer is in use at most, and the longest frame fits in the rest.
fn has_room(stream: &UnixStream) -> io::Result<bool> {
    Ok(poll(&mut [PollFd::new(stream, PollFlags::OUT)], Some(&Timespec::default()))? > 0)
}
