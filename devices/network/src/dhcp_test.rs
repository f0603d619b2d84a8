//! Exchanges by literal bytes.

use super::*;
use crate::wire::{ETHERNET, IP, UDP};

const MAC: [u8; 6] = [0x06, 0x11, 0x22, 0x33, 0x44, 0x55];

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

/// A client's message with these options.
fn message(own: [u8; 4], options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 3, 0x80, 0];
    bytes.extend(own);
    bytes.resize(28, 0);
    bytes.extend(MAC);
    bytes.resize(236, 0);
    bytes.extend(COOKIE);
    bytes.extend(options);
    bytes
}

/// The Ethernet and IP destinations of an answer, and its message.
fn take(frame: &[u8]) -> ([u8; 6], [u8; 4], &[u8]) {
    assert_eq!(frame[ETHERNET + IP..][..4], [0, 67, 0, 68]);
    (frame[..6].try_into().unwrap(), frame[30..34].try_into().unwrap(), &frame[ETHERNET + IP + UDP..])
}

fn lease() -> Vec<u8> {
    [
        &[54, 4, 172, 31, 0, 1, 51, 4, 0, 0, 0x0e, 0x10, 1, 4, 255, 255, 240, 0, 3, 4, 172, 31, 0, 1][..],
        &[6, 4, 172, 31, 0, 2, 12, 14],
        b"ip-172-31-4-66",
        &[15, 12],
        b"ec2.internal",
        &[26, 2, 0x23, 0x29, 28, 4, 172, 31, 15, 255, 255],
    ]
    .concat()
}

#[test]
fn discover_and_request_give_the_lease_that_ec2_gives() {
    for (options, kind) in
        [(&[53, 1, 1, 255][..], 2), (&[53, 1, 3, 50, 4, 172, 31, 4, 66, 54, 4, 172, 31, 0, 1, 255], 5)]
    {
        let frame = answer(&guest(), &message([0; 4], options)).unwrap();
        let (mac, destination, reply) = take(&frame);
        assert_eq!((mac, destination), (BROADCAST, [255; 4]));
        assert_eq!(reply[..12], [2, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0x80, 0]);
        assert_eq!(reply[12..28], [0, 0, 0, 0, 172, 31, 4, 66, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(reply[28..34], MAC);
        assert_eq!(reply[236..243], [99, 130, 83, 99, 53, 1, kind]);
        assert!(reply[243..].starts_with(&lease()), "{:?}", &reply[243..]);
    }
}

#[test]
fn a_renewal_is_answered_to_the_client_alone() {
    let frame = answer(&guest(), &message([172, 31, 4, 66], &[53, 1, 3, 255])).unwrap();
    let (mac, destination, reply) = take(&frame);
    assert_eq!((mac, destination), (MAC, [172, 31, 4, 66]));
    assert_eq!(reply[12..20], [172, 31, 4, 66, 172, 31, 4, 66]);
    assert_eq!(reply[242], ACK);
}

#[test]
fn another_address_is_refused_and_another_server_s_offer_left_alone() {
    let frame = answer(&guest(), &message([0; 4], &[53, 1, 3, 50, 4, 10, 0, 0, 9, 255])).unwrap();
    let (mac, _, reply) = take(&frame);
    assert_eq!((mac, reply[242]), (BROADCAST, NAK));
    assert_eq!(reply[12..20], [0; 8]);
    assert!(!reply[243..].starts_with(&[51]), "a refusal has no lease");
    assert!(answer(&guest(), &message([0; 4], &[53, 1, 3, 54, 4, 10, 0, 0, 1, 255])).is_none());
}

#[test]
fn what_is_informed_gets_no_lease() {
    let frame = answer(&guest(), &message([172, 31, 4, 66], &[53, 1, 8, 255])).unwrap();
    let (_, _, reply) = take(&frame);
    assert_eq!(reply[16..20], [0; 4]);
    assert_eq!(reply[240..251], [53, 1, ACK, 54, 4, 172, 31, 0, 1, 1, 4]);
}

#[test]
fn broken_messages_are_not_answered() {
    let good = message([0; 4], &[53, 1, 1, 255]);
    for len in 0..243 {
        assert!(answer(&guest(), &good[..len]).is_none(), "{len}");
    }
    for (at, byte) in [(0, 2), (1, 6), (2, 16), (28, 9), (236, 0), (241, 200), (242, 99)] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert!(answer(&guest(), &bad).is_none(), "{at}");
    }
}
