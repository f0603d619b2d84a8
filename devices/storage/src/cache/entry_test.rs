//! Places in the folder: what is kept, what goes, and what is not trusted.

use super::*;
use crate::source::Part;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

struct Bench {
    folder: tempfile::TempDir,
    cache: CacheFolder,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let cache = CacheFolder::Shared(folder.path().join("state/cache"));
        Bench { folder, cache }
    }

    /// The identity of a disk file with this content.
    fn disk(&self, name: &str, content: &str) -> Identity {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        Identity::of(&[Part { path, file }]).unwrap()
    }

    fn open(&self, identity: &Identity, size: u64) -> Entry {
        Entry::open(&self.cache, identity, size).unwrap()
    }

    /// The files in the folder, each of which must be ours alone.
    fn kept(&self) -> Vec<String> {
        let entries = fs::read_dir(self.cache.path()).unwrap().map(|entry| entry.unwrap());
        let mut names: Vec<_> = entries
            .inspect(|entry| assert_eq!(entry.metadata().unwrap().mode() & 0o77, 0))
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn path(&self, identity: &Identity, extension: &str) -> PathBuf {
        self.cache.path().join(name(identity)).with_extension(extension)
    }
}

const SIZE: u64 = 1 << 20;

/// Whether the block that a test wrote and said to be there is still said to be.
fn has_block(entry: &Entry) -> bool {
    entry.sidecar.bits(2).unwrap().first().is_some_and(|bits| *bits & 1 != 0)
}

#[test]
fn what_is_kept_is_found_again_and_goes_when_the_disk_file_is_another() {
    let bench = Bench::new();
    let (old, other) = (bench.disk("a", "old"), bench.disk("b", "other"));
    let entry = bench.open(&old, SIZE);
    assert_eq!(fs::metadata(bench.cache.path()).unwrap().mode() & 0o777, 0o700);
    entry.sidecar.set_bits(&mut [0]).unwrap();
    drop(entry);
    assert!(has_block(&bench.open(&old, SIZE)));
    let used = bench.open(&other, SIZE);
    let new = bench.disk("a", "newer");
    bench.open(&new, SIZE);
    let names =
        [name(&other), name(&new)].map(|name| [format!("{name}.map"), format!("{name}.raw")]).concat();
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(bench.kept(), sorted(names.clone()), "the old one of the same path is gone");
    // What is in use stays.
    bench.open(&bench.disk("b", "yet another"), SIZE);
    assert_eq!(bench.kept().len(), 6);
    drop(used);
    bench.open(&bench.disk("b", "and yet another"), SIZE);
    assert_eq!(bench.kept().len(), 4);
}

#[test]
fn a_sidecar_that_does_not_fit_its_data_is_not_believed() {
    type Damage = fn(&Bench, &Identity);
    let cases: &[Damage] = &[
        |bench, id| fs::remove_file(bench.path(id, DATA)).unwrap(),
        |bench, id| {
            fs::copy(bench.path(id, DATA), bench.folder.path().join("copy")).unwrap();
            fs::rename(bench.folder.path().join("copy"), bench.path(id, DATA)).unwrap();
        },
        |bench, id| fs::write(bench.path(id, MAP), vec![0xff; 10_000]).unwrap(),
        |bench, id| {
            kept_file(&bench.path(id, DATA)).unwrap().set_len(512).unwrap();
        },
    ];
    for (at, damage) in cases.iter().enumerate() {
        let bench = Bench::new();
        let id = bench.disk("a", "x");
        let entry = bench.open(&id, SIZE);
        entry.data.write_all_at(b"stale", 0).unwrap();
        entry.sidecar.set_bits(&mut [0]).unwrap();
        drop(entry);
        damage(&bench, &id);
        let entry = bench.open(&id, SIZE);
        let mut bytes = [1; 5];
        entry.data.read_exact_at(&mut bytes, 0).unwrap();
        assert!(!has_block(&entry) && bytes == [0; 5], "case {at}");
        assert_eq!(entry.data.metadata().unwrap().size(), SIZE);
        drop(entry);
        let entry = bench.open(&id, SIZE);
        entry.sidecar.set_bits(&mut [0]).unwrap();
        drop(entry);
        assert!(has_block(&bench.open(&id, SIZE)), "it was made right");
    }
}

#[test]
fn the_first_of_all_forgets_what_others_had_only_in_memory() {
    let bench = Bench::new();
    let id = bench.disk("a", "x");
    let [one, other] = [bench.open(&id, SIZE), bench.open(&id, SIZE)];
    one.sidecar.set_live(1, 2, true).unwrap();
    let live = |entry: &Entry| {
        let mut all = Vec::new();
        entry.sidecar.live_near(0, 2, |block| all.push(block)).unwrap();
        all
    };
    drop(one);
    let third = bench.open(&id, SIZE);
    assert_eq!((live(&other), live(&third)), (vec![1], vec![1]));
    drop((other, third));
    assert!(live(&bench.open(&id, SIZE)).is_empty());
}

#[test]
fn one_that_is_being_made_or_removed_is_waited_for() {
    let bench = Bench::new();
    let id = bench.disk("a", "x");
    drop(bench.open(&id, SIZE));
    let maker = Sidecar::new(kept_file(&bench.path(&id, MAP)).unwrap());
    assert!(maker.lock_use(Lock::Exclusive).unwrap());
    thread::scope(|threads| {
        let waiting = threads.spawn(|| bench.open(&id, SIZE));
        thread::sleep(Duration::from_millis(30));
        assert!(!waiting.is_finished());
        // It is removed: whoever waited makes a new one.
        fs::remove_file(bench.path(&id, DATA)).unwrap();
        fs::remove_file(bench.path(&id, MAP)).unwrap();
        drop(maker);
        let entry = waiting.join().unwrap();
        assert!(is_still(&entry.data, &bench.path(&id, DATA)).unwrap());
        assert!(is_still(entry.sidecar.file(), &bench.path(&id, MAP)).unwrap());
    });
}

#[test]
fn a_stream_that_was_not_taken_in_to_its_end_is_removed_by_the_next_maker() {
    let bench = Bench::new();
    let (half, whole) = (bench.disk("half.xz", "x"), bench.disk("whole.xz", "y"));
    let entry = bench.open(&half, 0);
    entry.data.write_all_at(b"half a disk", 0).unwrap();
    let used = bench.open(&whole, 0);
    drop(entry);
    assert_eq!(bench.kept().len(), 4);
    bench.open(&bench.disk("c", "z"), SIZE);
    assert_eq!(bench.kept().len(), 4, "{:?}", bench.kept());
    assert!(!bench.path(&half, DATA).exists() && bench.path(&whole, DATA).exists());
    used.data.set_len(SIZE).unwrap();
    used.finish(SIZE).unwrap();
    drop(used);
    bench.open(&bench.disk("d", "z"), SIZE);
    assert!(bench.path(&whole, DATA).exists(), "that one was finished");
}

#[test]
fn a_private_one_has_no_name() {
    let bench = Bench::new();
    let private = CacheFolder::Private(bench.folder.path().to_owned());
    let id = bench.disk("a", "x");
    let entry = Entry::open(&private, &id, SIZE).unwrap();
    assert_eq!(fs::read_dir(bench.folder.path()).unwrap().count(), 1, "the disk file");
    entry.sidecar.set_bits(&mut [0]).unwrap();
    assert!(has_block(&entry) && !has_block(&Entry::open(&private, &id, SIZE).unwrap()));
}
