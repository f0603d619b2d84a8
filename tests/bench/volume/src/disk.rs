//! What is measured: requests of one kind, so many at a time, to whoever carries them out.

use rustix::time::{ClockId, clock_gettime};
use std::io;
use std::time::{Duration, Instant};

/// Requests at a time, at most.
pub(crate) const DEPTHS: [u32; 3] = [1, 8, 32];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Read,
    Write,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) op: Op,
    pub(crate) len: u64,
    pub(crate) depth: u32,
    /// After which no request is begun any more.
    pub(crate) time: Duration,
}

/// A volume, or a file by itself. Each of them uses the memory from 0 on, `len` bytes for each request.
pub(crate) trait Disk {
    /// Carries out requests at these offsets, until they or the time are over, and gives how many it were.
    fn run(&mut self, load: &Load, offsets: &mut dyn Iterator<Item = u64>) -> io::Result<u64>;
}

/// One slice of a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice {
    pub(crate) count: u64,
    pub(crate) seconds: f64,
    /// Processor time of the process, the kernel's threads that work for it included.
    pub(crate) cpu: f64,
}

pub(crate) fn slice(
    disk: &mut dyn Disk,
    load: &Load,
    offsets: &mut dyn Iterator<Item = u64>,
) -> io::Result<Slice> {
    let (begin, cpu) = (Instant::now(), cpu_time());
    let count = disk.run(load, offsets)?;
    Ok(Slice { count, seconds: begin.elapsed().as_secs_f64(), cpu: cpu_time() - cpu })
}

fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)).as_secs_f64()
}

/// A small random generator, xorshift64: the same offsets in every run.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// Offsets of units of so many bytes in a disk of `size`, at random and without end.
pub(crate) fn anywhere(size: u64, unit: u64, seed: u64) -> impl Iterator<Item = u64> {
    let mut random = Random(seed);
    std::iter::repeat_with(move || random.below(size / unit) * unit)
}

/// Every unit of the disk once, in the order in which they lie, again and again.
pub(crate) fn in_order(size: u64, unit: u64) -> impl Iterator<Item = u64> {
    (0..size / unit).map(move |number| number * unit).cycle()
}

/// Every unit once, in no order.
pub(crate) fn each_once(size: u64, unit: u64, seed: u64) -> impl Iterator<Item = u64> {
    let mut all: Vec<u64> = (0..size / unit).map(|number| number * unit).collect();
    let mut random = Random(seed);
    for left in (1..all.len()).rev() {
        let other = random.below(left as u64 + 1);
        all.swap(left, usize::try_from(other).unwrap_or(0));
    }
    all.into_iter()
}

/// Writes all of it once, so that nothing is a first touch any more.
pub(crate) fn fill(disk: &mut dyn Disk, size: u64) -> io::Result<()> {
    let load = Load { op: Op::Write, len: 1 << 20, depth: 4, time: Duration::MAX };
    disk.run(&load, &mut (0..size >> 20).map(|number| number << 20)).map(drop)
}
