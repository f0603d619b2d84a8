//! A TAP interface of the host's, opened: frames behind virtio's header, which says what is left to do with them
//! (Linux, Documentation/networking/tuntap.rst; virtio 1.2, 5.1.6).
#![expect(unsafe_code, reason = "ioctls of /dev/net/tun")]

use crate::offload::{Checksum, Offload, Takes};
use crate::wire::{ETHERNET, IP};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{IntegerSetter, Opcode, Setter, Updater, ioctl, opcode};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use zerocopy::native_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const DEVICE: &str = "/dev/net/tun";
/// Bytes of an interface's name, with the zero behind it.
const NAME: usize = 16;

/// Why an interface cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    #[error("{0:?} is no name of a network interface: 1 to 15 characters, none of them / or a space")]
    Name(String),
    #[error(
        "there is no network interface {0}; make it: sudo ip tuntap add {0} mode tap user $USER && sudo ip link set {0} up"
    )]
    Absent(String),
    #[error(
        "the network interface {0} is no TAP interface with one queue; make one: sudo ip tuntap add NAME mode tap user $USER"
    )]
    Another(String),
    #[error("the network interface {0} is in use by another program; an interface is for one instance")]
    Busy(String),
    #[error(
        "no permission for the network interface {0}; make it this user's: sudo ip tuntap add {0} mode tap user $USER"
    )]
    NotOurs(String),
    #[error("no permission for {DEVICE}; allow it: sudo chmod 666 {DEVICE}")]
    Permission,
    #[error("this host makes no TAP interfaces: there is no {DEVICE}; load its module: sudo modprobe tun")]
    Unsupported,
    #[error("the network interface {name} cannot be used: {cause}")]
    Host { name: String, cause: Errno },
}

impl TapError {
    fn of_device(name: &str, cause: Errno) -> TapError {
        match cause {
            Errno::ACCESS | Errno::PERM => TapError::Permission,
            Errno::NOENT | Errno::NODEV | Errno::NXIO => TapError::Unsupported,
            cause => TapError::Host { name: name.to_owned(), cause },
        }
    }

    fn of_interface(name: &str, cause: Errno) -> TapError {
        let name = name.to_owned();
        match cause {
            Errno::INVAL => TapError::Another(name),
            Errno::BUSY => TapError::Busy(name),
            Errno::PERM | Errno::ACCESS => TapError::NotOurs(name),
            cause => TapError::Host { name, cause },
        }
    }
}

/// Linux's `struct ifreq`, as far as it matters here.
#[repr(C)]
struct Request {
    name: [u8; NAME],
    flags: u16,
    rest: [u8; 22],
}

impl Request {
    fn new(name: &str, flags: u16) -> Request {
        let mut request = Request { name: [0; NAME], flags, rest: [0; 22] };
        for (to, from) in request.name.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        request
    }
}

/// What stands before each frame.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    flags: u8,
    kind: u8,
    headers: U16,
    segment: U16,
    start: U16,
    offset: U16,
    buffers: U16,
}

/// Of `Header::flags`.
const NEEDS_CHECKSUM: u8 = 1;
/// Of `Header::kind`.
const WHOLE: u8 = 0;
const TCP_OVER_IPV4: u8 = 1;

#[derive(Debug)]
pub(super) struct Device(OwnedFd);

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Device {
    /// Opens the interface of this name, which there must be; and its MTU.
    pub(super) fn open(name: &str) -> Result<(Device, u16), TapError> {
        let bad = name.is_empty()
            || name.len() >= NAME
            || matches!(name, "." | "..")
            || name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace());
        if bad {
            return Err(TapError::Name(name.to_owned()));
        }
        // The next call would make one, where this process may.
        let mtu = mtu(name)?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(DEVICE, flags, Mode::empty())
            .map_err(|cause| TapError::of_device(name, cause))?;
        attach(&fd, name).map_err(|cause| TapError::of_interface(name, cause))?;
        Ok((Device(fd), mtu))
    }

    /// What may be left to do with the frames that the host sends.
    pub(super) fn begin(&self, takes: Takes) -> Result<(), Errno> {
        /// TUNSETOFFLOAD, and its flags TUN_F_CSUM and TUN_F_TSO4.
        const OFFLOAD: Opcode = opcode::write::<u32>(b'T', 208);
        const CHECKSUM: usize = 1;
        const SEGMENTS: usize = 2;
        let flags = match takes {
            Takes { checksum: true, segments: true } => CHECKSUM | SEGMENTS,
            Takes { checksum: true, segments: false } => CHECKSUM,
            _ => 0,
        };
        // SAFETY: this call takes its argument as a number.
        let flags = unsafe { IntegerSetter::<OFFLOAD>::new_usize(flags) };
        // SAFETY: it touches no memory of this process.
        unsafe { ioctl(&self.0, flags) }
    }

    pub(super) fn send(&self, frame: &[u8], offload: Offload) -> Result<(), Errno> {
        let header = header(frame, offload).ok_or(Errno::INVAL)?;
        rustix::io::writev(&self.0, &[IoSlice::new(header.as_bytes()), IoSlice::new(frame)]).map(|_| ())
    }

    /// The next frame; None: its header makes no sense.
    pub(super) fn receive(&self, frame: &mut [u8]) -> Result<Option<(usize, Offload)>, Errno> {
        let mut header = Header::default();
        let parts = &mut [IoSliceMut::new(header.as_mut_bytes()), IoSliceMut::new(frame)];
        let len = rustix::io::readv(&self.0, parts)?;
        Ok(len.checked_sub(size_of::<Header>()).zip(offload(header)))
    }
}

fn header(frame: &[u8], offload: Offload) -> Option<Header> {
    let Some(Checksum { start, offset }) = offload.checksum else {
        return offload.segment.is_none().then(Header::default);
    };
    let mut header =
        Header { flags: NEEDS_CHECKSUM, start: start.into(), offset: offset.into(), ..Header::default() };
    if let Some(segment) = offload.segment {
        // Where TCP's header ends, as it says itself (RFC 9293, 3.1).
        let length = frame.get(usize::from(start).checked_add(12)?)? >> 4;
        header.headers = start.checked_add(u16::from(length).checked_mul(4)?)?.into();
        (header.kind, header.segment) = (TCP_OVER_IPV4, segment.into());
    }
    Some(header)
}

fn offload(header: Header) -> Option<Offload> {
    let checksum = (header.flags & NEEDS_CHECKSUM != 0)
        .then(|| Checksum { start: header.start.get(), offset: header.offset.get() });
    let segment = match header.kind {
        WHOLE => None,
        TCP_OVER_IPV4 if checksum.is_some_and(|sum| usize::from(sum.start) >= ETHERNET + IP) => {
            Some(header.segment.get())
        }
        _ => return None,
    };
    Some(Offload { checksum, segment })
}

fn mtu(name: &str) -> Result<u16, TapError> {
    /// SIOCGIFMTU.
    const MTU: Opcode = 0x8921;
    let failed = |cause| match cause {
        Errno::NODEV => TapError::Absent(name.to_owned()),
        cause => TapError::Host { name: name.to_owned(), cause },
    };
    let any = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let fd = any.map_err(failed)?;
    let mut request = Request::new(name, 0);
    // SAFETY: this call reads and writes a whole ifreq, as `Request` is.
    let call = unsafe { Updater::<MTU, Request>::new(&mut request) };
    // SAFETY: it does not keep the address.
    unsafe { ioctl(fd, call) }.map_err(failed)?;
    // An int stands where the flags do.
    let ([a, b], [c, d, ..]) = (request.flags.to_ne_bytes(), request.rest);
    Ok(u16::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or(u16::MAX))
}

fn attach(fd: &OwnedFd, name: &str) -> Result<(), Errno> {
    /// TUNSETIFF and TUNSETVNETHDRSZ.
    const INTERFACE: Opcode = opcode::write::<i32>(b'T', 202);
    const HEADER_SIZE: Opcode = opcode::write::<i32>(b'T', 216);
    /// IFF_TAP, IFF_NO_PI, IFF_VNET_HDR.
    const FLAGS: u16 = 0x0002 | 0x1000 | 0x4000;
    let mut request = Request::new(name, FLAGS);
    let size = i32::try_from(size_of::<Header>()).unwrap_or(0);
    // SAFETY: this call reads and writes a whole ifreq, of which `Request` has the size (40 bytes on every 64-bit Linux)
    // and the layout.
    let interface = unsafe { Updater::<INTERFACE, Request>::new(&mut request) };
    // SAFETY: it does not keep the address.
    unsafe { ioctl(fd, interface) }?;
    // SAFETY: this call reads an int.
    let size = unsafe { Setter::<HEADER_SIZE, i32>::new(size) };
    // SAFETY: it does not keep the address.
    unsafe { ioctl(fd, size) }
}

const _: () = assert!(size_of::<Request>() == 40 && size_of::<Header>() == 12);
