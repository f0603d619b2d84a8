//! Commands made of right and wrong parts, many of them: every one is answered once, and the controller goes on.

use super::driver_test::{ADMIN, BAR, DATA, Guest, LIST, RAM};
use super::spec::Sqe;
use ami_run_memory::Gpa;

const BATCH: usize = 24;
const BATCHES: usize = 2000;

/// Numbers that look random and are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.next() >> 33).unwrap() % from.len()]
    }

    fn dword(&mut self) -> u32 {
        let any = u32::try_from(self.next() >> 32).unwrap();
        self.pick(&[0, 1, 2, 3, 7, 8, 0x10, 0xff, 0xffff, 0x1_0000, 0x000f_0001, 0x7fff_ffff, u32::MAX, any])
    }

    /// The driver's own queues are nowhere here: what they hold must stay readable.
    fn data_page(&mut self) -> u64 {
        let page = DATA + self.next() % 64 * 4096;
        let any = self.next() | 1 << 40;
        self.pick(&[
            page,
            page,
            page,
            page + 4,
            page + 4092,
            page + 1,
            RAM - 4096,
            RAM,
            BAR,
            u64::MAX - 4095,
            any,
        ])
    }

    fn list(&mut self) -> u64 {
        let entry = LIST + self.next() % 512 * 8;
        self.pick(&[entry, entry, entry, LIST, LIST + 4088, entry + 4, RAM, RAM - 8, u64::MAX - 7])
    }

    fn namespace(&mut self) -> u32 {
        self.pick(&[1, 1, 1, 1, 0, 2, u32::MAX])
    }

    fn io(&mut self) -> Sqe {
        let any = self.next().to_le_bytes()[7];
        let count = self.pick(&[0, 0, 1, 7, 7, 8, 127, 1023, 1024, 0xffff]);
        // Longer than two pages: the second pointer is a list.
        let prp2 = if count > 7 { self.list() } else { self.data_page() };
        Sqe {
            opcode: self.pick(&[0, 1, 1, 2, 2, 2, 8, 9, any]),
            flags: self.pick(&[0, 0, 0, 0, 0, 0, 1, 0x40, 0xff]),
            nsid: self.namespace().into(),
            prp1: self.data_page().into(),
            prp2: prp2.into(),
            cdw10: self.pick(&[0, 1, 100, 255, 4095, 8191, 8192, u32::MAX]).into(),
            cdw11: self.pick(&[0, 0, 0, 0, 4, 1, u32::MAX]).into(),
            cdw12: (count | self.pick(&[0, 0, 1 << 25, 1 << 30, 1 << 31])).into(),
            ..Sqe::default()
        }
    }

    /// Not event requests, which are answered late, nor what ends or redirects the queue that I/O goes through.
    fn admin(&mut self) -> Sqe {
        let any = self.next().to_le_bytes()[7];
        let opcode = self.pick(&[0, 1, 2, 2, 4, 5, 6, 6, 8, 9, 10, any]);
        let opcode = if opcode == 0x0c || opcode == 0x7c { 8 } else { opcode };
        let cdw10 = if opcode < 2 || opcode == 4 || opcode == 5 {
            (2 + self.dword() % 20) | self.dword() << 16
        } else {
            self.dword() << 16 | u32::from(any) | self.dword() & 0xf
        };
        Sqe {
            opcode,
            flags: self.pick(&[0, 0, 0, 0, 0, 0, 1, 0x80]),
            nsid: self.namespace().into(),
            prp1: self.data_page().into(),
            prp2: self.data_page().into(),
            cdw10: cdw10.into(),
            cdw11: self.dword().into(),
            cdw12: self.dword().into(),
            cdw13: self.pick(&[0, 0, 0, 1, u32::MAX]).into(),
            ..Sqe::default()
        }
    }
}

/// A list whose entries are good and bad, and whose last leads back to its start.
fn fill_list(guest: &Guest, random: &mut Random) {
    let mut entries: Vec<u64> = (0..511).map(|_| DATA + random.next() % 64 * 4096).collect();
    for at in (37..511).step_by(97) {
        entries[at] = random.data_page();
    }
    entries.push(LIST);
    let bytes: Vec<u8> = entries.into_iter().flat_map(u64::to_le_bytes).collect();
    guest.memory.write(Gpa(LIST), &bytes).unwrap();
}

/// Sends a batch and takes its answers. Says how many of them were successes.
fn play(guest: &mut Guest, id: u16, commands: &[Sqe]) -> usize {
    let mut open: Vec<u16> = commands.iter().map(|command| guest.offer(id, *command)).collect();
    guest.ring_tail(id);
    let mut done = 0;
    while !open.is_empty() {
        let cqe = guest.take(id);
        let place = open.iter().position(|cid| *cid == cqe.cid.get());
        open.swap_remove(place.expect("each command is answered once"));
        done += usize::from(cqe.status.get() >> 1 == 0);
    }
    assert!(guest.peek(id).is_none());
    done
}

#[test]
fn commands_of_right_and_wrong_parts_are_answered_once_each() {
    for shared in [false, true] {
        let mut guest = Guest::with_queues(1);
        if shared {
            guest.share_doorbells();
        }
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let (mut io, mut admin) = (0, 0);
        for _ in 0..BATCHES {
            fill_list(&guest, &mut random);
            let commands: Vec<Sqe> = (0..BATCH).map(|_| random.io()).collect();
            io += play(&mut guest, 1, &commands);
            let commands: Vec<Sqe> = (0..BATCH).map(|_| random.admin()).collect();
            admin += play(&mut guest, ADMIN, &commands);
        }
        let all = BATCH * BATCHES;
        assert!(io > all / 20 && admin > all / 20, "{io} and {admin} of {all}: most are refused too early");
        assert!(io < all && admin < all);
        guest.memory.write(Gpa(DATA), &[0; 512]).unwrap();
        let write = super::driver_test::write(9, 1);
        assert_eq!(guest.run(1, write), (0, 0));
    }
}
