//! Volumes against plain memory: what is read is what was written, whatever the order, and the base stays as it is.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "the tests' own numbers"
)]

use crate::{Base, Completion, Fault, Op, Queue, Request, StorageError, Volume};
use ami_run_memory::{Buffers, Gpa, Memory, Range};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

const RAM: u64 = 1 << 20;

/// A small random generator: xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// A disk file of these bytes, and a folder for it and the top.
fn disk(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.raw");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn pattern(len: u64) -> Vec<u8> {
    (0..len).map(|at| (at / 512 % 251 + at % 7 + 1) as u8).collect()
}

fn request(op: Op, offset: u64, len: u64, buffers: Option<Buffers>) -> Request {
    Request { id: 7, op, offset, len, durable: false, buffers }
}

fn submit(queue: &mut Queue, request: Request) -> Result<(), Fault> {
    let (mut batch, mut done) = (vec![request], Vec::new());
    queue.submit(&mut batch);
    queue.run_out(&mut done).unwrap();
    let [Completion { id: 7, result }] = done[..] else { panic!("one completion, not {done:?}") };
    assert!(batch.is_empty());
    result
}

/// Buffers of `len` bytes, in pieces of random sizes that lie apart from each other.
fn scattered(memory: &Memory, len: u64, random: &mut Random) -> Buffers {
    let (mut buffers, mut left, mut gpa) = (memory.buffers(), len, 0);
    while left > 0 {
        let piece = (1 + random.below(9000)).min(left);
        buffers.push(Gpa(gpa), piece).unwrap();
        gpa += piece + random.below(100);
        left -= piece;
    }
    buffers
}

/// Bytes that the top takes on the host.
fn allocated(volume: &Volume) -> u64 {
    volume.shared.files.top.cached().metadata().unwrap().blocks() * 512
}

fn read(queue: &mut Queue, memory: &Memory, offset: u64, len: u64) -> Vec<u8> {
    let mut buffers = memory.buffers();
    buffers.push(Gpa(0), len).unwrap();
    memory.write(Gpa(0), &vec![0xee; len as usize]).unwrap();
    submit(queue, request(Op::Read, offset, len, Some(buffers))).unwrap();
    let mut bytes = vec![0; len as usize];
    memory.read(Gpa(0), &mut bytes).unwrap();
    bytes
}

fn write(queue: &mut Queue, memory: &Memory, offset: u64, bytes: &[u8]) {
    let mut buffers = memory.buffers();
    buffers.push(Gpa(0), bytes.len() as u64).unwrap();
    memory.write(Gpa(0), bytes).unwrap();
    submit(queue, request(Op::Write, offset, bytes.len() as u64, Some(buffers))).unwrap();
}

#[test]
fn random_requests_of_two_queues_agree_with_plain_memory() {
    for seed in 1..=8 {
        println!("seed {seed}");
        agrees(&mut Random(seed << 32 | 0x9e37_79b9));
    }
}

fn agrees(random: &mut Random) {
    // Neither size ends on a granule; the volume goes on after its base.
    let (base, size) = (585 * 512, 977 * 512);
    let (folder, path) = disk(&pattern(base));
    let before = fs::metadata(&path).unwrap();
    let volume = Volume::temporary(Base::open(&path).unwrap(), Some(size), folder.path()).unwrap();
    let mut queues = [volume.queue(), volume.queue()];
    let memory = Memory::new(&[Range::new(0, RAM)]).unwrap();
    let mut model = pattern(base);
    model.resize(size as usize, 0);
    for step in 0..600 {
        let queue = &mut queues[random.below(2) as usize];
        let offset = random.below(size / 512) * 512;
        let longest = [512, 4096, 20_000, 150_000][random.below(4) as usize];
        let len = ((1 + random.below(longest).div_ceil(512)) * 512).min(size - offset);
        let place = offset as usize..(offset + len) as usize;
        match random.below(10) {
            0..4 => {
                let buffers = scattered(&memory, len, random);
                let bytes: Vec<u8> = (0..len).map(|at| (step + at / 512) as u8).collect();
                buffers.put(0, &bytes).unwrap();
                let durable = random.below(8) == 0;
                let request = Request { durable, ..request(Op::Write, offset, len, Some(buffers)) };
                submit(queue, request).unwrap();
                model[place].copy_from_slice(&bytes);
            }
            4..8 => {
                let buffers = scattered(&memory, len, random);
                submit(queue, request(Op::Read, offset, len, Some(buffers.clone()))).unwrap();
                let mut bytes = vec![0xee; len as usize];
                buffers.get(0, &mut bytes).unwrap();
                assert!(bytes == model[place], "step {step}: read of {len} at {offset}");
            }
            8 => {
                let unmap = random.below(2) == 0;
                submit(queue, request(Op::WriteZeroes { unmap }, offset, len, None)).unwrap();
                model[place].fill(0);
            }
            _ => {
                submit(queue, request(Op::Discard, offset, len, None)).unwrap();
                let end = if offset + len == size { size } else { (offset + len) / 4096 * 4096 };
                let start = offset.next_multiple_of(4096);
                if start < end {
                    model[start as usize..end as usize].fill(0);
                }
                submit(queue, request(Op::Flush, 0, 0, None)).unwrap();
            }
        }
    }
    assert!(read(&mut queues[0], &memory, 0, size) == model, "the whole volume at the end");
    drop((volume, queues));
    let after = fs::metadata(&path).unwrap();
    assert_eq!((after.mtime(), after.mtime_nsec()), (before.mtime(), before.mtime_nsec()));
    assert!(fs::read(&path).unwrap() == pattern(base), "the base is untouched");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the top has no name");
}

/// Two threads on the same granules, each on a half of its own: first touches, rewrites and zeroes at the same time.
#[test]
fn two_threads_lose_nothing_of_each_other() {
    let size = 2048 * 4096;
    let (folder, path) = disk(&pattern(size));
    let volume = Volume::temporary(Base::open(&path).unwrap(), None, folder.path()).unwrap();
    let reached = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for side in 0..2 {
            let queue = volume.queue();
            let reached = &reached;
            scope.spawn(move || rewrite_halves(queue, side * 2048, size, reached));
        }
    });
}

fn rewrite_halves(mut queue: Queue, side: u64, size: u64, reached: &AtomicU64) {
    let memory = Memory::new(&[Range::new(0, RAM)]).unwrap();
    for offset in (side..size).step_by(4096) {
        // Both threads come to each granule together, or they would hardly ever meet.
        reached.fetch_add(1, Ordering::AcqRel);
        while reached.load(Ordering::Acquire) < (offset / 4096 + 1) * 2 {
            std::thread::yield_now();
        }
        for round in 1..=3 {
            write(&mut queue, &memory, offset, &[round; 2048]);
            let zeroes = Op::WriteZeroes { unmap: true };
            submit(&mut queue, request(zeroes, offset, 512, None)).unwrap();
        }
    }
    let wanted = [[0; 512], [3; 512], [3; 512], [3; 512]].concat();
    for offset in (side..size).step_by(4096) {
        assert!(read(&mut queue, &memory, offset, 2048) == wanted, "half a granule at {offset}");
    }
}

#[test]
fn zeroing_a_sector_leaves_its_neighbour_to_whoever_writes_it() {
    let (folder, path) = disk(&[0; 4096]);
    let volume = Volume::temporary(Base::open(&path).unwrap(), None, folder.path()).unwrap();
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let (mut queue, done) = (volume.queue(), &done);
        scope.spawn(move || {
            while done.load(Ordering::Acquire) == 0 {
                submit(&mut queue, request(Op::WriteZeroes { unmap: false }, 512, 512, None)).unwrap();
            }
        });
        let (mut queue, memory) = (volume.queue(), Memory::new(&[Range::new(0, RAM)]).unwrap());
        let lost = (0..20_000u32).find(|round| {
            let bytes = round.to_le_bytes().repeat(128);
            write(&mut queue, &memory, 0, &bytes);
            read(&mut queue, &memory, 0, 512) != bytes
        });
        done.store(1, Ordering::Release);
        assert_eq!(lost, None, "a write was undone");
    });
}

#[test]
fn only_the_requested_range_is_the_guest_s() {
    let size = 8192;
    let (folder, path) = disk(&pattern(size));
    let volume = Volume::temporary(Base::open(&path).unwrap(), None, folder.path()).unwrap();
    let memory = Memory::new(&[Range::new(0, RAM)]).unwrap();
    let mut queue = volume.queue();
    let mut sector = memory.buffers();
    sector.push(Gpa(0), 512).unwrap();
    for op in [Op::Read, Op::Write, Op::Discard, Op::WriteZeroes { unmap: true }] {
        for (offset, len) in
            [(size, 1), (size - 512, 513), (u64::MAX, 2), (1, u64::MAX), (u64::MAX, u64::MAX)]
        {
            let answer = submit(&mut queue, request(op, offset, len, Some(sector.clone())));
            assert_eq!(answer, Err(Fault::OutOfRange), "{op:?} of {len} at {offset}");
        }
        assert_eq!(
            submit(&mut queue, request(op, size, 0, Some(sector.clone()))),
            Ok(()),
            "{op:?} of nothing"
        );
    }
    for buffers in [None, Some(sector)] {
        assert_eq!(submit(&mut queue, request(Op::Read, 0, 1024, buffers)), Err(Fault::OutOfRange));
    }
    assert!(read(&mut queue, &memory, 0, size) == pattern(size));
}

/// 64 GiB and 1 GiB take the same: no byte of either is allocated, and a discard of all of it is one map change.
#[test]
fn a_large_volume_holds_what_was_written_and_no_more() {
    for gib in [1u64, 64] {
        let size = gib << 30;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        File::create(&path).unwrap().set_len(size).unwrap();
        let volume = Volume::temporary(Base::open(&path).unwrap(), None, folder.path()).unwrap();
        let memory = Memory::new(&[Range::new(0, RAM)]).unwrap();
        let mut queue = volume.queue();
        write(&mut queue, &memory, size - 512, &[9; 512]);
        assert!(allocated(&volume) <= 64 << 10, "{} bytes for one sector of {gib} GiB", allocated(&volume));
        assert_eq!(read(&mut queue, &memory, size - 1024, 1024)[510..514], [0, 0, 9, 9]);
        submit(&mut queue, request(Op::Discard, 0, size, None)).unwrap();
        assert_eq!(read(&mut queue, &memory, size - 1024, 1024), [0; 1024]);
        submit(&mut queue, request(Op::Flush, 0, 0, None)).unwrap();
        assert_eq!(allocated(&volume), 0);
    }
}

#[test]
fn a_full_host_fails_the_write_and_keeps_what_was_there() {
    let size = 64 * 4096;
    let (folder, path) = disk(&pattern(size));
    let small = folder.path().join("small");
    fs::create_dir(&small).unwrap();
    let run = |program: &str, options: &[&str]| {
        Command::new(program).args(options).arg(&small).output().is_ok_and(|output| output.status.success())
    };
    if !run("mount", &["-t", "tmpfs", "-o", "size=64k", "tmpfs"]) {
        // Not by println, which the test runner captures.
        let mut seen = std::io::stderr();
        writeln!(seen, "skipped: full host: a file system of 64 KiB cannot be mounted here").unwrap();
        return;
    }
    let opened = Volume::temporary(Base::open(&path).unwrap(), None, &small);
    // The open top keeps the mount alive, and nothing is left behind however the test ends.
    assert!(run("umount", &["--lazy"]));
    let (volume, memory) = (opened.unwrap(), Memory::new(&[Range::new(0, RAM)]).unwrap());
    let mut queue = volume.queue();
    write(&mut queue, &memory, 4096, &[5; 8192]);
    let mut buffers = memory.buffers();
    buffers.push(Gpa(0), size).unwrap();
    assert_eq!(submit(&mut queue, request(Op::Write, 0, size, Some(buffers))), Err(Fault::NoSpace));
    assert!(read(&mut queue, &memory, 32 * 4096, 4096) == pattern(size)[32 * 4096..33 * 4096]);
    submit(&mut queue, request(Op::Discard, 4096, 8192, None)).unwrap();
    submit(&mut queue, request(Op::Flush, 0, 0, None)).unwrap();
    write(&mut queue, &memory, 40 * 4096, &[6; 4096]);
}

#[test]
fn what_is_not_a_raw_disk_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        File::create(&path).unwrap().write_all(bytes).unwrap();
        path
    };
    let fifo = folder.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
    let table = [
        (folder.path().join("none"), "cannot read "),
        (folder.path().to_owned(), "is a directory, not a disk file"),
        (fifo, "is a named pipe, not a disk file"),
        (PathBuf::from("/dev/null"), "is a character device, not a disk file"),
        (file("empty", b""), "is empty"),
        (file("odd", &[0; 1000]), "1000 bytes, not a multiple of 512"),
    ];
    for (path, words) in table {
        let text = refusal(&path, None, folder.path()).to_string();
        assert!(text.contains(words), "{text}");
        assert!(text.contains(path.to_str().unwrap()), "it names the file: {text}");
    }
}

#[test]
fn sizes_and_folders_that_cannot_be_are_refused() {
    let (folder, path) = disk(&[0; 4096]);
    let text = refusal(&path, Some(2048), folder.path()).to_string();
    let words =
        format!("Volume of size 0GB is smaller than snapshot '{}', expect size >= 1GB", path.display());
    assert_eq!(text, words);
    assert!(matches!(refusal(&path, Some(5000), folder.path()), StorageError::OddVolume { size: 5000 }));
    assert!(matches!(refusal(&path, None, &path), StorageError::Top { .. }), "a file as folder");
    let huge = Some(u64::MAX / 512 * 512);
    assert!(matches!(refusal(&path, huge, folder.path()), StorageError::Top { .. }), "larger than any file");
}

fn refusal(path: &Path, size: Option<u64>, folder: &Path) -> StorageError {
    Base::open(path)
        .and_then(|base| Volume::temporary(base, size, folder))
        .err()
        .unwrap_or_else(|| panic!("{} was accepted", path.display()))
}
