//! virtio-blk (virtio 1.2, section 5.2): a volume as a disk of 512-byte sectors.

use super::{Broken, Chain, Handler, Kind, LiveQueue, Requests, Used, Work};
use crate::disk::{Queue, Volume};
use crate::irq::Bell;
use crate::stages::Stages;
use ami_run_memory::Buffers;
use ami_run_storage::{Completion, Op, Request, SECTOR};
use slab::Slab;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

const QUEUE_SIZE: u16 = 256;
// Features.
const SEG_MAX: u64 = 1 << 2;
const BLK_SIZE: u64 = 1 << 6;
const FLUSH: u64 = 1 << 9;
const TOPOLOGY: u64 = 1 << 10;
const DISCARD: u64 = 1 << 13;
const WRITE_ZEROES: u64 = 1 << 14;
// Requests.
const IN: u32 = 0;
const OUT: u32 = 1;
const REQUEST_FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const REQUEST_DISCARD: u32 = 11;
const REQUEST_WRITE_ZEROES: u32 = 13;
// Answers.
const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

const HEADER: u64 = 16;
const ID_LEN: usize = 20;
/// The most sectors that one discard or write-zeroes request may name: 2 GiB.
const MAX_RANGE: u32 = 1 << 22;

#[derive(Debug)]
pub struct Block {
    volume: Volume,
    id: [u8; ID_LEN],
    stages: Option<Arc<Stages>>,
}

impl Block {
    /// `id` is the serial number, cut at 20 bytes.
    #[must_use]
    pub fn new(volume: Volume, id: &str) -> Block {
        let mut bytes = [0; ID_LEN];
        bytes.iter_mut().zip(id.bytes()).for_each(|(to, from)| *to = from);
        Block { volume, id: bytes, stages: None }
    }

    /// The same, whose use is told there if it is the boot disk.
    #[must_use]
    pub fn watched(self, stages: Option<Arc<Stages>>) -> Block {
        Block { stages, ..self }
    }

    /// The side of it that works.
    #[must_use]
    pub fn handler(&self) -> Box<dyn Handler> {
        Box::new(Server {
            queue: self.volume.queue(),
            id: self.id,
            stages: self.stages.clone(),
            open: Slab::new(),
            batch: Vec::new(),
            done: Vec::new(),
        })
    }
}

impl Kind for Block {
    fn identity(&self) -> (u16, u32) {
        (2, 0x01_0000)
    }

    fn features(&self) -> u64 {
        SEG_MAX | BLK_SIZE | FLUSH | TOPOLOGY | DISCARD | WRITE_ZEROES
    }

    fn queues(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn config(&self) -> Vec<u8> {
        let mut config = vec![0; 60];
        let sectors = self.volume.size() / SECTOR;
        let mut put = |offset: usize, bytes: &[u8]| {
            config.iter_mut().skip(offset).zip(bytes).for_each(|(to, from)| *to = *from);
        };
        put(0, &sectors.to_le_bytes());
        put(12, &u32::from(QUEUE_SIZE.saturating_sub(2)).to_le_bytes());
        put(20, &512u32.to_le_bytes());
        // A physical block of 2^3 sectors, aligned at 0; best I/O size 8 sectors at least.
        put(24, &[3, 0, 8, 0, 0, 0, 0, 0]);
        put(34, &1u16.to_le_bytes());
        for (offset, value) in [(36, MAX_RANGE), (40, 1), (44, 8), (48, MAX_RANGE), (52, 1)] {
            put(offset, &value.to_le_bytes());
        }
        put(56, &[1]);
        config
    }

    fn work(&self, mut queues: Vec<Option<LiveQueue>>, _: u64) -> Option<Box<dyn Work>> {
        let queue = queues.pop().flatten()?;
        if let Some(stages) = &self.stages {
            stages.disk_started();
        }
        Some(Box::new(Requests::new(queue, self.handler())))
    }
}

/// The working side of a queue.
#[derive(Debug)]
struct Server {
    queue: Queue,
    id: [u8; ID_LEN],
    stages: Option<Arc<Stages>>,
    /// Requests at the volume, by the number that they have there.
    open: Slab<Open>,
    batch: Vec<Request>,
    done: Vec<Completion>,
}

#[derive(Debug)]
struct Open {
    head: u16,
    status: Buffers,
    written: u32,
}

impl Handler for Server {
    fn handle(&mut self, chains: &mut Vec<Chain>, used: &mut Vec<Used>) -> Result<(), Broken> {
        for chain in chains.drain(..) {
            self.begin(chain, used)?;
        }
        if let Some(stages) = &self.stages {
            stages.disk_asked(&self.batch);
        }
        self.queue.submit(&mut self.batch);
        Ok(())
    }

    fn reap(&mut self, used: &mut Vec<Used>) -> Result<(), Broken> {
        self.queue.reap(&mut self.done);
        for Completion { id, result } in self.done.drain(..) {
            let open = usize::try_from(id).ok().and_then(|id| self.open.try_remove(id));
            let Some(open) = open else { continue };
            // How much of a read that failed has come is not known: its data doesn't count.
            let (status, written) = if result.is_ok() { (OK, open.written) } else { (IO_ERROR, 0) };
            used.push(finish(open.head, &open.status, status, written)?);
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.queue.is_idle()
    }

    fn wait(&mut self, bell: &Bell) -> io::Result<bool> {
        self.queue.wait(bell.as_fd())
    }
}

/// Writes the status byte, behind so many bytes of data.
fn finish(head: u16, to: &Buffers, status: u8, written: u32) -> Result<Used, Broken> {
    to.put(0, &[status]).map_err(|_| Broken::NoAnswer(head))?;
    Ok(Used { head, written: written.saturating_add(1) })
}

/// What a request comes to.
enum Step {
    Submit(Request, u32),
    Answer(u8, u32),
}

impl Server {
    fn begin(&mut self, mut chain: Chain, used: &mut Vec<Used>) -> Result<(), Broken> {
        let data_in = chain.writable.len().saturating_sub(1);
        let status = chain.writable.split_off(data_in);
        let data_out = chain.readable.split_off(HEADER);
        let mut header = [0; 16];
        let step = match chain.readable.get(0, &mut header) {
            Ok(()) if !status.is_empty() => self.decode(header, data_out, chain.writable),
            _ => Step::Answer(IO_ERROR, 0),
        };
        match step {
            Step::Answer(answer, written) => {
                used.push(finish(chain.head, &status, answer, written)?);
            }
            Step::Submit(mut request, written) => {
                let place = self.open.insert(Open { head: chain.head, status, written });
                request.id = u32::try_from(place).unwrap_or(u32::MAX);
                self.batch.push(request);
            }
        }
        Ok(())
    }

    fn decode(&self, header: [u8; 16], data_out: Buffers, data_in: Buffers) -> Step {
        let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = header;
        let kind = u32::from_le_bytes([k0, k1, k2, k3]);
        let Some(offset) = u64::from_le_bytes(sector).checked_mul(SECTOR) else {
            return Step::Answer(IO_ERROR, 0);
        };
        let plain = |op, len, buffers| Request { id: 0, op, offset, len, durable: false, buffers };
        match kind {
            IN => transfer(plain(Op::Read, data_in.len(), Some(data_in)), true),
            OUT => transfer(plain(Op::Write, data_out.len(), Some(data_out)), false),
            REQUEST_FLUSH => Step::Submit(Request { offset: 0, ..plain(Op::Flush, 0, None) }, 0),
            GET_ID => match data_in.put(0, &self.id) {
                Ok(()) => Step::Answer(OK, 20),
                Err(_) => Step::Answer(IO_ERROR, 0),
            },
            REQUEST_DISCARD | REQUEST_WRITE_ZEROES => range(kind, &data_out),
            _ => Step::Answer(UNSUPPORTED, 0),
        }
    }
}

fn transfer(request: Request, reads: bool) -> Step {
    if request.len == 0 || !request.len.is_multiple_of(SECTOR) {
        return Step::Answer(IO_ERROR, 0);
    }
    let written = if reads { u32::try_from(request.len).unwrap_or(u32::MAX) } else { 0 };
    Step::Submit(request, written)
}

/// Discard and write-zeroes: exactly one segment {sector u64, count u32, flags u32} (5.2.6).
fn range(kind: u32, data: &Buffers) -> Step {
    let mut segment = [0; 16];
    if data.len() != 16 || data.get(0, &mut segment).is_err() {
        return Step::Answer(IO_ERROR, 0);
    }
    let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, flags @ ..] = segment;
    let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    let count = u32::from_le_bytes([n0, n1, n2, n3]);
    let flags = u32::from_le_bytes(flags);
    let op = match (kind, flags) {
        (REQUEST_DISCARD, 0) => Op::Discard,
        (REQUEST_WRITE_ZEROES, 0 | 1) => Op::WriteZeroes { unmap: flags == 1 },
        _ => return Step::Answer(UNSUPPORTED, 0),
    };
    let (Some(offset), Some(len)) = (sector.checked_mul(SECTOR), u64::from(count).checked_mul(SECTOR)) else {
        return Step::Answer(IO_ERROR, 0);
    };
    if count > MAX_RANGE {
        return Step::Answer(IO_ERROR, 0);
    }
    Step::Submit(Request { id: 0, op, offset, len, durable: false, buffers: None }, 0)
}
