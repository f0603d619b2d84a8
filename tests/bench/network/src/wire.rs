//! How frames of the generated guest get to a network and back: our link, in this process, or another program's, by a
//! Unix socket on which each frame follows its length in four bytes, as QEMU's stream and passt have it.

use ami_run_network::{Config, Frame, Guest, Link as _, MAX_FRAME, Now, Offload, Resolvers, Takes, UserLink};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

pub(crate) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const READ: usize = 1 << 20;

pub(crate) enum Wire {
    Link { link: Box<UserLink>, frame: Box<Frame> },
    Socket { stream: UnixStream, come: Vec<u8>, out: Vec<u8> },
}

/// Who is who on the network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subnet {
    pub(crate) guest: Ipv4Addr,
    /// It leads to the host's loopback.
    pub(crate) router: Ipv4Addr,
    /// The longest payload that the guest gives at a time.
    pub(crate) longest: usize,
    pub(crate) offloads: bool,
}

pub(crate) const OURS: Subnet = Subnet {
    guest: Ipv4Addr::new(172, 31, 4, 66),
    router: Ipv4Addr::new(172, 31, 0, 1),
    longest: 62_727,
    offloads: true,
};

pub(crate) const SLIRP: Subnet = Subnet {
    guest: Ipv4Addr::new(10, 0, 2, 15),
    router: Ipv4Addr::new(10, 0, 2, 2),
    longest: 1460,
    offloads: false,
};

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

    pub(crate) fn socket(stream: UnixStream) -> io::Result<Wire> {
        stream.set_nonblocking(true)?;
        Ok(Wire::Socket { stream, come: Vec::new(), out: Vec::new() })
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
            Wire::Socket { stream, come, out } => {
                flush(stream, out)?;
                let before = come.len();
                come.resize(before + READ, 0);
                let count = match stream.read(come.get_mut(before..).unwrap_or_default()) {
                    Ok(0) => return Err(io::Error::other("the other program has hung up")),
                    Ok(count) => count,
                    Err(cause) if cause.kind() == ErrorKind::WouldBlock => 0,
                    Err(cause) => return Err(cause),
                };
                come.truncate(before + count);
                let mut rest = come.as_slice();
                while let Some((len, more)) = rest.split_first_chunk::<4>() {
                    let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
                    let Some((frame, more)) = more.split_at_checked(len) else { break };
                    hear(frame);
                    rest = more;
                }
                let taken = come.len() - rest.len();
                come.drain(..taken);
                Ok(count > 0)
            }
        }
    }

    /// Sleeps until something may have come.
    pub(crate) fn wait(&mut self, most: Duration) -> io::Result<()> {
        let most = Timespec { tv_sec: 0, tv_nsec: i64::from(most.subsec_nanos()) };
        match self {
            Wire::Link { link, .. } => poll(&mut [PollFd::new(&**link, PollFlags::IN)], Some(&most))?,
            Wire::Socket { stream, out, .. } => {
                flush(stream, out)?;
                poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&most))?
            }
        };
        Ok(())
    }
}

/// Gives the other program what it takes; the rest stays.
fn flush(stream: &mut UnixStream, out: &mut Vec<u8>) -> io::Result<()> {
    while !out.is_empty() {
        match stream.write(out) {
            Ok(count) => drop(out.drain(..count)),
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => break,
            Err(cause) => return Err(cause),
        }
    }
    Ok(())
}
