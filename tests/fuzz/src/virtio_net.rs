//! A network card's two queues: rings, headers and frames in memory, served in this thread before a link that says what
//! it hears, and what the play has it say.

use crate::host;
use crate::input::Input;
use ami_run_memory::{Gpa, Memory};
use ami_run_models::irq::Bell;
use ami_run_models::virtio::{Broken, Kind as _, LiveQueue, Net, Ring, Setup, Work};
use ami_run_network::{Checksum, Frame, Link, MAX_FRAME, Now, Offload, Takes};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

const RAM: u64 = 0x8000;
/// Table, available and used ring of the receive queue; the transmit queue's are `NEXT_QUEUE` further.
const RINGS: [u64; 3] = [0x1000, 0x1400, 0x1800];
const NEXT_QUEUE: u64 = 0x1000;
const MAX_SIZE: u16 = 64;
/// Rounds that one doorbell is answered with: rings that overlap can feed themselves for ever.
const ROUNDS: usize = 8;
/// Frames that the link keeps.
const MAX_KEPT: usize = 16;

#[derive(Debug, Default)]
struct Echo {
    frames: VecDeque<(Vec<u8>, Offload)>,
    takes: Takes,
}

impl AsFd for Echo {
    fn as_fd(&self) -> BorrowedFd<'_> {
        static SILENCE: OnceLock<Bell> = OnceLock::new();
        SILENCE.get_or_init(|| Bell::new().expect("an event")).as_fd()
    }
}

impl Echo {
    /// Says the frame, with no more left to do than the guest takes.
    fn say(&mut self, bytes: &[u8], offload: Offload) {
        let checksum = offload.checksum.filter(|_| self.takes.checksum);
        let segment = offload.segment.filter(|_| self.takes.segments && checksum.is_some());
        if self.frames.len() < MAX_KEPT {
            self.frames.push_back((bytes.to_vec(), Offload { checksum, segment }));
        }
    }
}

impl Link for Echo {
    fn begin(&mut self, takes: Takes) {
        assert!(takes.checksum || !takes.segments);
        self.takes = takes;
    }

    /// What comes here must be so that a wire could have it.
    fn send(&mut self, frame: &[u8], offload: Offload, _: Now) {
        assert!((14..=MAX_FRAME).contains(&frame.len()));
        if let Some(Checksum { start, offset }) = offload.checksum {
            assert!(usize::from(start) + usize::from(offset) + 2 <= frame.len());
        }
        assert!(offload.segment.is_none_or(|size| size > 0 && offload.checksum.is_some()));
        self.say(frame, offload);
    }

    fn receive(&mut self, frame: &mut Frame, _: Now) -> Option<(usize, Offload)> {
        let (bytes, offload) = self.frames.pop_front()?;
        frame[..bytes.len()].copy_from_slice(&bytes);
        Some((bytes.len(), offload))
    }

    fn poll(&mut self, _: Now) -> bool {
        false
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

struct Play<'a> {
    input: Input<'a>,
    memory: Memory,
    work: Box<dyn Work>,
    link: Arc<Mutex<Echo>>,
    size: u16,
    offered: [u16; 2],
}

/// The first byte of a play says the queues' size and whether event indices are used, the second the features. Each step
/// begins with a byte: 0 and 1 write a descriptor of the receive or transmit queue, 2 and 3 offer a head, 4 puts bytes
/// into memory, 5 has the link say something, 6 and 7 ring.
pub fn virtio_net(data: &[u8]) {
    play(data);
}

/// Returns how many chains came back from each queue, if the driver kept the rules till the end.
fn play(data: &[u8]) -> Option<[u16; 2]> {
    let mut input = Input::new(data);
    let (first, features) = (input.byte()?, u64::from(input.byte()?));
    let size = MAX_SIZE.min(1 << (first & 7));
    let memory = host::ram(RAM);
    let is_broken: Arc<AtomicBool> = Arc::default();
    let queue = |distance: u64| {
        let [descriptors, driver, device] = RINGS.map(|ring| ring + distance);
        let event_index = first & 0x40 != 0;
        let setup = Setup { max_size: MAX_SIZE, size, descriptors, driver, device, event_index };
        let told = Arc::clone(&is_broken);
        let broken = Box::new(move |_: &Broken| assert!(!told.swap(true, Ordering::Relaxed), "told twice"));
        Some(LiveQueue { ring: Ring::new(&setup, memory.clone())?, interrupt: Box::new(|| ()), broken })
    };
    let queues = vec![queue(0), queue(NEXT_QUEUE)];
    let link: Arc<Mutex<Echo>> = Arc::default();
    let net = Net::new([2; 6], Arc::clone(&link) as Arc<Mutex<dyn Link>>).expect("a descriptor");
    // Bits 0 and 1 are those of checksums, 2 and 3 of large segments, 4 of frames over several buffers.
    let bit = |from: u32, to: u32| (features >> from & 1) << to;
    let accepted = bit(0, 0) | bit(1, 1) | bit(2, 7) | bit(3, 11) | bit(4, 15);
    let work = net.work(queues, accepted)?;
    let mut play = Play { input, memory, work, link, size, offered: [0; 2] };
    while play.step().is_some() {}
    let used = [0, NEXT_QUEUE].map(|distance| play.memory.read_record(Gpa(RINGS[2] + distance + 2)));
    let [Ok(received), Ok(sent)] = used else { return None };
    (!is_broken.load(Ordering::Relaxed)).then_some([received, sent])
}

impl Play<'_> {
    fn step(&mut self) -> Option<()> {
        let what = self.input.byte()?;
        let queue = usize::from(what & 1);
        let distance = u64::from(what & 1) * NEXT_QUEUE;
        match what & 7 {
            0 | 1 => {
                let index = u64::from(self.input.byte()?);
                let gpa = u64::from(self.input.word()?);
                let mut record = gpa.to_le_bytes().to_vec();
                record.extend(self.input.dword()?.to_le_bytes());
                record.extend([what >> 3, 0]);
                record.extend(u16::from(self.input.byte()?).to_le_bytes());
                // A table that runs over its end meets the rings behind it.
                self.memory.write(Gpa(RINGS[0] + distance + index * 16), &record).ok()
            }
            2 | 3 => {
                let head = u16::from(self.input.byte()?);
                let place = RINGS[1] + distance + 4 + u64::from(self.offered[queue] % self.size) * 2;
                self.offered[queue] = self.offered[queue].wrapping_add(1);
                self.memory.write_record(Gpa(place), &head).ok()?;
                self.memory.write_record(Gpa(RINGS[1] + distance + 2), &self.offered[queue]).ok()
            }
            4 => {
                let place = Gpa(u64::from(self.input.word()?));
                self.memory.write(place, self.input.bytes(usize::from(what >> 3))?).ok()
            }
            5 => {
                let len = usize::from(self.input.word()?).min(MAX_FRAME);
                let checksum = (what & 8 != 0).then_some(Checksum { start: 34, offset: 16 });
                let segment = (what & 16 != 0).then_some(1460);
                self.link.lock().say(&vec![what; len], Offload { checksum, segment });
                Some(())
            }
            _ => {
                for _ in 0..ROUNDS {
                    if !self.work.serve(true) {
                        break;
                    }
                }
                assert!(self.work.is_idle());
                Some(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_gets_through_to_the_link_and_back() {
        for (name, used) in
            [("echo", Some([1, 1])), ("event_index", Some([2, 1])), ("merged", Some([3, 0])), ("loop", None)]
        {
            let seed = std::fs::read(format!("{}/corpus/virtio_net/{name}", env!("CARGO_MANIFEST_DIR")));
            assert_eq!(play(&seed.unwrap()), used, "{name}");
        }
    }
}
