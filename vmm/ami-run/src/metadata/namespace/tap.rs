//! The namespace's interface: made in it, handed out of it.
#![expect(unsafe_code, reason = "TUNSETIFF is an ioctl")]

use rustix::fs::{Mode, OFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::ffi::c_short;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

pub(super) const DEVICE: &str = "/dev/net/tun";
pub(super) const NAME: &str = "eth0";

pub(super) fn open() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(DEVICE, flags, Mode::empty())?)
}

/// Makes the device an interface of this namespace. Frames have no header of the kernel's, and are whole.
pub(super) fn attach(tap: &OwnedFd) -> io::Result<()> {
    let flags = c_short::try_from(libc::IFF_TAP | libc::IFF_NO_PI).unwrap_or_default();
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(NAME.bytes()) {
        *to = from.cast_signed() as libc::c_char;
    }
    let request =
        libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags } };
    // SAFETY: the request is whole, and outlives the call.
    let failed = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw const request) } < 0;
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Hands the interface to who is at the socket's other end.
pub(super) fn send(socket: &OwnedFd, tap: &OwnedFd) -> io::Result<()> {
    let fds = [tap.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for the interface. None: the other end has gone without one.
pub(super) fn receive(socket: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    }))
}

/// Lets who has sent the interface go on.
pub(super) fn go(socket: &OwnedFd) -> io::Result<()> {
    rustix::net::send(socket, &[0], SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits until who has the interface says so.
pub(super) fn wait(socket: &OwnedFd) -> io::Result<()> {
    let (_, length) =
        rustix::io::retry_on_intr(|| rustix::net::recv(socket, &mut [0; 1][..], RecvFlags::empty()))?;
    if length == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}
