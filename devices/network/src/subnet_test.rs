//! ARP and ICMP as bytes.

use super::*;
use crate::wire::PROTOCOL_ICMP;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn guest() -> Guest {
    Guest {
        mac: MAC,
        address: Ipv4Addr::new(172, 31, 4, 66),
        prefix: 20,
        ipv6: None,
        host_name: "ip-172-31-4-66".to_owned(),
        domain: "ec2.internal".to_owned(),
    }
}

#[test]
fn the_subnet_s_addresses_are_where_ec2_has_them() {
    let guest = guest();
    assert_eq!(guest.router(), Ipv4Addr::new(172, 31, 0, 1));
    assert_eq!(guest.resolver(), Ipv4Addr::new(172, 31, 0, 2));
    assert_eq!(guest.broadcast(), Ipv4Addr::new(172, 31, 15, 255));
    assert!(guest.is_in_subnet(Ipv4Addr::new(172, 31, 15, 1)));
    assert!(!guest.is_in_subnet(Ipv4Addr::new(172, 31, 16, 1)));
}

fn who_has(target: [u8; 4]) -> Vec<u8> {
    [&[0, 1, 8, 0, 6, 4, 0, 1][..], &MAC, &[172, 31, 4, 66], &[0; 6], &target].concat()
}

#[test]
fn the_router_and_the_services_have_a_station_and_nobody_else() {
    let served = Ipv4Addr::new(169, 254, 169, 254);
    for target in [[172, 31, 0, 1], [172, 31, 0, 2], [169, 254, 169, 254], [169, 254, 169, 123]] {
        let reply = guest().arp(&who_has(target), |address| address == served).unwrap();
        let head = [&MAC[..], &ROUTER_MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2], &ROUTER_MAC, &target].concat();
        assert_eq!(reply, [&head[..], &MAC, &[172, 31, 4, 66]].concat());
    }
    for target in [[172, 31, 4, 66], [172, 31, 4, 67], [169, 254, 169, 253], [8, 8, 8, 8]] {
        let own = target == [169, 254, 169, 253];
        assert_eq!(guest().arp(&who_has(target), |_| false).is_some(), own, "{target:?}");
    }
    let request = who_has([172, 31, 0, 1]);
    for len in 0..request.len() {
        assert!(guest().arp(&request[..len], |_| true).is_none());
    }
    // What it is, and who asks: an answer goes to the guest's own station only.
    for at in 0..14 {
        let mut bad = request.clone();
        bad[at] ^= 1;
        assert!(guest().arp(&bad, |_| true).is_none(), "{at}");
    }
}

fn packet(destination: Ipv4Addr, payload: &[u8]) -> Packet<'_> {
    let source = Ipv4Addr::new(172, 31, 4, 66).into();
    Packet { source, destination: destination.into(), protocol: PROTOCOL_ICMP, ttl: 64, payload }
}

#[test]
fn the_router_answers_echoes_with_what_it_was_sent() {
    let mut message = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1, b'p', b'i', b'n'];
    let sum = Sum::default().add(&message).finish();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let router = guest().router();
    let reply = guest().echo(&packet(router, &message)).unwrap();
    let (kind, payload) = (&reply[12..14], &reply[14..]);
    assert_eq!(kind, [8, 0]);
    let answer = Packet::parse(payload).unwrap();
    assert_eq!((answer.source, answer.protocol), (router.into(), PROTOCOL_ICMP));
    assert_eq!(Sum::default().add(answer.payload).finish(), 0);
    assert_eq!(answer.payload[4..], message[4..]);
    message[9] ^= 1;
    assert!(guest().echo(&packet(router, &message)).is_none(), "its checksum is wrong");
    message[9] ^= 1;
    assert!(guest().echo(&packet(Ipv4Addr::new(8, 8, 8, 8), &message)).is_none());
}

#[test]
fn headers_that_lie_are_no_packets() {
    let key = guest().key(1, guest().router(), 1);
    let good = key.route(guest().macs(), TTL).icmp(&[0; 8]).split_off(ETHERNET);
    assert!(Packet::parse(&good).is_some());
    let padded = [&good[..], &[0; 18]].concat();
    assert_eq!(Packet::parse(&padded).unwrap().payload.len(), 8);
    for len in 0..good.len() {
        assert!(Packet::parse(&good[..len]).is_none(), "{len}");
    }
    let resum = |mut bytes: Vec<u8>| {
        bytes[10..12].fill(0);
        let header = usize::from(bytes[0] & 15) * 4;
        let sum = Sum::default().add(bytes.get(..header).unwrap_or(&bytes)).finish();
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes
    };
    // Version, header lengths, total lengths, a fragment's flag and offset; then a checksum alone.
    for (at, byte) in [(0, 0x65), (0, 0x44), (0, 0x4f), (2, 0xff), (3, 19), (6, 0x20), (7, 1)] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert!(Packet::parse(&resum(bad)).is_none(), "{at} {byte:#x}");
    }
    let mut bad = good;
    bad[10] ^= 1;
    assert!(Packet::parse(&bad).is_none());
}
