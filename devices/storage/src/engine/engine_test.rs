//! What the engine says when I/O fails, step by step.

use super::{Engine, Fault, Io, Op, Owner, Request, Work};
use crate::map::Map;
use ami_run_memory::{Gpa, Memory, Range};
use std::io;

struct Bench {
    engine: Engine,
    memory: Memory,
    next: u32,
}

/// I/O to be done, requests that are answered, and how often the volume said that it has failed.
#[derive(Default)]
struct Seen {
    begun: Vec<(Owner, Io)>,
    done: Vec<(u32, Result<(), Fault>)>,
    failed: usize,
}

impl Bench {
    fn new() -> Bench {
        let engine = Engine::new(1 << 20, 0, 0, Map::default());
        Bench { engine, memory: Memory::new(&[Range::new(0, 1 << 20)]).unwrap(), next: 0 }
    }

    fn ask(&mut self, op: Op) -> Seen {
        self.ask_at(op, 0, if op == Op::Flush { 0 } else { 4096 })
    }

    fn ask_at(&mut self, op: Op, offset: u64, len: u64) -> Seen {
        let mut buffers = self.memory.buffers();
        buffers.push(Gpa(0), len.max(512)).unwrap();
        self.next = self.next.wrapping_add(1);
        let mut work = Vec::new();
        let request = Request { id: self.next, op, offset, len, durable: false, buffers: Some(buffers) };
        self.engine.submit(0, request, &mut work);
        sort(work)
    }

    fn back(&mut self, (owner, io): (Owner, Io), result: io::Result<()>) -> Seen {
        let mut work = Vec::new();
        self.engine.finished(owner, io, result, &mut work);
        sort(work)
    }

    /// Writes a granule.
    fn write(&mut self) {
        let mut seen = self.ask(Op::Write);
        let io = seen.begun.pop().unwrap();
        assert_eq!(self.back(io, Ok(())).done, [(self.next, Ok(()))]);
    }
}

fn sort(work: Vec<Work>) -> Seen {
    let mut seen = Seen::default();
    for one in work {
        match one {
            Work::Begin(owner, io) => seen.begun.push((owner, io)),
            Work::Done { id, result, .. } => seen.done.push((id, result.map_err(|cause| cause.fault()))),
            Work::Failed(_) => seen.failed = seen.failed.wrapping_add(1),
        }
    }
    seen
}

fn error() -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::EIO))
}

#[test]
fn a_flush_is_data_then_map_then_its_sync() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask(Op::Flush).done, [(1, Ok(()))], "nothing to flush");
    bench.write();
    let mut seen = bench.ask(Op::Flush);
    assert!(matches!(seen.begun[..], [(Owner::Epoch, Io::Sync)]));
    seen = bench.back(seen.begun.remove(0), Ok(()));
    assert!(matches!(seen.begun[..], [(Owner::Epoch, Io::WriteMap(0, _))]));
    seen = bench.back(seen.begun.remove(0), Ok(()));
    assert!(matches!(seen.begun[..], [(Owner::Epoch, Io::Sync)]));
    assert_eq!(bench.back(seen.begun.remove(0), Ok(())).done, [(3, Ok(()))]);
    bench.write();
    seen = bench.ask(Op::Flush);
    assert_eq!(
        bench.back(seen.begun.remove(0), Ok(())).done,
        [(5, Ok(()))],
        "the map is as it was: one sync"
    );
}

#[test]
fn after_a_failed_sync_the_volume_says_so_once_and_takes_no_more_writes() {
    let mut bench = Bench::new();
    bench.write();
    let mut first = bench.ask(Op::Flush);
    let second = bench.ask(Op::Flush);
    assert!(second.begun.is_empty() && second.done.is_empty(), "it waits for the next epoch");
    let seen = bench.back(first.begun.remove(0), error());
    assert_eq!((seen.done, seen.failed), (vec![(2, Err(Fault::Io)), (3, Err(Fault::Io))], 1));
    for op in [Op::Write, Op::Flush, Op::Discard, Op::WriteZeroes { unmap: true }] {
        let seen = bench.ask(op);
        assert_eq!((seen.done, seen.failed), (vec![(bench.next, Err(Fault::Io))], 0), "{op:?}");
    }
    let read = bench.ask(Op::Read);
    assert!(matches!(read.begun[..], [(Owner::Job(_), Io::ReadTop(..))]), "what it holds can be read still");
}

#[test]
fn a_map_that_finds_no_room_fails_its_flush_and_no_later_one() {
    let mut bench = Bench::new();
    bench.write();
    let mut seen = bench.ask(Op::Flush);
    seen = bench.back(seen.begun.remove(0), Ok(()));
    let full = Err(io::Error::from_raw_os_error(libc::ENOSPC));
    seen = bench.back(seen.begun.remove(0), full);
    assert_eq!((seen.done, seen.failed), (vec![(2, Err(Fault::NoSpace))], 0));
    seen = bench.ask(Op::Flush);
    seen = bench.back(seen.begun.remove(0), Ok(()));
    assert!(matches!(seen.begun[..], [(Owner::Epoch, Io::WriteMap(0, _))]), "it is tried again");
}

/// A guest may name one page of its memory a thousand times.
#[test]
fn a_read_of_very_many_pieces_goes_on_bit_by_bit() {
    let mut bench = Bench::new();
    let granules = (1 << 20) / 4096;
    for granule in (0..granules).step_by(2) {
        let mut seen = bench.ask_at(Op::Write, granule * 4096, 4096);
        bench.back(seen.begun.remove(0), Ok(()));
    }
    let (mut pieces, mut rounds) = (0, 0);
    let mut seen = bench.ask_at(Op::Read, 0, 1 << 20);
    while seen.done.is_empty() {
        assert!((1..=128).contains(&seen.begun.len()), "{} at once", seen.begun.len());
        (pieces, rounds) = (pieces + seen.begun.len(), rounds + 1);
        let mut begun = std::mem::take(&mut seen.begun);
        while let Some(io) = begun.pop() {
            assert!(seen.begun.is_empty() && seen.done.is_empty());
            seen = bench.back(io, Ok(()));
        }
    }
    assert_eq!((pieces, rounds), (256, 2), "each granule is another piece");
}

#[test]
fn a_first_write_that_fails_changes_nothing() {
    let mut bench = Bench::new();
    let mut seen = bench.ask(Op::Write);
    assert_eq!(bench.back(seen.begun.remove(0), error()).done, [(1, Err(Fault::Io))]);
    assert!(matches!(bench.ask(Op::Read).begun[..], [(_, Io::Zero(_))]), "it is not in the top");
}
