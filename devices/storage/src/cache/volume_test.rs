//! Volumes on a base that comes block by block, as guests use them.
#![expect(clippy::arithmetic_side_effects, reason = "the tests' own numbers")]

use super::cache_test::content;
use crate::base::Base;
use crate::source::{BLOCK, Content, Fetch};
use crate::{CacheFolder, Completion, Fault, Op, Request, Volume};
use ami_run_memory::{Gpa, Memory, Range};
use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const BLOCKS: usize = 9;
const LEN: usize = BLOCKS * (512 << 10);
const SIZE: u64 = LEN as u64;

/// Slow, and unable to read its sixth block while `broken`.
#[derive(Clone, Debug)]
struct Slow {
    broken: Arc<AtomicBool>,
}

impl Fetch for Slow {
    fn fetch(&mut self, offset: u64, block: &mut [u8]) -> io::Result<Content> {
        std::thread::sleep(Duration::from_millis(3));
        if self.broken.load(Ordering::Relaxed) && offset == 6 * BLOCK {
            return Err(io::Error::other("a bad sector"));
        }
        Ok(content(offset, block))
    }
}

/// The disk's bytes.
fn disk() -> Vec<u8> {
    let mut all = vec![0; LEN];
    for (number, block) in (0..).zip(all.chunks_mut(512 << 10)) {
        if content(number * BLOCK, block) == Content::Zeroes {
            block.fill(0);
        }
    }
    all
}

#[test]
fn requests_wait_for_their_blocks_and_a_bad_one_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    fs::write(&path, "x").unwrap();
    let slow = Slow { broken: Arc::new(AtomicBool::new(true)) };
    let (broken, cache) = (Arc::clone(&slow.broken), CacheFolder::Shared(folder.path().join("cache")));
    let base = Base::cached(&path, &cache, SIZE, Box::new(move || Box::new(slow.clone())));
    let volume = Volume::temporary(base, Some(SIZE + 4096), folder.path()).unwrap();
    let memory = Memory::new(&[Range::new(0, SIZE + 4096)]).unwrap();
    let mut queue = volume.queue();
    let mut run = |requests: Vec<(Op, u64, u64)>| {
        let request = |(id, (op, offset, len)): (u32, (Op, u64, u64))| {
            let mut buffers = memory.buffers();
            buffers.push(Gpa(offset), len).unwrap();
            Request { id, op, offset, len, durable: false, buffers: Some(buffers) }
        };
        let (mut batch, mut done) = ((0..).zip(requests).map(request).collect(), Vec::new());
        queue.submit(&mut batch);
        queue.run_out(&mut done).unwrap();
        done.sort_by_key(|completion| completion.id);
        done.into_iter().map(|Completion { result, .. }| result).collect::<Vec<_>>()
    };
    // A write of a part of a granule needs the rest of it; and reads of many blocks at once, one of which is bad.
    memory.write(Gpa(3 * BLOCK + 1024), &[0xab; 512]).unwrap();
    let results = run(vec![
        (Op::Write, 3 * BLOCK + 1024, 512),
        (Op::Read, 0, 2 * BLOCK),
        (Op::Read, 6 * BLOCK + 4096, 4096),
        (Op::Read, 7 * BLOCK, 2 * BLOCK + 4096),
    ]);
    assert_eq!(results, [Ok(()), Ok(()), Err(Fault::Io), Ok(())]);
    broken.store(false, Ordering::Relaxed);
    assert_eq!(run(vec![(Op::Read, 2 * BLOCK, 5 * BLOCK)]), [Ok(())]);
    let mut wanted = disk();
    wanted[3 * 524_288 + 1024..][..512].fill(0xab);
    let mut read = vec![0; LEN];
    memory.read(Gpa(0), &mut read).unwrap();
    assert!(read == wanted);
}
