//! resources/boot.md: its commands are run as they stand, launches as far as `--dry-run` goes, and what is shown below one
//! is what it says. Left out: what only a guest shows, which tests/guests has.

use crate::guide::{Shown, agree, shell, shown};
use crate::life::Life;
use crate::lint::bios_disk;
use crate::run::{run, skip};
use crate::uefi_data::{PUBLISHED, stopped, template};
use ami_run_firmware::uefi::{Store, aws};
use ami_run_storage::flash::FlashFile;
use std::io::{Cursor, Write as _};
use std::path::Path;

const GUIDE: &str = include_str!("../../resources/boot.md");
const IMAGE: &str = r#"{"Images": [{"ImageId": "ami-0123456789abcdef0", "Architecture": "x86_64", "EnaSupport": true,
  "BootMode": "uefi-preferred", "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": [
  {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1", "VolumeSize": 8}}]}]}"#;
/// A FAT that begins at the disk's second MiB, as the partition of [`bios_disk`] does.
const ESP: usize = 1 << 20;
/// Where doctor is shown to have found them.
const FIRMWARE: [&str; 2] = ["/usr/share/seabios/bios-256k.bin", "/usr/share/OVMF/OVMF_CODE_4M.fd"];

/// The shortest beginning of an EFI program for x86_64: MZ, where the PE header is, and its machine.
fn program() -> Vec<u8> {
    let mut bytes = vec![0; 512];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x80;
    bytes[0x80..0x86].copy_from_slice(b"PE\0\0\x64\x86");
    bytes
}

/// A disk that starts by BIOS and by UEFI: its only partition (an MBR) is an EFI system partition with a loader.
fn hybrid_disk() -> Vec<u8> {
    let mut disk = bios_disk();
    disk[450] = 0xef;
    let mut fat = Cursor::new(vec![0; 1 << 20]);
    fatfs::format_volume(&mut fat, fatfs::FormatVolumeOptions::new()).unwrap();
    fat.set_position(0);
    {
        let files = fatfs::FileSystem::new(&mut fat, fatfs::FsOptions::new()).unwrap();
        let boot = files.root_dir().create_dir("EFI").unwrap().create_dir("BOOT").unwrap();
        boot.create_file("BOOTX64.EFI").unwrap().write_all(&program()).unwrap();
    }
    let fat = fat.into_inner();
    disk[ESP..][..fat.len()].copy_from_slice(&fat);
    disk
}

/// A place with all files that the guide names, and an instance that has UEFI variables if the firmware's are here.
fn place() -> Life {
    let life = Life::new();
    let place = &life.place;
    let mut esp = hybrid_disk();
    place.write("snap-1.raw", &esp);
    // Its boot code, and the mark of an active partition.
    esp[..440].fill(0);
    esp[446] = 0;
    place.write("esp.raw", &esp);
    place.write("snap-2.raw", &esp);
    place.write("image.json", IMAGE);
    let silent = IMAGE.replace("\"BootMode\": \"uefi-preferred\", ", "").replace("snap-1", "snap-2");
    place.write("silent.json", silent);
    let (_, variables) = stopped(&life, "web");
    if let Some(template) = template() {
        let image = Store::build(&template, &aws::decode(PUBLISHED).unwrap()).unwrap();
        FlashFile::create(&variables, &image).unwrap();
    }
    life
}

#[test]
fn every_command_of_the_boot_guide_is_one_and_says_what_is_shown() {
    let life = place();
    let all = shown(GUIDE);
    let count = |verb: &str| all.iter().filter(|shown| shown.line.contains(verb)).count();
    // A guide that is not read has no mistakes.
    assert!(
        count("--dry-run") >= 2
            && count("image lint") >= 2
            && count("image inspect") >= 1
            && count("uefi-data web") >= 1
    );
    assert!(count("doctor") == 1 && count("--hang-after") >= 1 && all.len() >= 8);
    all.iter().filter(|shown| can_be_run(shown)).for_each(|shown| check(&life, shown));
}

/// Whether this computer has what the command tells of.
fn can_be_run(shown: &Shown<'_>) -> bool {
    let missing = FIRMWARE.into_iter().find(|path| !Path::new(path).exists());
    match missing {
        Some(path) if shown.line.contains("doctor") || shown.line.contains("uefi-data") => {
            skip(&format!("{}: there is no {path}", shown.line));
            false
        }
        _ => true,
    }
}

fn check(life: &Life, shown: &Shown<'_>) {
    let launches = shown.line.starts_with("ami-run image.json") || shown.line.starts_with("ami-run esp.raw");
    let plans = launches && !shown.line.contains("--dry-run");
    let more = if plans { " --dry-run" } else { "" };
    let ended = run(shell(&life.place, &format!("{}{more}", shown.line)));
    let good = match shown.line {
        "ami-run doctor" => ended.code == Some(0) || ended.code == Some(3),
        line if line.contains("lint silent.json") => ended.code == Some(1),
        _ => ended.code == Some(0),
    };
    assert!(good, "{}: {:?} {}", shown.line, ended.code, ended.err);
    assert!(!plans || ended.out.contains("\nboot mode "), "{}: {}", shown.line, ended.out);
    let told: Vec<_> = ended.out.lines().collect();
    assert!(shown.output.is_empty() || agree(&shown.output, &told), "{}: {}", shown.line, ended.out);
}

/// The names in the guide's tables are the program's.
#[test]
fn every_code_of_lint_that_the_boot_guide_tells_is_one() {
    let codes: Vec<_> = GUIDE.split_once("| code | what it found |").unwrap().1.lines().skip(2).collect();
    let codes = codes.iter().take_while(|line| line.starts_with("| `"));
    let named = codes.flat_map(|line| line.split('|').nth(1).unwrap().split(','));
    let named: Vec<_> = named.map(|code| code.trim().trim_matches('`')).collect();
    assert!(named.len() >= 14, "{named:?}");
    let source = include_str!("../../boot/inspect/src/lint/finding.rs");
    let is_one = |code: &str| source.lines().any(|line| line.trim() == format!("{code},"));
    assert_eq!(named.iter().find(|code| !is_one(code)), None);
}
