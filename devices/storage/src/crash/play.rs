//! One schedule: requests, I/O that comes back in any order, faults and crashes, on a simulated disk.

use super::Random;
use super::disk::{Disk, Steps};
use super::oracle::{Oracle, Outcome, Tag, Time};
use crate::engine::{Engine, Io, Op, Owner, Piece, Request, Rule, Work};
use crate::map::Map;
use crate::plain;
use crate::ranges::Ranges;
use crate::top::header::{Found, Header, VERSION};
use crate::top::{layout, store};
use ami_run_memory::{Gpa, Memory};
use std::cell::RefCell;
use std::io;
use std::ops::Range;

const GRANULE: u64 = 8; // sectors
/// Two windows of the volume are written and watched: its start, and around the border of two map sectors.
const WINDOWS: [Range<u64>; 2] = [0..20 * GRANULE, 1910 * GRANULE..1932 * GRANULE];
/// Neither ends on a granule.
const BASE: u64 = 1925 * GRANULE + 3;
const SIZE: u64 = 1930 * GRANULE + 5;
const SLOTS: u64 = 8;
/// The longest request, in sectors.
const LONGEST: u64 = 40;

/// What is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    Nothing,
    Rule(Rule),
    FolderSync,
}

/// What a schedule has in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    small: bool,
    discard: bool,
    growth: bool,
    queues: bool,
    faults: bool,
}

impl Features {
    pub(super) fn choose(random: &mut Random) -> Features {
        let mut on = || random.below(16) < 5;
        Features { small: on(), discard: on(), growth: on(), queues: on(), faults: on() }
    }

    pub(super) fn none() -> Features {
        Features { small: true, discard: true, growth: false, queues: false, faults: false }
    }

    pub(super) fn all(self) -> [bool; 5] {
        [self.small, self.discard, self.growth, self.queues, self.faults]
    }
}

#[derive(Debug)]
struct Live {
    slot: u64,
    op: Op,
    sectors: Range<u64>,
    /// Those that it changes.
    changes: Range<u64>,
    begun: Time,
    durable: bool,
}

pub(super) struct Play {
    random: Random,
    features: Features,
    broken: Broken,
    disk: RefCell<Disk>,
    header: Header,
    engine: Engine,
    memory: Memory,
    /// I/O at the disk, and for a sync what it covers.
    at_disk: Vec<(Owner, Io, Time)>,
    live: Vec<(u32, Live)>,
    oracle: Oracle,
    clock: Time,
    pub(super) operations: u64,
    pub(super) crashes: u64,
}

fn base_tag(sector: u64) -> Tag {
    if sector < BASE { 1 << 63 | sector } else { 0 }
}

fn bytes_of(tag: Tag) -> [u8; 512] {
    let mut bytes = [0; 512];
    bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&tag.to_le_bytes()));
    bytes
}

/// The tag that a sector is full of.
fn tag_of(bytes: &[u8]) -> Option<Tag> {
    let tag = Tag::from_le_bytes(bytes[..8].try_into().unwrap());
    (bytes == bytes_of(tag)).then_some(tag)
}

fn watched() -> impl Iterator<Item = u64> {
    WINDOWS.into_iter().flatten().filter(|sector| *sector < SIZE)
}

impl Play {
    /// Watches only these sectors.
    pub(super) fn watch(mut self, sectors: Range<u64>) -> Play {
        self.oracle = Oracle::new(sectors.map(|sector| (sector, base_tag(sector))));
        self
    }

    pub(super) fn new(random: Random, features: Features, broken: Broken) -> Play {
        let header = Header { version: VERSION, sequence: 0, size: SIZE * 512, mark: 77, base: None };
        let mut play = Play {
            random,
            features,
            broken,
            disk: RefCell::default(),
            engine: Engine::new(header.size, BASE * 512, header.mark, Map::default()),
            header,
            memory: Memory::new(&[ami_run_memory::Range::new(0, 1 << 20)]).unwrap(),
            at_disk: Vec::new(),
            live: Vec::new(),
            oracle: Oracle::new(watched().map(|sector| (sector, base_tag(sector)))),
            clock: 1,
            operations: 0,
            crashes: 0,
        };
        play.create();
        play
    }

    fn create(&mut self) {
        loop {
            let left = if self.random.one_in(4) { self.random.below(6) } else { 99 };
            if store::create(&self.steps(left), &self.header).is_ok() {
                break;
            }
            // The power went: there is no volume, or one that is whole and empty.
            self.disk.borrow_mut().crash(&mut self.random);
            if self.disk.borrow().has_name() {
                assert!(
                    matches!(store::read(&self.steps(99)), Ok(Found::Header(_))),
                    "half a volume has a name"
                );
            }
            *self.disk.borrow_mut() = Disk::default();
        }
        self.set_up();
    }

    fn steps(&self, left: u64) -> Steps<'_> {
        Steps { disk: &self.disk, left: RefCell::new(left), folder_sync: self.broken != Broken::FolderSync }
    }

    /// A fresh engine on what the disk holds.
    fn set_up(&mut self) {
        let mut unread = Ranges::default();
        unread.insert(0..layout::pages(self.header.size));
        let map = Map::stored(unread);
        self.engine = Engine::new(self.header.size, BASE * 512, self.header.mark, map);
        if let Broken::Rule(rule) = self.broken {
            self.engine.broken = Some(rule);
        }
    }

    pub(super) fn run(&mut self) -> Result<(), String> {
        let rounds = 2 + self.random.below(3);
        let each = 50 / rounds + 1 + self.random.below(10);
        for _ in 0..rounds {
            for _ in 0..each {
                self.operations += 1;
                self.begin_one()?;
                for _ in 0..self.random.below(5) {
                    self.go_on()?;
                }
            }
            self.crash()?;
        }
        Ok(())
    }

    fn tick(&mut self) -> Time {
        self.clock += 1;
        self.clock
    }

    fn begin_one(&mut self) -> Result<(), String> {
        while self.live.len() as u64 >= SLOTS {
            self.go_on()?;
        }
        match self.random.below(20) {
            0..8 => self.ask(Op::Write),
            8..12 => self.ask(Op::Read),
            12..15 => self.ask(Op::Flush),
            15 => {
                let unmap = self.random.one_in(2);
                self.ask(Op::WriteZeroes { unmap })
            }
            16 | 17 if self.features.discard => self.ask(Op::Discard),
            18 if self.features.growth => self.grow(),
            19 => {
                let mut work = Vec::new();
                self.engine.begin_epoch(&mut work);
                self.carry_out(work)
            }
            _ => self.ask(Op::Write),
        }
    }

    /// Where the next request goes, in sectors.
    fn place(&mut self) -> Range<u64> {
        let size = self.engine.size() / 512;
        let window = &WINDOWS[self.random.below(2) as usize];
        let window = window.start..window.end.min(size);
        let longest = if self.random.one_in(2) { GRANULE } else { LONGEST };
        let length = 1 + self.random.below(longest);
        let mut start = window.start + self.random.below(window.end - window.start);
        let mut end = (start + length).min(window.end);
        if !self.features.small {
            start -= start % GRANULE;
            end = end.next_multiple_of(GRANULE).min(size);
        }
        start..end
    }

    fn ask(&mut self, op: Op) -> Result<(), String> {
        let sectors = if op == Op::Flush { 0..0 } else { self.place() };
        let durable = matches!(op, Op::Write | Op::WriteZeroes { .. }) && self.random.one_in(8);
        let queue = if self.features.queues { self.random.below(2) as u32 } else { 0 };
        self.ask_for(op, sectors, durable, queue)
    }

    pub(super) fn ask_for(
        &mut self,
        op: Op,
        sectors: Range<u64>,
        durable: bool,
        queue: u32,
    ) -> Result<(), String> {
        let slot = (0..SLOTS).find(|slot| self.live.iter().all(|(_, live)| live.slot != *slot)).unwrap();
        let (len, begun) = ((sectors.end - sectors.start) * 512, self.tick());
        let gpa = Gpa(slot * (LONGEST + GRANULE) * 512);
        let tag = if op == Op::Write { begun } else { 0 };
        let changes = match op {
            Op::Write | Op::WriteZeroes { .. } => sectors.clone(),
            // Whole granules; the volume's last one may be short, and then it grows under us: either is right.
            Op::Discard => {
                let start = sectors.start.next_multiple_of(GRANULE);
                start..(sectors.end - sectors.end % GRANULE).max(start)
            }
            Op::Read | Op::Flush => 0..0,
        };
        let buffers = (len > 0).then(|| {
            let mut buffers = self.memory.buffers();
            buffers.push(gpa, len).unwrap();
            for at in 0..sectors.end - sectors.start {
                buffers.put(at * 512, &bytes_of(tag)).unwrap();
            }
            buffers
        });
        changes.clone().for_each(|sector| self.oracle.begin(sector, tag, begun));
        if op == Op::Discard {
            // The short granule at the end may be discarded, or stay.
            (changes.end.max(sectors.start)..sectors.end)
                .for_each(|sector| self.oracle.begin(sector, 0, begun));
        }
        let id = u32::try_from(begun).unwrap();
        let request = Request { id, op, offset: sectors.start * 512, len, durable, buffers };
        self.live.push((id, Live { slot, op, sectors, changes, begun, durable }));
        let mut work = Vec::new();
        self.engine.submit(queue, request, &mut work);
        self.carry_out(work)
    }

    fn carry_out(&mut self, work: Vec<Work>) -> Result<(), String> {
        for one in work {
            match one {
                Work::Begin(owner, io) => {
                    let now = self.disk.borrow().now();
                    self.at_disk.push((owner, io, now));
                }
                Work::Done { id, result, .. } => self.done(id, result.is_ok())?,
                Work::Failed(_) => {}
            }
        }
        Ok(())
    }

    /// A request is answered.
    fn done(&mut self, id: u32, worked: bool) -> Result<(), String> {
        let now = self.tick();
        let place = self.live.iter().position(|(live, _)| *live == id);
        let (_, live) = self.live.swap_remove(place.ok_or("a request was answered twice")?);
        let outcome = match (worked, live.durable) {
            (false, _) => Outcome::Failed,
            (true, false) => Outcome::Worked,
            (true, true) => Outcome::Durable,
        };
        for sector in live.changes.clone() {
            self.oracle.end(sector, live.begun, now, outcome);
        }
        match live.op {
            Op::Flush if worked => self.oracle.flush(live.begun),
            Op::Read if worked => {
                let mut bytes = [0; 512];
                for (at, sector) in live.sectors.clone().enumerate() {
                    let gpa = Gpa(live.slot * (LONGEST + GRANULE) * 512 + at as u64 * 512);
                    self.memory.read(gpa, &mut bytes).unwrap();
                    self.check(
                        sector,
                        &bytes,
                        |oracle, tag| oracle.may_read(sector, live.begun, tag),
                        "read",
                    )?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn check(
        &self,
        sector: u64,
        bytes: &[u8],
        may: impl Fn(&Oracle, Tag) -> bool,
        when: &str,
    ) -> Result<Tag, String> {
        match tag_of(bytes) {
            Some(tag) if may(&self.oracle, tag) => Ok(tag),
            tag => Err(format!("{when}: sector {sector} has {tag:x?}, of {}", self.oracle.explain(sector))),
        }
    }

    /// Some I/O comes back.
    fn go_on(&mut self) -> Result<(), String> {
        if self.at_disk.is_empty() {
            return Ok(());
        }
        let place = self.random.below(self.at_disk.len() as u64) as usize;
        self.come_back(place)
    }

    /// How much I/O is at the disk.
    pub(super) fn at_disk(&self) -> usize {
        self.at_disk.len()
    }

    pub(super) fn come_back(&mut self, place: usize) -> Result<(), String> {
        let (owner, mut io, covers) = self.at_disk.remove(place);
        let result = self.transfer(&mut io, covers);
        let mut work = Vec::new();
        self.engine.finished(owner, io, result, &mut work);
        self.carry_out(work)
    }

    fn transfer(&mut self, io: &mut Io, covers: Time) -> io::Result<()> {
        if self.features.faults && self.random.one_in(40) {
            if matches!(io, Io::Sync) {
                self.disk.borrow_mut().fail_sync(&mut self.random);
                return Err(io::ErrorKind::Other.into());
            }
            if matches!(io, Io::WriteMap(..)) && self.random.one_in(2) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            // A part of it may have reached the disk.
            self.write_some(io);
            return Err(io::ErrorKind::Other.into());
        }
        let mut disk = self.disk.borrow_mut();
        match io {
            Io::ReadBase(piece, offset) => read_base(piece, *offset),
            Io::ReadTop(Piece { buffers, start, len }, offset) => {
                let mut bytes = vec![0; *len as usize];
                disk.read(layout::data(*offset), &mut bytes)?;
                buffers.put(*start, &bytes)
            }
            Io::Zero(piece) => piece.buffers.zero(piece.start, piece.len),
            Io::ReadGranule(merge, len) => {
                for (at, chunk) in merge.granule.0[..*len].chunks_mut(512).enumerate() {
                    chunk.copy_from_slice(&bytes_of(base_tag(merge.offset / 512 + at as u64)));
                }
                Ok(())
            }
            Io::Sync => {
                disk.sync(covers);
                Ok(())
            }
            Io::ReadMap(page, granule) => {
                disk.read(layout::map_sector(*page * layout::PAGE_SECTORS), &mut granule.0)
            }
            Io::Punch(bytes) => {
                disk.punch(layout::data(bytes.start)..layout::data(bytes.end));
                Ok(())
            }
            Io::Write(..) | Io::WriteGranule(_) | Io::WriteMap(..) => {
                if let Some((offset, bytes)) = written(io)? {
                    disk.write(offset, &bytes);
                }
                Ok(())
            }
        }
    }

    /// What was on its way reaches the disk in part, or not.
    fn write_some(&mut self, io: &mut Io) {
        if let Io::Punch(bytes) = io {
            self.disk.borrow_mut().punch(layout::data(bytes.start)..layout::data(bytes.end));
        }
        if let Ok(Some((offset, bytes))) = written(io) {
            for (at, sector) in bytes.chunks(512).enumerate() {
                if self.random.one_in(2) {
                    self.disk.borrow_mut().write(offset + at as u64 * 512, sector);
                }
            }
        }
    }

    fn grow(&mut self) -> Result<(), String> {
        let size = self.header.size + 512 * (1 + self.random.below(GRANULE));
        let left = if self.random.one_in(3) { self.random.below(5) } else { 99 };
        let wanted = Header { size, ..self.header.clone() };
        let result = store::replace(&self.steps(left), &self.header, wanted);
        let Ok(header) = result else { return self.crash() };
        self.header = header;
        self.watch_more();
        self.engine.grow(size);
        Ok(())
    }

    /// Sectors that came by growth are zeroes.
    fn watch_more(&mut self) {
        for sector in SIZE..(self.header.size / 512).min(WINDOWS[1].end) {
            self.oracle.add(sector, 0);
        }
    }

    /// The power goes; a fresh engine opens what is left, and every sector is looked at.
    fn crash(&mut self) -> Result<(), String> {
        self.crashes += 1;
        for (_, mut io, _) in std::mem::take(&mut self.at_disk) {
            if self.random.one_in(2) {
                self.write_some(&mut io);
            }
        }
        self.live.clear();
        self.disk.borrow_mut().crash(&mut self.random);
        self.recover()
    }

    /// Every outcome of a crash at this moment: each subset of what is pending on the disk, and of the I/O that is on
    /// its way to it.
    pub(super) fn all_outcomes(&mut self) -> Result<u64, String> {
        let before = self.disk.borrow().clone();
        let mut after = before.clone();
        for (_, io, _) in &mut self.at_disk {
            match written(io) {
                Ok(Some((offset, bytes))) => after.write(offset, &bytes),
                _ => {
                    if let Io::Punch(bytes) = io {
                        after.punch(layout::data(bytes.start)..layout::data(bytes.end));
                    }
                }
            }
        }
        let count = 1u64 << after.pending();
        assert!(count <= 1 << 14, "{} changes are pending", after.pending());
        for kept in 0..count {
            let mut disk = after.clone();
            disk.crash_keeping(kept);
            let mut fresh = Play::new(Random::new(1), self.features, self.broken);
            (fresh.header, fresh.oracle, fresh.clock) =
                (self.header.clone(), self.oracle.clone(), self.clock);
            *fresh.disk.borrow_mut() = disk;
            fresh.recover().map_err(|what| format!("kept {kept:b}: {what}"))?;
        }
        Ok(count)
    }

    fn recover(&mut self) -> Result<(), String> {
        if !self.disk.borrow().has_name() {
            return Err("the volume is gone".to_owned());
        }
        let found = store::read(&self.steps(99));
        let Ok(Found::Header(header)) = found else { return Err(format!("the header is gone: {found:?}")) };
        if header.size < self.header.size {
            return Err(format!("it was {} bytes large and is {}", self.header.size, header.size));
        }
        self.header = header;
        self.watch_more();
        self.set_up();
        let now = self.tick();
        for sector in self.oracle.sectors() {
            let bytes = self.read_now(sector)?;
            let tag =
                self.check(sector, &bytes, |oracle, tag| oracle.may_survive(sector, tag), "after a crash")?;
            self.oracle.found(sector, tag, now);
        }
        Ok(())
    }

    /// Reads one sector with nothing else going on.
    fn read_now(&mut self, sector: u64) -> Result<[u8; 512], String> {
        let (mut buffers, mut work) = (self.memory.buffers(), Vec::new());
        buffers.push(Gpa(0), 512).unwrap();
        let (offset, op) = (sector * 512, Op::Read);
        let request = Request { id: 0, op, offset, len: 512, durable: false, buffers: Some(buffers) };
        self.engine.submit(9, request, &mut work);
        let faults = std::mem::replace(&mut self.features.faults, false);
        let mut answer = None;
        while let Some(one) = work.pop() {
            match one {
                Work::Begin(owner, mut io) => {
                    let result = self.transfer(&mut io, 0);
                    self.engine.finished(owner, io, result, &mut work);
                }
                Work::Done { result, .. } => answer = Some(result),
                Work::Failed(_) => {}
            }
        }
        self.features.faults = faults;
        let mut bytes = [0; 512];
        self.memory.read(Gpa(0), &mut bytes).unwrap();
        match answer {
            Some(Ok(())) => Ok(bytes),
            other => Err(format!("sector {sector} cannot be read: {other:?}")),
        }
    }
}

fn read_base(piece: &Piece, offset: u64) -> io::Result<()> {
    for at in 0..piece.len / 512 {
        piece.buffers.put(piece.start + at * 512, &bytes_of(base_tag(offset / 512 + at)))?;
    }
    Ok(())
}

/// Where a write goes, and what it is.
fn written(io: &mut Io) -> io::Result<Option<(u64, Vec<u8>)>> {
    Ok(match io {
        Io::Write(Piece { buffers, start, len }, offset) => {
            let mut bytes = vec![0; *len as usize];
            buffers.get(*start, &mut bytes)?;
            Some((layout::data(*offset), bytes))
        }
        Io::WriteGranule(merge) => {
            plain::fill(merge)?;
            let at = layout::data(merge.offset + merge.written.start as u64);
            Some((at, merge.granule.part(&merge.written).to_vec()))
        }
        Io::WriteMap(first, bytes) => Some((layout::map_sector(*first), bytes.clone())),
        _ => None,
    })
}
