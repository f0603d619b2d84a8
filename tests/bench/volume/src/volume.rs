//! A volume, by one of its queues, as a device's thread uses it: what can be begun is, then what has finished is
//! taken, and without either it sleeps, on its doorbell too.

use crate::disk::{Disk, Load, Op};
use ami_run_memory::{Gpa, Memory};
use ami_run_storage::{Completion, Queue, Request, Volume};
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Instant;

pub(crate) struct OnVolume {
    queue: Queue,
    memory: Memory,
    /// Nobody rings it here.
    bell: OwnedFd,
}

impl OnVolume {
    pub(crate) fn new(volume: &Volume, memory: &Memory) -> io::Result<OnVolume> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(OnVolume { queue: volume.queue(), memory: memory.clone(), bell })
    }

    fn request(&self, load: &Load, slot: u32, offset: u64) -> io::Result<Request> {
        let mut buffers = self.memory.buffers();
        buffers.push(Gpa(u64::from(slot) * load.len), load.len).map_err(io::Error::other)?;
        let op = match load.op {
            Op::Read => ami_run_storage::Op::Read,
            Op::Write => ami_run_storage::Op::Write,
        };
        Ok(Request { id: slot, op, offset, len: load.len, durable: false, buffers: Some(buffers) })
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let op = ami_run_storage::Op::Flush;
        self.queue.submit(&mut vec![Request { id: 0, op, offset: 0, len: 0, durable: false, buffers: None }]);
        let mut done = Vec::new();
        while done.is_empty() {
            self.queue.wait(self.bell.as_fd())?;
            self.queue.reap(&mut done);
        }
        done.iter().try_for_each(finished)
    }
}

fn finished(done: &Completion) -> io::Result<()> {
    done.result.map_err(|fault| io::Error::other(format!("{fault:?}")))
}

impl Disk for OnVolume {
    fn run(&mut self, load: &Load, offsets: &mut dyn Iterator<Item = u64>) -> io::Result<u64> {
        let begin = Instant::now();
        let (mut count, mut at_work) = (0, 0u32);
        let mut free: Vec<u32> = (0..load.depth).collect();
        let (mut batch, mut done) = (Vec::new(), Vec::new());
        loop {
            while begin.elapsed() < load.time
                && let Some(slot) = free.pop()
            {
                let Some(offset) = offsets.next() else { break };
                batch.push(self.request(load, slot, offset)?);
                at_work += 1;
            }
            if !batch.is_empty() {
                self.queue.submit(&mut batch);
            }
            if at_work == 0 {
                return Ok(count);
            }
            self.queue.reap(&mut done);
            if done.is_empty() {
                self.queue.wait(self.bell.as_fd())?;
                self.queue.reap(&mut done);
            }
            for done in done.drain(..) {
                finished(&done)?;
                free.push(done.id);
                (count, at_work) = (count + 1, at_work - 1);
            }
        }
    }
}
