//! What survives is a prefix of what was written, wherever it ends; what is not ours is refused and left alone.

use super::file::{FlashError, FlashFile};
use super::records::{Change, Found, Head, replay};
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SIZE: usize = 8192;
const HEAD: usize = 32;

struct Place {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    /// A store that holds 0 everywhere.
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uefi-vars");
        FlashFile::create(&path, &[0; SIZE]).unwrap();
        Place { folder, path }
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

const CHANGES: [(u32, Change<'static>); 6] = [
    (0, Change::Bytes(b"first")),
    (4096, Change::Erased(4096)),
    (8191, Change::Bytes(b"\x7f")),
    (3, Change::Bytes(b"second")),
    (4096, Change::Bytes(&[0x5a; 128])),
    (0, Change::Erased(4096)),
];

/// What the store holds after none, one, … of the changes.
fn states() -> Vec<Vec<u8>> {
    let mut states = vec![vec![0; SIZE]];
    for (offset, change) in CHANGES {
        let mut next = states.last().unwrap().clone();
        let offset = usize::try_from(offset).unwrap();
        match change {
            Change::Bytes(bytes) => next[offset..][..bytes.len()].copy_from_slice(bytes),
            Change::Erased(len) => next[offset..][..usize::try_from(len).unwrap()].fill(0xff),
        }
        states.push(next);
    }
    states
}

#[test]
fn what_was_written_is_in_the_file_at_once_and_a_clean_end_leaves_a_plain_image() {
    let place = Place::new();
    assert_eq!(std::fs::metadata(&place.path).unwrap().permissions().mode() & 0o777, 0o600);
    let (file, mut content) = FlashFile::open(&place.path, SIZE).unwrap();
    assert_eq!(content, [0; SIZE]);
    let states = states();
    for ((offset, change), state) in CHANGES.into_iter().zip(&states[1..]) {
        file.append(offset, change).unwrap();
        // What another reads would be left if this process were killed now.
        content = FlashFile::read(&place.path, SIZE).unwrap();
        assert!(content == *state);
    }
    file.compact().unwrap();
    assert!(place.bytes() == content);
    assert_eq!(std::fs::metadata(&place.path).unwrap().permissions().mode() & 0o777, 0o600);
    // And it goes on.
    file.append(1, Change::Bytes(b"on")).unwrap();
    content[1..3].copy_from_slice(b"on");
    assert!(FlashFile::read(&place.path, SIZE).unwrap() == content);
    file.compact().unwrap();
    let inode = std::fs::metadata(&place.path).unwrap().ino();
    file.compact().unwrap();
    assert_eq!(std::fs::metadata(&place.path).unwrap().ino(), inode, "nothing to do, nothing done");
    assert_eq!(place.names(), ["uefi-vars"]);
}

#[test]
fn a_log_cut_at_any_byte_leaves_a_prefix_and_can_be_written_on() {
    let place = Place::new();
    let (file, _) = FlashFile::open(&place.path, SIZE).unwrap();
    let mut ends = vec![SIZE + HEAD];
    for (offset, change) in CHANGES {
        file.append(offset, change).unwrap();
        ends.push(place.bytes().len());
    }
    drop(file);
    let (whole, states) = (place.bytes(), states());
    for len in SIZE..=whole.len() {
        std::fs::write(&place.path, &whole[..len]).unwrap();
        let kept = ends.iter().rposition(|end| *end <= len).unwrap_or(0);
        let (file, content) = FlashFile::open(&place.path, SIZE).unwrap();
        assert!(content == states[kept], "cut at {len}");
        // What follows is found behind what was kept, and nothing of what was cut is.
        if ends.contains(&len) || ends.contains(&(len + 1)) {
            file.append(100, Change::Bytes(b"on")).unwrap();
            let mut expected = states[kept].clone();
            expected[100..102].copy_from_slice(b"on");
            assert!(FlashFile::read(&place.path, SIZE).unwrap() == expected, "cut at {len}");
        }
    }
}

#[test]
fn a_byte_that_was_lost_ends_the_prefix() {
    let head = Head::new(&[0; SIZE], 7);
    let mut log = head.bytes().to_vec();
    let mut ends = vec![log.len()];
    for (offset, change) in CHANGES {
        log.extend(head.record(log.len(), offset, change));
        ends.push(log.len());
    }
    let states = states();
    for at in HEAD..log.len() {
        let mut damaged = log.clone();
        damaged[at] ^= 0x10;
        let mut image = vec![0; SIZE];
        let kept = ends.iter().rposition(|end| *end <= at).unwrap();
        assert_eq!(replay(&damaged, &mut image), Found::Log { head, good: ends[kept] }, "byte {at}");
        assert!(image == states[kept]);
        // As a file system that had not yet written that far.
        damaged[at..].fill(0);
        let mut image = vec![0; SIZE];
        replay(&damaged, &mut image);
        assert!(states.contains(&image));
    }
}

#[test]
fn a_record_of_another_log_or_place_is_none() {
    let (head, old) = (Head::new(&[0; SIZE], 1), Head::new(&[0; SIZE], 2));
    let record = |head: &Head, place| head.record(place, 0, Change::Bytes(b"x"));
    for stale in [record(&old, HEAD), record(&head, HEAD + 1)] {
        let log = [head.bytes(), &stale].concat();
        assert_eq!(replay(&log, &mut [0; SIZE]), Found::Log { head, good: HEAD });
    }
    for outside in
        [head.record(HEAD, 8192, Change::Bytes(b"x")), head.record(HEAD, 4096, Change::Erased(4097))]
    {
        let log = [head.bytes(), &outside].concat();
        assert_eq!(replay(&log, &mut [0; SIZE]), Found::Log { head, good: HEAD });
    }
}

#[test]
fn what_is_not_this_firmwares_store_is_refused_and_stays() {
    let place = Place::new();
    let (file, _) = FlashFile::open(&place.path, SIZE).unwrap();
    file.append(0, Change::Bytes(b"x")).unwrap();
    drop(file);
    let whole = place.bytes();
    let mut changed = whole.clone();
    changed[9] = 1;
    let mut newer = whole[..SIZE + HEAD].to_vec();
    newer[SIZE + 8] = 2;
    let sum = crc32c::crc32c(&newer[SIZE..SIZE + 28]);
    newer[SIZE + 28..].copy_from_slice(&sum.to_le_bytes());
    let cases = [
        (vec![], "has 0 bytes, and this firmware's has 8192"),
        (vec![0; SIZE - 1], "has 8191 bytes"),
        (vec![0; 2 * SIZE], "has 16384 bytes"),
        (vec![0xff; SIZE + 1], "has 8193 bytes"),
        (changed, "was changed by another program"),
        (newer, "newer ami-run (log format 2)"),
    ];
    for (bytes, words) in cases {
        std::fs::write(&place.path, &bytes).unwrap();
        for error in [
            FlashFile::open(&place.path, SIZE).map(|_| ()).unwrap_err(),
            FlashFile::read(&place.path, SIZE).map(|_| ()).unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(text.contains(words) && text.contains(place.path.to_str().unwrap()), "{text}");
        }
        assert!(place.bytes() == bytes, "{words}");
    }
    let error = FlashFile::create(&place.path, &[0; SIZE]).unwrap_err();
    assert!(matches!(error, FlashError::Io { what: "make", .. }), "one that is there is not replaced");
    let error = FlashFile::open(place.folder.path(), SIZE).unwrap_err();
    assert!(matches!(error, FlashError::Io { what: "open", .. }));
    let missing = place.folder.path().join("none");
    assert!(matches!(FlashFile::open(&missing, SIZE).unwrap_err(), FlashError::Io { what: "open", .. }));
}

#[test]
fn a_log_that_grows_is_compacted_while_it_is_written() {
    let place = Place::new();
    let (file, mut content) = FlashFile::open(&place.path, SIZE).unwrap();
    let length = || std::fs::metadata(&place.path).unwrap().len();
    let mut longest = 0;
    for round in 0u32..20_000 {
        let (offset, byte) = (round * 7 % 8000, [round.to_le_bytes()[0]; 128]);
        file.append(offset, Change::Bytes(&byte)).unwrap();
        let offset = usize::try_from(offset).unwrap();
        content[offset..offset + 128].copy_from_slice(&byte);
        longest = longest.max(length());
    }
    assert!(longest < 2 << 20, "{longest} bytes of some three million");
    assert!(FlashFile::read(&place.path, SIZE).unwrap() == content);
    // Where it cannot be, the guest's writes are kept all the same.
    std::fs::create_dir(place.folder.path().join("uefi-vars.new")).unwrap();
    assert!(file.compact().is_err());
    for round in 0u32..10_000 {
        file.append(round % 8000, Change::Bytes(&[9; 128])).unwrap();
    }
    assert!(length() > 1_400_000, "{}", length());
    content[..8127].fill(9);
    assert!(FlashFile::read(&place.path, SIZE).unwrap() == content);
    std::fs::remove_dir(place.folder.path().join("uefi-vars.new")).unwrap();
    file.compact().unwrap();
    assert!(place.bytes() == content);
}

#[test]
fn what_is_written_becomes_durable_without_being_asked_for() {
    let place = Place::new();
    let (file, _) = FlashFile::open(&place.path, SIZE).unwrap();
    for round in 1..=2 {
        file.append(0, Change::Bytes(b"x")).unwrap();
        let begun = Instant::now();
        while file.syncs() < round {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing was made durable");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    // Many writes, few syncs.
    for _ in 0..1000 {
        file.append(0, Change::Bytes(b"x")).unwrap();
    }
    assert!(file.syncs() < 500, "{}", file.syncs());
}

#[test]
fn a_log_that_another_has_damaged_is_not_compacted_away() {
    let place = Place::new();
    let (file, _) = FlashFile::open(&place.path, SIZE).unwrap();
    file.append(0, Change::Bytes(b"x")).unwrap();
    let other = OpenOptions::new().write(true).open(&place.path).unwrap();
    other.write_all_at(b"y", u64::try_from(SIZE + HEAD + 16).unwrap()).unwrap();
    let damaged = place.bytes();
    assert!(file.compact().is_err());
    assert!(place.bytes() == damaged);
}

/// The store that a process of this test writes to; it is none of them without.
const VICTIM: &str = "AMI_RUN_TEST_FLASH";
/// How many changes it makes: each writes its number all over the next of so many places.
const NUMBERS: u32 = 20_000;
const PLACES: u32 = 64;

#[test]
fn another_process() {
    let Some(path) = std::env::var_os(VICTIM) else { return };
    let (file, _) = FlashFile::open(Path::new(&path), SIZE).unwrap();
    for number in 1..=NUMBERS {
        let bytes = number.to_le_bytes().repeat(32);
        file.append(number % PLACES * 128, Change::Bytes(&bytes)).unwrap();
        println!("wrote {number}");
    }
}

#[test]
fn a_process_that_is_killed_loses_nothing_that_was_written() {
    // The log is compacted after some 7,280 of them.
    for last in [1, 40, 2000, 7_279, 7_285, 11_000] {
        let place = Place::new();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "flash::flash_test::another_process", "--nocapture"]);
        let mut child = command.env(VICTIM, &place.path).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let end = format!("wrote {last}");
        assert!(lines.any(|line| line.ends_with(&end)));
        child.kill().unwrap();
        // What it said before it died.
        let said = lines.filter_map(|line| line.strip_prefix("wrote ")?.parse().ok()).last().unwrap_or(last);
        child.wait().unwrap();
        let content = FlashFile::read(&place.path, SIZE).unwrap();
        let number = |place: &[u8]| u32::from_le_bytes(*place.first_chunk().unwrap());
        let written = content.chunks(128).map(number).max().unwrap();
        assert!(written >= said, "{said} was written, and {written} is there");
        for (place, bytes) in (0..PLACES).zip(content.chunks(128)) {
            let latest =
                (written.saturating_sub(PLACES - 1)..=written).rev().find(|number| number % PLACES == place);
            assert!(bytes == latest.unwrap_or(0).to_le_bytes().repeat(32), "place {place} after {written}");
        }
    }
}
