//! virtio-net before the user-mode network: a lease, and a connection whose segments are as large as they may be.

use super::rig::{ALL, EVENT_INDEX, MAC, Rig};
use ami_run_network::{Answer, Config, Guest, Resolvers, Service, Session, UserLink};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const ADDRESS: [u8; 4] = [172, 31, 4, 66];
const SERVICE: [u8; 4] = [169, 254, 169, 254];
/// So many bytes go each way.
const TALK: usize = 60_000;
const BUFFER: u32 = 1536;
/// The header of what leaves its checksum to the card: UDP's and TCP's.
const UDP_HEADER: [u8; 12] = [1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0];
const TCP_HEADER: [u8; 12] = [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0];

/// The service hears `TALK` bytes and answers with as many.
fn rig() -> (Rig, Arc<AtomicUsize>) {
    let heard: Arc<AtomicUsize> = Arc::default();
    let counted = Arc::clone(&heard);
    let open = move || -> Session {
        let counted = Arc::clone(&counted);
        Box::new(move |bytes: &[u8], answer: &mut Answer| {
            let before = counted.fetch_add(bytes.len(), Ordering::SeqCst);
            assert!(
                (before..).zip(bytes).all(|(at, byte)| *byte == pattern(at)),
                "other bytes than were sent"
            );
            if before + bytes.len() == TALK && !bytes.is_empty() {
                answer.bytes.extend((0..TALK).map(pattern));
            }
        })
    };
    let guest = Guest {
        mac: MAC,
        address: ADDRESS.into(),
        prefix: 20,
        ipv6: None,
        host_name: "ip-172-31-4-66".to_owned(),
        domain: "ec2.internal".to_owned(),
    };
    let at = (SERVICE, 80).into();
    let config = Config {
        guest,
        resolvers: Resolvers::These(Vec::new()),
        services: vec![Service { at, open: Box::new(open) }],
        forwards: Vec::new(),
        host_loopback: false,
    };
    let mut rig = Rig::with(Arc::new(Mutex::new(UserLink::new(config).unwrap())));
    rig.start(ALL | EVENT_INDEX, [256; 2]);
    rig.give_buffers(0..256, BUFFER);
    (rig, heard)
}

fn pattern(at: usize) -> u8 {
    u8::try_from(at * 13 % 251).unwrap()
}

fn packet(protocol: u8, from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut ip = [&[0x45, 0, high, low, 0, 0, 0x40, 0, 64, protocol, 0, 0][..], &from, &to].concat();
    let mut sum: u32 = ip.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1])).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    ip[10..12].copy_from_slice(&u16::try_from(!sum & 0xffff).unwrap().to_be_bytes());
    [&[0x0e, 0x0a, 0x4d, 0x49, 0x52, 1][..], &MAC, &[8, 0], &ip, payload].concat()
}

fn segment(flags: u8, sequence: u32, heard: u32, options: &[u8], data: &[u8]) -> Vec<u8> {
    let words = u8::try_from(5 + options.len() / 4).unwrap();
    let tcp = [
        &[0x90, 1, 0, 80][..],
        &sequence.to_be_bytes(),
        &heard.to_be_bytes(),
        &[words << 4, flags, 0xff, 0xff, 0, 0, 0, 0],
        options,
        data,
    ];
    packet(6, ADDRESS, SERVICE, &tcp.concat())
}

fn dword(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

/// The next frame, with its header and the number of its buffers, which are offered again.
fn receive(rig: &mut Rig) -> ([u8; 12], Vec<u8>, usize) {
    let (header, frame, lens) = rig.receive(BUFFER);
    rig.give_back();
    (header, frame, lens.len())
}

#[test]
fn a_guest_gets_its_lease() {
    let (mut rig, _) = rig();
    let mut message = vec![1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 3, 0x80, 0];
    message.resize(28, 0);
    message.extend(MAC);
    message.resize(236, 0);
    message.extend([99, 130, 83, 99, 53, 1, 1, 255]);
    let [high, low] = u16::try_from(8 + message.len()).unwrap().to_be_bytes();
    let datagram = [&[0, 68, 0, 67, high, low, 0, 0][..], &message].concat();
    rig.send(UDP_HEADER, &packet(17, [0; 4], [255; 4], &datagram));
    let (header, frame, buffers) = receive(&mut rig);
    assert_eq!((header, buffers), ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], 1));
    let offer = &frame[42..];
    assert_eq!((&frame[34..38], &offer[16..20]), (&[0, 67, 0, 68][..], &ADDRESS[..]));
    assert_eq!(offer[236..243], [99, 130, 83, 99, 53, 1, 2]);
}

#[test]
fn large_segments_arrive_whole_both_ways() {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    let (mut rig, heard) = rig();
    let options = [2, 4, 0x23, 1, 1, 3, 3, 7];
    rig.send(TCP_HEADER, &segment(SYN, 1000, 0, &options, &[]));
    let (header, frame, _) = receive(&mut rig);
    assert_eq!((frame[47], dword(&frame[42..])), (SYN | ACK, 1001));
    assert_eq!((header[0], &header[6..10]), (1, &[34, 0, 16, 0][..]), "its checksum is left to the guest");
    let first = dword(&frame[38..]).wrapping_add(1);
    rig.send(TCP_HEADER, &segment(ACK, 1001, first, &[], &[]));
    let data: Vec<u8> = (0..TALK).map(pattern).collect();
    let [low, high] = 8941u16.to_le_bytes();
    rig.send([1, 1, 54, 0, low, high, 34, 0, 16, 0, 0, 0], &segment(ACK, 1001, first, &[], &data));
    let (mut answer, mut largest, mut most) = (Vec::<u8>::new(), 0, 0);
    while answer.len() < TALK {
        let (header, frame, buffers) = receive(&mut rig);
        let data = &frame[34 + usize::from(frame[46] >> 4) * 4..];
        let next = first.wrapping_add(u32::try_from(answer.len()).unwrap());
        if data.is_empty() || dword(&frame[38..]) != next {
            continue;
        }
        assert_eq!(buffers, (12 + frame.len()).div_ceil(1536));
        if data.len() > 8961 {
            assert_eq!(header[..4], [1, 1, 34 + 20, 0], "a large segment");
        }
        (largest, most) = (largest.max(data.len()), most.max(buffers));
        answer.extend(data);
        let next = first.wrapping_add(u32::try_from(answer.len()).unwrap());
        rig.send(TCP_HEADER, &segment(ACK, 1001 + 60_000, next, &[], &[]));
    }
    assert!(answer == data, "other bytes than were answered");
    assert_eq!(heard.load(Ordering::SeqCst), TALK);
    assert!(largest > 8961 && most > 6, "a segment of {largest} bytes in {most} buffers at most");
}
