//! A driver of a network card that breaks every rule: a frame that cannot be so is dropped, a broken queue asks for a
//! reset, and after it the card works.

use super::rig::{ALL, BUFFERS, FRAMES, RX, Rig, Script, TX, available, bytes, say};
use super::spec::MRG_RXBUF;
use crate::bus::Width;
use crate::irq::fake::wait_until;
use crate::virtio::driver::{Descriptor, NEXT, RAM, WRITE};
use ami_run_memory::Gpa;
use ami_run_network::{MAX_FRAME, Offload};
use parking_lot::Mutex;

const PLAIN: Offload = Offload { checksum: None, segment: None };
const SIZES: [u16; 2] = [256; 2];

fn assert_works(rig: &mut Rig, link: &Mutex<Script>) {
    rig.guest.reset();
    link.lock().says.clear();
    link.lock().sent.clear();
    rig.start(ALL, SIZES);
    rig.give_buffers(0..2, 1526);
    rig.send([0; 12], &bytes(100));
    say(link, &bytes(200), PLAIN);
    assert_eq!(rig.receive(1526).1, bytes(200));
    assert_eq!(link.lock().sent.pop().unwrap().0, bytes(100));
}

#[test]
fn frames_that_cannot_be_so_come_back_and_go_nowhere() {
    let (mut rig, link) = Rig::scripted();
    rig.start(ALL, SIZES);
    for len in 0..26u32 {
        rig.send_chain(&[Descriptor(FRAMES, len, 0, 0)]);
        assert_eq!(rig.take_used(TX), (0, 0), "{len} bytes");
    }
    rig.send_chain(&[Descriptor(FRAMES, 65562, 0, 0)]);
    assert_eq!(rig.take_used(TX), (0, 0), "longer than a frame");
    rig.send_chain(&[Descriptor(FRAMES, 1 << 19, 0, 0), Descriptor(FRAMES, 1 << 19, 0, 0)]);
    assert_eq!(rig.take_used(TX), (0, 0), "far longer");
    rig.send_chain(&[Descriptor(FRAMES, 100, WRITE, 0)]);
    assert_eq!(rig.take_used(TX), (0, 0), "nothing to read");
    for header in [
        [1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],
        [1, 0, 0, 0, 0, 0, 34, 0, 65, 0, 0, 0],
        [0, 1, 0, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0],
        [1, 4, 0, 0, 0xb4, 5, 54, 0, 16, 0, 0, 0],
        [1, 5, 0, 0, 0xb4, 5, 34, 0, 6, 0, 0, 0],
        [1, 0x81, 0, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0],
        [0xff; 12],
    ] {
        rig.send(header, &bytes(100));
    }
    assert!(link.lock().sent.is_empty(), "{:?}", link.lock().sent);
    rig.send_chain(&[Descriptor(FRAMES, 112, 0, 0), Descriptor(FRAMES, 100, WRITE, 0)]);
    assert_eq!(rig.take_used(TX), (0, 0), "what is offered to be written is passed over");
    rig.send([0; 12], &bytes(MAX_FRAME));
    assert_eq!(link.lock().sent.last().unwrap().0.len(), MAX_FRAME);
}

#[test]
fn a_broken_transmit_queue_asks_for_a_reset() {
    let (mut rig, link) = Rig::scripted();
    let chains: [(&str, &[Descriptor]); 6] = [
        ("a loop of one", &[Descriptor(FRAMES, 72, NEXT, 0)]),
        ("next out of the table", &[Descriptor(FRAMES, 72, NEXT, 256)]),
        ("behind memory", &[Descriptor(RAM, 72, 0, 0)]),
        ("out of memory", &[Descriptor(RAM - 16, 72, 0, 0)]),
        ("4 GiB", &[Descriptor(FRAMES, u32::MAX, 0, 0)]),
        (
            "readable after writable",
            &[Descriptor(BUFFERS, 72, WRITE | NEXT, 1), Descriptor(FRAMES, 72, 0, 0)],
        ),
    ];
    for (what, chain) in chains {
        rig.start(ALL, SIZES);
        (0..).zip(chain).for_each(|(index, descriptor)| rig.describe(TX, index, *descriptor));
        rig.offer(TX, 0);
        rig.kick(TX);
        rig.wait_for_broken(what);
        // Nobody works for it any more.
        rig.give_buffers(0..2, 100);
        say(&link, &bytes(60), PLAIN);
        assert_works(&mut rig, &link);
    }
    rig.start(ALL, SIZES);
    rig.guest.memory.write_record(Gpa(available(TX) + 2), &257u16).unwrap();
    rig.kick(TX);
    rig.wait_for_broken("an index that jumps");
    assert_works(&mut rig, &link);
}

#[test]
fn a_broken_receive_queue_asks_for_a_reset_when_a_frame_comes() {
    let (mut rig, link) = Rig::scripted();
    for features in [ALL, ALL & !MRG_RXBUF] {
        for (what, buffer) in [
            ("no room for a header", Descriptor(BUFFERS, 11, WRITE, 0)),
            ("empty", Descriptor(BUFFERS, 0, WRITE, 0)),
            ("read-only", Descriptor(BUFFERS, 1526, 0, 0)),
            ("a loop", Descriptor(BUFFERS, 1526, WRITE | NEXT, 0)),
            ("behind memory", Descriptor(RAM, 1526, WRITE, 0)),
            ("out of memory", Descriptor(RAM - 16, 1526, WRITE, 0)),
            ("round the address space", Descriptor(u64::MAX - 15, 1526, WRITE, 0)),
        ] {
            rig.start(features, SIZES);
            rig.describe(RX, 0, buffer);
            rig.offer(RX, 0);
            rig.kick(RX);
            rig.send([0; 12], &bytes(60));
            assert_eq!(rig.guest.status(), 0x0f, "{what}: nobody has looked at it");
            say(&link, &bytes(60), PLAIN);
            rig.wait_for_broken(what);
            assert_eq!(rig.used_index(RX), 0, "{what}");
            assert_works(&mut rig, &link);
        }
    }
}

#[test]
fn buffers_too_small_for_a_frame_lose_it_and_not_the_next() {
    let (mut rig, link) = Rig::scripted();
    rig.start(ALL, [8, 8]);
    rig.give_buffers(0..8, 12);
    say(&link, &bytes(85), PLAIN);
    say(&link, &bytes(1000), PLAIN);
    say(&link, &bytes(84), PLAIN);
    let (header, frame, lens) = rig.receive(12);
    assert_eq!((header[10], frame == bytes(84), lens), (8, true, vec![12; 8]));
    rig.give_buffers(0..8, 12);
    say(&link, &bytes(80), PLAIN);
    assert_eq!(rig.receive(12).2, [12, 12, 12, 12, 12, 12, 12, 8]);
    // A frame that waits keeps what it has, and what comes back meanwhile is not counted twice.
    rig.start(ALL, [8, 8]);
    rig.give_buffers(0..6, 100);
    (0..6).for_each(|_| say(&link, &bytes(60), PLAIN));
    say(&link, &bytes(700), PLAIN);
    (0..6).for_each(|_| assert_eq!(rig.receive(100).1.len(), 60));
    rig.give_buffers(0..8, 100);
    assert_eq!(rig.receive(100).1, bytes(700));
}

#[test]
fn one_buffer_offered_again_and_again_is_written_as_often_and_no_more() {
    let (mut rig, link) = Rig::scripted();
    rig.start(ALL, [4, 4]);
    rig.describe(RX, 0, Descriptor(BUFFERS, 100, WRITE, 0));
    (0..4).for_each(|_| rig.offer(RX, 0));
    rig.kick(RX);
    say(&link, &bytes(350), PLAIN);
    assert_eq!(
        (0..4).map(|_| rig.take_used(RX)).collect::<Vec<_>>(),
        [(0, 100), (0, 100), (0, 100), (0, 62)]
    );
    rig.describe(TX, 0, Descriptor(FRAMES, 72, 0, 0));
    for _ in 0..100 {
        (0..4).for_each(|_| rig.offer(TX, 0));
        rig.kick(TX);
        (0..4).for_each(|_| assert_eq!(rig.take_used(TX), (0, 0)));
    }
    assert_eq!(link.lock().sent.len(), 400);
}

#[test]
fn rings_outside_memory_and_kicks_for_nothing() {
    let (mut rig, link) = Rig::scripted();
    rig.start(ALL, [0, 8]);
    rig.guest.reset();
    rig.guest.negotiate(ALL, 1);
    for queue in [0, 1] {
        rig.guest.write(22, Width::Word, queue);
        rig.guest.write(32, Width::Dword, if queue == 0 { 0x1000 } else { RAM });
        rig.guest.write(40, Width::Dword, 0x2000);
        rig.guest.write(48, Width::Dword, 0x3000);
        rig.guest.write(28, Width::Word, 1);
    }
    rig.guest.write(20, Width::Byte, 0x0f);
    wait_until("it asks for a reset", || rig.guest.status() & 64 != 0);
    rig.kick(RX);
    rig.start(ALL, SIZES);
    for _ in 0..10_000 {
        rig.kick(RX);
        rig.kick(TX);
        rig.guest.write(0x3008, Width::Word, 2);
    }
    assert_eq!((rig.used_index(RX), rig.used_index(TX)), (0, 0));
    assert_works(&mut rig, &link);
}
