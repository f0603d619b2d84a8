//! Plays every target's corpus, then mutations of it: AMI_RUN_FUZZ_RUNS of them (100,000), from AMI_RUN_FUZZ_SEED
//! (a number; 1). A play that fails or does not end is printed with its bytes.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test: what goes wrong fails it"
)]

use ami_run_fuzz::{TARGETS, Target};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, Once, mpsc};
use std::time::Duration;

const MAX_LEN: usize = 1024;
/// How long a thousand plays may take before one of them counts as endless; they take some seconds at most.
const PATIENCE: Duration = Duration::from_secs(300);

/// What all targets together may have at any time, in KiB. They have some 15 MiB; a kilobyte that each play leaves
/// lying would be more than this.
const MAX_RESIDENT: u64 = 64 << 10;

/// The names of threads that have panicked.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// xorshift64* (Vigna 2016): the same mutations for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % end.max(1)
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// One change to the bytes.
fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    const NUMBERS: [u32; 10] =
        [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, u32::MAX];
    let at = random.below(bytes.len() + 1);
    let count = random.below(16) + 1;
    match random.below(7) {
        0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
        1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = random.next().to_le_bytes()[7]),
        2 => {
            let number = NUMBERS[random.below(NUMBERS.len())].to_le_bytes();
            bytes.iter_mut().skip(at).zip(number).take(count).for_each(|(byte, new)| *byte = new);
        }
        3 => drop(bytes.splice(at..at, (0..count).map(|_| random.next().to_le_bytes()[7]))),
        4 => drop(bytes.drain(at..bytes.len().min(at + count))),
        5 => {
            let again = bytes[at..bytes.len().min(at + count * 4)].to_vec();
            drop(bytes.splice(at..at, again));
        }
        _ => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len());
            drop(bytes.splice(at.., other[from..].iter().copied()));
        }
    }
    bytes.truncate(MAX_LEN);
}

/// What this process has of memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse().unwrap()
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text}: give a whole number")),
        Err(_) => default,
    }
}

/// Plays corpus and mutations, and tells of progress; ends early when a play fails.
fn play_all(
    (name, target): (&str, Target),
    share: u64,
    seeds: &[Vec<u8>],
    now: &Mutex<Vec<u8>>,
    told: &mpsc::Sender<Result<(), String>>,
) {
    let runs = number("AMI_RUN_FUZZ_RUNS", 100_000) / share;
    let mut random = Random(number("AMI_RUN_FUZZ_SEED", 1).max(1));
    let play = |bytes: Vec<u8>| {
        now.lock().unwrap().clone_from(&bytes);
        catch_unwind(AssertUnwindSafe(|| target(&bytes))).is_ok() && !panicked(name)
    };
    for seed in seeds {
        if !play(seed.clone()) {
            told.send(Err("a file of the corpus".to_owned())).unwrap();
            return;
        }
    }
    for run in 0..runs {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(6) {
            change(&mut bytes, seeds, &mut random);
        }
        if !play(bytes) {
            told.send(Err(format!("mutation {run}"))).unwrap();
            return;
        }
        if run % 1000 == 0 {
            told.send(if resident() < MAX_RESIDENT { Ok(()) } else { Err("memory grew".to_owned()) })
                .unwrap();
        }
    }
}

/// Whether a thread of this target's devices, which has its name, has panicked.
fn panicked(target: &str) -> bool {
    PANICS.lock().unwrap().iter().any(|thread| thread.starts_with(target))
}

/// Lets no panic of any thread pass unseen.
fn watch_threads() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.lock().unwrap().push(std::thread::current().name().unwrap_or_default().to_owned());
            default(info);
        }));
    });
}

fn fuzz(name: &'static str) {
    fuzz_share(name, 1);
}

/// Plays one mutation of so many.
fn fuzz_share(name: &'static str, share: u64) {
    watch_threads();
    let (_, target) = TARGETS.into_iter().find(|(other, _)| *other == name).unwrap();
    let seeds = corpus(name);
    assert!(!seeds.is_empty(), "no corpus for {name}");
    println!("{name}: seed {}", number("AMI_RUN_FUZZ_SEED", 1));
    let now = Arc::new(Mutex::new(Vec::new()));
    let (tell, told) = mpsc::channel();
    let shared = Arc::clone(&now);
    let body = move || play_all((name, target), share, &seeds, &shared, &tell);
    std::thread::Builder::new().name(name.to_owned()).spawn(body).unwrap();
    loop {
        let what = match told.recv_timeout(PATIENCE) {
            Ok(Ok(())) => continue,
            Ok(Err(run)) => format!("{run} failed"),
            Err(mpsc::RecvTimeoutError::Timeout) => "a play does not end".to_owned(),
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        };
        let bytes: String = now.lock().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{name}: {what}; AMI_RUN_FUZZ_SEED={}; its bytes: {bytes}", number("AMI_RUN_FUZZ_SEED", 1));
    }
}

#[test]
fn cmos() {
    fuzz("cmos");
}

#[test]
fn control() {
    fuzz("control");
}

#[test]
fn disk_ext() {
    fuzz("disk_ext");
}

#[test]
fn disk_fat() {
    fuzz("disk_fat");
}

#[test]
fn disk_tables() {
    fuzz("disk_tables");
}

#[test]
fn ecam() {
    fuzz("ecam");
}

#[test]
fn efi_program() {
    fuzz("efi_program");
}

#[test]
fn file_gzip() {
    fuzz("file_gzip");
}

#[test]
fn file_qcow2() {
    fuzz("file_qcow2");
}

#[test]
fn file_vhd() {
    fuzz("file_vhd");
}

#[test]
fn file_vmdk() {
    fuzz("file_vmdk");
}

#[test]
fn file_xz() {
    fuzz("file_xz");
}

#[test]
fn file_zstd() {
    fuzz("file_zstd");
}

#[test]
fn flash_commands() {
    fuzz("flash_commands");
}

#[test]
fn flash_log() {
    fuzz("flash_log");
}

#[test]
fn fw_cfg() {
    fuzz("fw_cfg");
}

#[test]
fn fw_cfg_mapped() {
    fuzz("fw_cfg_mapped");
}

#[test]
fn image_json() {
    fuzz("image_json");
}

#[test]
fn mappings() {
    fuzz("mappings");
}

#[test]
fn metadata_http() {
    fuzz("metadata_http");
}

#[test]
fn msi() {
    fuzz("msi");
}

#[test]
fn nbd() {
    fuzz("nbd");
}

#[test]
fn net_frames() {
    // Each of its plays makes a link, and speaks through the host's sockets.
    fuzz_share("net_frames", 4);
}

#[test]
fn nvme_admin() {
    fuzz("nvme_admin");
}

#[test]
fn nvme_io() {
    // Each of its plays starts threads and waits for them, time and again.
    fuzz_share("nvme_io", 4);
}

#[test]
fn initrd_archive() {
    fuzz("initrd_archive");
}

#[test]
fn pci_config() {
    fuzz("pci_config");
}

#[test]
fn pl011() {
    fuzz("pl011");
}

#[test]
fn pl031() {
    fuzz("pl031");
}

#[test]
fn power() {
    fuzz("power");
}

#[test]
fn serial() {
    fuzz("serial");
}

#[test]
fn uefi_data() {
    fuzz("uefi_data");
}

#[test]
fn uefi_store() {
    fuzz("uefi_store");
}

#[test]
fn virtio_block() {
    fuzz("virtio_block");
}

#[test]
fn virtio_net() {
    fuzz("virtio_net");
}

#[test]
fn virtio_rng() {
    fuzz("virtio_rng");
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, TARGETS.map(|(name, _)| name));
}
