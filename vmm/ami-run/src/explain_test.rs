//! The verdicts, a row for each way to say nothing.

use super::*;
use ami_run_inspect::Place;

const SECTOR: &[(Stage, u64)] =
    &[(Stage::FirmwareBegan, 1), (Stage::TablesRead, 2), (Stage::FirstBlockRead, 4)];
const LOADER: &[(Stage, u64)] = &[
    (Stage::FirmwareBegan, 1),
    (Stage::TablesRead, 2),
    (Stage::FirstBlockRead, 4),
    (Stage::FurtherBlockRead, 5),
];

struct Row {
    way: Way,
    stages: &'static [(Stage, u64)],
    /// Blocks read of the boot disk.
    blocks: u64,
    word: Option<Word>,
    finding: Option<(Code, Severity, &'static str)>,
    standing: Standing,
    what: &'static str,
    /// Each of these is somewhere below.
    says: &'static [&'static str],
}

fn finding((code, severity, reason): (Code, Severity, &str)) -> Finding {
    let (place, remedy) = (Place::disk(), "do the right thing".to_owned());
    Finding { code, severity, place, reason: reason.to_owned(), remedy }
}

fn judged(row: &Row, architecture: Architecture, resets: u32) -> (Standing, Explanation) {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut reached = Reached::nothing(at(1));
    reached.resets = resets;
    reached = row.stages.iter().fold(reached, |reached, (stage, seconds)| reached.with(*stage, at(*seconds)));
    if row.blocks > 0 {
        (reached.blocks, reached.last_block, reached.last_read) = (row.blocks, 7000, Some(at(6)));
    }
    let said = Said { firmware: row.word.clone(), ..Said::default() };
    let findings: Vec<Finding> = row.finding.into_iter().map(finding).collect();
    let explained = explain(&Case {
        way: row.way,
        architecture,
        image: "disk.raw",
        start,
        running: Some(at(1)),
        now: at(61),
        reached: &reached,
        said: &said,
        findings: &findings,
        has_firmware_log: false,
    });
    (Standing::of(row.way, &reached, &said), explained)
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn rows() -> Vec<Row> {
    let row = |way, stages, blocks, standing, what, says| Row {
        way,
        stages,
        blocks,
        word: None,
        finding: None,
        standing,
        what,
        says,
    };
    use Standing as S;
    vec![
        row(
            Way::Bios,
            &[],
            0,
            S::Nothing,
            "no sign of life",
            &["nothing that would tell", "where --firmware names another"],
        ),
        // A build of OVMF for Secure Boot.
        row(
            Way::Uefi,
            &[(Stage::FirmwareBegan, 1)],
            0,
            S::FirmwareBegan,
            "never asked for its ACPI tables",
            &["the firmware began at 1.0 s", "Secure-Boot build of OVMF", "--firmware-log FILE"],
        ),
        row(
            Way::Bios,
            &[(Stage::FirmwareBegan, 1), (Stage::TablesRead, 2)],
            0,
            S::TablesRead,
            "never read the boot disk",
            &["it asked for its tables at 2.0 s", "--disk-interface"],
        ),
        // The classic: an ESP and nothing else, BootMode absent, so EC2 starts it by BIOS.
        Row {
            word: Some(Word::Booting),
            finding: Some((
                Code::BootModeAbsent,
                Severity::Error,
                "EC2 would start it as legacy-bios and hang",
            )),
            ..row(
                Way::Bios,
                SECTOR,
                1,
                S::DiskRead,
                "nothing on the console but the firmware's own words in 60 s: the boot disk's first sector was read, and nothing \
                 after it",
                &[
                    "first block was read at 4.0 s, 1 block of it in all, the last at LBA 7000 at 6.0 s",
                    "lint: error: the disk: EC2 would start it as legacy-bios and hang (BootModeAbsent)",
                    "try: --boot-mode uefi\n",
                    "try: do the right thing (BootModeAbsent)",
                    "try: `ami-run image lint disk.raw`",
                ],
            )
        },
        row(
            Way::Bios,
            SECTOR,
            1,
            S::DiskRead,
            "nothing after it",
            &["--boot-mode uefi, if the image is made for UEFI"],
        ),
        Row {
            word: Some(Word::Nothing("No bootable device.".to_owned())),
            ..row(
                Way::Bios,
                SECTOR,
                1,
                S::NothingToStart,
                "nothing on the disks could be started by BIOS",
                &["last word: No bootable device.", "--boot-mode uefi"],
            )
        },
        row(
            Way::Bios,
            LOADER,
            300,
            S::LoaderRead,
            "a boot loader was read, and no kernel has touched the hardware",
            &["300 blocks (150 KiB) of it in all, the last at LBA 7000", "elsewhere than on ttyS0"],
        ),
        // What OVMF reads of a disk that it can start nothing from, and a disk for BIOS only.
        Row {
            finding: Some((Code::NoEsp, Severity::Error, "there is no EFI system partition")),
            ..row(
                Way::Uefi,
                LOADER,
                650,
                S::DiskRead,
                "no loader was started from it",
                &[
                    "BOOTX64.EFI",
                    "no EFI system partition (NoEsp)",
                    "--boot-mode legacy-bios, if the image is made for BIOS",
                ],
            )
        },
        Row {
            word: Some(Word::Shell),
            ..row(
                Way::Uefi,
                LOADER,
                650,
                S::NothingToStart,
                "nothing on the disks could be started by UEFI",
                &["opened its own shell", "--boot-mode legacy-bios"],
            )
        },
        Row {
            word: Some(Word::Starting("BdsDxe: starting Boot0001 \"UEFI Disk\"".to_owned())),
            finding: Some((
                Code::NoSerialConsole,
                Severity::Warning,
                "1 of 1 command lines name no serial console",
            )),
            ..row(
                Way::Uefi,
                LOADER,
                900,
                S::LoaderRead,
                "a boot loader was read",
                &["starting Boot0001", "warning: the disk: 1 of 1 command lines", "console=ttyS0,115200"],
            )
        },
        row(
            Way::Uefi,
            LOADER,
            20_000,
            S::LoaderRead,
            "a boot loader was read",
            &["20000 blocks (10000 KiB)"],
        ),
        Row {
            finding: Some((Code::NvmeDriverMissing, Severity::Error, "kernel 6.1 has no nvme driver")),
            ..row(
                Way::Bios,
                &[(Stage::FirmwareBegan, 1), (Stage::FurtherBlockRead, 5), (Stage::PowerManaged, 9)],
                20_000,
                S::Kernel,
                "a kernel runs, and prints nothing to ttyS0",
                &[
                    "took over ACPI's events at 9.0 s",
                    "none of its drivers has taken the boot disk",
                    "no nvme driver",
                ],
            )
        },
        row(
            Way::Uefi,
            &[(Stage::FurtherBlockRead, 5), (Stage::Released, 8), (Stage::DiskTaken, 9)],
            20_000,
            S::Kernel,
            "a kernel runs",
            &["a kernel's driver took the boot disk at 9.0 s", "the one that EC2 and this machine have"],
        ),
        row(Way::Kernel, &[], 0, S::Started, "nothing more is known of it", &["--append console=ttyS0"]),
        row(
            Way::Kernel,
            &[(Stage::PowerManaged, 2)],
            0,
            S::Kernel,
            "a kernel runs",
            &["--append console=ttyS0"],
        ),
    ]
}

#[test]
fn each_way_to_say_nothing_has_its_words() {
    for row in rows() {
        let (standing, Explanation { what, details, tries }) = judged(&row, Architecture::X86_64, 0);
        assert_eq!(standing, row.standing, "{what}");
        assert!(what.starts_with("nothing on the console") && what.contains(row.what), "{what}");
        let explanation = Explanation { what, details, tries };
        let rest = format!("{}\n", explanation.lines()[1..].join("\n"));
        for words in row.says {
            assert!(rest.contains(words), "{words:?} is not in {explanation:#?}");
        }
        assert!(!rest.contains("was reset") && !explanation.tries.is_empty(), "{explanation:#?}");
        if row.way == Way::Kernel {
            assert!(!rest.contains("image lint") && !rest.contains("--firmware"), "{explanation:#?}");
        }
    }
}

/// There is no BIOS to try, no debug port to listen at, and no System Management Mode to lack.
#[test]
fn nobody_with_an_arm64_guest_is_told_of_a_pc() {
    let mut rows = rows();
    rows.retain(|row| row.way != Way::Bios);
    for row in &rows {
        let (standing, explanation) = judged(row, Architecture::Arm64, 0);
        assert_eq!(standing, row.standing);
        let text = explanation.lines().join("\n");
        for word in ["legacy-bios", "--firmware-log", "OVMF", "System Management", "BOOTX64"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
        let loader = text.contains("BOOTAA64.EFI");
        assert_eq!(loader, standing == Standing::DiskRead, "{text}");
        assert!(!explanation.tries.is_empty(), "{text}");
    }
    assert!(rows.iter().any(|row| row.standing == Standing::DiskRead));
}

#[test]
fn a_machine_that_starts_over_and_over_is_told_of() {
    let row = &rows()[4];
    let (_, explained) = judged(row, Architecture::X86_64, 12);
    assert!(
        explained.details[1].contains("the machine was reset 12 times, and this is since 1.0 s"),
        "{explained:?}"
    );
}

#[test]
fn a_guest_that_spoke_before_a_reset_is_silent_since_then() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut reached = Reached::nothing(at(3600));
    reached.resets = 1;
    let what = |earlier| {
        let said = Said { earlier, ..Said::default() };
        let (running, now, reached, said) = (Some(at(1)), at(3661), &reached, &said);
        let (way, architecture) = (Way::Bios, Architecture::X86_64);
        let (image, findings, has_firmware_log) = ("", &[], false);
        let case =
            Case { way, architecture, image, start, running, now, reached, said, findings, has_firmware_log };
        explain(&case).what
    };
    assert!(what(true).starts_with("nothing on the console in 61 s: "), "{}", what(true));
    assert!(what(false).starts_with("nothing on the console in 3660 s: "), "{}", what(false));
}

#[test]
fn findings_have_an_end_and_no_line_of_their_own() {
    let start = Instant::now();
    let mut findings: Vec<_> = (0..100)
        .map(|_| finding((Code::NoKernel, Severity::Warning, "a path with\na line feed")))
        .chain([finding((Code::NotLookedInto, Severity::Information, "XFS"))])
        .collect();
    findings[4].reason = "é".repeat(1 << 20);
    let explained = explain(&Case {
        way: Way::Bios,
        architecture: Architecture::X86_64,
        image: "ami-0123",
        start,
        running: None,
        now: start,
        reached: &Reached::nothing(start),
        said: &Said { others: Some(start), ..Said::default() },
        findings: &findings,
        has_firmware_log: false,
    });
    let told: Vec<_> = explained.details.iter().filter(|line| line.starts_with("lint: ")).collect();
    assert_eq!(told.len(), MAX_FINDINGS);
    assert!(told[..4].iter().all(|line| line.contains("\\n") && !line.contains('\n')), "{told:?}");
    assert!(told[4].len() < 1100 && told[4].ends_with("éé…"), "{}", told[4].len());
    assert!(explained.what.contains("since a kernel began to run"), "{}", explained.what);
    assert!(explained.tries.iter().any(|line| line.contains("image lint IMAGE")), "{:?}", explained.tries);
}
