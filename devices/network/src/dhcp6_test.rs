//! Exchanges by literal bytes.

use super::*;
use crate::wire::PROTOCOL_UDP;

const CLIENT: [u8; 14] = [0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 1];
const SERVER: [u8; 14] = [0, 2, 0, 10, 0, 3, 0, 1, 0x0e, 0x0a, 0x4d, 0x49, 0x52, 1];
const OURS: [u8; 16] = [0x26, 0, 0x1f, 0x18, 0x12, 0x34, 0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0x42];
const OTHER: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const RESOLVERS: [u8; 20] = [0, 23, 0, 16, 0xfd, 0, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x53];
const LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 1);

fn guest() -> Guest {
    Guest {
        mac: [2, 0, 0, 0, 0, 1],
        address: [172, 31, 4, 66].into(),
        prefix: 20,
        ipv6: Some(OURS.into()),
        host_name: "ip-172-31-4-66".to_owned(),
        domain: "ec2.internal".to_owned(),
    }
}

fn ask_from(source: Ipv6Addr, message: &[u8]) -> Option<Vec<u8>> {
    let (source, destination) = (source.into(), SERVERS.into());
    answer(&guest(), &Packet { source, destination, protocol: PROTOCOL_UDP, ttl: 1, payload: &[] }, message)
}

/// The message that answers this one, which is sent as it has to be.
fn ask(kind: u8, options: &[&[u8]]) -> Option<Vec<u8>> {
    let frame = ask_from(LOCAL, &[&[kind, 0xa, 0xb, 0xc], &options.concat()[..]].concat())?;
    assert_eq!(frame[..6], guest().mac);
    assert_eq!(frame[22..54], [ROUTER.octets(), LOCAL.octets()].concat());
    assert_eq!(frame[54..58], [2, 0x23, 2, 0x22], "from 547 to 546");
    assert_eq!(frame[63..66], [0xa, 0xb, 0xc]);
    Some([&frame[62..63], &frame[66..]].concat())
}

fn address(address: [u8; 16], lifetime: [u8; 4]) -> Vec<u8> {
    [&[0, 5, 0, 24][..], &address, &lifetime, &lifetime].concat()
}

fn association(times: [u8; 8], addresses: &[Vec<u8>]) -> Vec<u8> {
    let addresses = addresses.concat();
    let len = u8::try_from(addresses.len().saturating_add(12)).unwrap();
    [&[0, 3, 0, len, 1, 2, 3, 4][..], &times, &addresses].concat()
}

/// What a client asks for: any address, or these.
fn wants(addresses: &[[u8; 16]]) -> Vec<u8> {
    let addresses: Vec<_> = addresses.iter().map(|one| address(*one, [0; 4])).collect();
    association([0; 8], &addresses)
}

/// An hour of the address, renewed after half of it.
fn given() -> Vec<u8> {
    association([0, 0, 7, 8, 0, 0, 0x0b, 0x40], &[address(OURS, [0, 0, 0x0e, 0x10])])
}

#[test]
fn the_address_is_offered_given_and_renewed() {
    // Beside what matters: what is asked for, and how long ago.
    let more = [0, 6, 0, 4, 0, 23, 0, 24, 0, 8, 0, 2, 0, 0];
    for (kind, server, has, answer) in
        [(1, false, &[][..], 2), (3, true, &[OURS], 7), (5, true, &[OURS], 7), (6, false, &[OURS], 7)]
    {
        let named = if server { &SERVER[..] } else { &[] };
        let reply = ask(kind, &[&CLIENT, named, &more, &wants(has)]).unwrap();
        assert_eq!(reply, [&[answer], &SERVER[..], &CLIENT, &given(), &RESOLVERS].concat(), "{kind}");
    }
}

#[test]
fn a_client_in_haste_is_given_it_at_once() {
    let reply = ask(1, &[&CLIENT, &[0, 14, 0, 0], &wants(&[])]).unwrap();
    assert_eq!(reply, [&[7], &SERVER[..], &CLIENT, &[0, 14, 0, 0], &given(), &RESOLVERS].concat());
}

#[test]
fn an_address_from_elsewhere_ends() {
    let both = association(
        [0, 0, 7, 8, 0, 0, 0x0b, 0x40],
        &[address(OURS, [0, 0, 0x0e, 0x10]), address(OTHER, [0; 4])],
    );
    let reply = ask(6, &[&CLIENT, &wants(&[OTHER])]).unwrap();
    assert_eq!(reply, [&[7], &SERVER[..], &CLIENT, &both, &RESOLVERS].concat());
    let reply = ask(3, &[&CLIENT, &SERVER, &wants(&[OTHER])]).unwrap();
    assert_eq!(reply, [&[7], &SERVER[..], &CLIENT, &given(), &RESOLVERS].concat());
    for (has, status) in [(&[OURS][..], Some(0)), (&[OURS, OTHER], Some(4)), (&[], None)] {
        let reply = ask(4, &[&CLIENT, &wants(has)]);
        let told = status.map(|code| [&[7], &SERVER[..], &CLIENT, &[0, 13, 0, 2, 0, code]].concat());
        assert_eq!(reply, told, "{has:?}");
    }
}

#[test]
fn what_is_given_back_is_taken_and_who_only_asks_is_told() {
    for kind in [8, 9] {
        let reply = ask(kind, &[&CLIENT, &SERVER, &wants(&[OURS])]).unwrap();
        assert_eq!(reply, [&[7], &SERVER[..], &CLIENT, &[0, 13, 0, 2, 0, 0]].concat());
    }
    assert_eq!(ask(11, &[]).unwrap(), [&[7], &SERVER[..], &RESOLVERS].concat());
    assert_eq!(ask(11, &[&CLIENT]).unwrap(), [&[7], &SERVER[..], &CLIENT, &RESOLVERS].concat());
}

#[test]
fn what_is_not_for_this_server_is_not_answered() {
    let mut another = SERVER;
    another[13] = 2;
    let any = wants(&[]);
    for (kind, options) in [
        // A server that is named where none may be, none where one must be, and another.
        (1, vec![&CLIENT[..], &SERVER, &any]),
        (6, vec![&CLIENT, &SERVER, &any]),
        (3, vec![&CLIENT, &any]),
        (8, vec![&CLIENT, &any]),
        (3, vec![&CLIENT, &another, &any]),
        (5, vec![&CLIENT, &another, &any]),
        (11, vec![&another]),
        // Nobody who asks, nothing that is asked for, and what goes another way.
        (1, vec![&any]),
        (1, vec![&CLIENT]),
        (3, vec![&CLIENT, &SERVER]),
        (11, vec![&CLIENT, &any]),
        (2, vec![&CLIENT, &any]),
        (7, vec![&CLIENT, &any]),
        (12, vec![&CLIENT, &any]),
    ] {
        assert_eq!(ask(kind, &options), None, "{kind}: {options:x?}");
    }
    let solicit = [&[1, 0, 0, 1], &CLIENT[..], &any].concat();
    assert!(ask_from(LOCAL, &solicit).is_some());
    assert!(ask_from(OURS.into(), &solicit).is_none(), "clients write from link-local addresses");
    let none = Guest { ipv6: None, ..guest() };
    let (source, destination) = (LOCAL.into(), SERVERS.into());
    let packet = Packet { source, destination, protocol: PROTOCOL_UDP, ttl: 1, payload: &[] };
    assert!(answer(&none, &packet, &solicit).is_none());
}

#[test]
fn options_that_are_longer_than_what_holds_them_are_not_read() {
    let good = [&[1, 0, 0, 1], &CLIENT[..], &wants(&[OURS])].concat();
    for len in 0..good.len() {
        assert!(ask_from(LOCAL, &good[..len]).is_none(), "{len}");
    }
    // The lengths: of who asks, of the association (shorter and longer), of the address in it (shorter and longer).
    for (at, len) in [(7, 9), (7, 60), (21, 3), (21, 39), (21, 41), (37, 23), (37, 25), (36, 1), (20, 0xff)] {
        let mut bad = good.clone();
        bad[at] = len;
        assert!(ask_from(LOCAL, &bad).is_none(), "{at}: {len}");
    }
    let long = [&[1, 0, 0, 1, 0, 1, 0, 131][..], &[7; 131], &wants(&[])].concat();
    assert!(ask_from(LOCAL, &long).is_none(), "who asks has 130 bytes at most");
    // Many associations make no longer an answer than one.
    let many = [&[1, 0, 0, 1], &CLIENT[..], &wants(&[OURS, OTHER]).repeat(100)].concat();
    assert_eq!(
        ask_from(LOCAL, &many).map(|frame| frame.len()),
        ask_from(LOCAL, &good).map(|frame| frame.len())
    );
}
