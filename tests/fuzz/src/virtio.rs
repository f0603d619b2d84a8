//! A virtio queue, virtio-blk's or virtio-rng's: rings and requests in memory, served in this thread.

use crate::host;
use crate::input::Input;
use ami_run_memory::{Gpa, Memory};
use ami_run_models::irq::Bell;
use ami_run_models::virtio::{
    Block, Broken, Chain, Handler, LiveQueue, Requests, Ring, Rng, Setup, Used, Work as _,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

const RAM: u64 = 0x8000;
const TABLE: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
/// Batches that one doorbell is answered with: rings that overlap can feed themselves for ever.
const BATCHES: usize = 8;

/// The first byte of a play says the queue's size, whether event indices are used, and whether raw ring addresses follow.
/// Each step begins with a byte: 0 writes a descriptor, 1 offers a head, 2 puts bytes into memory, 3 rings.
pub fn virtio_block(data: &[u8]) {
    play(data, 128, Block::new(host::volume(), "vol-0").handler());
}

/// The same, with at most eight requests in the queue.
pub fn virtio_rng(data: &[u8]) {
    play(data, 8, Box::new(Checked(Rng.handler())));
}

/// virtio-rng, watched: it gives no more than was asked for, nor than it may.
#[derive(Debug)]
struct Checked(Box<dyn Handler>);

impl Handler for Checked {
    fn handle(&mut self, chains: &mut Vec<Chain>, used: &mut Vec<Used>) -> Result<(), Broken> {
        let asked: Vec<(u16, u64)> = chains.iter().map(|chain| (chain.head, chain.writable.len())).collect();
        let result = self.0.handle(chains, used);
        for (Used { head, written }, (asked_by, most)) in used.iter().zip(asked) {
            assert!(*head == asked_by && (1..=most.min(0x1_0000)).contains(&u64::from(*written)));
        }
        result
    }
}

struct Play<'a> {
    input: Input<'a>,
    memory: Memory,
    requests: Requests,
    is_broken: Arc<AtomicBool>,
    size: u16,
    offered: u16,
}

/// Returns how many chains came back, if the driver kept the rules till the end, and the memory.
fn play(data: &[u8], max_size: u16, handler: Box<dyn Handler>) -> Option<(u16, Memory)> {
    let mut input = Input::new(data);
    let first = input.byte()?;
    let size = max_size.min(1 << (first & 7));
    let mut rings = [TABLE, AVAILABLE, USED];
    if first & 0x80 != 0 {
        for ring in &mut rings {
            *ring = input.qword()?;
        }
    }
    let [descriptors, driver, device] = rings;
    let event_index = first & 0x40 != 0;
    let setup = Setup { max_size, size, descriptors, driver, device, event_index };
    let memory = host::ram(RAM);
    let ring = Ring::new(&setup, memory.clone())?;
    let is_broken: Arc<AtomicBool> = Arc::default();
    let told = Arc::clone(&is_broken);
    let broken = Box::new(move |_: &Broken| assert!(!told.swap(true, Ordering::Relaxed), "told twice"));
    let requests = Requests::new(LiveQueue { ring, interrupt: Box::new(|| ()), broken }, handler);
    let mut play = Play { input, memory, requests, is_broken, size, offered: 0 };
    while let Some(what) = play.input.byte() {
        if what & 3 == 3 {
            play.ring()?;
        } else if play.prepare(what).is_none() {
            break;
        }
    }
    let used = play.memory.read_record(Gpa(USED + 2)).ok()?;
    Some((used, play.memory))
}

impl Play<'_> {
    /// A descriptor's address is 16 bits times four, or all 64 where bit 2 says so.
    fn prepare(&mut self, what: u8) -> Option<()> {
        match what & 3 {
            0 => {
                let index = u64::from(self.input.byte()?);
                let short = u64::from(what & 4 == 0);
                let gpa = if short == 1 { u64::from(self.input.word()?) } else { self.input.qword()? };
                let mut record = gpa.to_le_bytes().to_vec();
                record.extend(self.input.dword()?.to_le_bytes());
                record.extend([what >> 3, 0]);
                record.extend(self.input.word()?.to_le_bytes());
                self.memory.write(Gpa(TABLE + index * 16), &record).ok()
            }
            1 => {
                let head = u16::from(self.input.byte()?);
                let place = AVAILABLE + 4 + u64::from(self.offered % self.size) * 2;
                self.offered = self.offered.wrapping_add(1);
                self.memory.write_record(Gpa(place), &head).ok()?;
                self.memory.write_record(Gpa(AVAILABLE + 2), &self.offered).ok()
            }
            _ => {
                let place = Gpa(u64::from(self.input.word()?));
                self.memory.write(place, self.input.bytes(usize::from(what >> 2))?).ok()
            }
        }
    }

    fn ring(&mut self) -> Option<()> {
        for _ in 0..BATCHES {
            if !self.requests.serve(true) {
                break;
            }
        }
        // What was begun ends, in a broken ring too.
        while !self.requests.is_idle() {
            self.requests.wait(silence()).expect("a queue to wait for");
            self.requests.serve(false);
        }
        (!self.is_broken.load(Ordering::Relaxed)).then_some(())
    }
}

/// A bell that nobody rings.
fn silence() -> &'static Bell {
    static SILENCE: OnceLock<Bell> = OnceLock::new();
    SILENCE.get_or_init(|| Bell::new().expect("an event"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_gets_through_to_the_disk_and_to_random_bytes() {
        let corpus =
            |name: &str| std::fs::read(format!("{}/corpus/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        for (name, chains) in [("requests", 6), ("indirect", 1), ("event_index", 2)] {
            let handler = Block::new(host::volume(), "vol-0").handler();
            let (used, _) = play(&corpus(&format!("virtio_block/{name}")), 128, handler).unwrap();
            assert_eq!(used, chains, "{name}");
        }
        let (used, memory) = play(&corpus("virtio_rng/requests"), 8, Rng.handler()).unwrap();
        let written: Vec<u32> =
            (0..3).map(|place| memory.read_record(Gpa(USED + 8 + 8 * place)).unwrap()).collect();
        assert_eq!((used, written), (3, vec![64, 8192, 1512]));
    }
}
