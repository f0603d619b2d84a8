//! I/O commands as a driver sees them.

use super::driver_test::{DATA, Guest, LIST, RAM, SECTORS, data, read, transfer, write};
use super::spec::Sqe;
use ami_run_memory::Gpa;
use std::ops::Range;

const FLUSH: u8 = 0;
const WRITE_ZEROES: u8 = 8;
const DSM: u8 = 9;
const FUA: u32 = 1 << 30;
const DEALLOCATE: u32 = 1 << 25;

/// Numbers that look random and are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn with(command: Sqe, cdw12: u32) -> Sqe {
    Sqe { cdw12: (command.cdw12.get() | cdw12).into(), ..command }
}

fn flush() -> Sqe {
    Sqe { opcode: FLUSH, nsid: 1.into(), ..Sqe::default() }
}

fn deallocate(guest: &mut Guest, ranges: &[(u64, u32)]) -> u16 {
    let mut bytes = Vec::new();
    for (start, blocks) in ranges {
        bytes.extend([0; 4]);
        bytes.extend(blocks.to_le_bytes());
        bytes.extend(start.to_le_bytes());
    }
    guest.memory.write(Gpa(DATA), &bytes).unwrap();
    let count = u32::try_from(ranges.len() - 1).unwrap();
    let command = Sqe { opcode: DSM, nsid: 1.into(), cdw10: count.into(), cdw11: 4.into(), ..Sqe::default() };
    guest.run(1, data(command)).0
}

/// The first byte of each of the first sectors.
fn first_sectors(guest: &mut Guest, count: u32) -> Vec<u8> {
    assert_eq!(guest.run(1, read(0, count)), (0, 0));
    guest.data(usize::try_from(count).unwrap() * 512).chunks(512).map(|sector| sector[0]).collect()
}

/// What the disk must hold, by sectors, and the reads whose data is still to be looked at.
struct Model {
    disk: Vec<u8>,
    random: Random,
    reads: Vec<(u64, Range<usize>)>,
}

impl Model {
    /// A transfer of as much as two pages hold, wherever the first begins, of up to 8 sectors from `sector` on.
    fn transfer(&mut self, guest: &Guest, area: u64, sector: u64) -> Sqe {
        let area = area + self.random.below(1024) * 4;
        let count = 1 + self.random.below(8);
        let first = usize::try_from(sector).unwrap();
        let range = first..first + usize::try_from(count).unwrap();
        let mut bytes = vec![0xee; range.len() * 512];
        let opcode = if self.random.below(2) == 1 {
            let byte = self.random.below(256).to_le_bytes()[0];
            bytes.fill(byte);
            self.disk[range].fill(byte);
            1
        } else {
            self.reads.push((area, range));
            2
        };
        guest.memory.write(Gpa(area), &bytes).unwrap();
        let command = transfer(opcode, sector, u32::try_from(count).unwrap());
        Sqe { prp1: area.into(), prp2: ((area & !0xfff) + 0x1000).into(), ..command }
    }

    fn check(&mut self, guest: &Guest) {
        for (area, range) in self.reads.drain(..) {
            let mut got = vec![0; range.len() * 512];
            guest.memory.read(Gpa(area), &mut got).unwrap();
            let want: Vec<u8> = self.disk[range].iter().flat_map(|byte| [*byte; 512]).collect();
            assert_eq!(got, want);
        }
    }
}

#[test]
fn what_several_queues_write_is_read_with_shadows_and_without() {
    for shared in [false, true] {
        let mut guest = Guest::with_queues(4);
        if shared {
            guest.share_doorbells();
        }
        let disk = (0..SECTORS).map(|sector| sector.to_le_bytes()[0]).collect();
        let mut model = Model { disk, random: Random(0x9e37_79b9_7f4a_7c15), reads: Vec::new() };
        for _ in 0..200 {
            // Each queue works in a quarter of the disk, with an area of memory of its own.
            for id in 1..=4u16 {
                for slot in 0..1 + model.random.below(16) {
                    let area = DATA + (u64::from(id - 1) * 16 + slot) * 0x8000;
                    let sector = u64::from(id - 1) * (SECTORS / 4) + slot * 128 + model.random.below(100);
                    let command = model.transfer(&guest, area, sector);
                    guest.offer(id, command);
                }
                guest.ring_tail(id);
            }
            for id in 1..=4 {
                while guest.outstanding(id) != 0 {
                    assert_eq!(guest.take(id).status.get() >> 1, 0);
                }
            }
            model.check(&guest);
        }
    }
}

#[test]
fn flushes_and_durable_writes_are_answered() {
    let mut guest = Guest::with_queues(1);
    guest.memory.write(Gpa(DATA), &[0xa5; 4096]).unwrap();
    assert_eq!(guest.run(1, with(write(3, 2), FUA)), (0, 0));
    assert_eq!(guest.run(1, flush()), (0, 0));
    assert_eq!(guest.run(1, Sqe { nsid: u32::MAX.into(), ..flush() }), (0, 0));
    // Without a write cache.
    let cache_off = Sqe { opcode: 9, cdw10: 6.into(), ..Sqe::default() };
    assert_eq!(guest.admin(cache_off), (0, 0));
    assert_eq!(guest.run(1, write(6, 1)), (0, 0));
    assert_eq!(guest.run(1, with(transfer(WRITE_ZEROES, 7, 1), FUA)), (0, 0));
    assert_eq!(first_sectors(&mut guest, 9), [0, 1, 2, 0xa5, 0xa5, 5, 0xa5, 0, 8]);
}

#[test]
fn ranges_are_zeroed_and_deallocated() {
    let mut guest = Guest::with_queues(1);
    assert_eq!(guest.run(1, transfer(WRITE_ZEROES, 1, 2)), (0, 0));
    assert_eq!(guest.run(1, with(transfer(WRITE_ZEROES, 4, 1), DEALLOCATE)), (0, 0));
    assert_eq!(deallocate(&mut guest, &[(8, 8)]), 0);
    assert_eq!(first_sectors(&mut guest, 16), [0, 0, 0, 3, 0, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
    // The most that one command can zero, and the most ranges.
    assert_eq!(guest.run(1, transfer(WRITE_ZEROES, 0, 8192)), (0, 0));
    let ranges: Vec<(u64, u32)> = (0..256).map(|at| (at * 8, 8)).collect();
    assert_eq!(deallocate(&mut guest, &ranges), 0);
    assert_eq!(deallocate(&mut guest, &[(0, 0), (SECTORS, 0)]), 0, "of nothing");
    assert_eq!(deallocate(&mut guest, &[(0, 8), (SECTORS - 1, 2)]), 0x4080);
    assert_eq!(deallocate(&mut guest, &[(u64::MAX, 1)]), 0x4080);
    // Without the bit, a range is only a hint.
    guest.memory.write(Gpa(DATA), &[7; 512]).unwrap();
    assert_eq!(guest.run(1, write(16, 1)), (0, 0));
    let hint = Sqe { opcode: DSM, nsid: 1.into(), cdw11: 3.into(), ..Sqe::default() };
    let range = [[0; 4], 8u32.to_le_bytes(), 16u32.to_le_bytes(), [0; 4]].concat();
    guest.memory.write(Gpa(DATA), &range).unwrap();
    assert_eq!(guest.run(1, data(hint)), (0, 0));
    assert_eq!(first_sectors(&mut guest, 16), [0; 16]);
    assert_eq!(guest.run(1, read(16, 1)), (0, 0));
    assert_eq!(guest.data(512), [7; 512]);
}

#[test]
fn a_transfer_of_the_largest_size_takes_a_list() {
    let mut guest = Guest::with_queues(1);
    let pages: Vec<u8> = (1..129u64).flat_map(|page| (DATA + page * 4096).to_le_bytes()).collect();
    guest.memory.write(Gpa(LIST), &pages).unwrap();
    let list = |command: Sqe| Sqe { prp2: LIST.into(), ..command };
    guest.memory.write(Gpa(DATA), &vec![0x5a; 512 << 10]).unwrap();
    assert_eq!(guest.run(1, list(write(100, 1024))), (0, 0));
    guest.memory.write(Gpa(DATA), &vec![0; 514 << 10]).unwrap();
    assert_eq!(guest.run(1, list(read(99, 1024))), (0, 0));
    let bytes = guest.data(513 << 10);
    assert_eq!((bytes[511], bytes[512], bytes[(512 << 10) - 1], bytes[512 << 10]), (99, 0x5a, 0x5a, 0));
    assert_eq!(guest.run(1, list(read(99, 1025))).0, 0x4002, "more than MDTS");
}

#[test]
fn wrong_commands_have_their_status() {
    let mut guest = Guest::with_queues(1);
    let plain = |opcode| transfer(opcode, 0, 1);
    let at = |prp1: u64, prp2: u64| Sqe { prp1: prp1.into(), prp2: prp2.into(), ..read(0, 32) };
    let cases = [
        (read(SECTORS, 1), 0x4080),
        (read(SECTORS - 1, 2), 0x4080),
        (read(u64::MAX, 1), 0x4080),
        (read(u64::MAX / 512, 1), 0x4080),
        (write(1 << 55, 65536), 0x4080),
        (transfer(WRITE_ZEROES, SECTORS - 1, 2), 0x4080),
        (Sqe { nsid: 0.into(), ..plain(2) }, 0x400b),
        (Sqe { nsid: 2.into(), ..plain(1) }, 0x400b),
        (Sqe { nsid: u32::MAX.into(), ..plain(2) }, 0x400b),
        (Sqe { nsid: 2.into(), ..flush() }, 0x400b),
        (Sqe { flags: 1, ..plain(2) }, 0x4002),
        (Sqe { flags: 0x40, ..plain(2) }, 0x4002),
        (at(RAM, 0), 0x4004),
        (at(!3, 0), 0x4004),
        (at(DATA + 1, LIST), 0x4013),
        (at(DATA, LIST + 4), 0x4013),
        (at(DATA, RAM), 0x4004),
        (at(DATA, !7), 0x4004),
        (at(0xc010_0000, LIST), 0x4004),
    ];
    for (command, status) in cases {
        assert_eq!(guest.run(1, command), (status, 0), "{command:?}");
    }
    for opcode in (0..=255u8).filter(|opcode| ![0, 1, 2, 8, 9].contains(opcode)) {
        assert_eq!(guest.run(1, plain(opcode)), (0x4001, 0), "{opcode:#x}");
    }
    guest.assert_works(1);
}

#[test]
fn a_closed_gate_holds_commands_back_and_loses_none() {
    let mut guest = Guest::with_queues(2);
    for _ in 0..20 {
        guest.gate.close(|| ());
        guest.offer(1, data(read(3, 1)));
        guest.ring_tail(1);
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(guest.peek(1).is_none(), "nobody works behind a closed gate");
        guest.gate.open();
        assert_eq!(guest.take(1).status.get() >> 1, 0);
        assert_eq!(guest.data(1), [3]);
    }
    // A queue can be deleted there all the same: its thread leaves.
    guest.gate.close(|| ());
    let delete = Sqe { opcode: 0, cdw10: 2.into(), ..Sqe::default() };
    assert_eq!(guest.admin(delete), (0, 0));
    guest.gate.open();
    guest.assert_works(1);
}
