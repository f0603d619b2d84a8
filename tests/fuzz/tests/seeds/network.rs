//! Seeds of the network's target: what a guest says when it starts, asks, connects and hangs up.

use super::Seed;

const DRAIN: u8 = 5;

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

fn dhcp(kind: u8) -> Vec<u8> {
    let mut bytes = vec![1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0x80, 0];
    bytes.resize(28, 0);
    bytes.extend([2, 0, 0, 0, 0, 1]);
    bytes.resize(236, 0);
    bytes.extend([99, 130, 83, 99, 53, 1, kind, 50, 4, 172, 31, 4, 66, 12, 2, b'v', b'm', 0, 255]);
    bytes
}

fn query(name: &[u8]) -> Vec<u8> {
    [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], name, &[0, 0, 1, 0, 1]].concat()
}

pub(super) fn all() -> Vec<Seed> {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    const FIN: u8 = 17;
    const RST: u8 = 4;
    let router = [0xff; 6];
    let guest = [2, 0, 0, 0, 0, 1];
    let ask = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &guest, &[172, 31, 4, 66], &[0; 6], &[172, 31, 0, 1]].concat();
    let arp = raw(1, &[&router[..], &guest, &[8, 6], &ask].concat());
    let echo = [&[17, 1, 12][..], &[8, 0, 0x7f, 0xcd, 0x12, 0x34, 0, 1, b'p', b'i', b'n', b'g']].concat();
    // From nowhere to everybody.
    let lease = [datagram(4 | 16, 1, &dhcp(1)), vec![DRAIN], datagram(4 | 16, 1, &dhcp(3)), vec![DRAIN]];
    let mut clock = [0; 48];
    clock[0] = 0x23;
    let names = [
        datagram(1, 0, &query(b"\x0eip-172-31-4-66\x03ec2\x08internal")),
        datagram(1, 0, &query(b"\x07example\x03com")),
        vec![DRAIN, DRAIN],
        datagram(1, 0, &query(b"\x0266\x014\x0231\x03172\x07in-addr\x04arpa")),
        datagram(3, 2, &clock),
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
    vec![
        ("broken", broken.concat()),
        ("lease", lease.concat()),
        ("names", names.concat()),
        ("resolver", talk(1)),
        ("service", talk(0)),
        ("stations", [arp, vec![DRAIN], echo, vec![DRAIN]].concat()),
    ]
}
