//! What one description of a sidecar writes and locks, as another sees it.

use super::*;
use std::path::Path;

fn open(path: &Path) -> Sidecar {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
    Sidecar::new(file.unwrap())
}

fn pair() -> (tempfile::TempDir, Sidecar, Sidecar) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.map");
    let (one, other) = (open(&path), open(&path));
    (folder, one, other)
}

#[test]
fn a_head_is_told_from_what_is_none() {
    let (_folder, one, other) = pair();
    assert_eq!(other.head().unwrap(), None);
    let head = Head { size: 512, inode: 7 };
    one.set_head(head).unwrap();
    assert_eq!(other.head().unwrap(), Some(head));
    for offset in 0..16 {
        one.set_head(head).unwrap();
        let mut byte = [0];
        one.file.read_exact_at(&mut byte, offset).unwrap();
        one.file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
        assert_eq!(other.head().unwrap(), None, "byte {offset}");
    }
    one.clear().unwrap();
    assert_eq!(other.head().unwrap(), None);
}

#[test]
fn bits_of_two_writers_are_all_there() {
    let (_folder, one, other) = pair();
    let count = 10_000;
    one.clear_live(count).unwrap();
    assert!(one.bits(count).unwrap().iter().all(|byte| *byte == 0));
    assert!(one.set_bits(&mut [9_999, 0, 4095, 8]).unwrap());
    assert!(other.set_bits(&mut [1, 4096]).unwrap());
    let bits = one.bits(count).unwrap();
    let set: Vec<_> = (0..count).filter(|at| bits[(at / 8) as usize] & 1 << (at % 8) != 0).collect();
    assert_eq!(set, [0, 1, 8, 4095, 4096, 9_999]);
    let held = Held::try_new(one.file(), COMMIT).unwrap().unwrap();
    assert!(!other.set_bits(&mut [2]).unwrap());
    drop(held);
    assert!(other.set_bits(&mut [2]).unwrap());
}

#[test]
fn what_is_live_is_seen_at_once_and_forgotten_by_the_next_first() {
    let (_folder, one, other) = pair();
    let count = 5000;
    one.clear_live(count).unwrap();
    for block in [0, 4095, 4096, 4999] {
        one.set_live(block, count, true).unwrap();
    }
    let near = |block| {
        let mut all = Vec::new();
        other.live_near(block, count, |block| all.push(block)).unwrap();
        all
    };
    assert_eq!((near(17), near(4998)), (vec![0, 4095], vec![4096, 4999]));
    one.set_live(4095, count, false).unwrap();
    assert_eq!(near(4094), [0]);
    one.set_bits(&mut [7]).unwrap();
    other.clear_live(count).unwrap();
    assert!(near(0).is_empty() && near(4999).is_empty());
    assert_eq!(one.bits(count).unwrap()[0], 1 << 7);
}

#[test]
fn a_block_is_one_s_until_it_is_given_back() {
    let (folder, one, other) = pair();
    let held = one.lock_block(3).unwrap().unwrap();
    assert!(other.lock_block(3).unwrap().is_none());
    assert!(other.lock_block(4).unwrap().is_some());
    drop(held);
    assert!(other.lock_block(3).unwrap().is_some());
    assert!(one.lock_use(Lock::Exclusive).unwrap() && !other.lock_use(Lock::Shared).unwrap());
    assert!(one.lock_use(Lock::Shared).unwrap() && other.lock_use(Lock::Shared).unwrap());
    assert!(!one.lock_use(Lock::Exclusive).unwrap());
    drop(other);
    assert!(one.lock_use(Lock::Exclusive).unwrap(), "its locks went with it");
    drop(folder);
}
