//! IPv6 on the link, by frames that are made and taken apart here, byte by byte.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "the tests' own numbers"
)]

use crate::link::{Link as _, Now};
use crate::offload::{Checksum, MAX_FRAME, Offload};
use crate::play::{Play, config};
use crate::{Answer, Config, Frame, Guest, Resolvers, Service, Session};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

const STATION: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ROUTER_STATION: [u8; 6] = [0x0e, 0x0a, 0x4d, 0x49, 0x52, 1];
type Address = [u8; 16];

fn address(text: &str) -> Address {
    text.parse::<std::net::Ipv6Addr>().unwrap().octets()
}

fn own() -> Address {
    address("2600:1f18:1234:5600::42")
}

fn local() -> Address {
    address("fe80::ff:fe00:1")
}

fn router() -> Address {
    address("fe80::c0a:4dff:fe49:5201")
}

fn config6() -> Config {
    let config = config();
    Config { guest: Guest { ipv6: Some(own().into()), ..config.guest }, ..config }
}

/// What the checksum of bytes behind the pseudo-header is; 0 where it is in them and right.
fn sum(source: &[u8], destination: &[u8], protocol: u8, bytes: &[u8]) -> u16 {
    let len = (bytes.len() as u32).to_be_bytes();
    let mut all = [source, destination, &len, &[0, 0, 0, protocol], bytes].concat();
    all.resize(all.len().next_multiple_of(2), 0);
    let mut sum: u64 = all.chunks(2).map(|two| u64::from(two[0]) << 8 | u64::from(two[1])).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

fn packet(source: Address, destination: Address, protocol: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let station = match destination {
        [0xff, .., a, b, c, d] => [0x33, 0x33, a, b, c, d],
        _ => ROUTER_STATION,
    };
    let [high, low] = (payload.len() as u16).to_be_bytes();
    let ip = [0x60, 0, 0, 0, high, low, protocol, hops];
    [&station[..], &STATION, &[0x86, 0xdd], &ip, &source, &destination, payload].concat()
}

/// The same with the payload's checksum filled in.
fn summed(source: Address, destination: Address, protocol: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let at = match protocol {
        6 => 16,
        17 => 6,
        _ => 2,
    };
    let mut payload = payload.to_vec();
    let right = sum(&source, &destination, protocol, &payload).to_be_bytes();
    payload[at..at + 2].copy_from_slice(&right);
    packet(source, destination, protocol, hops, &payload)
}

fn icmp(source: Address, destination: Address, message: &[u8]) -> Vec<u8> {
    summed(source, destination, 58, 255, message)
}

fn datagram(source: Address, ports: [u16; 2], destination: Address, payload: &[u8]) -> Vec<u8> {
    let words = [ports[0], ports[1], payload.len() as u16 + 8, 0].map(u16::to_be_bytes);
    summed(source, destination, 17, 64, &[words.as_flattened(), payload].concat())
}

fn segment(numbers: [u32; 2], flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = ((20 + options.len()) * 4) as u8;
    let numbers = numbers.map(u32::to_be_bytes);
    let tail = [length, flags, 0xff, 0xff, 0, 0, 0, 0];
    [&[0x9c, 0x40, 0, 80][..], numbers.as_flattened(), &tail, options, payload].concat()
}

/// A frame of the link's: source, destination, protocol, hops, and the payload. Its lengths and checksum are right.
fn open(frame: &[u8]) -> (Address, Address, u8, u8, &[u8]) {
    assert_eq!(frame[..14], [&STATION[..], &ROUTER_STATION, &[0x86, 0xdd]].concat());
    assert_eq!(frame[14..18], [0x60, 0, 0, 0]);
    let payload = &frame[54..];
    assert_eq!(frame[18..20], (payload.len() as u16).to_be_bytes());
    let [source, destination]: [Address; 2] = [22, 38].map(|at| frame[at..at + 16].try_into().unwrap());
    assert_eq!(sum(&source, &destination, frame[20], payload), 0, "the checksum of {frame:x?}");
    (source, destination, frame[20], frame[21], payload)
}

/// What the link says to a frame.
fn ask(play: &mut Play, frame: &[u8]) -> Vec<Vec<u8>> {
    play.give(frame, Offload::default());
    play.turn(&mut []);
    std::mem::take(&mut play.others)
}

fn answer(play: &mut Play, frame: &[u8]) -> Vec<u8> {
    let [answer] = <[Vec<u8>; 1]>::try_from(ask(play, frame)).unwrap();
    answer
}

fn solicitation(source: Address) -> Vec<u8> {
    icmp(source, address("ff02::2"), &[133, 0, 0, 0, 0, 0, 0, 0])
}

#[test]
fn the_router_says_that_it_is_there_and_that_addresses_are_given() {
    let mut play = Play::new(config6());
    for (source, to) in [(local(), local()), ([0; 16], address("ff02::1"))] {
        let said = answer(&mut play, &solicitation(source));
        let (from, heard_by, protocol, hops, message) = open(&said);
        assert_eq!((from, heard_by, protocol, hops), (router(), to, 58, 255));
        assert_eq!(message[..2], [134, 0]);
        // Hops, managed addresses, half an hour, no times; the router's station, and no prefix.
        assert_eq!(message[4..16], [64, 0x80, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(message[16..], [&[1, 1][..], &ROUTER_STATION].concat());
    }
}

#[test]
fn it_says_so_again_in_time_to_a_guest_that_has_spoken() {
    let mut play = Play::new(config6());
    let now = Now::read();
    let after = |seconds| Now { instant: now.instant + Duration::from_secs(seconds), ..now };
    assert_eq!(play.link.deadline(), None);
    play.link.send(&solicitation(local()), Offload::default(), now);
    play.turn(&mut []);
    play.others.clear();
    assert_eq!(play.link.deadline(), Some(after(300).instant));
    play.link.poll(after(299));
    play.turn(&mut []);
    assert_eq!(play.others.len(), 0);
    play.link.poll(after(300));
    play.turn(&mut []);
    let (_, to, _, _, message) = open(&play.others[0]);
    assert_eq!((to, message[0], play.others.len()), (address("ff02::1"), 134, 1));
    assert_eq!(play.link.deadline(), Some(after(600).instant));
    play.link.begin(crate::Takes::default());
    assert_eq!(play.link.deadline(), None, "a new driver has said nothing");
}

fn who_has(source: Address, destination: Address, target: Address) -> Vec<u8> {
    icmp(source, destination, &[&[135, 0, 0, 0, 0, 0, 0, 0][..], &target].concat())
}

#[test]
fn the_router_and_the_services_have_a_station_and_nobody_else() {
    let mut play = Play::new(Config { services: vec![service()], ..config6() });
    let group = address("ff02::1:ff00:253");
    for target in ["fe80::c0a:4dff:fe49:5201", "fd00:ec2::253", "fd00:ec2::123", "fd00:ec2::254"].map(address)
    {
        // To know it, to see that it is still there, and to see whether it is free.
        for (source, destination, to, flags) in [
            (own(), group, own(), 0xe0),
            (local(), target, local(), 0xe0),
            ([0; 16], group, address("ff02::1"), 0xa0),
        ] {
            let said = answer(&mut play, &who_has(source, destination, target));
            let (from, heard_by, protocol, hops, message) = open(&said);
            assert_eq!((from, heard_by, protocol, hops), (target, to, 58, 255));
            assert_eq!(message[..2], [136, 0]);
            let rest = [&[flags, 0, 0, 0][..], &target, &[2, 1], &ROUTER_STATION].concat();
            assert_eq!(message[4..], rest);
        }
    }
    for target in [own(), local(), address("2600:1f18:1234:5600::43"), address("fd00:ec2::240")] {
        for source in [[0; 16], own()] {
            assert!(
                ask(&mut play, &who_has(source, group, target)).is_empty(),
                "{target:x?} is the guest's to have"
            );
        }
    }
}

#[test]
fn neighbours_messages_that_lie_are_not_heard() {
    let mut play = Play::new(config6());
    let station = [&[1, 1][..], &STATION].concat();
    let asks = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &router(), &station].concat();
    let solicits = [&[133, 0, 0, 0, 0, 0, 0, 0][..], &station].concat();
    for good in [&asks, &solicits] {
        assert_eq!(ask(&mut play, &icmp(local(), router(), good)).len(), 1);
        let afar = summed(local(), router(), 58, 254, good);
        let stranger = icmp(address("2001:db8::1"), router(), good);
        let mut unsummed = icmp(local(), router(), good);
        unsummed[60] ^= 1;
        let mut code = good.clone();
        code[1] = 1;
        // An option of no length, one that is longer than the message, half a one.
        let mut never = good.clone();
        let at = good.len() - 7;
        never[at] = 0;
        let mut long = good.clone();
        long[at] = 2;
        let half = [good, &[1][..]].concat();
        for bad in [&code, &never, &long, &half] {
            assert!(ask(&mut play, &icmp(local(), router(), bad)).is_empty(), "{bad:x?}");
        }
        for bad in [afar, stranger, unsummed] {
            assert!(ask(&mut play, &bad).is_empty(), "{bad:x?}");
        }
        for len in 4..good.len() {
            let short = icmp(local(), router(), &good[..len]);
            assert!(ask(&mut play, &short).is_empty() || [8, 24].contains(&len), "{len}");
        }
    }
    // Another router's word is nothing to this one.
    assert!(
        ask(
            &mut play,
            &icmp(local(), address("ff02::1"), &[134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0])
        )
        .is_empty()
    );
}

#[test]
fn echoes_are_answered_at_the_link_s_own_addresses() {
    let mut play = Play::new(config6());
    let echo = [128, 0, 0, 0, 0x12, 0x34, 0, 1, b'p', b'i', b'n'];
    for (source, to) in
        [(local(), router()), (own(), address("fd00:ec2::253")), (own(), address("fd00:ec2::123"))]
    {
        let said = answer(&mut play, &icmp(source, to, &echo));
        let (from, heard_by, protocol, hops, message) = open(&said);
        assert_eq!((from, heard_by, protocol, hops), (to, source, 58, 64));
        assert_eq!((&message[..2], &message[4..]), (&[129, 0][..], &echo[4..]));
    }
    assert!(ask(&mut play, &icmp(own(), address("ff02::1"), &echo)).is_empty());
    assert!(
        ask(&mut play, &icmp(address("2001:db8::9"), router(), &echo)).is_empty(),
        "not the guest's address"
    );
}

#[test]
fn what_is_beyond_has_no_route() {
    let mut play = Play::new(config6());
    let beyond = address("2001:db8::1");
    let syn = segment([7, 0], 2, &[], &[]);
    let metadata = address("fd00:ec2::254");
    for asked in [
        summed(own(), beyond, 6, 64, &syn),
        summed(local(), beyond, 6, 64, &syn),
        datagram(own(), [5000, 443], beyond, &[7; 8000]),
        icmp(own(), beyond, &[128, 0, 0, 0, 0, 0, 0, 1]),
        // No service was plugged in there.
        summed(own(), metadata, 6, 64, &syn),
    ] {
        let said = answer(&mut play, &asked);
        let (from, to, protocol, _, message) = open(&said);
        assert_eq!((from, &to[..], protocol), (router(), &asked[22..38], 58));
        assert_eq!((&message[..2], &message[4..8]), (&[1, 0][..], &[0; 4][..]));
        let quoted = &asked[14..asked.len().min(14 + 1232)];
        assert_eq!(&message[8..], quoted);
        assert!(said.len() <= 14 + 1280);
    }
    for silent in [
        summed(address("2600:1f18:1234:5600::43"), beyond, 6, 64, &syn),
        summed([0; 16], beyond, 6, 64, &syn),
        summed(address("ff02::1"), beyond, 6, 64, &syn),
        summed(own(), address("ff0e::1"), 6, 64, &syn),
        datagram(own(), [5353, 5353], address("ff02::fb"), b"who"),
        // News of errors and answers.
        icmp(own(), beyond, &[1, 0, 0, 0, 0, 0, 0, 0]),
        icmp(own(), beyond, &[129, 0, 0, 0, 0, 0, 0, 1]),
    ] {
        assert!(ask(&mut play, &silent).is_empty(), "{silent:x?}");
    }
}

#[test]
fn headers_in_between_and_lengths_that_lie_are_not_heard() {
    let mut play = Play::new(config6());
    let good = icmp(local(), router(), &[128, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(ask(&mut play, &good).len(), 1);
    // Hop by hop, routing, a fragment, what is for the destination; and IPv4's own ICMP.
    for between in [0, 43, 44, 60, 1] {
        let head = [58, 0, 0, 0, 0, 0, 0, 0];
        let bad = packet(local(), router(), between, 255, &[&head, &good[54..]].concat());
        assert!(ask(&mut play, &bad).is_empty(), "{between}");
    }
    let bare = packet(local(), router(), 1, 255, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
    assert!(ask(&mut play, &bare).is_empty());
    for len in 0..good.len() {
        assert!(ask(&mut play, &good[..len]).is_empty(), "{len}");
    }
    // More bytes than the packet has are a frame's filling.
    assert_eq!(ask(&mut play, &[&good[..], &[9; 12]].concat()).len(), 1);
    for (at, byte) in [(14, 0x40), (14, 0x70), (18, 0xff), (19, 7), (19, 0), (6, 4), (0, 0x34)] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert!(ask(&mut play, &bad).is_empty(), "{at} {byte:#x}");
    }
}

#[test]
fn a_guest_without_an_address_hears_nothing() {
    let mut play = Play::new(config());
    for frame in [
        solicitation(local()),
        who_has(local(), router(), router()),
        icmp(local(), router(), &[128, 0, 0, 0, 0, 0, 0, 1]),
        summed(local(), address("2001:db8::1"), 6, 64, &segment([7, 0], 2, &[], &[])),
        datagram(local(), [546, 547], address("ff02::1:2"), &[11, 1, 2, 3]),
    ] {
        assert!(ask(&mut play, &frame).is_empty());
    }
    assert_eq!(play.link.deadline(), None);
}

#[test]
fn a_flood_has_no_more_answers_than_places() {
    let mut play = Play::new(config6());
    for _ in 0..10_000 {
        play.give(&solicitation(local()), Offload::default());
    }
    play.turn(&mut []);
    assert!((1..=64).contains(&play.others.len()), "{} answers", play.others.len());
}

const ANSWER: usize = 30_000;

/// A service that has a long answer to everything; two hops far.
fn service() -> Service {
    let open = || -> Session {
        Box::new(|_: &[u8], answer: &mut Answer| {
            answer.bytes.resize(ANSWER, b'x');
            (answer.ttl, answer.end) = (2, true);
        })
    };
    Service { at: "[fd00:ec2::254]:80".parse().unwrap(), open: Box::new(open) }
}

fn numbers(segment: &[u8]) -> [u32; 2] {
    [4, 8].map(|at| u32::from_be_bytes(segment[at..at + 4].try_into().unwrap()))
}

#[test]
fn a_service_answers_in_segments_that_fit() {
    const MSS: [u8; 8] = [2, 4, 0x23, 0x29, 1, 3, 3, 4];
    let metadata = address("fd00:ec2::254");
    for source in [own(), local()] {
        let mut play = Play::new(Config { services: vec![service()], ..config6() });
        let mut tell = |payload: &[u8]| ask(&mut play, &summed(source, metadata, 6, 64, payload));
        let greeted = tell(&segment([1000, 0], 2, &MSS, &[]));
        let (from, to, protocol, hops, syn) = open(&greeted[0]);
        assert_eq!((from, to, protocol, hops, greeted.len()), (metadata, source, 6, 64, 1));
        // 9001 bytes without both headers.
        assert_eq!((syn[13], &syn[20..24]), (0x12, &[2, 4, 0x22, 0xed][..]));
        let [first, acknowledged] = numbers(syn);
        assert_eq!(acknowledged, 1001);

        let answers = tell(&segment([1001, first.wrapping_add(1)], 0x18, &[], b"question"));
        let (mut heard, mut longest) = (0, 0);
        for frame in &answers {
            let (_, _, _, hops, segment) = open(frame);
            assert_eq!((hops, segment[12]), (2, 0x50));
            assert_eq!(numbers(segment), [first.wrapping_add(1 + heard), 1009]);
            heard += segment.len() as u32 - 20;
            longest = longest.max(frame.len());
        }
        assert_eq!((heard, longest), (ANSWER as u32, 14 + 9001));
        let after = first.wrapping_add(2 + heard);
        assert_eq!(open(answers.last().unwrap()).4[13] & 1, 1, "and ends");
        let last = tell(&segment([1009, after], 0x11, &[], &[]));
        assert_eq!(last.len(), 1, "the guest's end is acknowledged");
        assert_eq!(play.link.flows(), 0);
    }
}

#[test]
fn checksums_are_left_to_the_guest_and_cutting_never() {
    let mut play = Play::with_offloads(Config { services: vec![service()], ..config6() });
    let mut frame: Box<Frame> = vec![0; MAX_FRAME].into_boxed_slice().try_into().unwrap();
    let metadata = address("fd00:ec2::254");
    let (mut first, mut payload) = (0, 0);
    for (sequence, flags, said) in [(1000, 2, &[][..]), (1001, 0x18, b"question")] {
        // The guest leaves its own to the link too.
        let tcp = segment([sequence, first], flags, &[], said);
        let left = Offload { checksum: Some(Checksum { start: 54, offset: 16 }), segment: None };
        play.give(&packet(own(), metadata, 6, 64, &tcp), left);
        while let Some((len, offload)) = play.link.receive(&mut frame, play.now()) {
            assert_eq!(
                offload,
                Offload { checksum: Some(Checksum { start: 54, offset: 16 }), segment: None }
            );
            let held = u16::from_be_bytes([frame[70], frame[71]]);
            let pseudo = sum(&frame[22..38], &frame[38..54], 6, &vec![0; len - 54]);
            assert_eq!(held, !pseudo, "the pseudo-header's sum");
            // A guest that names no size takes 1220 bytes.
            assert!(len <= 14 + 40 + 20 + 1220);
            payload += len - 14 - 40 - usize::from(frame[66] >> 4) * 4;
            if flags == 2 {
                first = numbers(&frame[54..])[0].wrapping_add(1);
                payload = 0;
            }
        }
    }
    assert_eq!(payload, ANSWER);
}

#[test]
fn where_nobody_listens_is_told_as_a_host_does() {
    let mut play = Play::new(Config { services: vec![service()], ..config6() });
    let resolver = address("fd00:ec2::253");
    let said = answer(&mut play, &summed(own(), resolver, 6, 64, &segment([7, 0], 2, &[], &[])));
    let (from, to, _, _, reset) = open(&said);
    assert_eq!((from, to, reset[13], numbers(reset)), (resolver, own(), 0x14, [0, 8]));
    let asked = datagram(own(), [5000, 81], resolver, b"");
    let said = answer(&mut play, &asked);
    let (from, _, protocol, _, message) = open(&said);
    assert_eq!((from, protocol, &message[..2]), (resolver, 58, &[1, 4][..]));
    assert_eq!(&message[8..], &asked[14..]);
}

/// The ports and the payload of a datagram from one of the link's addresses to the guest's.
fn told(frame: &[u8], from: Address) -> ([u8; 4], &[u8]) {
    let (source, destination, protocol, _, payload) = open(frame);
    assert_eq!((source, destination, protocol), (from, own(), 17));
    assert_eq!(payload[4..6], (payload.len() as u16).to_be_bytes());
    (payload[..4].try_into().unwrap(), &payload[8..])
}

#[test]
fn the_time_and_names_are_told() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let resolvers = Resolvers::These(vec![server.local_addr().unwrap()]);
    let mut play = Play::new(Config { resolvers, host_loopback: false, ..config6() });
    let (clock, resolver) = (address("fd00:ec2::123"), address("fd00:ec2::253"));
    let mut request = [0; 48];
    request[0] = 0x23;
    let said = answer(&mut play, &datagram(own(), [5000, 123], clock, &request));
    let (ports, time) = told(&said, clock);
    assert_eq!((ports, &time[..2]), ([0, 123, 0x13, 0x88], &[0x24, 3][..]));

    let query = |name: &[u8]| [&[0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], name, &[0, 0, 1, 0, 1]].concat();
    let ours = query(b"\x0eip-172-31-4-66\x03ec2\x08internal");
    let said = answer(&mut play, &datagram(own(), [5000, 53], resolver, &ours));
    assert!(told(&said, resolver).1.ends_with(&[172, 31, 4, 66]));

    let theirs = query(b"\x07example\x03com");
    assert!(ask(&mut play, &datagram(own(), [5000, 53], resolver, &theirs)).is_empty());
    let mut buffer = [0; 512];
    let (len, peer): (usize, SocketAddr) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(buffer[..len], theirs);
    // As long as one packet carries, and one byte more.
    server.send_to(&[8; 8954], peer).unwrap();
    server.send_to(&[7; 8953], peer).unwrap();
    play.until(&mut [], |play, _| !play.others.is_empty());
    let others = std::mem::take(&mut play.others);
    assert_eq!(told(&others[0], resolver), ([0, 53, 0x13, 0x88], &[7; 8953][..]));

    let mut unsummed = datagram(own(), [5000, 123], clock, &request);
    unsummed[60..62].fill(0);
    assert!(ask(&mut play, &unsummed).is_empty(), "IPv6 has no datagrams without a checksum");
}
