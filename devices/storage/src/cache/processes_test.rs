//! Several processes on one cache, and such as are killed at any moment.

use super::cache_test::{check, content, identity};
use super::*;
use crate::source::Content;
use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const BLOCKS: u64 = 40;
const SIZE: u64 = BLOCKS * BLOCK;

/// Where a process of the tests works; it is none of them without.
const FOLDER: &str = "AMI_RUN_TEST_CACHE";
/// What it does there.
const TASK: &str = "AMI_RUN_TEST_TASK";

/// A disk file that notes in a file what is fetched from it by any process.
#[derive(Debug)]
struct Noted(File);

impl Fetch for Noted {
    fn fetch(&mut self, offset: u64, block: &mut [u8]) -> io::Result<Content> {
        self.0.write_all(format!("{}\n", offset / BLOCK).as_bytes())?;
        // Long enough for others to ask for it meanwhile.
        std::thread::sleep(Duration::from_millis(2));
        Ok(content(offset, block))
    }
}

fn open(folder: &Path) -> Cache {
    let notes = OpenOptions::new().append(true).create(true).open(folder.join("fetched")).unwrap();
    let fetchers: Fetchers = Box::new(move || Box::new(Noted(notes.try_clone().unwrap())));
    let cache = CacheFolder::Shared(folder.join("cache"));
    Cache::open(&cache, identity(&folder.join("disk.qcow2")), SIZE, fetchers).unwrap()
}

fn fetched(folder: &Path) -> Vec<u64> {
    let text = fs::read_to_string(folder.join("fetched")).unwrap_or_default();
    let mut all: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
    all.sort_unstable();
    all
}

/// A process that is this test, and does the task.
fn start(folder: &Path, task: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "cache::processes_test::another_process", "--nocapture"]);
    command.env(FOLDER, folder).env(TASK, task).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits until it says so. What it says after that has a reader while the result lives.
fn said(child: &mut Child, what: &str) -> impl Sized + use<> {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(what)));
    lines
}

#[test]
fn another_process() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let cache = open(Path::new(&folder));
    println!("opened");
    match std::env::var(TASK).unwrap().as_str() {
        "all" => {
            // Not before all others are there.
            io::stdin().read_line(&mut String::new()).unwrap();
            cache.wait(0..SIZE).unwrap();
            check(&cache, 0..SIZE);
        }
        "random" => {
            let mut at = u64::from(std::process::id()) | 1;
            // Until it is killed.
            while at != 0 {
                at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let block = (at >> 33) % BLOCKS;
                cache.wait(block * BLOCK..(block + 1) * BLOCK).unwrap();
            }
        }
        // Never ends a fetch.
        _ => {
            let held = cache.shared.entry.sidecar.lock_block(7).unwrap();
            println!("held");
            io::stdin().read_line(&mut String::new()).unwrap();
            drop(held);
        }
    }
}

fn bench() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("disk.qcow2"), "x").unwrap();
    folder
}

#[test]
fn processes_share_each_fetch() {
    let folder = bench();
    let mut children: Vec<_> = (0..4).map(|_| start(folder.path(), "all")).collect();
    let _readers: Vec<_> = children.iter_mut().map(|child| said(child, "opened")).collect();
    for child in &mut children {
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(fetched(folder.path()), (0..BLOCKS).collect::<Vec<_>>());
    let cache = open(folder.path());
    assert!(cache.shared.present.is_complete());
    check(&cache, 0..SIZE);
}

#[test]
fn what_a_killed_process_was_fetching_is_fetched_by_who_waits_for_it() {
    let folder = bench();
    let mut child = start(folder.path(), "hold");
    let _reader = said(&mut child, "held");
    let cache = open(folder.path());
    let waker = Arc::new(Waker::new().unwrap());
    assert!(!cache.ask(7 * BLOCK..8 * BLOCK, &waker, false).unwrap());
    // Others are not kept waiting by it.
    cache.wait(8 * BLOCK..9 * BLOCK).unwrap();
    assert!(!cache.shared.present.has(7) && !fetched(folder.path()).contains(&7));
    child.kill().unwrap();
    child.wait().unwrap();
    cache.wait(7 * BLOCK..8 * BLOCK).unwrap();
    check(&cache, 7 * BLOCK..9 * BLOCK);
}

#[test]
fn a_cache_is_right_after_its_process_was_killed_fifty_times() {
    let folder = bench();
    let mut kept = 0;
    for round in 0..50u64 {
        let mut child = start(folder.path(), "random");
        let _reader = said(&mut child, "opened");
        // Any moment within some fetches.
        std::thread::sleep(Duration::from_micros(round * 7919 % 20_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let cache = open(folder.path());
        let present = &cache.shared.present;
        let there: Vec<_> = (0..BLOCKS).filter(|block| present.has(*block)).collect();
        there.iter().for_each(|block| check(&cache, block * BLOCK..(block + 1) * BLOCK));
        kept = kept.max(there.len());
        if there.len() as u64 == BLOCKS {
            // From the start again.
            drop(cache);
            fs::remove_dir_all(folder.path().join("cache")).unwrap();
        }
    }
    assert!(kept > 1, "nothing was kept: the test shows nothing");
    let cache = open(folder.path());
    cache.wait(0..SIZE).unwrap();
    check(&cache, 0..SIZE);
}
