//! What became of a guest that says nothing, in words: how far its start has come, what that means, what speaks
//! against its disk, and what to try. Pure.
//!
//! Only signs are told: who reads a block is not known. EDK II alone reads some 600 blocks of a disk that it can start
//! nothing from (seen with Debian's OVMF on a GPT of two partitions), and says on the console what it starts.

use ami_run_image::Architecture;
use ami_run_inspect::{Code, Finding, Severity};
use ami_run_machine::{Reached, Stage};
use std::time::{Duration, Instant};

/// Who has read more than this by UEFI (2 MiB) has read a loader.
const UEFI_READS_BY_ITSELF: u64 = 4096;
/// So many findings are told; a disk may have any number.
const MAX_FINDINGS: usize = 5;
/// And of each so many characters: it may name a thousand files.
const MAX_FINDING: usize = 500;

const FIRMWARE_STAGES: [(Stage, &str); 4] = [
    (Stage::FirmwareBegan, "the firmware began"),
    (Stage::TablesRead, "it asked for its tables"),
    (Stage::FirstBlockRead, "the boot disk's first block was read"),
    (Stage::FurtherBlockRead, "a further one"),
];
const KERNEL_STAGES: [(Stage, &str); 3] = [
    (Stage::Released, "devices that were in use were reset"),
    (Stage::DiskTaken, "a kernel's driver took the boot disk"),
    (Stage::PowerManaged, "a kernel took over ACPI's events"),
];

/// How the guest is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Bios,
    Uefi,
    /// A kernel without firmware.
    Kernel,
}

/// Whose words the console has shown since the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// The firmware's last word.
    pub(crate) firmware: Option<Word>,
    /// When somebody else spoke last.
    pub(crate) others: Option<Instant>,
    /// Somebody else spoke before the last reset.
    pub(crate) earlier: bool,
}

impl Said {
    /// Whether the guest itself has spoken, and not only what starts it: firmware, and a loader before the kernel.
    pub(crate) fn is_guest(&self, reached: &Reached) -> bool {
        self.others.is_some_and(|spoke| reached.kernel().is_none_or(|kernel| spoke >= kernel))
    }
}

/// What the firmware said, as it said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Nothing that tells anything.
    Other,
    /// It hands over to a first sector.
    Booting,
    /// Something could not be started.
    Failed(String),
    /// It starts a loader.
    Starting(String),
    /// It found nothing to start.
    Nothing(String),
    /// The same, and so it has opened its shell.
    Shell,
}

/// What is to be judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<'a> {
    pub(crate) way: Way,
    pub(crate) architecture: Architecture,
    /// What people call the image.
    pub(crate) image: &'a str,
    /// When the command began.
    pub(crate) start: Instant,
    /// When the machine first ran.
    pub(crate) running: Option<Instant>,
    pub(crate) now: Instant,
    pub(crate) reached: &'a Reached,
    pub(crate) said: &'a Said,
    /// What lint says of the root volume.
    pub(crate) findings: &'a [Finding],
    /// What the firmware prints is kept already.
    pub(crate) has_firmware_log: bool,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Explanation {
    /// In a line.
    pub(crate) what: String,
    /// The signs, and what they mean; then what speaks against the disk.
    pub(crate) details: Vec<String>,
    pub(crate) tries: Vec<String>,
}

impl Explanation {
    /// All of it, the verdict first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let tries = self.tries.iter().map(|one| format!("try: {one}"));
        let details = self.details.iter().cloned();
        std::iter::once(self.what.clone()).chain(details).chain(tries).collect()
    }
}

/// How far a guest came, at the end of its run.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) way: Way,
    pub(crate) reached: Reached,
    pub(crate) said: Said,
    /// Why it said nothing, if it did not.
    pub(crate) explained: Option<Explanation>,
}

/// The last of the signs that it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Nothing,
    FirmwareBegan,
    TablesRead,
    /// The boot disk's first block, and by UEFI others, too.
    DiskRead,
    /// There is nothing that firmware could start, it says.
    NothingToStart,
    LoaderRead,
    /// A kernel was started without firmware, and gave no sign.
    Started,
    Kernel,
}

impl Standing {
    pub(crate) fn of(way: Way, reached: &Reached, said: &Said) -> Standing {
        let has = |stage| reached.at(stage).is_some();
        let reads_by_itself = if way == Way::Uefi { UEFI_READS_BY_ITSELF } else { 0 };
        match &said.firmware {
            _ if reached.kernel().is_some() => Standing::Kernel,
            _ if way == Way::Kernel => Standing::Started,
            Some(Word::Nothing(_) | Word::Shell) => Standing::NothingToStart,
            Some(Word::Starting(_)) => Standing::LoaderRead,
            _ if has(Stage::FurtherBlockRead) && reached.blocks > reads_by_itself => Standing::LoaderRead,
            _ if has(Stage::FirstBlockRead) || has(Stage::FurtherBlockRead) => Standing::DiskRead,
            _ if has(Stage::TablesRead) => Standing::TablesRead,
            _ if has(Stage::FirmwareBegan) => Standing::FirmwareBegan,
            _ => Standing::Nothing,
        }
    }

    /// For programs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Standing::Nothing => "Nothing",
            Standing::FirmwareBegan => "FirmwareBegan",
            Standing::TablesRead => "TablesRead",
            Standing::DiskRead => "BootDiskRead",
            Standing::NothingToStart => "NothingToStart",
            Standing::LoaderRead => "LoaderRead",
            Standing::Started => "Started",
            Standing::Kernel => "Kernel",
        }
    }
}

/// Judges a guest that is silent.
pub(crate) fn explain(case: &Case<'_>) -> Explanation {
    let standing = Standing::of(case.way, case.reached, case.said);
    let mut details = vec![stages(case.reached, case.start)];
    if case.reached.resets > 0 {
        let (times, at) = (case.reached.resets, seconds(case.reached.since, case.start));
        let times = if times == 1 { "once".to_owned() } else { format!("{times} times") };
        details.push(format!(
            "the machine was reset {times}, and this is since {at}: it may start over and over"
        ));
    }
    if let Some(Word::Failed(line) | Word::Nothing(line) | Word::Starting(line)) = &case.said.firmware {
        details.push(format!("the firmware's own last word: {line}"));
    }
    details.push(meaning(standing, case));
    let lint = |finding: &Finding| short(&format!("lint: {finding}")).replace('\n', "\\n");
    let told = || case.findings.iter().filter(|finding| finding.severity < Severity::Information);
    details.extend(told().take(MAX_FINDINGS).map(lint));
    let what = format!("{}: {}", silence(case), verdict(standing, case));
    Explanation { what, details, tries: tries(standing, case) }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(MAX_FINDING) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Who was silent, and for how long.
fn silence(case: &Case<'_>) -> String {
    let running = case.running.unwrap_or(case.start);
    let since = if case.said.earlier { case.reached.since } else { running };
    let quiet = case.now.saturating_duration_since(since).as_secs();
    if case.said.others.is_some() {
        return "nothing on the console since a kernel began to run".to_owned();
    }
    let but = if case.said.firmware.is_some() { " but the firmware's own words" } else { "" };
    format!("nothing on the console{but} in {quiet} s")
}

fn verdict(standing: Standing, case: &Case<'_>) -> String {
    let text = match (standing, case.way) {
        (Standing::Nothing, _) => "the firmware gives no sign of life",
        (Standing::FirmwareBegan, _) => "the firmware began, and never asked for its ACPI tables",
        (Standing::TablesRead, _) => "the firmware never read the boot disk",
        (Standing::DiskRead, Way::Uefi) => {
            "the firmware looked at the boot disk, and no loader was started from it"
        }
        (Standing::DiskRead, _) => "the boot disk's first sector was read, and nothing after it",
        (Standing::NothingToStart, Way::Uefi) => "nothing on the disks could be started by UEFI",
        (Standing::NothingToStart, _) => "nothing on the disks could be started by BIOS",
        (Standing::LoaderRead, _) => "a boot loader was read, and no kernel has touched the hardware",
        (Standing::Started, _) => "the kernel was started, and nothing more is known of it",
        (Standing::Kernel, _) => "a kernel runs, and prints nothing to ttyS0",
    };
    text.to_owned()
}

/// The stages with their times.
pub(crate) fn stages(reached: &Reached, start: Instant) -> String {
    let told = |(stage, what): (Stage, &str)| {
        reached.at(stage).map(|at| format!("{what} at {}", seconds(at, start)))
    };
    let mut parts: Vec<String> = FIRMWARE_STAGES.into_iter().filter_map(told).collect();
    if let Some(at) = reached.last_read {
        let (count, last, at) = (blocks(reached.blocks), reached.last_block, seconds(at, start));
        parts.push(format!("{count} of it in all, the last at LBA {last} at {at}"));
    }
    parts.extend(KERNEL_STAGES.into_iter().filter_map(told));
    if parts.is_empty() {
        "the guest has touched nothing that would tell".to_owned()
    } else {
        parts.join(", ")
    }
}

fn blocks(count: u64) -> String {
    let kib = count / 2;
    match count {
        1 => "1 block".to_owned(),
        _ => format!("{count} blocks ({kib} KiB)"),
    }
}

/// Since the command began, as status lines have it.
fn seconds(at: Instant, start: Instant) -> String {
    let since: Duration = at.saturating_duration_since(start);
    format!("{:.1} s", since.as_secs_f64())
}

fn meaning(standing: Standing, case: &Case<'_>) -> String {
    let is_arm64 = case.architecture == Architecture::Arm64;
    let text = match (standing, case.way) {
        (Standing::Nothing, _) => {
            "what --firmware names is no firmware for this machine, or the host is very slow"
        }
        (Standing::FirmwareBegan, Way::Uefi) if !is_arm64 => {
            "it is slow on this computer, or hangs before it looks at any disk, as a Secure-Boot build of OVMF does, which needs \
             System Management Mode"
        }
        (Standing::FirmwareBegan, _) => "it is slow on this computer, or hangs before it looks at any disk",
        (Standing::TablesRead, _) => "it knows no driver for the disk, or is still at its own work",
        (Standing::DiskRead, Way::Uefi) if is_arm64 => {
            "UEFI starts \\EFI\\BOOT\\BOOTAA64.EFI on an EFI system partition, and what its own boot entries name"
        }
        (Standing::DiskRead, Way::Uefi) => {
            "UEFI starts \\EFI\\BOOT\\BOOTX64.EFI on an EFI system partition, and what its own boot entries name"
        }
        (Standing::DiskRead, _) => {
            "what lies in that sector was started as boot code: it is none, or does nothing that can be seen"
        }
        (Standing::NothingToStart, Way::Uefi) if case.said.firmware == Some(Word::Shell) => {
            "so the firmware has opened its own shell: what you see is not the image's"
        }
        (Standing::NothingToStart, _) => {
            "EC2 would say no more of it, and the instance would fail its status check"
        }
        (Standing::LoaderRead, _) => {
            "it waits for somebody, looks for what is not there, or shows its words elsewhere than on ttyS0, the one console that \
             EC2 and this machine have"
        }
        (Standing::Started | Standing::Kernel, _) if case.reached.at(Stage::DiskTaken).is_none() => {
            "it prints to another console than ttyS0, or hangs early; none of its drivers has taken the boot disk"
        }
        (Standing::Started | Standing::Kernel, _) => {
            "it prints to another console than ttyS0, the one that EC2 and this machine have, or not at all"
        }
    };
    text.to_owned()
}

fn tries(standing: Standing, case: &Case<'_>) -> Vec<String> {
    let mut tries = Vec::new();
    // There is no other boot mode, and no port for firmware's own words.
    let is_arm64 = case.architecture == Architecture::Arm64;
    let has = |code: Code| case.findings.iter().any(|finding| finding.code == code);
    match (standing, case.way) {
        (Standing::Nothing | Standing::FirmwareBegan, _) => {
            tries.push("the distribution's own firmware, where --firmware names another".to_owned());
        }
        (Standing::TablesRead, _) => tries.push("--disk-interface virtio, or nvme".to_owned()),
        (Standing::DiskRead | Standing::NothingToStart | Standing::LoaderRead, Way::Bios) => {
            let sure = has(Code::BootModeAbsent);
            let when = if sure { "" } else { ", if the image is made for UEFI" };
            tries.push(format!("--boot-mode uefi{when}"));
        }
        (Standing::DiskRead | Standing::NothingToStart, Way::Uefi) if is_arm64 => {}
        (Standing::DiskRead | Standing::NothingToStart, Way::Uefi) => {
            tries.push("--boot-mode legacy-bios, if the image is made for BIOS".to_owned());
        }
        (_, Way::Kernel) => {
            tries.push("--append console=ttyS0, with all else that the kernel needs".to_owned());
        }
        (Standing::Kernel | Standing::LoaderRead | Standing::Started, _) => {
            tries.push("console=ttyS0,115200 on the kernel's command line in the image".to_owned());
        }
    }
    let remedy = case.findings.iter().find(|finding| finding.severity == Severity::Error);
    tries.extend(remedy.map(|finding| format!("{} ({})", short(&finding.remedy), finding.code)));
    if case.way != Way::Kernel {
        let image = if case.image.starts_with("ami-") { "IMAGE" } else { case.image };
        tries.push(format!("`ami-run image lint {image}`, which tells all that speaks against the disk"));
        if !case.has_firmware_log && !is_arm64 && !matches!(standing, Standing::Kernel | Standing::LoaderRead)
        {
            let which = if case.way == Way::Uefi { " (of OVMF only a debug build does)" } else { "" };
            tries
                .push(format!("--firmware-log FILE, which keeps what the firmware prints for itself{which}"));
        }
    }
    tries
}

#[cfg(test)]
#[path = "explain_test.rs"]
mod tests;
