//! Addresses, routes and links of this network namespace, by rtnetlink(7): three messages, each of which is answered.
//! By hand, since no crate that the product uses has them and those that do bring many more.

use super::station::Route;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice, recv, send, socket_with,
};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

/// nlmsghdr: length, kind, flags, number, port.
const HEADER: usize = 16;
const LOOPBACK: u32 = 1;
const UP: u32 = libc::IFF_UP.cast_unsigned();

#[derive(Debug)]
pub(super) struct Rtnetlink {
    socket: OwnedFd,
}

/// A message that is being written. Everything is in the computer's own byte order, addresses in the network's.
#[derive(Debug)]
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: i32, body: &[&[u8]]) -> Message {
        let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags).unwrap_or_default();
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend(body.concat());
        Message(bytes)
    }

    /// Adds an attribute; the next begins at a multiple of four.
    fn with(mut self, kind: u16, value: &[u8]) -> Message {
        let length = u16::try_from(value.len().saturating_add(4)).unwrap_or_default();
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or_default().to_ne_bytes();
        for (to, from) in self.0.iter_mut().zip(length) {
            *to = from;
        }
        self.0
    }
}

/// The address's family, and its bytes.
fn raw(address: IpAddr) -> (u8, Vec<u8>) {
    let family = |family: AddressFamily| u8::try_from(family.as_raw()).unwrap_or_default();
    match address {
        IpAddr::V4(address) => (family(AddressFamily::INET), address.octets().to_vec()),
        IpAddr::V6(address) => (family(AddressFamily::INET6), address.octets().to_vec()),
    }
}

impl Rtnetlink {
    /// Netlink without a protocol is rtnetlink.
    pub(super) fn open() -> io::Result<Rtnetlink> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        Ok(Rtnetlink { socket })
    }

    pub(super) fn loopback_up(&self) -> io::Result<()> {
        self.ask(Rtnetlink::link(LOOPBACK))
    }

    /// Gives an interface its station's address, and takes it up.
    pub(super) fn interface_up(&self, name: &str, mac: [u8; 6], mtu: u32) -> io::Result<u32> {
        let index = netdevice::name_to_index(&self.socket, name)?;
        let message = Rtnetlink::link(index);
        self.ask(message.with(libc::IFLA_ADDRESS, &mac).with(libc::IFLA_MTU, &mtu.to_ne_bytes()))?;
        Ok(index)
    }

    /// ifinfomsg: family, a byte, type, index, flags, and which of them are meant.
    fn link(index: u32) -> Message {
        let (index, up) = (index.to_ne_bytes(), UP.to_ne_bytes());
        Message::new(libc::RTM_NEWLINK, 0, &[&[0; 4], &index, &up, &up])
    }

    /// Gives an interface an address.
    pub(super) fn address(&self, index: u32, (address, prefix): (IpAddr, u8)) -> io::Result<()> {
        let (family, address) = raw(address);
        // Nobody else has it: an IPv6 address need not be asked for first.
        let flags = u8::try_from(libc::IFA_F_NODAD).unwrap_or_default();
        // ifaddrmsg: family, bits, flags, scope, index.
        let body = [&[family, prefix, flags, 0][..], &index.to_ne_bytes()];
        let message = Message::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &body);
        self.ask(message.with(libc::IFA_LOCAL, &address).with(libc::IFA_ADDRESS, &address))
    }

    /// Lets an interface be the way to somewhere.
    pub(super) fn route(&self, index: u32, route: &Route) -> io::Result<()> {
        let (family, to) = raw(route.to);
        let (_, router) = raw(route.router);
        // rtmsg: family, bits of destination and source, tos, table, protocol, scope, kind, flags.
        let body = [
            &[family, route.prefix, 0, 0, libc::RT_TABLE_MAIN, libc::RTPROT_BOOT, libc::RT_SCOPE_UNIVERSE][..],
            &[libc::RTN_UNICAST, 0, 0, 0, 0],
        ];
        let message = Message::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &body);
        let message = message.with(libc::RTA_DST, &to).with(libc::RTA_OIF, &index.to_ne_bytes());
        self.ask(message.with(libc::RTA_GATEWAY, &router))
    }

    /// Sends it; the kernel answers with an error's number, or none.
    fn ask(&self, message: Message) -> io::Result<()> {
        send(&self.socket, &message.finish(), SendFlags::empty())?;
        let mut answer = [0; 256];
        let (_, length) = recv(&self.socket, &mut answer[..], RecvFlags::empty())?;
        let error = answer.get(HEADER..length.min(answer.len())).and_then(|rest| rest.first_chunk());
        match error.map(|bytes| i32::from_ne_bytes(*bytes)) {
            Some(0) => Ok(()),
            Some(number) => Err(io::Error::from_raw_os_error(number.saturating_neg())),
            None => Err(Errno::BADMSG.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_the_length_is_the_whole_s() {
        let message = Message::new(libc::RTM_NEWLINK, 0, &[&[1, 2, 3, 4]]).with(1, &[9; 6]).with(4, &[8; 4]);
        let bytes = message.finish();
        assert_eq!(bytes.len(), HEADER + 4 + 12 + 8);
        assert_eq!(bytes.first_chunk().map(|length| u32::from_ne_bytes(*length)), Some(40));
        assert_eq!(bytes[HEADER + 4..][..2], 10u16.to_ne_bytes(), "the padding is not counted");
        assert_eq!(bytes[HEADER + 4..][10..12], [0, 0]);
    }

    #[test]
    fn an_error_of_the_kernel_s_is_told() {
        let rtnetlink = Rtnetlink::open().unwrap();
        // There is no such interface, whoever asks; who may not ask at all is told so.
        let refused = rtnetlink.ask(Rtnetlink::link(0x7fff_0000)).unwrap_err();
        let wanted = [libc::ENODEV, libc::EPERM].map(Some);
        assert!(wanted.contains(&refused.raw_os_error()), "{refused}");
    }
}
