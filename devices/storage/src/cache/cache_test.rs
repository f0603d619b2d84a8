//! One process on a cache: what is read is what the disk file holds, fetched once, and no error or kill of a fetch stays.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "the tests' own numbers"
)]

use super::entry::Entry;
use super::*;
use crate::source::{Content, Part};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What a disk file of the tests holds at a block's start; nothing in every fifth.
pub(super) fn content(offset: u64, block: &mut [u8]) -> Content {
    let number = offset / BLOCK;
    if number % 5 == 4 {
        return Content::Zeroes;
    }
    for (at, byte) in block.iter_mut().enumerate() {
        *byte = (number as usize * 31 + at / 512 * 7 + at % 251) as u8;
    }
    Content::Data
}

/// Checks a range as it is in the cache's file.
pub(super) fn check(cache: &Cache, range: Range<u64>) {
    let mut wanted = vec![0; BLOCK as usize];
    let mut held = vec![0; BLOCK as usize];
    for block in blocks(&range) {
        let start = block * BLOCK;
        let len = BLOCK.min(cache.size() - start) as usize;
        if content(start, &mut wanted[..len]) == Content::Zeroes {
            wanted.fill(0);
        }
        cache.file().read_exact_at(&mut held[..len], start).unwrap();
        assert!(held[..len] == wanted[..len], "block {block} is wrong");
    }
}

/// What a test's disk file does when it is fetched from.
type Hook = dyn Fn(u64) -> io::Result<()> + Send + Sync;

/// A disk file that notes each fetch.
#[derive(Clone)]
struct Disk {
    fetched: Arc<Mutex<Vec<u64>>>,
    hook: Arc<Hook>,
}

impl Disk {
    fn new(hook: impl Fn(u64) -> io::Result<()> + Send + Sync + 'static) -> Disk {
        Disk { fetched: Arc::default(), hook: Arc::new(hook) }
    }

    /// The blocks that were fetched since it was asked last.
    fn fetched(&self) -> Vec<u64> {
        let mut fetched = std::mem::take(&mut *self.fetched.lock());
        fetched.sort_unstable();
        fetched
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

impl Fetch for Disk {
    fn fetch(&mut self, offset: u64, block: &mut [u8]) -> io::Result<Content> {
        self.fetched.lock().push(offset / BLOCK);
        (self.hook)(offset / BLOCK)?;
        Ok(content(offset, block))
    }
}

/// A disk file's identity, and a folder for its cache.
struct Bench {
    folder: tempfile::TempDir,
    cache: CacheFolder,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("disk.qcow2"), "QFI\u{fb}").unwrap();
        Bench { cache: CacheFolder::Shared(folder.path().join("cache")), folder }
    }

    fn identity(&self) -> Identity {
        identity(&self.folder.path().join("disk.qcow2"))
    }

    fn open(&self, size: u64, disk: &Disk) -> Cache {
        let disk = disk.clone();
        let fetchers: Fetchers = Box::new(move || Box::new(disk.clone()));
        Cache::open(&self.cache, self.identity(), size, fetchers).unwrap()
    }
}

pub(super) fn identity(path: &Path) -> Identity {
    let file = Arc::new(File::open(path).unwrap());
    Identity::of(&[Part { path: path.to_owned(), file }]).unwrap()
}

/// Ten blocks and a half.
const SIZE: u64 = 10 * BLOCK + BLOCK / 2;

fn all() -> Vec<u64> {
    (0..11).collect()
}

/// Waits for what comes in its own time.
fn soon(mut there: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if there() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it does not come");
}

#[test]
fn many_readers_share_each_fetch_and_a_later_process_fetches_nothing() {
    let (bench, disk) = (Bench::new(), Disk::new(|_| Ok(())));
    let cache = bench.open(SIZE, &disk);
    std::thread::scope(|threads| {
        for reader in 0..16 {
            let cache = &cache;
            threads.spawn(move || {
                for step in 0..11 {
                    let start = (reader * 5 + step * 7) % 11 * BLOCK + 4096;
                    let range = start..(start + BLOCK).min(SIZE);
                    cache.wait(range.clone()).unwrap();
                    check(cache, range);
                }
            });
        }
    });
    assert_eq!(disk.fetched(), all());
    // Two blocks of zeroes are holes.
    let held = cache.file().metadata().unwrap().blocks() * 512;
    assert!(held <= SIZE - 2 * BLOCK, "{held}");
    drop(cache);
    let cache = bench.open(SIZE, &disk);
    let waker = Arc::new(Waker::new().unwrap());
    assert!(cache.prepare(0..SIZE, &waker).unwrap());
    check(&cache, 0..SIZE);
    assert!(disk.fetched().is_empty());
}

#[test]
fn a_hundred_opens_share_one_file() {
    let (bench, disk) = (Bench::new(), Disk::new(|_| Ok(())));
    let caches: Vec<_> = (0..100).map(|_| bench.open(SIZE, &disk)).collect();
    std::thread::scope(|threads| {
        for cache in &caches {
            threads.spawn(move || cache.wait(0..SIZE).unwrap());
        }
    });
    assert_eq!(disk.fetched(), all());
    let inode = |cache: &Cache| cache.file().metadata().unwrap().ino();
    assert!(caches.iter().all(|cache| inode(cache) == inode(&caches[0])));
    caches.iter().for_each(|cache| check(cache, 0..SIZE));
}

#[test]
fn a_reader_that_never_waits_is_woken_and_the_rest_follows_by_itself() {
    let (bench, disk) = (Bench::new(), Disk::new(|_| Ok(())));
    let cache = bench.open(SIZE, &disk);
    let waker = Arc::new(Waker::new().unwrap());
    assert!(!cache.prepare(6 * BLOCK..6 * BLOCK + 512, &waker).unwrap());
    loop {
        let mut fds = [PollFd::from_borrowed_fd(waker.as_fd(), PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&Timespec { tv_sec: 60, tv_nsec: 0 })).unwrap(), 1, "woken");
        waker.take();
        if cache.prepare(6 * BLOCK..6 * BLOCK + 512, &waker).unwrap() {
            break;
        }
    }
    check(&cache, 6 * BLOCK..7 * BLOCK);
    soon(|| cache.shared.present.is_complete());
    assert_eq!(disk.fetched(), all());
    check(&cache, 0..SIZE);
    soon(|| cache.shared.state.lock().threads == 0);
}

#[test]
fn who_looks_into_a_disk_fetches_little_of_it() {
    let (bench, disk) = (Bench::new(), Disk::new(|_| Ok(())));
    let cache = bench.open(SIZE, &disk);
    cache.wait(0..512).unwrap();
    soon(|| cache.shared.state.lock().threads == 0);
    assert_eq!(disk.fetched(), [0, 1, 2]);
}

#[test]
fn the_rest_of_a_disk_never_keeps_a_reader_waiting() {
    let (bench, gate) = (Bench::new(), Arc::new(Mutex::new(())));
    let (held, behind) = (gate.lock(), Arc::clone(&gate));
    // Everything but what the readers ask for never ends while the gate is held.
    let asked: HashSet<u64> = [0, 5, 10].into();
    let disk = Disk::new(move |block| {
        if !asked.contains(&block) {
            drop(behind.lock());
        }
        Ok(())
    });
    let cache = bench.open(SIZE, &disk);
    let waker = Arc::new(Waker::new().unwrap());
    cache.prepare(0..512, &waker).unwrap();
    soon(|| disk.fetched.lock().len() >= 2);
    for block in [5, 10] {
        cache.wait(block * BLOCK..block * BLOCK + 512).unwrap();
    }
    assert_eq!(disk.fetched.lock().len(), 4, "one block that nobody waits for, and no more");
    drop(held);
    soon(|| cache.shared.present.is_complete());
}

#[test]
fn an_error_reaches_its_readers_and_the_next_read_tries_again() {
    let bench = Bench::new();
    let failing = Arc::new(Mutex::new(true));
    let fails = Arc::clone(&failing);
    let disk = Disk::new(move |block| match (block, *fails.lock()) {
        (3, true) => Err(io::Error::other("x.qcow2 is cut short")),
        (4, true) => panic!("a parser's bug"),
        _ => Ok(()),
    });
    let cache = bench.open(SIZE, &disk);
    let read = |block: u64| cache.wait(block * BLOCK..(block + 1) * BLOCK);
    assert_eq!(read(3).unwrap_err().to_string(), "x.qcow2 is cut short");
    assert!(read(4).unwrap_err().to_string().contains("bug"));
    assert!(cache.wait(2 * BLOCK..4 * BLOCK).is_err() && read(2).is_ok());
    *failing.lock() = false;
    cache.wait(0..SIZE).unwrap();
    check(&cache, 0..SIZE);
}

#[test]
fn what_comes_from_a_disk_file_that_was_touched_meanwhile_is_not_kept() {
    let (bench, disk) = (Bench::new(), Disk::new(|_| Ok(())));
    let before = bench.identity();
    let cache = bench.open(SIZE, &disk);
    cache.wait(0..512).unwrap();
    soon(|| cache.shared.state.lock().threads == 0);
    fs::write(bench.folder.path().join("disk.qcow2"), "other").unwrap();
    cache.wait(7 * BLOCK..8 * BLOCK).unwrap();
    drop(cache);
    let entry = Entry::open(&bench.cache, &before, SIZE).unwrap();
    let kept = Present::new(11, &entry.sidecar.bits(11).unwrap());
    assert!(kept.has(0) && !kept.has(7));
}

#[test]
fn huge_disks_and_huge_ranges_take_little() {
    let (bench, disk) = (Bench::new(), Disk::new(|_| Ok(())));
    let size = 1 << 40;
    let cache = bench.open(size, &disk);
    let waker = Arc::new(Waker::new().unwrap());
    let last = size - BLOCK..size;
    cache.wait(last.clone()).unwrap();
    check(&cache, last);
    assert!(!cache.prepare(0..size, &waker).unwrap());
    assert!(cache.shared.state.lock().work.queued() <= ASKED);
}

#[test]
fn a_full_host_is_an_error_of_the_reader_and_nothing_wrong_is_left() {
    let mount = tempfile::tempdir().unwrap();
    let at = mount.path();
    // The whole test runs in a mount namespace of its own, so that nothing stays mounted.
    if std::env::var_os("AMI_RUN_TEST_FULL").is_none() {
        let script = r#"mount -t tmpfs -o size=3m none "$1" && TMPDIR=$1 AMI_RUN_TEST_FULL=1 exec "$0" --exact \
            cache::cache_test::a_full_host_is_an_error_of_the_reader_and_nothing_wrong_is_left --nocapture"#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).arg(std::env::current_exe().unwrap()).arg(at);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if said.contains("unshare: ") || said.contains("mount: ") {
            // Not by println, which the test runner captures.
            writeln!(io::stderr(), "skipped: full host: no small file system can be mounted here: {said}")
                .unwrap();
            return;
        }
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let (bench, disk) = (Bench::new(), Disk::new(|_| Ok(())));
    let cache = bench.open(SIZE, &disk);
    let read = |block: u64| cache.wait(block * BLOCK..((block + 1) * BLOCK).min(SIZE));
    let waker = Arc::new(Waker::new().unwrap());
    cache.prepare(0..512, &waker).unwrap();
    soon(|| cache.shared.state.lock().threads == 0);
    let left = (0..11).filter(|block| !cache.shared.present.has(*block)).count();
    assert!(left > 4, "what nobody waits for takes no scarce space: {left}");
    let told: Vec<_> = [0, 1, 2, 3, 5, 6, 7].into_iter().filter_map(|block| read(block).err()).collect();
    assert!(!told.is_empty(), "it holds 3 MiB and took 3.5");
    for cause in told {
        assert_eq!(cause.kind(), io::ErrorKind::Other, "not the guest's disk is full");
        assert!(cause.to_string().contains("the cache has no room in "), "{cause}");
    }
    // Where there is room again, it goes on.
    let present = &cache.shared.present;
    let missing: Vec<_> = (0..11).filter(|block| !present.has(*block)).collect();
    (0..11)
        .filter(|block| present.has(*block))
        .for_each(|block| check(&cache, block * BLOCK..block * BLOCK + 1));
    drop(cache);
    let mut grow = Command::new("mount");
    grow.args(["-o", "remount,size=32m"]).arg(std::env::var_os("TMPDIR").unwrap());
    assert!(grow.status().unwrap().success());
    disk.fetched();
    let cache = bench.open(SIZE, &disk);
    cache.wait(0..SIZE).unwrap();
    check(&cache, 0..SIZE);
    assert_eq!(disk.fetched(), missing);
}
