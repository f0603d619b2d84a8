//! Disks that are taken in whole: once, by one, and never by half.

use super::super::cache_test::identity;
use super::*;
use parking_lot::Mutex;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

const LEN: usize = 3 << 20;
const SIZE: u64 = LEN as u64;

struct Bench {
    folder: tempfile::TempDir,
    cache: CacheFolder,
    decoded: AtomicU32,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("disk.xz"), "x").unwrap();
        let cache = CacheFolder::Shared(folder.path().join("cache"));
        Bench { folder, cache, decoded: AtomicU32::new(0) }
    }

    /// Two pieces, the second of which does not come where `end` is an error.
    fn take_in(
        &self,
        end: impl Fn() -> Result<(), StreamError>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Taken, StorageError> {
        let path = self.folder.path().join("disk.xz");
        let decode = |sink: &mut dyn FnMut(Piece<'_>) -> io::Result<()>| {
            self.decoded.fetch_add(1, Ordering::Relaxed);
            sink(Piece { offset: 2 << 20, bytes: b"behind", read: 10, of: 20 }).map_err(StreamError::Sink)?;
            end()?;
            sink(Piece { offset: 0, bytes: b"before", read: 20, of: 20 }).map_err(StreamError::Sink)?;
            Ok(SIZE)
        };
        take_in(&self.cache, &path, identity(&path), &decode, progress)
    }

    fn check(&self, taken: &Taken) {
        let mut bytes = vec![1; LEN];
        taken.file().read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes.starts_with(b"before\0") && bytes[2 << 20..].starts_with(b"behind\0"));
        assert_eq!((taken.size(), taken.file().metadata().unwrap().len()), (SIZE, SIZE));
    }

    fn size(&self) -> u64 {
        let files = fs::read_dir(self.cache.path()).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.extension().unwrap() == "raw")
            .map(|path| fs::metadata(path).unwrap().len())
            .sum()
    }
}

#[test]
fn a_disk_is_taken_in_once() {
    let bench = Bench::new();
    let mut told = Vec::new();
    let taken = bench.take_in(|| Ok(()), &mut |progress| told.push(progress)).unwrap();
    bench.check(&taken);
    let step = |read| Progress { read, of: 20, elsewhere: false };
    assert_eq!(told, [step(10), step(20)]);
    let again = bench.take_in(|| Ok(()), &mut |_| panic!("nothing is done")).unwrap();
    drop(taken);
    bench.check(&again);
    drop(again);
    bench.check(&bench.take_in(|| Ok(()), &mut |_| ()).unwrap());
    assert_eq!(bench.decoded.load(Ordering::Relaxed), 1);
}

#[test]
fn who_comes_meanwhile_waits_and_sees_how_far_it_is() {
    let bench = Bench::new();
    let go = Mutex::new(());
    let held = go.lock();
    std::thread::scope(|threads| {
        let first = threads.spawn(|| {
            bench.take_in(
                || {
                    drop(go.lock());
                    Ok(())
                },
                &mut |_| (),
            )
        });
        while bench.decoded.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        let mut gate = Some(held);
        let second = bench.take_in(|| panic!("it was done"), &mut |progress| {
            assert!(progress.elsewhere);
            if (progress.read, progress.of) == (10, 20) {
                gate.take();
            }
        });
        bench.check(&second.unwrap());
        bench.check(&first.join().unwrap().unwrap());
    });
    assert_eq!(bench.decoded.load(Ordering::Relaxed), 1);
}

#[test]
fn half_a_disk_is_never_used_and_takes_no_space() {
    let bench = Bench::new();
    let cut = || StorageError::Empty { path: "disk.xz".into() };
    let told = bench.take_in(|| Err(cut().into()), &mut |_| ()).unwrap_err();
    assert_eq!(told.to_string(), cut().to_string());
    assert_eq!(bench.size(), 0);
    let told =
        bench.take_in(|| Err(StreamError::Sink(io::ErrorKind::StorageFull.into())), &mut |_| ()).unwrap_err();
    let words = format!("the cache in {} took 0 MiB of it", bench.cache.path().display());
    assert!(told.to_string().contains(&words), "{told}");
    assert_eq!(bench.size(), 0);
    // One that ended without a word leaves half of it.
    let half = Entry::open(&bench.cache, &identity(&bench.folder.path().join("disk.xz")), 0).unwrap();
    half.data.write_all_at(&[7; 4096], 4096).unwrap();
    drop(half);
    bench.check(&bench.take_in(|| Ok(()), &mut |_| ()).unwrap());
    assert_eq!(bench.decoded.load(Ordering::Relaxed), 3);
}
