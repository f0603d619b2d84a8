//! Seeds of the network's target: what a guest says when it starts, asks, connects and hangs up.

use super::Seed;

const DRAIN: u8 = 5;

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const FIN: u8 = 17;

fn raw(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap().to_le_bytes();
    [&[kind << 3, len[0], len[1]][..], bytes].concat()
}

/// To the address with this number in the target's list.
fn datagram(to: u8, service: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap().to_le_bytes();
    [&[to << 3 | 2, 1, service, len[0], len[1]][..], payload].concat()
}

fn segment(to: u8, flags: u8, window: u16, len: u8) -> Vec<u8> {
    let [low, high] = window.to_le_bytes();
    vec![to << 3 | 3, 1, flags, 0, 0, low, high, len, DRAIN]
}

/// A step of IPv6: from and to the addresses with these numbers.
fn six(what: u8, from: u8, to: u8, rest: &[u8]) -> Vec<u8> {
    [&[4, from << 2 | what, to][..], rest, &[DRAIN]].concat()
}

fn icmp6(from: u8, to: u8, message: &[u8]) -> Vec<u8> {
    six(3, from, to, &[&[u8::try_from(message.len()).unwrap()][..], message].concat())
}

fn datagram6(from: u8, to: u8, service: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap().to_le_bytes();
    six(1, from, to, &[&[service, len[0], len[1]][..], payload].concat())
}

fn segment6(to: u8, flags: u8, window: u16, len: u8) -> Vec<u8> {
    let [low, high] = window.to_le_bytes();
    six(2, 0, to, &[1, flags, 0, 0, low, high, len])
}

/// A client's message: who it is, whom it asks, in haste, and an association with an address.
fn dhcp6(kind: u8) -> Vec<u8> {
    let server: &[u8] = if [3, 5, 8].contains(&kind) {
        &[0, 2, 0, 10, 0, 3, 0, 1, 0x0e, 0x0a, 0x4d, 0x49, 0x52, 1]
    } else {
        &[]
    };
    let address = [0x26, 0, 0x1f, 0x18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x42, 0, 0, 0, 9, 0, 0, 0, 9];
    let client = [0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 1, 0, 14, 0, 0];
    let association = [0, 3, 0, 40, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 24];
    [&[kind, 1, 2, 3][..], &client, server, &association, &address].concat()
}

fn dhcp(kind: u8) -> Vec<u8> {
    let mut bytes = vec![1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0x80, 0];
    bytes.resize(28, 0);
    bytes.extend([2, 0, 0, 0, 0, 1]);
    bytes.resize(236, 0);
    bytes.extend([99, 130, 83, 99, 53, 1, kind, 50, 4, 172, 31, 4, 66, 12, 2, b'v', b'm', 0, 255]);
    bytes
}

fn clock() -> [u8; 48] {
    let mut request = [0; 48];
    request[0] = 0x23;
    request
}

fn query(name: &[u8]) -> Vec<u8> {
    [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], name, &[0, 0, 1, 0, 1]].concat()
}

fn all6() -> Vec<Seed> {
    let station = [1, 1, 2, 0, 0, 0, 0, 1];
    let own = [0x26, 0, 0x1f, 0x18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x42];
    let router6 = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x0c, 0x0a, 0x4d, 0xff, 0xfe, 0x49, 0x52, 1];
    let stations6 = [
        icmp6(1, 5, &[&[133, 0, 0, 0, 0, 0, 0, 0][..], &station].concat()),
        icmp6(2, 5, &[&[135, 0, 0, 0, 0, 0, 0, 0][..], &own].concat()),
        icmp6(1, 3, &[&[135, 0, 0, 0, 0, 0, 0, 0][..], &router6, &station].concat()),
        icmp6(0, 1, &[128, 0, 0, 0, 0x12, 0x34, 0, 1, b'p', b'i', b'n', b'g']),
        icmp6(0, 6, &[128, 0, 0, 0, 0x12, 0x34, 0, 1]),
        // A header hop by hop, and a fragment.
        six(0, 1, 3, &[0, 8, 58, 0, 5, 2, 0, 0, 1, 0]),
        six(0, 1, 3, &[44, 8, 58, 0, 0, 1, 0, 0, 0, 7]),
        vec![6, 0xff, 0xff, 6, 0xff, 0xff, 6, 0xff, 0xff, 6, 0xff, 0xff, 6, 0xff, 0xff, DRAIN],
    ];
    let lease6 = [1, 3, 5, 6, 8].map(|kind| datagram6(1, 4, 1, &dhcp6(kind)));
    let names6 = [
        datagram6(0, 1, 0, &query(b"\x0eip-172-31-4-66\x03ec2\x08internal")),
        datagram6(0, 1, 0, &query(b"\x07example\x03com")),
        datagram6(0, 2, 2, &clock()),
        datagram6(0, 6, 3, b"hello"),
        vec![DRAIN, 6, 0xff, 0x7f, DRAIN],
    ];
    let service6 = [
        segment6(0, SYN, 0xffff, 0),
        segment6(0, ACK, 0xffff, 40),
        segment6(0, ACK, 0, 200),
        vec![6, 0, 4, DRAIN, 6, 0, 8, DRAIN],
        segment6(0, ACK, 0xffff, 0),
        segment6(0, FIN, 0xffff, 0),
        segment6(0, ACK, 0xffff, 0),
        segment6(6, SYN, 0xffff, 0),
    ];
    vec![
        ("lease6", lease6.concat()),
        ("names6", names6.concat()),
        ("service6", service6.concat()),
        ("stations6", stations6.concat()),
    ]
}

pub(super) fn all() -> Vec<Seed> {
    let router = [0xff; 6];
    let guest = [2, 0, 0, 0, 0, 1];
    let ask = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &guest, &[172, 31, 4, 66], &[0; 6], &[172, 31, 0, 1]].concat();
    let arp = raw(1, &[&router[..], &guest, &[8, 6], &ask].concat());
    let echo = [&[17, 1, 12][..], &[8, 0, 0x7f, 0xcd, 0x12, 0x34, 0, 1, b'p', b'i', b'n', b'g']].concat();
    // From nowhere to everybody.
    let lease = [datagram(4 | 16, 1, &dhcp(1)), vec![DRAIN], datagram(4 | 16, 1, &dhcp(3)), vec![DRAIN]];
    let names = [
        datagram(1, 0, &query(b"\x0eip-172-31-4-66\x03ec2\x08internal")),
        datagram(1, 0, &query(b"\x07example\x03com")),
        vec![DRAIN, DRAIN],
        datagram(1, 0, &query(b"\x0266\x014\x0231\x03172\x07in-addr\x04arpa")),
        datagram(3, 2, &clock()),
        vec![DRAIN, 6, 0xff, 0x7f, DRAIN],
    ];
    let talk = |to: u8| {
        [
            vec![0x1f],
            segment(to, SYN, 0xffff, 0),
            vec![DRAIN, DRAIN],
            segment(to, ACK, 0xffff, 40),
            vec![DRAIN],
            segment(to, ACK, 0, 200),
            vec![6, 0, 4, DRAIN, 6, 0, 8, DRAIN],
            segment(to, ACK, 0xffff, 0),
            segment(to | 16, ACK, 0x1000, 9),
            segment(to, FIN, 0xffff, 0),
            vec![6, 0, 0x40, DRAIN],
            segment(to, ACK, 0xffff, 0),
        ]
        .concat()
    };
    let broken =
        [segment(0, SYN, 100, 0), segment(0, RST, 0, 0), segment(0, SYN, 9, 9), segment(0, RST | ACK, 0, 1)];
    let mut all = all6();
    all.extend([
        ("broken", broken.concat()),
        ("lease", lease.concat()),
        ("names", names.concat()),
        ("resolver", talk(1)),
        ("service", talk(0)),
        ("stations", [arp, vec![DRAIN], echo, vec![DRAIN]].concat()),
    ]);
    all
}
