//! What firmware would start: disks of every shape, the findings that each must give, and no others.

use crate::HERE;
use crate::disks::{BIOS_BOOT, ESP, LINUX, SIZE, ext, fat, gpt, grub, mbr_entry, part, program};
use ami_run_image::{Architecture, BootMode};
use ami_run_inspect::{
    BootCodeKind, Chain, Claims, Code, Contents, Copy, Depth, GptMbr, Machine, Role, Severity, Table, guess,
    lint, look,
};
use std::io::Cursor;

fn seen(disk: &[u8]) -> Contents {
    look(&mut Cursor::new(disk), disk.len() as u64, Depth::Start).unwrap()
}

/// An image of this architecture and boot mode, with its root mapped.
fn image(architecture: Architecture, boot_mode: Option<&str>) -> Claims {
    Claims {
        architecture: Some(architecture),
        boot_mode: boot_mode.map(str::to_owned),
        root_device_name: Some("/dev/xvda".to_owned()),
        device_names: vec!["/dev/xvda".to_owned()],
        ena_support: Some(true),
    }
}

fn found(contents: &Contents, claims: &Claims) -> Vec<(Code, Severity)> {
    lint(contents, Some(claims), HERE).iter().map(|finding| (finding.code, finding.severity)).collect()
}

fn x86(boot_mode: Option<&str>) -> Claims {
    image(Architecture::X86_64, boot_mode)
}

fn esp(files: &[(&str, &[u8])]) -> Vec<u8> {
    fat(1 << 20, files)
}

const X64: &str = "EFI/BOOT/BOOTX64.EFI";
const AA64: &str = "EFI/BOOT/BOOTAA64.EFI";

/// BIOS-boot partition with GRUB's core, ESP with a loader, root.
fn hybrid() -> Vec<u8> {
    let parts = vec![
        part(BIOS_BOOT, 2048, vec![0; 512 << 10]),
        part(ESP, 3072, esp(&[(X64, &program(0x8664)), ("EFI/debian/shimx64.efi", &program(0x8664))])),
        part(LINUX, 5120, vec![0; 1 << 20]),
    ];
    let mut disk = gpt(SIZE, parts);
    grub(&mut disk, 2048);
    disk
}

fn esp_only(files: &[(&str, &[u8])]) -> Vec<u8> {
    gpt(SIZE, vec![part(ESP, 2048, esp(files)), part(LINUX, 4096, vec![0; 1 << 20])])
}

#[test]
fn a_hybrid_disk_starts_either_way_and_is_guessed_as_ec2_starts_it() {
    let contents = seen(&hybrid());
    assert_eq!(contents.boot_code.kind, BootCodeKind::Grub { core_sector: 2048, core: true });
    let roles: Vec<Role> = contents.partitions.iter().map(|partition| partition.role).collect();
    assert_eq!(roles, [Role::BiosBoot, Role::Esp, Role::Other]);
    let loaders: Vec<(u32, &str, Machine)> = contents
        .loaders
        .iter()
        .map(|loader| (loader.partition, loader.path.as_str(), loader.machine))
        .collect();
    assert_eq!(
        loaders,
        [(2, "/EFI/BOOT/BOOTX64.EFI", Machine::X86_64), (2, "/EFI/debian/shimx64.efi", Machine::X86_64)]
    );
    for mode in [None, Some("legacy-bios"), Some("uefi"), Some("uefi-preferred")] {
        assert_eq!(found(&contents, &x86(mode)), [], "{mode:?}");
    }
    let guess = guess(&contents, HERE);
    assert_eq!((guess.architecture, guess.boot_mode), (Architecture::X86_64, BootMode::LegacyBios));
    assert_eq!(lint(&contents, None, HERE), []);
}

#[test]
fn a_bios_only_disk_has_nothing_for_uefi() {
    let mut disk = gpt(SIZE, vec![part(BIOS_BOOT, 2048, vec![0; 512 << 10])]);
    grub(&mut disk, 2048);
    let contents = seen(&disk);
    assert_eq!(guess(&contents, HERE).boot_mode, BootMode::LegacyBios);
    assert_eq!(found(&contents, &x86(None)), []);
    assert_eq!(found(&contents, &x86(Some("uefi"))), [(Code::NoEsp, Severity::Error)]);
    // EC2's x86_64 Nitro types would choose UEFI.
    assert_eq!(found(&contents, &x86(Some("uefi-preferred"))), [(Code::NoEsp, Severity::Error)]);
    assert_eq!(found(&contents, &image(Architecture::Arm64, None)), [(Code::NoEsp, Severity::Error)]);
}

#[test]
fn an_esp_only_disk_hangs_where_its_image_does_not_say_uefi() {
    let contents = seen(&esp_only(&[(X64, &program(0x8664))]));
    let findings = lint(&contents, Some(&x86(None)), HERE);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!((findings[0].code, findings[0].severity), (Code::BootModeAbsent, Severity::Error));
    assert_eq!(findings[0].place.to_string(), "BootMode");
    assert!(findings[0].reason.contains("EC2 would start it as legacy-bios and hang"), "{findings:?}");
    assert_eq!(found(&contents, &x86(Some("uefi"))), []);
    let legacy = lint(&contents, Some(&x86(Some("legacy-bios"))), HERE);
    assert_eq!((legacy.len(), legacy[0].code, legacy[0].severity), (1, Code::NoBootCode, Severity::Error));
    assert!(legacy[0].remedy.contains("`--boot-mode uefi`"), "{legacy:?}");
    // Types without UEFI fall back to BIOS.
    assert_eq!(found(&contents, &x86(Some("uefi-preferred"))), [(Code::NoBootCode, Severity::Warning)]);
    let guess = guess(&contents, HERE);
    assert_eq!((guess.architecture, guess.boot_mode), (Architecture::X86_64, BootMode::Uefi));
    assert!(guess.why.contains("BOOTX64.EFI"));
    assert_eq!(lint(&contents, None, HERE), []);
}

/// An image says nothing, or what its disk can do is more than one thing: then it counts where it is looked at.
#[test]
fn what_fits_both_architectures_or_neither_is_for_this_computer() {
    use Architecture::{Arm64, X86_64};
    let guessed = |disk: &[u8], here| {
        let guess = guess(&seen(disk), here);
        (guess.architecture, guess.boot_mode, guess.why)
    };
    let both = esp_only(&[(X64, &program(0x8664)), (AA64, &program(0xaa64))]);
    let (architecture, mode, why) = guessed(&both, Arm64);
    assert_eq!((architecture, mode), (Arm64, BootMode::Uefi));
    assert!(why.contains("this computer is arm64"), "{why}");
    assert_eq!(guessed(&both, X86_64).0, X86_64);
    assert_eq!(lint(&seen(&both), None, Arm64), []);
    let empty = vec![0; 1 << 20];
    assert_eq!(guessed(&empty, X86_64).1, BootMode::LegacyBios);
    let (architecture, mode, why) = guessed(&empty, Arm64);
    assert_eq!((architecture, mode), (Arm64, BootMode::Uefi));
    assert!(why.contains("nothing on it tells"), "{why}");
    // What fits one is that one's, wherever it is looked at.
    for (path, machine, architecture) in [(X64, 0x8664, X86_64), (AA64, 0xaa64, Arm64)] {
        let one = esp_only(&[(path, &program(machine))]);
        assert_eq!([X86_64, Arm64].map(|here| guessed(&one, here).0), [architecture; 2]);
    }
}

/// EC2 would not launch it, whatever is on the disk.
#[test]
fn legacy_bios_is_nothing_for_arm64() {
    let contents = seen(&esp_only(&[(AA64, &program(0xaa64))]));
    let arm = |mode| image(Architecture::Arm64, Some(mode));
    assert_eq!(found(&contents, &arm("legacy-bios")), [(Code::BootModeImpossible, Severity::Error)]);
    assert_eq!(ami_run_inspect::lint_claims(&arm("legacy-bios"))[0].code, Code::BootModeImpossible);
    assert_eq!(found(&contents, &arm("uefi-preferred")), []);
}

#[test]
fn the_other_architecture_s_loader_is_no_loader() {
    let contents = seen(&esp_only(&[(AA64, &program(0xaa64))]));
    let guess = guess(&contents, HERE);
    assert_eq!((guess.architecture, guess.boot_mode), (Architecture::Arm64, BootMode::Uefi));
    assert_eq!(found(&contents, &image(Architecture::Arm64, Some("uefi"))), []);
    // Nobody is sent to UEFI by a loader that it would not start.
    for mode in [None, Some("legacy-bios")] {
        let findings = lint(&contents, Some(&x86(mode)), HERE);
        assert_eq!(findings[0].code, Code::NoBootCode, "{findings:?}");
        assert!(!findings[0].remedy.contains("uefi"), "{findings:?}");
    }
    let findings = lint(&contents, Some(&x86(Some("uefi"))), HERE);
    assert_eq!(findings[0].code, Code::NoRemovableLoader, "{findings:?}");
    let other = "nor another loader for x86_64, which the image is for; what it has is for arm64: /EFI/BOOT/BOOTAA64.EFI";
    assert!(findings[0].reason.ends_with(other), "{findings:?}");
    // A loader for the right machine elsewhere is what would be started by an entry.
    let both = seen(&esp_only(&[(AA64, &program(0xaa64)), ("EFI/debian/grubx64.efi", &program(0x8664))]));
    let findings = lint(&both, Some(&x86(Some("uefi"))), HERE);
    assert!(
        findings[0].reason.contains("entry that would lead to /EFI/debian/grubx64.efi, "),
        "{findings:?}"
    );

    // Under the right name, and for the wrong machine.
    for (machine, word) in [(0xaa64, "arm64"), (0x014c, "32-bit x86"), (0x5064, "0x5064")] {
        let contents = seen(&esp_only(&[(X64, &program(machine))]));
        let findings = lint(&contents, Some(&x86(Some("uefi"))), HERE);
        assert_eq!(findings[0].code, Code::LoaderMachine, "{findings:?}");
        assert_eq!(findings[0].place.to_string(), "partition 1: /EFI/BOOT/BOOTX64.EFI");
        assert!(findings[0].reason.contains(word), "{findings:?}");
    }
    let contents = seen(&esp_only(&[(X64, b"#!/bin/sh")]));
    assert_eq!(contents.loaders[0].machine, Machine::None);
    assert_eq!(found(&contents, &x86(Some("uefi"))), [(Code::LoaderMachine, Severity::Error)]);
}

#[test]
fn an_esp_without_a_loader_or_a_file_system_is_said() {
    let only = (Code::NoRemovableLoader, Severity::Error);
    let contents = seen(&esp_only(&[("EFI/debian/grubx64.efi", &program(0x8664))]));
    assert_eq!(found(&contents, &x86(Some("uefi"))), [only]);
    assert_eq!(found(&seen(&esp_only(&[])), &x86(Some("uefi"))), [only]);
    let contents = seen(&gpt(SIZE, vec![part(ESP, 2048, vec![0; 1 << 20])]));
    assert_eq!(found(&contents, &x86(Some("uefi"))), [(Code::EspUnreadable, Severity::Error)]);
    // The path's case does not matter on a FAT.
    let contents = seen(&esp_only(&[("efi/boot/bootx64.efi", &program(0x8664))]));
    assert_eq!(found(&contents, &x86(Some("uefi"))), []);
    // EDK II looks on every FAT; others need not.
    let contents = seen(&gpt(SIZE, vec![part(LINUX, 2048, esp(&[(X64, &program(0x8664))]))]));
    assert_eq!(found(&contents, &x86(Some("uefi"))), [(Code::EspType, Severity::Warning)]);
}

#[test]
fn boot_code_that_leads_nowhere_is_found() {
    let mut disk = hybrid();
    disk[2048 * 512..][..512].fill(0);
    assert_eq!(found(&seen(&disk), &x86(None))[0], (Code::BootModeAbsent, Severity::Error));
    assert_eq!(found(&seen(&disk), &x86(Some("legacy-bios"))), [(Code::BootCodeIncomplete, Severity::Error)]);

    // syslinux' mbr.bin starts the active partition.
    let mut disk = vec![0; SIZE];
    disk[100..128].copy_from_slice(b"Operating system load error.");
    mbr_entry(&mut disk, 0, 0, (0, 0x83, 2048, 2048));
    assert_eq!(found(&seen(&disk), &x86(None)), [(Code::NoActivePartition, Severity::Error)]);
    disk[446] = 0x80;
    assert_eq!(found(&seen(&disk), &x86(None)), []);
    assert_eq!(guess(&seen(&disk), HERE).boot_mode, BootMode::LegacyBios);

    let mut disk = hybrid();
    disk[510] = 0;
    let codes = found(&seen(&disk), &x86(Some("legacy-bios")));
    assert!(codes.contains(&(Code::NoBootSignature, Severity::Error)), "{codes:?}");
    assert!(codes.contains(&(Code::NoProtectiveMbr, Severity::Error)), "{codes:?}");
}

#[test]
fn a_volume_that_ends_before_its_partitions_is_found() {
    let disk = hybrid();
    // Cut in the root partition: the backup of the table is gone, too.
    let cut = &disk[..6000 * 512];
    let findings = lint(&seen(cut), Some(&x86(None)), HERE);
    let codes: Vec<Code> = findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [Code::VolumeTooSmall, Code::GptBackupBroken]);
    assert_eq!(findings[0].place.to_string(), "partition 3");
    assert!(findings[0].reason.contains("3072000"), "{findings:?}");
    // Cut behind the last partition.
    assert_eq!(
        found(&seen(&disk[..8000 * 512]), &x86(None)),
        [(Code::GptBackupBroken, Severity::Warning), (Code::VolumeTooSmall, Severity::Warning)]
    );
    // A volume that is larger than its snapshot is as it should be.
    let contents = look(&mut Cursor::new(&disk), 8 << 30, Depth::Start).unwrap();
    assert_eq!(found(&contents, &x86(None)), []);
    // A volume that is smaller than its snapshot.
    let contents = look(&mut Cursor::new(&disk), 6000 * 512, Depth::Start).unwrap();
    assert_eq!(found(&contents, &x86(None))[0], (Code::VolumeTooSmall, Severity::Error));
}

#[test]
fn a_disk_without_a_table_is_one_file_system_or_nothing() {
    let empty = seen(&vec![0; SIZE]);
    assert_eq!(empty.table, Table::None);
    assert_eq!(found(&empty, &x86(None)), [(Code::NoPartitionTable, Severity::Error)]);
    assert!(guess(&empty, HERE).why.contains("nothing on it tells"));
    assert_eq!(found(&seen(&[]), &x86(None)), [(Code::NoPartitionTable, Severity::Error)]);
    assert_eq!(found(&seen(b"{\"Images\": []}"), &x86(None)), [(Code::NoPartitionTable, Severity::Error)]);

    // A FAT over the whole disk: its boot sector is no MBR, and UEFI starts it.
    let contents = seen(&fat(1 << 20, &[(X64, &program(0x8664))]));
    assert_eq!((contents.partitions.len(), contents.partitions[0].number), (1, 0));
    assert_eq!(guess(&contents, HERE).boot_mode, BootMode::Uefi);
    assert_eq!(found(&contents, &x86(Some("uefi"))), [(Code::NoPartitionTable, Severity::Information)]);

    // A paravirtual image's root, which nothing starts on Nitro types.
    let contents = seen(&ext::build(1 << 20, &[]));
    assert_eq!(contents.partitions[0].holds, ami_run_inspect::Holds::Ext);
    assert_eq!(
        found(&contents, &x86(None)),
        [(Code::NoBootCode, Severity::Error), (Code::NoPartitionTable, Severity::Information)]
    );
}

#[test]
fn either_copy_of_a_gpt_serves_and_neither_ends_it() {
    let copies = |disk: &[u8]| match seen(disk).table {
        Table::Gpt(gpt) => (gpt.primary, gpt.backup),
        other => panic!("{other:?}"),
    };
    let good = hybrid();
    assert_eq!(copies(&good), (Copy::Good, Copy::Good));
    let last = SIZE - 512;

    let mut primary_broken = good.clone();
    primary_broken[512 + 40] ^= 1;
    let (primary, backup) = copies(&primary_broken);
    assert!(matches!(&primary, Copy::Broken(why) if why.contains("checksum")), "{primary:?}");
    assert_eq!(backup, Copy::Good);
    assert_eq!(seen(&primary_broken).partitions, seen(&good).partitions);
    assert_eq!(found(&seen(&primary_broken), &x86(None)), [(Code::GptPrimaryBroken, Severity::Error)]);

    let mut entries_broken = good.clone();
    entries_broken[1024] ^= 1;
    let (primary, _) = copies(&entries_broken);
    assert!(matches!(&primary, Copy::Broken(why) if why.contains("entries")), "{primary:?}");

    let mut backup_broken = good.clone();
    backup_broken[last] ^= 1;
    assert_eq!(found(&seen(&backup_broken), &x86(None)), [(Code::GptBackupBroken, Severity::Warning)]);

    let mut both = primary_broken;
    both[last + 40] ^= 1;
    assert_eq!(found(&seen(&both), &x86(None)), [(Code::GptBroken, Severity::Error)]);
    let findings = lint(&seen(&both), Some(&x86(None)), HERE);
    assert!(findings[0].reason.matches("checksum").count() == 2, "{findings:?}");

    // A volume made larger: the backup is where the snapshot ended.
    let mut grown = good.clone();
    grown[512..1024].fill(0);
    let contents = look(&mut Cursor::new(&grown), 1 << 30, Depth::Start).unwrap();
    assert!(matches!(&contents.table, Table::Gpt(gpt) if gpt.backup == Copy::Good), "{:?}", contents.table);
}

#[test]
fn a_hybrid_mbr_and_a_missing_one_are_told_apart() {
    let kind = |disk: &[u8]| match seen(disk).table {
        Table::Gpt(gpt) => gpt.mbr,
        other => panic!("{other:?}"),
    };
    let mut disk = hybrid();
    assert_eq!(kind(&disk), GptMbr::Protective);
    mbr_entry(&mut disk, 0, 1, (0x80, 0x83, 5120, 2048));
    assert_eq!(kind(&disk), GptMbr::Hybrid);
    assert_eq!(seen(&disk).partitions.len(), 3);
    disk[446..512].fill(0);
    assert_eq!(kind(&disk), GptMbr::None);
    let codes = found(&seen(&disk), &x86(Some("uefi")));
    assert_eq!(codes, [(Code::NoProtectiveMbr, Severity::Error)]);
    // An MBR that does not mention the GPT wins over what is left of one.
    let mut disk = hybrid();
    mbr_entry(&mut disk, 0, 0, (0x80, 0x83, 5120, 2048));
    assert_eq!(seen(&disk).table, Table::Mbr { chain: Chain::None });
}

#[test]
fn logical_partitions_are_followed_and_loops_ended() {
    // Primary 1, extended from sector 100; records at 100, 300 and 500.
    let chain = |last: u32| {
        let mut disk = vec![0; SIZE];
        grub(&mut disk, 1);
        mbr_entry(&mut disk, 0, 0, (0x80, 0x83, 10, 50));
        mbr_entry(&mut disk, 0, 1, (0, 0x05, 100, 4000));
        for (record, next) in [(100, 200), (300, 400), (500, last)] {
            mbr_entry(&mut disk, record, 0, (0, 0x83, 8, 100));
            if next != 0 {
                mbr_entry(&mut disk, record, 1, (0, 0x05, next, 200));
            }
        }
        disk
    };
    let whole = seen(&chain(0));
    assert_eq!(whole.table, Table::Mbr { chain: Chain::Whole });
    let firsts: Vec<(u32, u64)> =
        whole.partitions.iter().map(|partition| (partition.number, partition.first_byte / 512)).collect();
    assert_eq!(firsts, [(1, 10), (2, 100), (5, 108), (6, 308), (7, 508)]);
    assert_eq!(found(&whole, &x86(None)), []);
    for back in [200, 400] {
        let looped = seen(&chain(back));
        assert_eq!(looped.partitions.len(), 5, "{:?}", looped.partitions);
        assert_eq!(found(&looped, &x86(None)), [(Code::ExtendedChainLoop, Severity::Warning)]);
    }
    // To a sector without a record, and out of the extended partition.
    for nowhere in [600, 5000, u32::MAX] {
        assert_eq!(
            found(&seen(&chain(nowhere)), &x86(None)),
            [(Code::ExtendedChainBroken, Severity::Warning)]
        );
    }
    // A chain of as many records as there is room for.
    let mut long = chain(0);
    for record in (100..4000).step_by(2) {
        mbr_entry(&mut long, record, 0, (0, 0x83, 1, 1));
        mbr_entry(&mut long, record, 1, (0, 0x05, u32::try_from(record - 98).unwrap(), 2));
    }
    assert_eq!(seen(&long).table, Table::Mbr { chain: Chain::Broken });
}

#[test]
fn an_esp_in_an_mbr_serves_too() {
    let mut disk = vec![0; SIZE];
    mbr_entry(&mut disk, 0, 0, (0, 0xef, 2048, 2048));
    disk[2048 * 512..3072 * 512].copy_from_slice(&fat(512 << 10, &[(AA64, &program(0xaa64))]));
    assert_eq!(found(&seen(&disk), &image(Architecture::Arm64, None)), []);
    assert_eq!(guess(&seen(&disk), HERE).architecture, Architecture::Arm64);
}

#[test]
fn the_root_must_be_mapped() {
    let contents = seen(&hybrid());
    let mut claims = x86(None);
    claims.root_device_name = Some("/dev/sda1".to_owned());
    let findings = lint(&contents, Some(&claims), HERE);
    assert_eq!(findings[0].code, Code::RootDeviceNotMapped);
    assert!(findings[0].reason.contains("/dev/sda1") && findings[0].reason.contains("/dev/xvda"));
    let json = serde_json::to_value(&findings[0]).unwrap();
    assert_eq!(json["Code"], "RootDeviceNotMapped");
    assert_eq!(json["Severity"], "error");
    assert_eq!(json["Place"], serde_json::json!({"Member": "RootDeviceName"}));
    assert!(json["Reason"].is_string() && json["Remedy"].is_string());
}

#[test]
fn an_image_s_claims_are_taken_as_ec2_prints_them() {
    let json = r#"{"Architecture": "arm64", "RootDeviceName": "/dev/xvda", "EnaSupport": true, "BlockDeviceMappings":
        [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1"}}, {"DeviceName": "/dev/sdb", "NoDevice": ""}]}"#;
    let described = serde_json::from_str::<ami_run_image::Image>(json).unwrap();
    assert_eq!(Claims::from(&described), image(Architecture::Arm64, None));
}
