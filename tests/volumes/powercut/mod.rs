//! Power cuts under a volume. Its file lies in a file system on a device that logs every write, flush and FUA
//! (dm-log-writes), while a guest writes to the volume and flushes. Then the device is made anew as a cut would have
//! left it: at every flush and FUA, and between two of them with any part of what was written since. Each time the
//! file system is mounted and the volume opened, and all that the guest had been told is flushed must be there.
//!
//! Only in the testbed's nested machine: it makes devices. Left out: discards and zeroes of the file system itself
//! that the device mapper takes as such (Debian mounts without `discard`).

mod cut;
mod log;
mod oracle;
mod writer;

use crate::expect::{Launch, guest, path};
use ami_run_storage::{Base, Volume};
use cut::Disk;
use log::Entry;
use oracle::{Oracle, Progress, SECTOR, content};
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use writer::Random;

const MIB: u64 = 1 << 20;
/// The upper half of the volume is not in its base.
const BASE: u64 = 4 * MIB;
const VOLUME: u64 = 8 * MIB;
const LOG: u64 = 8 << 30;
/// The mark that says that the volume is there.
const CREATED: &str = "created";

/// Past the test runner's capture, to who waits.
fn say(text: &str) {
    let mut uncaptured = io::stderr();
    writeln!(uncaptured, "{text}").unwrap();
}

/// A file system on a logging device.
struct Bench {
    folder: tempfile::TempDir,
    /// What the device is made of.
    loops: Vec<String>,
    name: String,
}

#[test]
fn what_a_guest_flushed_outlives_a_power_cut_on_ext4() {
    play("ext4", 96 * MIB, &["-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"], "virtio", 40);
}

#[test]
fn what_a_guest_flushed_outlives_a_power_cut_on_xfs() {
    play("xfs", 320 * MIB, &["-f"], "nvme", 25);
}

fn play(kind: &str, bytes: u64, options: &[&str], interface: &str, rounds: u32) {
    let Some(small) = guest("AMI_RUN_GUEST_SMALL") else { return };
    assert_eq!(
        std::env::var("AMI_RUN_TESTBED").as_deref(),
        Ok("nested"),
        "run this by tests/volumes/powercut/run"
    );
    let bench = Bench::new(kind, bytes, options);
    let first = bench.make_volume();
    let oracle = bench.write(&small, interface, rounds);
    let (entries, log) = bench.end();
    let mut disk = Disk::of(&bench.file("made"));
    let judge = Judge { bench: &bench, log: File::open(log).unwrap(), oracle, first };
    let mut random = Random(u64::from(rounds));
    let (mut created, mut progress, mut exact, mut partial) = (false, Progress::default(), 0, 0);
    for (at, entry) in entries.iter().enumerate() {
        match entry {
            Entry::Mark(mark) if mark == CREATED => created = true,
            Entry::Mark(mark) => note(&mut progress, mark),
            Entry::Write { .. } | Entry::Discard { .. } => disk.apply(entry, &judge.log),
        }
        if !created || !matches!(entry, Entry::Write { sync: true, .. }) {
            continue;
        }
        if exact % 50 == 0 {
            say(&format!("  entry {at} of {}", entries.len()));
        }
        judge.check(&disk, &[], progress, &format!("{kind}, right after entry {at}"));
        exact += 1;
        // What was written later, up to the next flush, may be there or not, each for itself.
        let (later, begun) = epoch(&entries[at + 1..], progress);
        if !later.is_empty() {
            let progress = Progress { begun, ..progress };
            judge.check(
                &disk,
                &random.choose(later),
                progress,
                &format!("{kind}, some time after entry {at}"),
            );
            partial += 1;
        }
    }
    say(&format!(
        "power cuts under {kind}, {interface}: {rounds} rounds of a guest, {} entries logged; right after a flush or FUA: \
         {exact}, between them: {partial}: nothing flushed was lost",
        entries.len()
    ));
    assert!(exact > rounds && progress.flushed == rounds, "{exact} flushes, {progress:?}");
}

fn note(progress: &mut Progress, mark: &str) {
    let number = |text: &str| text.parse().unwrap();
    match mark.split_once(':') {
        Some(("begun", round)) => progress.begun = number(round),
        Some(("flushed", round)) => progress.flushed = number(round),
        _ => {}
    }
}

/// What was written until the next flush or FUA was over, and which rounds had begun by then.
fn epoch(entries: &[Entry], mut progress: Progress) -> (Vec<&Entry>, u32) {
    let mut writes = Vec::new();
    for entry in entries {
        match entry {
            Entry::Mark(mark) => note(&mut progress, mark),
            entry => writes.push(entry),
        }
        if matches!(entry, Entry::Write { sync: true, .. }) {
            break;
        }
    }
    (writes, progress.begun)
}

impl Bench {
    fn new(kind: &str, bytes: u64, options: &[&str]) -> Bench {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let name = format!("cut-{kind}");
        let mut bench = Bench { folder, loops: Vec::new(), name };
        for (name, bytes) in [("data", bytes), ("log", LOG)] {
            File::create(bench.file(name)).unwrap().set_len(bytes).unwrap();
        }
        let data = path(bench.folder.path(), "data");
        run(&format!("mkfs.{kind}"), &[&["-q"], options, &[&data]].concat());
        run("cp", &["--sparse=always", &data, &path(bench.folder.path(), "made")]);
        for name in ["data", "log"] {
            bench.loops.push(run("losetup", &["-f", "--show", &path(bench.folder.path(), name)]));
        }
        let table = format!("0 {} log-writes {} {}", bytes / 512, bench.loops[0], bench.loops[1]);
        run("dmsetup", &["create", &bench.name, "--table", &table]);
        fs::create_dir(bench.file("mounted")).unwrap();
        let device = format!("/dev/mapper/{}", bench.name);
        run("mount", &["-t", kind, &device, &path(bench.folder.path(), "mounted")]);
        bench
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn mark(&self, text: &str) {
        run("dmsetup", &["message", &self.name, "0", "mark", text]);
    }

    /// What is in the volume at first.
    fn make_volume(&self) -> Vec<u8> {
        let (base, volume) = (self.file("base.raw"), self.file("mounted/my.volume"));
        let sectors = usize::try_from(BASE).unwrap() / SECTOR;
        let mut first: Vec<u8> = (0..sectors).flat_map(|sector| content(0, sector)).collect();
        fs::write(&base, &first).unwrap();
        Volume::create(&volume, Base::open(&base).unwrap(), Some(VOLUME)).unwrap();
        self.mark(CREATED);
        first.resize(usize::try_from(VOLUME).unwrap(), 0);
        first
    }

    /// Lets a guest write, round by round, and marks in the log what it says.
    fn write(&self, small: &Path, interface: &str, rounds: u32) -> Oracle {
        let device = if interface == "nvme" { "/dev/nvme0n1" } else { "/dev/vda" };
        let volume = self.file("mounted/my.volume");
        let arguments = writer::arguments(small, &volume, device, interface);
        let mut launch = Launch::start(&arguments);
        launch.wait_for("ready.");
        let mut oracle = Oracle::default();
        let mut random = Random(7);
        let mut pending = Vec::new();
        for round in 1..=rounds {
            let line = writer::round(&mut random, round, rounds, &mut oracle);
            self.mark(&format!("begun:{round}"));
            launch.type_in(&format!("{round} {}\n", line.text));
            if line.goes_on {
                // It flushes while the next round writes.
                pending.push(round);
                continue;
            }
            for round in pending.drain(..).chain(line.flushes.then_some(round)) {
                launch.wait_for(&format!("flushed {round}."));
                self.mark(&format!("flushed:{round}"));
            }
            launch.wait_for(&format!("done {round}."));
            if round % 10 == 0 {
                say(&format!("  the guest has done {round} rounds of {rounds}"));
            }
        }
        launch.type_in("0 q\n");
        let end = launch.end();
        assert_eq!(end.code, Some(0), "{}\n{}", end.console, end.status);
        for trouble in ["dd: ", "blkdiscard: ", "not found"] {
            assert!(!end.console.contains(trouble), "{}", end.console);
        }
        oracle
    }

    /// Takes the device away; what remains is its log.
    fn end(&self) -> (Vec<Entry>, PathBuf) {
        self.take_down();
        let log = self.file("log");
        (log::read(&log), log)
    }

    fn take_down(&self) {
        for (program, argument) in
            [("umount", path(self.folder.path(), "mounted")), ("dmsetup", self.name.clone())]
        {
            let before: &[&str] = if program == "dmsetup" { &["remove"] } else { &[] };
            run(program, &[before, &[&argument]].concat());
        }
        for device in &self.loops {
            run("losetup", &["-d", device]);
        }
    }
}

/// What every cut is judged by.
struct Judge<'a> {
    bench: &'a Bench,
    log: File,
    oracle: Oracle,
    first: Vec<u8>,
}

impl Judge<'_> {
    /// Mounts what a cut left, with some later writes, and judges the volume in it.
    fn check(&self, disk: &Disk, later: &[(&Entry, u64)], progress: Progress, when: &str) {
        let (left, mounted) = (self.bench.file("left"), self.bench.file("mounted"));
        disk.write(&left, later, &self.log);
        run("mount", &["-o", "loop", left.to_str().unwrap(), mounted.to_str().unwrap()]);
        let read = || -> Result<Vec<u8>, Box<dyn Error>> {
            let mut found = Vec::new();
            let volume = Volume::open(&mounted.join("my.volume"), false, Base::open)?;
            volume.reader()?.read_to_end(&mut found)?;
            Ok(found)
        };
        let found = read().unwrap_or_else(|cause| panic!("{when}, {progress:?}: {cause}"));
        run("umount", &[mounted.to_str().unwrap()]);
        if let Some(wrong) = self.oracle.judge(&found, &self.first, progress) {
            panic!("{when}, {progress:?}: {wrong}");
        }
    }
}

/// Runs a program; gives what it printed. Nobody but dmsetup itself makes device nodes here.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env("DM_DISABLE_UDEV", "1")
        .output()
        .unwrap_or_else(|cause| panic!("{program}: {cause}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
