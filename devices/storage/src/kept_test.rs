//! Kept volumes: what was written is there when they are opened again, and what cannot be used is refused in words.
#![expect(clippy::cast_possible_truncation, reason = "the tests' own numbers")]

use crate::{Base, Fault, Op, Queue, Request, StorageError, Volume};
use ami_run_memory::{Gpa, Memory, Range};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const MIB: u64 = 1 << 20;

fn folder_with_base() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (base, volume) = (folder.path().join("base.raw"), folder.path().join("kept.volume"));
    fs::write(&base, vec![7; MIB as usize]).unwrap();
    (folder, base, volume)
}

fn submit(queue: &mut Queue, op: Op, offset: u64, memory: &Memory, len: u64) {
    let mut buffers = memory.buffers();
    buffers.push(Gpa(0), len.max(512)).unwrap();
    let request = Request { id: 1, op, offset, len, durable: false, buffers: Some(buffers) };
    let mut done = Vec::new();
    queue.submit(&mut vec![request]);
    queue.run_out(&mut done).unwrap();
    assert_eq!(done.len(), 1);
    done[0].result.unwrap();
}

fn write(volume: &Volume, offset: u64, bytes: &[u8]) {
    let (mut queue, memory) = (volume.queue(), memory());
    memory.write(Gpa(0), bytes).unwrap();
    submit(&mut queue, Op::Write, offset, &memory, bytes.len() as u64);
    submit(&mut queue, Op::Flush, 0, &memory, 0);
}

fn read(volume: &Volume, offset: u64, len: u64) -> Vec<u8> {
    let (mut queue, memory) = (volume.queue(), Memory::new(&[Range::new(0, 4 * MIB)]).unwrap());
    submit(&mut queue, Op::Read, offset, &memory, len);
    let mut bytes = vec![0; len as usize];
    memory.read(Gpa(0), &mut bytes).unwrap();
    bytes
}

fn memory() -> Memory {
    Memory::new(&[Range::new(0, 4 * MIB)]).unwrap()
}

fn open(path: &Path) -> Result<Volume, StorageError> {
    Volume::open(path, false, Base::open)
}

fn refusal(path: &Path) -> String {
    open(path).err().unwrap_or_else(|| panic!("{} was opened", path.display())).to_string()
}

#[test]
fn what_was_flushed_is_there_after_all_was_closed() {
    let (_folder, base, path) = folder_with_base();
    let volume = Volume::create(&path, Base::open(&base).unwrap(), Some(64 * MIB)).unwrap();
    write(&volume, 512, &[1; 512]);
    write(&volume, 40 * MIB, &[2; 8192]);
    let memory = Memory::new(&[Range::new(0, MIB)]).unwrap();
    let mut queue = volume.queue();
    submit(&mut queue, Op::Discard, 8192, &memory, 4096);
    submit(&mut queue, Op::Flush, 0, &memory, 0);
    volume.grow(96 * MIB).unwrap();
    write(&volume, 96 * MIB - 512, &[3; 512]);
    drop((queue, volume));
    let volume = open(&path).unwrap();
    let flags = rustix::fs::fcntl_getfl(volume.shared.files.top.cached()).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
    assert_eq!(volume.size(), 96 * MIB);
    assert_eq!(read(&volume, 0, 1536), [[7; 512], [1; 512], [7; 512]].concat());
    assert_eq!(
        read(&volume, 8192 - 512, 512 + 4096 + 512),
        [vec![7; 512], vec![0; 4096], vec![7; 512]].concat()
    );
    assert_eq!(read(&volume, 40 * MIB - 512, 9216), [vec![0; 512], vec![2; 8192], vec![0; 512]].concat());
    assert_eq!(read(&volume, 96 * MIB - 1024, 1024), [[0; 512], [3; 512]].concat());
    assert_eq!(fs::read(&base).unwrap(), vec![7; MIB as usize]);
}

#[test]
fn one_process_writes_or_many_read() {
    let (_folder, base, path) = folder_with_base();
    let volume = Volume::create(&path, Base::open(&base).unwrap(), None).unwrap();
    assert!(refusal(&path).contains("is in use"));
    drop(volume);
    let readers = [(); 2].map(|()| Volume::open(&path, true, Base::open).unwrap());
    assert_eq!(read(&readers[1], 0, 512), [7; 512]);
    let (mut queue, memory, mut done) = (readers[0].queue(), memory(), Vec::new());
    let mut buffers = memory.buffers();
    buffers.push(Gpa(0), 4096).unwrap();
    let (op, buffers) = (Op::Write, Some(buffers));
    queue.submit(&mut vec![Request { id: 1, op, offset: 0, len: 4096, durable: false, buffers }]);
    queue.run_out(&mut done).unwrap();
    assert_eq!(done[0].result, Err(Fault::Io), "who only reads cannot write");
    drop(queue);
    assert!(matches!(open(&path), Err(StorageError::Busy { .. })));
    drop(readers);
    open(&path).unwrap();
}

#[test]
fn a_base_that_changed_is_refused_and_can_be_named_again() {
    let (folder, base, path) = folder_with_base();
    write(&Volume::create(&path, Base::open(&base).unwrap(), None).unwrap(), 0, &[1; 512]);
    OpenOptions::new().write(true).open(&base).unwrap().write_all_at(&[8; 512], MIB / 2).unwrap();
    let text = refusal(&path);
    assert!(text.contains("base.raw was changed since: it was written to"), "{text}");
    let other = folder.path().join("other.raw");
    fs::write(&other, vec![7; 2 * MIB as usize]).unwrap();
    let text = Volume::rebase(&path, &Base::open(&other).unwrap()).unwrap_err().to_string();
    assert!(text.contains("it is not the same disk"), "{text}");
    Volume::rebase(&path, &Base::open(&base).unwrap()).unwrap();
    assert_eq!(read(&open(&path).unwrap(), 0, 1024), [[1; 512], [7; 512]].concat());
    fs::remove_file(&base).unwrap();
    let text = refusal(&path);
    assert!(text.contains("it is gone"), "{text}");
}

#[test]
fn what_is_no_volume_or_none_that_can_be_used_is_refused() {
    let (_folder, base, path) = folder_with_base();
    assert!(refusal(&base).contains("is not a volume"));
    drop(Volume::create(&path, Base::open(&base).unwrap(), None).unwrap());
    let exists = Volume::create(&path, Base::open(&base).unwrap(), None).unwrap_err();
    assert!(
        matches!(exists, StorageError::Create { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    );
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff; 64], 12).unwrap();
    assert!(refusal(&path).contains("is damaged"));
    let most = Volume::create(Path::new("/proc/volume"), Base::empty("nothing"), Some(MIB));
    assert!(matches!(most, Err(StorageError::Create { .. })));
}

#[test]
fn a_volume_that_is_cut_short_is_refused() {
    let (_folder, base, path) = folder_with_base();
    drop(Volume::create(&path, Base::open(&base).unwrap(), Some(64 * MIB)).unwrap());
    let whole = fs::metadata(&path).unwrap().len();
    let file = File::options().write(true).open(&path).unwrap();
    for len in [whole - 1, whole - 32 * MIB, 8192] {
        file.set_len(len).unwrap();
        let text = refusal(&path);
        let told = format!("is cut short: it has {len} bytes, and its disk goes to {whole}");
        assert!(text.contains(&told), "{text}");
    }
    file.set_len(whole).unwrap();
    open(&path).unwrap();
}

/// The host is full: writes fail, what was flushed stays, and there is room again when something is discarded.
#[test]
fn a_full_host_loses_nothing_that_was_flushed() {
    let (folder, base, _) = folder_with_base();
    let small = folder.path().join("small");
    fs::create_dir(&small).unwrap();
    let run = |program: &str, options: &[&str]| {
        Command::new(program).args(options).arg(&small).output().is_ok_and(|output| output.status.success())
    };
    if !run("mount", &["-t", "tmpfs", "-o", "size=256k", "tmpfs"]) {
        // Not by println, which the test runner captures.
        writeln!(io::stderr(), "skipped: full host: a file system of 256 KiB cannot be mounted here")
            .unwrap();
        return;
    }
    let path = small.join("kept.volume");
    let volume = Volume::create(&path, Base::open(&base).unwrap(), Some(64 * MIB)).unwrap();
    write(&volume, 0, &[1; 4096]);
    let (mut queue, memory) = (volume.queue(), Memory::new(&[Range::new(0, 4 * MIB)]).unwrap());
    let mut try_to = |op, offset, len: u64| {
        let mut buffers = memory.buffers();
        buffers.push(Gpa(0), len.max(512)).unwrap();
        let mut done = Vec::new();
        queue.submit(&mut vec![Request { id: 1, op, offset, len, durable: false, buffers: Some(buffers) }]);
        queue.run_out(&mut done).unwrap();
        done[0].result
    };
    assert_eq!(try_to(Op::Write, MIB, MIB), Err(Fault::NoSpace));
    // Pieces of a granule, until nothing is left for the map either.
    let full = (0..200).map(|at| try_to(Op::Write, (8 + at * 8) * MIB % (64 * MIB) + at * 4096, 4096));
    assert!(full.collect::<Vec<_>>().contains(&Err(Fault::NoSpace)));
    let flushed = try_to(Op::Flush, 0, 0);
    drop((queue, volume));
    let reopened = open(&path).unwrap();
    assert_eq!(read(&reopened, 0, 4096), [1; 4096], "what was flushed before (the last flush: {flushed:?})");
    assert_eq!(read(&reopened, MIB - 512, 1024), [[7; 512], [0; 512]].concat(), "what failed was not done");
    drop(reopened);
    assert!(run("umount", &[]));
}

#[test]
fn a_sector_of_the_map_that_is_damaged_fails_its_part_and_no_other() {
    let (_folder, base, path) = folder_with_base();
    let volume = Volume::create(&path, Base::open(&base).unwrap(), Some(64 * MIB)).unwrap();
    write(&volume, 0, &[1; 512]);
    write(&volume, 32 * MIB, &[2; 512]);
    drop(volume);
    File::options().write(true).open(&path).unwrap().write_all_at(&[9], 8192 + 3).unwrap();
    let volume = open(&path).unwrap();
    assert_eq!(read(&volume, 32 * MIB, 512), [2; 512]);
    let (mut queue, memory) = (volume.queue(), Memory::new(&[Range::new(0, MIB)]).unwrap());
    for op in [Op::Read, Op::Write, Op::Discard, Op::WriteZeroes { unmap: true }] {
        let mut buffers = memory.buffers();
        buffers.push(Gpa(0), 4096).unwrap();
        let request = Request { id: 1, op, offset: 4096, len: 4096, durable: false, buffers: Some(buffers) };
        let mut done = Vec::new();
        queue.submit(&mut vec![request]);
        queue.run_out(&mut done).unwrap();
        assert_eq!(done[0].result, Err(Fault::Io), "{op:?}");
    }
}
