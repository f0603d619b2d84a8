//! I/O commands (NVMe 1.4, section 6): from submission queue entries to requests on the volume, and back.

use super::prp;
use super::spec::{ALL_NAMESPACES, Answer, DsmRange, NAMESPACE, Sqe, Status, io};
use super::stats::Counters;
use crate::disk::{Queue, Volume};
use crate::irq::Bell;
use crate::stages::Stages;
use ami_run_memory::Memory;
use ami_run_storage::{Completion, Fault, Op, Request, SECTOR};
use slab::Slab;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use zerocopy::IntoBytes;

/// Force unit access, and deallocate of Write Zeroes, in dword 12.
const FUA: u32 = 1 << 30;
const DEALLOCATE: u32 = 1 << 25;
/// Deallocate of Dataset Management, in dword 11; what else is there are hints.
const DSM_DEALLOCATE: u32 = 1 << 2;

/// The working side of a queue: commands are begun, and each is answered when it is finished.
#[derive(Debug)]
pub(super) struct Server {
    /// Of the submission queue.
    id: u16,
    memory: Memory,
    volume: Volume,
    queue: Queue,
    counters: Arc<Counters>,
    /// The driver turned the volatile write cache off: every write is durable before it is answered.
    write_through: Arc<AtomicBool>,
    stages: Option<Arc<Stages>>,
    batch: Vec<Request>,
    done: Vec<Completion>,
    /// Commands at work. A command's place here is the number of its requests.
    open: Slab<Open>,
    answers: Vec<Answer>,
}

#[derive(Debug)]
struct Open {
    cid: u16,
    op: Op,
    bytes: u64,
    /// Its requests that are not finished yet, and what the last one of them that failed came to.
    left: usize,
    status: Status,
    since: Instant,
}

impl Server {
    pub(super) fn new(
        id: u16,
        memory: Memory,
        volume: Volume,
        counters: Arc<Counters>,
        write_through: Arc<AtomicBool>,
    ) -> Server {
        Server {
            id,
            memory,
            queue: volume.queue(),
            volume,
            counters,
            write_through,
            stages: None,
            batch: Vec::new(),
            done: Vec::new(),
            open: Slab::new(),
            answers: Vec::new(),
        }
    }

    /// The same, whose reads are told there if it is the boot disk's.
    pub(super) fn watched(self, stages: Option<Arc<Stages>>) -> Server {
        Server { stages, ..self }
    }

    /// How many commands are at work.
    pub(super) fn open(&self) -> u16 {
        u16::try_from(self.open.len()).unwrap_or(u16::MAX)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_idle()
    }

    pub(super) fn wait(&mut self, bell: &Bell) -> std::io::Result<bool> {
        self.queue.wait(bell.as_fd())
    }

    /// Begins these commands.
    pub(super) fn begin(&mut self, commands: impl Iterator<Item = Sqe>) {
        let since = Instant::now();
        for command in commands {
            let cid = command.cid.get();
            let before = self.batch.len();
            let id = u32::try_from(self.open.vacant_key()).unwrap_or(u32::MAX);
            let decoded = self.decode(id, &command);
            let left = self.batch.len().saturating_sub(before);
            match decoded {
                Ok((op, bytes)) if left > 0 => {
                    self.open.insert(Open { cid, op, bytes, left, status: Status::SUCCESS, since });
                    self.counters.in_flight.fetch_add(1, Ordering::Relaxed);
                }
                Ok(_) => self.answer(cid, Status::SUCCESS),
                Err(status) => {
                    self.batch.truncate(before);
                    self.answer(cid, status);
                }
            }
        }
        if let Some(stages) = &self.stages {
            stages.disk_asked(&self.batch);
        }
        self.queue.submit(&mut self.batch);
    }

    fn answer(&mut self, cid: u16, status: Status) {
        self.answers.push(Answer { cid, sq_id: self.id, sq_head: 0, status, result: 0 });
    }

    /// Answers to the commands that were finished since the last look, in any order. The head of their queue is
    /// `sq_head` now. Never waits.
    pub(super) fn reap(&mut self, sq_head: u16) -> std::vec::Drain<'_, Answer> {
        self.queue.reap(&mut self.done);
        let mut done = std::mem::take(&mut self.done);
        for Completion { id, result } in done.drain(..) {
            self.finish(usize::try_from(id).unwrap_or(usize::MAX), result);
        }
        self.done = done;
        self.answers.iter_mut().for_each(|answer| answer.sq_head = sq_head);
        self.answers.drain(..)
    }

    /// A request of a command is finished; the command is when all of its requests are.
    fn finish(&mut self, place: usize, result: Result<(), Fault>) {
        let Some(open) = self.open.get_mut(place) else { return };
        if let Err(fault) = result {
            open.status = status_of(open.op, fault);
        }
        open.left = open.left.saturating_sub(1);
        if open.left > 0 {
            return;
        }
        let Open { cid, op, bytes, status, since, .. } = self.open.remove(place);
        self.counters.in_flight.fetch_sub(1, Ordering::Relaxed);
        match op {
            Op::Read if status == Status::SUCCESS => self.counters.reads.count(bytes, since.elapsed()),
            Op::Write if status == Status::SUCCESS => self.counters.writes.count(bytes, since.elapsed()),
            _ => (),
        }
        self.answer(cid, status);
    }

    /// Turns a command into requests numbered `id`. Says what it is, and how many bytes it moves.
    fn decode(&mut self, id: u32, command: &Sqe) -> Result<(Op, u64), Status> {
        if command.flags != 0 {
            return Err(Status::INVALID_FIELD);
        }
        let nsid = command.nsid.get();
        if nsid != NAMESPACE && !(nsid == ALL_NAMESPACES && command.opcode == io::FLUSH) {
            return Err(Status::INVALID_NAMESPACE);
        }
        match command.opcode {
            io::FLUSH => {
                let request = Request { id, op: Op::Flush, offset: 0, len: 0, durable: false, buffers: None };
                self.batch.push(request);
                Ok((Op::Flush, 0))
            }
            io::READ => self.transfer(id, Op::Read, command),
            io::WRITE => self.transfer(id, Op::Write, command),
            io::WRITE_ZEROES => self.write_zeroes(id, command),
            io::DATASET_MANAGEMENT => self.dataset_management(id, command),
            _ => Err(Status::INVALID_OPCODE),
        }
    }

    fn durable(&self, command: &Sqe) -> bool {
        command.cdw12.get() & FUA != 0 || self.write_through.load(Ordering::Relaxed)
    }

    /// Where the blocks of a command lie in the volume: offset and length in bytes.
    fn range(&self, start: u64, blocks: u64) -> Result<(u64, u64), Status> {
        let wrong = Status::LBA_OUT_OF_RANGE;
        let end = start.checked_add(blocks).ok_or(wrong)?;
        if end > self.volume.size() / SECTOR {
            return Err(wrong);
        }
        Ok((start.checked_mul(SECTOR).ok_or(wrong)?, blocks.checked_mul(SECTOR).ok_or(wrong)?))
    }

    fn transfer(&mut self, id: u32, op: Op, command: &Sqe) -> Result<(Op, u64), Status> {
        let (offset, len) = self.range(command.start(), blocks(command))?;
        let buffers = prp::buffers(&self.memory, command.prp1.get(), command.prp2.get(), len)?;
        let durable = op == Op::Write && self.durable(command);
        self.batch.push(Request { id, op, offset, len, durable, buffers: Some(buffers) });
        Ok((op, len))
    }

    fn write_zeroes(&mut self, id: u32, command: &Sqe) -> Result<(Op, u64), Status> {
        let (offset, len) = self.range(command.start(), blocks(command))?;
        let op = Op::WriteZeroes { unmap: command.cdw12.get() & DEALLOCATE != 0 };
        let durable = self.durable(command);
        self.batch.push(Request { id, op, offset, len, durable, buffers: None });
        Ok((op, len))
    }

    /// All ranges are checked before the first is carried out.
    fn dataset_management(&mut self, id: u32, command: &Sqe) -> Result<(Op, u64), Status> {
        let [count, ..] = command.cdw10.get().to_le_bytes();
        let count = usize::from(count).saturating_add(1);
        let mut ranges = vec![DsmRange { attributes: 0.into(), blocks: 0.into(), start: 0.into() }; count];
        let bytes = ranges.as_mut_bytes();
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let buffers = prp::buffers(&self.memory, command.prp1.get(), command.prp2.get(), len)?;
        buffers.get(0, bytes).map_err(|_| Status::DATA_TRANSFER)?;
        let deallocate = command.cdw11.get() & DSM_DEALLOCATE != 0;
        for range in &ranges {
            let (offset, len) = self.range(range.start.get(), u64::from(range.blocks.get()))?;
            if deallocate && len != 0 {
                let op = Op::Discard;
                self.batch.push(Request { id, op, offset, len, durable: false, buffers: None });
            }
        }
        Ok((Op::Discard, 0))
    }
}

/// The 0-based number of blocks in dword 12.
fn blocks(command: &Sqe) -> u64 {
    u64::from(command.cdw12.get() & 0xffff).saturating_add(1)
}

fn status_of(op: Op, fault: Fault) -> Status {
    match (fault, op) {
        (Fault::OutOfRange, _) => Status::LBA_OUT_OF_RANGE,
        (Fault::NoSpace, _) => Status::CAPACITY_EXCEEDED,
        (Fault::Io, Op::Read) => Status::UNRECOVERED_READ,
        (Fault::Io, Op::Write | Op::WriteZeroes { .. }) => Status::WRITE_FAULT,
        (Fault::Io, Op::Flush | Op::Discard) => Status::INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_status_that_says_who_is_to_blame() {
        assert_eq!(status_of(Op::Read, Fault::Io), Status::UNRECOVERED_READ);
        assert_eq!(status_of(Op::WriteZeroes { unmap: true }, Fault::Io), Status::WRITE_FAULT);
        assert_eq!(status_of(Op::Flush, Fault::Io), Status::INTERNAL);
        assert_eq!(status_of(Op::Write, Fault::NoSpace), Status::CAPACITY_EXCEEDED);
        assert_eq!(status_of(Op::Discard, Fault::OutOfRange), Status::LBA_OUT_OF_RANGE);
    }
}
