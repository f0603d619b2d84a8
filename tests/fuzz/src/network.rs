//! Frames of a guest's on the user-mode link: as they come, or with headers that are right around bytes that are not;
//! between them the link speaks, a resolver on this host's loopback answers, and time goes by. Nothing leaves the host:
//! every packet goes to an address of the link's own.

use crate::input::Input;
use ami_run_network::{
    Answer, Checksum, Config, Frame, Guest, Link as _, MAX_FRAME, Now, Offload, Resolvers, Service, Session,
    Takes, UserLink,
};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ROUTER: [u8; 6] = [0x0e, 0x0a, 0x4d, 0x49, 0x52, 1];
const ADDRESS: [u8; 4] = [172, 31, 4, 66];
const METADATA: [u8; 4] = [169, 254, 169, 254];
/// Where packets may go; the first serves.
const ADDRESSES: [[u8; 4]; 6] =
    [METADATA, [172, 31, 0, 2], [172, 31, 0, 1], [169, 254, 169, 123], [255; 4], [172, 31, 4, 9]];
const ADDRESS6: Ipv6Addr = Ipv6Addr::new(0x2600, 0x1f18, 0, 0, 0, 0, 0, 0x42);
const METADATA6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// Where packets of IPv6 may go: the service, the resolver, the clock, the router, who gives addresses, all, and nowhere.
const ADDRESSES6: [Ipv6Addr; 7] = [
    METADATA6,
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123),
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0x0c0a, 0x4dff, 0xfe49, 0x5201),
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2),
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
];
/// And where they come from: the guest's own two, nowhere, and a stranger's.
const SOURCES6: [Ipv6Addr; 4] = [
    ADDRESS6,
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 1),
    Ipv6Addr::UNSPECIFIED,
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
];
/// Frames that the link may have for the guest at a time, whatever came before.
const MOST: usize = 20_000;

/// Both sockets of a resolver, at one port.
struct Resolver {
    tcp: TcpListener,
    udp: UdpSocket,
    at: SocketAddr,
}

fn resolver() -> &'static Resolver {
    static RESOLVER: OnceLock<Resolver> = OnceLock::new();
    RESOLVER.get_or_init(|| {
        loop {
            let tcp = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
            let at = tcp.local_addr().expect("its address");
            // Another program may have the same port for datagrams.
            if let Ok(udp) = UdpSocket::bind(at) {
                tcp.set_nonblocking(true).expect("a socket that does not wait");
                udp.set_nonblocking(true).expect("a socket that does not wait");
                return Resolver { tcp, udp, at };
            }
        }
    })
}

struct Play {
    link: UserLink,
    frame: Box<Frame>,
    now: Now,
    /// The guest's side of its last connection: what it says next, and what it has heard.
    sequence: u32,
    heard: u32,
}

pub fn net_frames(bytes: &[u8]) {
    let open = || -> Session {
        Box::new(|bytes: &[u8], answer: &mut Answer| {
            answer.bytes.extend_from_slice(bytes);
            answer.bytes.resize(answer.bytes.len() + 3000, b'x');
            answer.end = bytes.contains(&b'.');
        })
    };
    let guest = Guest {
        mac: MAC,
        address: Ipv4Addr::from(ADDRESS),
        prefix: 20,
        ipv6: Some(ADDRESS6),
        host_name: "ip-172-31-4-66".to_owned(),
        domain: "ec2.internal".to_owned(),
    };
    let addresses = [SocketAddr::from((METADATA, 80)), SocketAddr::from((METADATA6, 80))];
    let services = addresses.map(|at| Service { at, open: Box::new(open) }).into();
    let config = Config {
        guest,
        resolvers: Resolvers::These(vec![resolver().at]),
        services,
        forwards: Vec::new(),
        host_loopback: false,
    };
    let link = UserLink::new(config).expect("a link with no port of the host's");
    let frame = vec![0; MAX_FRAME].into_boxed_slice().try_into().expect("as long as a frame");
    let now = Now { wall: SystemTime::UNIX_EPOCH, ..Now::read() };
    let mut play = Play { link, frame, now, sequence: 0, heard: 0 };
    let input = &mut Input::new(bytes);
    while play.step(input).is_some() {}
    play.drain();
    // Connections that end so leave nothing in the kernel's tables.
    play.link.begin(Takes::default());
    assert_eq!(play.link.flows(), 0);
    answer_connections();
    let buffer = &mut [0; 2048];
    while resolver().udp.recv(buffer).is_ok() {}
}

impl Play {
    fn step(&mut self, input: &mut Input<'_>) -> Option<()> {
        let kind = input.byte()?;
        match kind & 7 {
            0 => {
                let len = usize::from(input.word()? & 0x7ff);
                self.raw(input.bytes(len)?, kind);
            }
            1 => {
                let protocol = input.byte()?;
                let payload = input.byte().map(usize::from).and_then(|len| input.bytes(len))?;
                self.packet(protocol, kind, payload);
            }
            2 => self.datagram(input, kind)?,
            3 => {
                let (segment, serves) = self.segment(input, kind)?;
                self.packet(6, u8::from(!serves) << 3, &segment);
            }
            4 => self.step6(input, kind)?,
            5 => self.drain(),
            6 => {
                self.now.instant += Duration::from_millis(u64::from(input.word()?));
                self.host();
            }
            _ => self.link.begin(Takes { checksum: kind & 8 != 0, segments: kind & 16 != 0 }),
        }
        Some(())
    }

    /// The bytes as they are, but for where they go.
    fn raw(&mut self, bytes: &[u8], kind: u8) {
        let mut frame = bytes.to_vec();
        if kind & 8 != 0 && frame.len() > 12 {
            frame[..12].copy_from_slice([ROUTER, MAC].as_flattened());
        }
        if let Some(to) = frame.get_mut(30..34) {
            let which = usize::from(to[3]) % ADDRESSES.len();
            to.copy_from_slice(&ADDRESSES[which]);
        }
        let checksum = (kind & 16 != 0).then_some(Checksum { start: 0xffff, offset: 0xffff });
        self.link.send(&frame, Offload { checksum, segment: None }, self.now);
    }

    /// A packet that is right up to its payload.
    fn packet(&mut self, protocol: u8, kind: u8, payload: &[u8]) {
        let to = ADDRESSES[usize::from(kind >> 3) % ADDRESSES.len()];
        let from = if kind & 0x80 == 0 { ADDRESS } else { [0; 4] };
        let len = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
        let mut ip = [&[0x45, 0, len[0], len[1], 0, 0, 0x40, 0, 64, protocol, 0, 0][..], &from, &to].concat();
        let sum = sum(&ip);
        ip[10..12].copy_from_slice(&sum);
        let head = [&ROUTER[..], &MAC, &[8, 0]].concat();
        let offload = Offload { checksum: Some(Checksum { start: 34, offset: 16 }), segment: None };
        self.link.send(&[head, ip, payload.to_vec()].concat(), offload, self.now);
    }

    fn datagram(&mut self, input: &mut Input<'_>, kind: u8) -> Option<()> {
        let source = input.byte()?;
        let port = [53, 67, 123, 80][usize::from(input.byte()? & 3)];
        let datagram = datagram(input, source, port)?;
        self.packet(17, kind, &datagram);
        Some(())
    }

    /// A packet of IPv6 that is right up to its payload, or the payload too.
    fn step6(&mut self, input: &mut Input<'_>, kind: u8) -> Option<()> {
        let [what, to] = [input.byte()?, input.byte()?];
        let to = ADDRESSES6[usize::from(to) % ADDRESSES6.len()];
        let from = SOURCES6[usize::from(what >> 2 & 3)];
        let (protocol, payload) = match what & 3 {
            0 => (input.byte()?, input.byte().map(usize::from).and_then(|len| input.bytes(len))?.to_vec()),
            1 => {
                let port = [53, 547, 123, 80][usize::from(input.byte()? & 3)];
                (17, datagram(input, what, port)?)
            }
            2 => (6, self.segment(input, kind)?.0),
            _ => (58, input.byte().map(usize::from).and_then(|len| input.bytes(len))?.to_vec()),
        };
        self.packet6((from, to), protocol, kind, payload);
        Some(())
    }

    fn packet6(&mut self, (from, to): (Ipv6Addr, Ipv6Addr), protocol: u8, kind: u8, mut payload: Vec<u8>) {
        let len = u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes();
        // Neighbours' messages are summed up by whoever sends them, and come over no hop.
        if protocol == 58 && kind & 8 == 0 && payload.len() >= 4 {
            payload[2..4].fill(0);
            let pseudo = [&from.octets()[..], &to.octets(), &[0, 0], &len, &[0, 0, 0, 58]].concat();
            let sum = sum(&[pseudo, payload.clone()].concat());
            payload[2..4].copy_from_slice(&sum);
        }
        let hops = if kind & 16 == 0 { 255 } else { 64 };
        let station = if to.is_multicast() { [0x33, 0x33, 0, 0, 0, 1] } else { ROUTER };
        let ip = [0x60, 0, 0, 0, len[0], len[1], protocol, hops];
        let head = [&station[..], &MAC, &[0x86, 0xdd], &ip, &from.octets(), &to.octets()].concat();
        let offload = Offload { checksum: Some(Checksum { start: 54, offset: 16 }), segment: None };
        self.link.send(&[head, payload].concat(), offload, self.now);
    }

    /// A segment whose numbers are near what they should be, and whether it is for the service.
    fn segment(&mut self, input: &mut Input<'_>, kind: u8) -> Option<(Vec<u8>, bool)> {
        let [source, flags, behind, ahead] = [input.byte()?, input.byte()?, input.byte()?, input.byte()?];
        let window = input.word()?;
        let len = usize::from(input.byte()?) * if kind & 0x40 != 0 { 200 } else { 1 };
        let port = if kind & 8 == 0 { 80 } else { 53 };
        let sequence =
            self.sequence.wrapping_sub(u32::from(behind >> 4)).wrapping_add(u32::from(behind & 15));
        let heard = self.heard.wrapping_sub(u32::from(ahead >> 4)).wrapping_add(u32::from(ahead & 15));
        let options: &[u8] = if flags & 2 == 0 { &[] } else { &[2, 4, source, ahead, 1, 3, 3, behind & 31] };
        let length = if options.is_empty() { 0x50 } else { 0x70 };
        let header = [
            &[0x40, source & 3, 0, port][..],
            &sequence.to_be_bytes(),
            &heard.to_be_bytes(),
            &[length, flags],
            &window.to_be_bytes(),
            &[0; 4],
            options,
        ];
        let payload = vec![if kind & 0x80 == 0 { b'a' } else { b'.' }; len];
        let taken = u32::try_from(len).unwrap_or(0) + u32::from(flags & 1) + u32::from(flags >> 1 & 1);
        self.sequence = sequence.wrapping_add(taken);
        Some(([header.concat(), payload].concat(), port == 80))
    }

    /// All that the link has to say.
    fn drain(&mut self) {
        self.host();
        for count in 0.. {
            assert!(count < MOST, "it never stops");
            let Some((len, offload)) = self.link.receive(&mut self.frame, self.now) else { return };
            let frame = &self.frame[..len];
            assert!(frame[..6] == MAC || frame[..6] == [0xff; 6], "a frame for another station");
            assert!(
                offload.checksum.is_some() || offload.segment.is_none(),
                "whoever cuts has to sum up too"
            );
            let (ip, protocol) =
                if frame[12..14] == [0x86, 0xdd] { (40, frame[20]) } else { (20, frame[23]) };
            if ip == 40 {
                let told = usize::from(u16::from_be_bytes([frame[18], frame[19]]));
                assert_eq!(told + 54, len, "what the packet says of itself");
                assert!(len <= 14 + 9001 && offload.segment.is_none(), "IPv6 is never cut");
            }
            if protocol == 6 {
                let tcp = &frame[14 + ip..];
                let word = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
                let data = u32::try_from(tcp.len() - usize::from(tcp[12] >> 4) * 4).unwrap_or(0);
                let ends = tcp[13] & 1 | tcp[13] >> 1 & 1;
                self.heard = word(4).wrapping_add(data).wrapping_add(u32::from(ends));
                self.sequence = word(8);
            }
        }
    }

    /// Lets the resolver and the link hear of each other.
    fn host(&mut self) {
        let buffer = &mut [0; 2048];
        while let Ok((len, peer)) = resolver().udp.recv_from(buffer) {
            // One that has gone hears nothing.
            resolver().udp.send_to(&buffer[..len], peer).unwrap_or_default();
        }
        answer_connections();
        for _ in 0..4 {
            self.link.poll(self.now);
        }
        assert!(self.link.flows() <= 4096 + 1024, "flows are bounded");
    }
}

/// A datagram whose checksum is left to the link.
fn datagram(input: &mut Input<'_>, source: u8, port: u16) -> Option<Vec<u8>> {
    let [high, low] = port.to_be_bytes();
    let len = usize::from(input.word()? & 0x3ff);
    let payload = input.bytes(len)?;
    let len = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    Some([&[0x40, source, high, low][..], &len, &[0, 0], payload].concat())
}

/// The Internet checksum of bytes where it is still nothing.
fn sum(bytes: &[u8]) -> [u8; 2] {
    let word = |two: &[u8]| u32::from(two[0]) << 8 | u32::from(two.get(1).copied().unwrap_or(0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    u16::try_from(!sum & 0xffff).unwrap_or(0).to_be_bytes()
}

/// Says something to whoever connected, and hangs up.
fn answer_connections() {
    while let Ok((mut stream, _)) = resolver().tcp.accept() {
        let ready = stream.set_nonblocking(true).is_ok();
        if ready && stream.read(&mut [0; 64]).is_ok() {
            // Whether it arrives is the play's business.
            stream.write_all(&[b'y'; 300]).unwrap_or_default();
        }
    }
}
