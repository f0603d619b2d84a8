//! virtio-net as a driver sees it, before a link that does what the test says.

use super::rig::{ALL, EVENT_INDEX, FRAMES, MAC, RX, Rig, TX, bytes, say};
use super::spec::{GUEST_CSUM, GUEST_TSO4, MRG_RXBUF};
use crate::bus::Width;
use crate::irq::fake::{spawn, wait_until};
use crate::pci::Function;
use crate::virtio::driver::{BAR, CONFIG, Descriptor, TABLE_FLAG};
use ami_run_memory::Gpa;
use ami_run_network::{Checksum, MAX_FRAME, Offload, Takes};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PLAIN: Offload = Offload { checksum: None, segment: None };
const SIZES: [u16; 2] = [256; 2];
/// The messages of the two queues.
const RX_MESSAGE: u32 = CONFIG + 1;
const TX_MESSAGE: u32 = CONFIG + 2;

#[test]
fn a_driver_finds_a_network_card() {
    let (rig, _) = Rig::scripted();
    let guest = &rig.guest;
    assert_eq!(guest.device.config_read(0, Width::Dword), 0x1041_1af4);
    assert_eq!(guest.device.config_read(8, Width::Dword), 0x0200_0001);
    assert_eq!(guest.read(18, Width::Word), 2, "two queues, none for control");
    guest.write(0, Width::Dword, 0);
    assert_eq!(guest.read(4, Width::Dword), ALL | EVENT_INDEX);
    let config: Vec<u64> = (0..12).map(|at| guest.read(0x2000 + at, Width::Byte)).collect();
    assert_eq!(config[..6], MAC.map(u64::from));
    assert_eq!(config[6..], [1, 0, 0, 0, 0x29, 0x23], "the link is up; no pairs; frames of 9001 bytes");
}

#[test]
fn what_the_guest_sends_reaches_the_link_with_what_is_left_to_do() {
    let (mut rig, link) = Rig::scripted();
    rig.start(ALL, SIZES);
    let large = {
        let mut frame = bytes(MAX_FRAME);
        frame[12..14].copy_from_slice(&[8, 0]);
        frame
    };
    let checksum = Some(Checksum { start: 34, offset: 16 });
    for (header, frame, offload) in [
        ([0; 12], &bytes(14)[..], PLAIN),
        ([1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0], &bytes(60)[..], Offload { checksum, segment: None }),
        ([1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0], &large[..], Offload { checksum, segment: Some(1460) }),
    ] {
        rig.send(header, frame);
        wait_until("its interrupt", || rig.guest.host.messages(TX_MESSAGE) == 1);
        assert!(link.lock().sent.pop() == Some((frame.to_vec(), offload)), "{offload:?}");
    }
}

#[test]
fn a_header_and_a_frame_may_lie_in_any_pieces() {
    let (mut rig, link) = Rig::scripted();
    rig.start(ALL, SIZES);
    let frame = bytes(1000);
    let header = [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0];
    for pieces in [&[12, 1000][..], &[1; 300][..], &[5, 0, 8, 0, 999], &[1011, 1]] {
        rig.guest.memory.write(Gpa(FRAMES), &[&header[..], &frame].concat()).unwrap();
        let mut at = 0;
        let mut chain: Vec<Descriptor> = Vec::new();
        for piece in pieces.iter().copied().chain([2000]) {
            let len = piece.min(1012 - at);
            chain.push(Descriptor(FRAMES + u64::from(at), len, 0, 0));
            at += len;
        }
        for (index, Descriptor(gpa, len, ..)) in (0..).zip(&chain) {
            let next = u16::from(usize::from(index) + 1 < chain.len());
            rig.guest.describe_at(0x1_0000, index, Descriptor(*gpa, *len, next, index + 1));
        }
        let len = u32::try_from(chain.len() * 16).unwrap();
        rig.send_chain(&[Descriptor(0x1_0000, len, TABLE_FLAG, 0)]);
        assert_eq!(rig.take_used(TX), (0, 0));
        let (heard, offload) = link.lock().sent.pop().unwrap();
        assert!(heard == frame && offload.checksum == Some(Checksum { start: 34, offset: 16 }), "{pieces:?}");
    }
}

#[test]
fn a_frame_for_the_guest_comes_with_its_header() {
    let (mut rig, link) = Rig::scripted();
    rig.start(ALL, SIZES);
    rig.give_buffers(0..8, 1526);
    say(&link, &bytes(60), PLAIN);
    let (header, frame, lens) = rig.receive(1526);
    assert_eq!((header, lens), ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], vec![72]));
    assert_eq!(frame, bytes(60));
    wait_until("its interrupt", || rig.guest.host.messages(RX_MESSAGE) == 1);
    let mut large = bytes(5000);
    large[34 + 12] = 0x50;
    let checksum = Some(Checksum { start: 34, offset: 16 });
    say(&link, &large, Offload { checksum, segment: Some(1460) });
    let (header, frame, lens) = rig.receive(1526);
    assert_eq!(header, [1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 4, 0]);
    assert_eq!((frame == large, lens), (true, vec![1526, 1526, 1526, 5012 - 3 * 1526]));
}

#[test]
fn the_largest_frame_spans_as_many_buffers_as_it_needs() {
    let (mut rig, link) = Rig::scripted();
    for event_index in [0, EVENT_INDEX] {
        rig.start(ALL | event_index, SIZES);
        let frame = bytes(MAX_FRAME);
        for round in 0..20 {
            // The ring wraps round in the midst of frames.
            rig.give_buffers(0..44, 1500);
            rig.ask_at(RX, 44 * round + 20);
            let (before, begun) = (rig.used_index(RX), Instant::now());
            say(&link, &frame, PLAIN);
            // Looked at without a pause: who gives the buffers back one by one is caught at it.
            let after = loop {
                assert!(begun.elapsed() < Duration::from_secs(120), "no frame");
                let now = rig.used_index(RX);
                if now != before {
                    break now;
                }
            };
            assert_eq!(after.wrapping_sub(before), 44, "a part of a frame");
            let (header, heard, lens) = rig.receive(1500);
            assert_eq!((header[10], lens.len(), lens[43]), (44, 44, 65561 - 43 * 1500));
            assert!(heard == frame);
            wait_until("the interrupt in its midst", || rig.guest.host.messages(RX_MESSAGE) == 1);
        }
    }
}

#[test]
fn without_merged_buffers_a_frame_fits_into_one_or_is_dropped() {
    let (mut rig, link) = Rig::scripted();
    rig.start(ALL & !MRG_RXBUF, SIZES);
    rig.give_buffers(0..1, 1526);
    say(&link, &bytes(1515), PLAIN);
    say(&link, &bytes(1514), PLAIN);
    let (header, frame, lens) = rig.receive(1526);
    assert_eq!((header[10], frame == bytes(1514), lens), (1, true, vec![1526]));
    rig.start(ALL & !MRG_RXBUF, SIZES);
    rig.give_buffers(0..1, 65561);
    say(&link, &bytes(MAX_FRAME), PLAIN);
    let (header, frame, lens) = rig.receive(65561);
    assert_eq!((header[10], frame.len(), lens), (1, MAX_FRAME, vec![65561]));
}

#[test]
fn a_frame_without_room_waits_and_those_behind_it_stay_with_the_link() {
    let (mut rig, link) = Rig::scripted();
    for event_index in [0, EVENT_INDEX] {
        rig.start(ALL | event_index, SIZES);
        say(&link, &bytes(4000), PLAIN);
        (0..3).for_each(|len| say(&link, &bytes(60 + len), PLAIN));
        wait_until("the first is taken", || link.lock().says.len() == 3);
        for number in 0..3 {
            rig.give_buffers(number..number + 1, 1500);
            // Whoever answers this has looked at the buffer.
            rig.send([0; 12], &bytes(60));
            assert_eq!((rig.used_index(RX), link.lock().says.len()), (0, 3), "not in part");
            if number == 1 {
                break;
            }
        }
        rig.give_buffers(2..6, 1500);
        let lens: Vec<usize> = (0..4).map(|_| rig.receive(1500).1.len()).collect();
        assert_eq!(lens, [4000, 60, 61, 62]);
    }
}

#[test]
fn the_link_learns_what_each_driver_takes() {
    let (mut rig, link) = Rig::scripted();
    let takes = |checksum, segments| Takes { checksum, segments };
    for (features, expected) in [
        (0, takes(false, false)),
        (GUEST_CSUM, takes(true, false)),
        (GUEST_CSUM | GUEST_TSO4, takes(true, true)),
        (GUEST_TSO4, takes(false, false)),
    ] {
        rig.start(features, SIZES);
        rig.send([0; 12], &bytes(60));
        assert_eq!(std::mem::take(&mut link.lock().begun), [expected], "once");
    }
}

#[test]
fn many_frames_are_one_interrupt() {
    let (mut rig, link) = Rig::scripted();
    rig.start(ALL, SIZES);
    rig.guest.gate.close(|| ());
    rig.describe(TX, 0, Descriptor(FRAMES, 72, 0, 0));
    (0..40).for_each(|_| rig.offer(TX, 0));
    rig.give_buffers(0..40, 100);
    (0..40).for_each(|_| say(&link, &bytes(60), PLAIN));
    rig.kick(TX);
    rig.guest.gate.open();
    wait_until("all", || rig.used_index(TX) == 40 && rig.used_index(RX) == 40);
    // Who stands at the gate has interrupted for all that it has done.
    rig.guest.gate.close(|| ());
    assert_eq!((rig.guest.host.messages(TX_MESSAGE), rig.guest.host.messages(RX_MESSAGE)), (1, 1));
}

#[test]
fn a_driver_that_wants_no_interrupt_gets_none() {
    let (mut rig, _link) = Rig::scripted();
    rig.start(ALL, SIZES);
    rig.guest.memory.write_record(Gpa(super::rig::available(TX)), &1u16).unwrap();
    (0..5).for_each(|_| rig.send([0; 12], &bytes(60)));
    rig.guest.gate.close(|| ());
    assert_eq!(rig.guest.host.messages(TX_MESSAGE), 0);
    rig.guest.gate.open();
    rig.guest.memory.write_record(Gpa(super::rig::available(TX)), &0u16).unwrap();
    rig.send([0; 12], &bytes(60));
    wait_until("the only one", || rig.guest.host.messages(TX_MESSAGE) == 1);
}

#[test]
fn who_floods_the_link_still_hears_it() {
    let (mut rig, link) = Rig::scripted();
    rig.start(ALL, SIZES);
    rig.guest.gate.close(|| ());
    (0..250).for_each(|_| rig.offer(TX, 0));
    rig.describe(TX, 0, Descriptor(FRAMES, 72, 0, 0));
    rig.give_buffers(0..200, 100);
    (0..200).for_each(|_| say(&link, &bytes(60), PLAIN));
    rig.guest.gate.open();
    wait_until("all", || rig.used_index(TX) == 250 && rig.used_index(RX) == 200);
    let link = link.lock();
    assert_eq!((link.said_after[0], link.said_after[64], link.said_after[199]), (64, 128, 250));
}

#[test]
fn a_paused_card_moves_nothing_and_loses_nothing() {
    let (mut rig, link) = Rig::scripted();
    rig.start(ALL, SIZES);
    rig.give_buffers(0..2, 100);
    for round in 0..50u16 {
        rig.guest.gate.close(|| ());
        say(&link, &bytes(61), PLAIN);
        rig.describe(TX, 0, Descriptor(FRAMES, 72, 0, 0));
        rig.offer(TX, 0);
        rig.kick(TX);
        std::thread::yield_now();
        assert_eq!((rig.used_index(TX), rig.used_index(RX)), (round, round), "nothing moves");
        rig.guest.gate.open();
        assert_eq!(rig.take_used(TX), (0, 0));
        let head = rig.take_used(RX).0;
        rig.offer(RX, u16::try_from(head).unwrap());
        rig.kick(RX);
    }
    assert_eq!(link.lock().sent.len(), 50);
}

#[test]
fn a_frame_that_waits_outlives_a_pause() {
    let (mut rig, link) = Rig::scripted();
    rig.start(ALL, SIZES);
    rig.give_buffers(0..1, 100);
    say(&link, &bytes(200), PLAIN);
    wait_until("it is taken", || link.lock().says.is_empty());
    rig.guest.gate.close(|| ());
    rig.give_buffers(1..3, 100);
    rig.guest.gate.open();
    assert_eq!(rig.receive(100).1, bytes(200));
}

#[test]
fn a_reset_under_way_leaves_the_link_and_the_next_driver_in_peace() {
    let (mut rig, link) = Rig::scripted();
    for round in 0..20 {
        rig.start(ALL, SIZES);
        rig.give_buffers(0..2, 100);
        rig.describe(TX, 0, Descriptor(FRAMES, 72, 0, 0));
        (0..200).for_each(|_| rig.offer(TX, 0));
        rig.kick(TX);
        say(&link, &bytes(1000), PLAIN);
        if round % 2 == 0 {
            wait_until("it is taken", || link.lock().says.is_empty());
        }
        let device = Arc::clone(&rig.guest.device);
        let reset = spawn(move || {
            device.bar_write(0, crate::bus::Access::new(20, Width::Byte), 0);
        });
        reset.join().unwrap();
        let (sent, used) = (link.lock().sent.len(), rig.used_index(TX));
        say(&link, &bytes(60), PLAIN);
        assert_eq!(
            (rig.used_index(TX), link.lock().sent.len()),
            (used, sent),
            "nobody works for it any more"
        );
        link.lock().says.clear();
        rig.start(ALL, SIZES);
        rig.give_buffers(0..2, 100);
        say(&link, &bytes(60), PLAIN);
        assert_eq!(rig.receive(100).1, bytes(60), "nothing of what was for the last one");
    }
}

#[test]
fn the_link_is_polled_when_its_time_comes_and_not_all_the_time() {
    let (mut rig, link) = Rig::scripted();
    rig.start(ALL, SIZES);
    rig.send([0; 12], &bytes(60));
    link.lock().deadline = Some(Instant::now() + Duration::from_millis(20));
    rig.send([0; 12], &bytes(60));
    wait_until("the deadline", || link.lock().deadline.is_none());
    let before = link.lock().polls;
    (0..100).for_each(|_| rig.send([0; 12], &bytes(60)));
    let polls = link.lock().polls - before;
    // Once before each sleep; on a busy computer a thread wakes a few times for nothing.
    assert!(polls < 200, "{polls} for 100 frames");
}

#[test]
fn both_doorbells_hang_and_a_queue_alone_is_served() {
    let (mut rig, link) = Rig::scripted();
    rig.start(ALL, SIZES);
    assert_eq!(rig.guest.host.bells(), [BAR + 0x3000, BAR + 0x3004]);
    rig.start(ALL, [0, 16]);
    assert_eq!(rig.guest.host.bells(), [BAR + 0x3004]);
    say(&link, &bytes(60), PLAIN);
    rig.send([0; 12], &bytes(60));
    assert_eq!(link.lock().says.len(), 1);
    rig.start(ALL, [16, 0]);
    rig.give_buffers(0..1, 100);
    assert_eq!(rig.receive(100).1, bytes(60));
    rig.start(ALL, [0, 0]);
    assert_eq!(rig.guest.status(), 0x0f);
}
