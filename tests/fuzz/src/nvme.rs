//! NVMe: a whole controller, with the threads of its I/O queues, and all that its guest's memory can say.
//!
//! One play can interleave everything; the two targets differ in where they begin. What I/O queues do meanwhile is
//! up to their threads, so a play that fails may need to be played again.

use crate::host::{self, Host};
use crate::input::{Input, width};
use ami_run_memory::{Gpa, Memory};
use ami_run_models::bus::{Access, Width};
use ami_run_models::irq::{Hypervisor, Lines};
use ami_run_models::nvme::{Identity, Nvme};
use ami_run_models::pci::{Address, Function, Wiring};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const RAM: u64 = 0x1_0000;
const PLACE: Address = Address { slot: 4, function: 0 };
const BAR: u64 = 0xc000_0000;
const SHADOWS: u64 = 0x9000;
const EVENTS: u64 = 0xa000;
const LIST: u64 = 0xb000;
const DATA: u64 = 0xc000;
/// Of every queue that a play makes as the driver thinks of it; whatever it really made.
const ENTRIES: u16 = 64;
const QUEUES: usize = 4;
const CC: u64 = 0x14;
const CC_ON: u32 = 0x0046_0001;
const CREATE_SQ: u8 = 1;
const DELETE_SQ: u8 = 0;

/// Begins with a controller that is off.
pub fn nvme_admin(data: &[u8]) {
    play(Play::new("nvme_admin", data));
}

/// Begins with a controller that is on and has an I/O queue pair, and lets commands be done.
pub fn nvme_io(data: &[u8]) {
    play(Play::started(data, Duration::from_millis(1)));
}

/// Gives how many commands were done without an error.
fn play(mut play: Play<'_>) -> u32 {
    while play.step().is_some() {}
    (0..QUEUES).for_each(|queue| play.wait(queue));
    play.assert_recovers();
    play.done
}

/// A driver's side of queues.
#[derive(Clone, Copy, Default)]
struct Pair {
    tail: u16,
    head: u16,
    /// The phase tag of completions that were there before this round.
    old: bool,
    /// Commands that were rung for and have no completion yet, and those that wait for a ring.
    open: u16,
    unrung: u16,
    /// The submission queue is there.
    made: bool,
}

struct Play<'a> {
    input: Input<'a>,
    memory: Memory,
    host: Arc<Host>,
    device: Arc<Nvme>,
    pairs: [Pair; QUEUES],
    /// How long completions are waited for.
    patience: Duration,
    done: u32,
}

fn submissions(queue: usize) -> u64 {
    0x1000 + 0x1000 * (queue % QUEUES) as u64
}

fn completions(queue: usize) -> u64 {
    0x5000 + 0x1000 * (queue % QUEUES) as u64
}

fn tail_doorbell(queue: usize) -> u64 {
    0x1000 + 8 * queue as u64
}

/// Pages of data over and over; the last entry leads back to the first.
fn list() -> &'static [u8] {
    static LIST_BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let pages = (0..511).map(|at| DATA + at % 4 * 0x1000).chain([LIST]);
    LIST_BYTES.get_or_init(|| pages.flat_map(u64::to_le_bytes).collect())
}

impl<'a> Play<'a> {
    /// The name is that of its threads, too.
    fn new(name: &str, data: &'a [u8]) -> Play<'a> {
        let (memory, host) = (host::ram(RAM), Arc::new(Host::default()));
        let hypervisor: Arc<dyn Hypervisor> = Arc::clone(&host) as _;
        let lines = Arc::new(Lines::wired(Arc::clone(&hypervisor), [3, 4, 5, 6]));
        let gate = Arc::default();
        let wiring = Wiring { memory: memory.clone(), hypervisor, lines, gate, trace: None, stages: None };
        let identity = Identity::ebs("vol-0123456789abcdef0", "sda1");
        let device =
            Nvme::new(name, PLACE, host::volume(), identity, wiring).expect("events for a controller");
        let pairs = [Pair::default(); QUEUES];
        Play { input: Input::new(data), memory, host, device, pairs, patience: Duration::ZERO, done: 0 }
    }

    /// Messages on, the controller on, a queue pair.
    fn started(data: &'a [u8], patience: Duration) -> Play<'a> {
        let mut play = Play::new("nvme_io", data);
        for (at, value) in [(0x10, 0xc000_0000), (4, 6), (0x40, 0x8000_0000)] {
            play.device.config_write(at, Width::Dword, value);
        }
        for vector in 0..4 {
            for (at, value) in [(0, 0xfee0_0000), (8, 0x40 + vector), (12, 0)] {
                play.write(0x2000 + 16 * u64::from(vector) + at, value);
            }
        }
        play.patience = patience;
        play.enable();
        for opcode in [5, CREATE_SQ] {
            let prp1 = if opcode == CREATE_SQ { submissions(1) } else { completions(1) };
            let last = u32::from(ENTRIES) - 1;
            play.offer(0, &Command { opcode, prp1, cdw10: last << 16 | 1, cdw11: 1 << 16 | 3, ..NOTHING });
            play.ring(0);
            play.take(0);
        }
        play.pairs[1].made = true;
        play
    }

    fn write(&self, offset: u64, value: u32) {
        self.device.bar_write(0, Access::new(offset, Width::Dword), u64::from(value));
    }

    /// A new start of a driver that keeps the rules.
    fn enable(&mut self) {
        self.write(CC, 0);
        self.pairs = [Pair::default(); QUEUES];
        for queue in 0..QUEUES {
            self.memory
                .write(Gpa(completions(queue)), &[0; 16 * ENTRIES as usize])
                .expect("queues in memory");
        }
        self.memory.write(Gpa(SHADOWS), &[0; 8 * QUEUES]).expect("doorbells in memory");
        self.memory.write(Gpa(LIST), list()).expect("a list in memory");
        let sizes = u32::from(ENTRIES - 1) << 16 | u32::from(ENTRIES - 1);
        for (at, value) in [(0x24, sizes), (0x28, 0x1000), (0x2c, 0), (0x30, 0x5000), (0x34, 0), (CC, CC_ON)]
        {
            self.write(at, value);
        }
    }

    /// Each step begins with a byte: what to do in its low three bits, a queue in the next two, how in the last.
    fn step(&mut self) -> Option<()> {
        let what = self.input.byte()?;
        let (queue, how) = (usize::from(what >> 3 & 3), what >> 5);
        match what & 7 {
            0 => {
                let at = Access::new(u64::from(self.input.word()? & 0x3fff), width(how));
                assert!(self.device.bar_read(0, at) <= at.width.ones());
            }
            1 => {
                let at = Access::new(u64::from(self.input.word()? & 0x3fff), width(how));
                self.device.bar_write(0, at, self.input.value(at.width)?);
                self.pairs.iter_mut().for_each(|pair| pair.made &= at.offset != CC);
            }
            2 => self.command(queue, how)?,
            3 => {
                let place = Gpa(u64::from(self.input.word()?));
                self.memory.write(place, self.input.bytes(usize::from(what >> 3))?).ok()?;
            }
            4 => self.enable(),
            5 => {
                self.write(CC, if how & 1 == 0 { CC_ON - 1 } else { CC_ON | 1 << 14 });
                self.pairs.iter_mut().for_each(|pair| pair.made = false);
            }
            6 => {
                let offset = 0x1000 + 4 * u64::from(self.input.byte()?);
                let value = if how & 1 == 0 { self.input.byte()?.into() } else { self.input.dword()? };
                self.write(offset, value);
            }
            _ if how & 1 == 0 => self.wait(queue),
            _ => self.device.volume_changed(),
        }
        Some(())
    }

    /// A command: its opcode, a byte that says where its data is, three dwords. `how`: 1 leaves it without a ring,
    /// 2 an admin command's completion lying, 4 gives it flags.
    fn command(&mut self, queue: usize, how: u8) -> Option<()> {
        let (opcode, places) = (self.input.byte()?, self.input.byte()?);
        let (cdw10, cdw11, cdw12) = (self.input.dword()?, self.input.dword()?, self.input.dword()?);
        let named = usize::try_from(cdw10 & 0xffff).unwrap_or(0);
        let prp1 = match places & 7 {
            0 => DATA,
            1 => DATA + 0xe00,
            2 => submissions(named),
            3 => completions(named),
            4 => SHADOWS,
            5 => DATA + 1,
            6 => LIST + 0xff8,
            _ => self.input.qword()?,
        };
        let prp2 = match places >> 3 & 7 {
            0 => DATA + 0x1000,
            1 => LIST,
            2 => LIST + 0xff8,
            3 => completions(queue),
            4 => EVENTS,
            5 => RAM,
            6 => LIST + 4,
            _ => self.input.qword()?,
        };
        let nsid = match places >> 6 {
            0 | 1 => 1,
            2 => u32::MAX,
            _ => cdw10,
        };
        let flags = if how & 4 == 0 { 0 } else { 0x41 };
        self.offer(queue, &Command { opcode, flags, nsid, prp1, prp2, cdw10, cdw11, cdw12 });
        if how & 1 != 0 {
            return Some(());
        }
        let before = self.done;
        self.ring(queue);
        if queue == 0 && how & 2 == 0 {
            self.take(queue);
        }
        if let Some(pair) = self.pairs.get_mut(named).filter(|_| queue == 0 && self.done > before) {
            match opcode {
                CREATE_SQ => *pair = Pair { made: true, ..Pair::default() },
                DELETE_SQ => pair.made = false,
                _ => (),
            }
        }
        Some(())
    }

    fn offer(&mut self, queue: usize, command: &Command) {
        let pair = &mut self.pairs[queue];
        let bytes = command.bytes(pair.tail);
        let at = submissions(queue) + 64 * u64::from(pair.tail);
        pair.tail = (pair.tail + 1) % ENTRIES;
        pair.unrung += 1;
        self.memory.write(Gpa(at), &bytes).expect("queues in memory");
    }

    fn ring(&mut self, queue: usize) {
        let pair = &mut self.pairs[queue];
        pair.open += std::mem::take(&mut pair.unrung);
        let tail = pair.tail;
        self.doorbell(tail_doorbell(queue), tail);
    }

    /// Takes the completions of all commands that were rung for, if somebody waits for them.
    fn wait(&mut self, queue: usize) {
        let start = Instant::now();
        self.take(queue);
        while self.pairs[queue].made && self.pairs[queue].open > 0 {
            if start.elapsed() >= self.patience {
                // What does not come soon may never come: no more of this play is waited for.
                self.patience = Duration::ZERO;
                return;
            }
            std::thread::sleep(Duration::from_micros(10));
            self.take(queue);
        }
    }

    /// In memory and by its register, which the hypervisor may answer.
    fn doorbell(&self, offset: u64, value: u16) {
        let shadow = Gpa(SHADOWS + offset - 0x1000);
        self.memory.store_u32(shadow, value.into()).expect("doorbells in memory");
        if !self.host.ring(BAR + offset) {
            self.write(offset, value.into());
        }
    }

    /// Takes the completions that are there.
    fn take(&mut self, queue: usize) {
        let (pair, memory) = (&mut self.pairs[queue], &self.memory);
        let before = pair.head;
        for _ in 0..ENTRIES {
            let at = completions(queue) + 16 * u64::from(pair.head);
            let last = memory.load_u32(Gpa(at + 12)).expect("queues in memory");
            if (last >> 16 & 1 == 0) != pair.old {
                break;
            }
            self.done += u32::from(last >> 17 == 0);
            pair.open = pair.open.saturating_sub(1);
            pair.head = (pair.head + 1) % ENTRIES;
            pair.old ^= pair.head == 0;
        }
        let head = pair.head;
        if head != before {
            self.doorbell(tail_doorbell(queue) + 4, head);
        }
    }

    /// Whatever was played: a reset brings back a controller that identifies itself.
    fn assert_recovers(&mut self) {
        self.write(CC, 0);
        let status = Access::new(0x1c, Width::Dword);
        assert_eq!(self.device.bar_read(0, status) & 3, 0, "a reset ends");
        self.enable();
        assert_eq!(self.device.bar_read(0, status), 1, "the controller is ready");
        let before = self.done;
        self.offer(0, &Command { opcode: 6, prp1: DATA, cdw10: 1, ..NOTHING });
        self.ring(0);
        self.take(0);
        assert_eq!(self.done, before + 1, "it identifies itself");
        let vendors = self.memory.load_u32(Gpa(DATA)).expect("data in memory");
        assert_eq!(vendors, 0x1d0f_1d0f);
        self.done = before;
    }
}

struct Command {
    opcode: u8,
    flags: u8,
    nsid: u32,
    prp1: u64,
    prp2: u64,
    cdw10: u32,
    cdw11: u32,
    cdw12: u32,
}

const NOTHING: Command =
    Command { opcode: 0, flags: 0, nsid: 0, prp1: 0, prp2: 0, cdw10: 0, cdw11: 0, cdw12: 0 };

impl Command {
    /// NVMe 1.4, figure 105.
    fn bytes(&self, cid: u16) -> [u8; 64] {
        let mut entry = [0; 64];
        let [c0, c1] = cid.to_le_bytes();
        let mut put = |at: usize, bytes: &[u8]| {
            entry.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
        };
        put(0, &[self.opcode, self.flags, c0, c1]);
        put(4, &self.nsid.to_le_bytes());
        put(24, &self.prp1.to_le_bytes());
        put(32, &self.prp2.to_le_bytes());
        for (at, dword) in [(40, self.cdw10), (44, self.cdw11), (48, self.cdw12)] {
            put(at, &dword.to_le_bytes());
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_gets_through_to_the_disk_and_to_every_admin_command() {
        let corpus =
            |name: &str| std::fs::read(format!("{}/corpus/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        // Nobody waits for the I/O commands among these.
        for (name, admin, io) in [("start", 16, 1), ("again", 6, 3)] {
            let done = play(Play::new("nvme_admin", &corpus(&format!("nvme_admin/{name}"))));
            assert!((admin..=admin + io).contains(&done), "{name}: {done}");
        }
        // The ranges that `transfers` has deallocated lie where a read may still put its data, and the last but one of
        // `queues` is left to a thread that ends.
        for (name, done, open) in [("transfers", 8, 1), ("shadows", 7, 0), ("lists", 5, 0), ("queues", 10, 1)]
        {
            let bytes = corpus(&format!("nvme_io/{name}"));
            let got = play(Play::started(&bytes, Duration::from_secs(60))) - 2;
            assert!((done..=done + open).contains(&got), "{name}: {got}");
        }
    }
}
