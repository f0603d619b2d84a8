//! Partition tables and what firmware would start.

use super::finding::{Code, Finding, Severity};
use super::{Ways, loaders};
use crate::contents::{BootCodeKind, Chain, Contents, Copy, Gpt, GptMbr, Partition, Place, Role, Table};
use crate::loader::Machine;
use crate::start::{self, NoBios, NoUefi};
use ami_run_image::Architecture;
use ami_run_image::BootMode;

const REPAIR_GPT: &str =
    "repair the table before taking the snapshot: `sgdisk -e FILE`, or `sgdisk --verify FILE` to see more";

pub(super) fn table(contents: &Contents, found: &mut Vec<Finding>) {
    let mut add = |code, severity, reason: String, remedy: &str| {
        found.push(Finding { code, severity, place: Place::disk(), reason, remedy: remedy.to_owned() });
    };
    match &contents.table {
        Table::None if contents.partitions.is_empty() => {
            let severity = if contents.boot_code.kind == BootCodeKind::None {
                Severity::Error
            } else {
                Severity::Warning
            };
            let reason = "there is no partition table, and no file system that is known here".to_owned();
            add(
                Code::NoPartitionTable,
                severity,
                reason,
                "check that this is the disk that was meant, and raw",
            );
        }
        Table::None => add(
            Code::NoPartitionTable,
            Severity::Information,
            "there is no partition table: one file system fills the disk".to_owned(),
            "give the disk a GPT if its system is to grow into a larger volume by cloud-init's growpart",
        ),
        Table::Mbr { chain: Chain::Loop } => add(
            Code::ExtendedChainLoop,
            Severity::Warning,
            "the chain of logical partitions comes back to itself".to_owned(),
            "make the extended partition again: systems differ in which of its partitions they see",
        ),
        Table::Mbr { chain: Chain::Broken } => add(
            Code::ExtendedChainBroken,
            Severity::Warning,
            "the chain of logical partitions breaks off".to_owned(),
            "make the extended partition again: the partitions behind the break are lost",
        ),
        Table::Mbr { chain: Chain::None | Chain::Whole } => {}
        Table::Gpt(gpt) => gpt_copies(gpt, &mut add),
    }
    too_small(contents, found);
}

fn gpt_copies(gpt: &Gpt, add: &mut dyn FnMut(Code, Severity, String, &str)) {
    match (&gpt.primary, &gpt.backup) {
        (Copy::Good, Copy::Good) => {}
        (Copy::Broken(primary), Copy::Broken(backup)) => add(
            Code::GptBroken,
            Severity::Error,
            format!("neither copy of the GPT holds; the first: {primary}; the backup: {backup}"),
            "take the disk again from its source: without a table its partitions are lost",
        ),
        // Linux takes the backup only if its command line has `gpt`, and GRUB never does.
        (Copy::Broken(why), Copy::Good) => add(
            Code::GptPrimaryBroken,
            Severity::Error,
            format!("the GPT's first copy does not hold ({why}), and GRUB and Linux read no other"),
            REPAIR_GPT,
        ),
        (Copy::Good, Copy::Broken(why)) => add(
            Code::GptBackupBroken,
            Severity::Warning,
            format!("the GPT's backup does not hold: {why}"),
            REPAIR_GPT,
        ),
    }
    if gpt.mbr == GptMbr::None {
        add(
            Code::NoProtectiveMbr,
            Severity::Error,
            "no MBR says that a GPT follows, so firmware and Linux take no notice of it".to_owned(),
            "write one: `sgdisk FILE` does whenever it writes the table",
        );
    }
}

/// The table promises more than the volume has.
fn too_small(contents: &Contents, found: &mut Vec<Finding>) {
    let end = |partition: &Partition| partition.first_byte.saturating_add(partition.bytes);
    let beyond: Vec<&Partition> =
        contents.partitions.iter().filter(|partition| end(partition) > contents.volume_bytes).collect();
    let table = if let Table::Gpt(gpt) = &contents.table { gpt.bytes } else { 0 };
    let needed = contents.partitions.iter().map(end).max().unwrap_or(0).max(table);
    if needed <= contents.volume_bytes {
        return;
    }
    let (place, what) = match beyond.first() {
        Some(partition) => (Place::partition(partition.number), "the partition"),
        None => (Place::disk(), "the partition table"),
    };
    let size = contents.volume_bytes;
    // Without a partition behind the end, only the backup is lost.
    let severity = if beyond.is_empty() { Severity::Warning } else { Severity::Error };
    found.push(Finding {
        code: Code::VolumeTooSmall,
        severity,
        place,
        reason: format!("{what} reaches to byte {needed}, and the volume ends at {size}"),
        remedy: format!(
            "make the volume at least {} GiB, or take the disk again: it may have been cut short",
            needed.div_ceil(1 << 30)
        ),
    });
}

pub(super) fn firmware(contents: &Contents, ways: &Ways, found: &mut Vec<Finding>) {
    // Without a table that holds there is nothing more to say.
    if found.iter().any(|finding| matches!(finding.code, Code::GptBroken))
        || found
            .iter()
            .any(|finding| finding.code == Code::NoPartitionTable && finding.severity == Severity::Error)
    {
        return;
    }
    found.extend(by(contents, ways, ways.first, Severity::Error));
    if let Some(fallback) = ways.fallback {
        found.extend(by(contents, ways, fallback, Severity::Warning));
    }
    if ways.first == BootMode::Uefi
        && let Ok(loader) = start::uefi(contents, ways.architecture)
        && contents.partitions.iter().any(|at| at.number == loader.partition && at.role != Role::Esp)
    {
        found.push(Finding {
            code: Code::EspType,
            severity: Severity::Warning,
            place: Place::partition(loader.partition),
            reason: "the loader lies on a FAT whose partition is not typed as an EFI system partition"
                .to_owned(),
            remedy: "give it the type: `sgdisk -t NUMBER:ef00 FILE`".to_owned(),
        });
    }
}

/// What is wrong with starting in this mode.
fn by(contents: &Contents, ways: &Ways, mode: BootMode, severity: Severity) -> Option<Finding> {
    match mode {
        BootMode::Uefi => {
            let (architecture, preferred) = (ways.architecture, ways.fallback.is_some());
            match start::uefi(contents, architecture) {
                Ok(loader) => loaders::chain(contents, loader),
                Err(problem) => Some(no_uefi(&problem, architecture, preferred)),
            }
        }
        BootMode::LegacyBios => {
            let problem = start::bios(contents).err()?;
            let uefi = start::uefi(contents, ways.architecture).is_ok();
            Some(if ways.silent && uefi { boot_mode_absent() } else { no_bios(problem, uefi, severity) })
        }
    }
}

fn boot_mode_absent() -> Finding {
    Finding {
        code: Code::BootModeAbsent,
        severity: Severity::Error,
        place: Place::member("BootMode"),
        reason: "the disk has an EFI loader and nothing that BIOS could start, and the image does not say so: EC2 would start it \
                 as legacy-bios and hang, with nothing on the console"
            .to_owned(),
        remedy: "register it with `--boot-mode uefi` (or uefi-preferred and BIOS boot code)".to_owned(),
    }
}

/// `uefi`: by UEFI it would start.
fn no_bios(problem: NoBios, uefi: bool, severity: Severity) -> Finding {
    let loader = if uefi { ", or register the image with `--boot-mode uefi`" } else { "" };
    let install = format!("install a loader for BIOS (`grub-install --target=i386-pc`){loader}");
    let (code, reason, remedy) = match problem {
        NoBios::Code => {
            (Code::NoBootCode, "the first sector holds no boot code: started by BIOS, it would hang".to_owned(), install)
        }
        NoBios::Signature => (
            Code::NoBootSignature,
            "the first sector does not end in 55 AA, so BIOS would not start it".to_owned(),
            install,
        ),
        NoBios::Core(sector) => (
            Code::BootCodeIncomplete,
            format!("GRUB's first part looks for the rest of it at sector {sector}, and nothing is there"),
            install,
        ),
        NoBios::Active(name) => (
            Code::NoActivePartition,
            format!("the boot code ({name}'s) starts the active partition, and no partition is"),
            "mark the partition with the loader active: `sfdisk --activate FILE NUMBER`, with a GPT `sgdisk -A \
             NUMBER:set:2 FILE`"
                .to_owned(),
        ),
    };
    Finding { code, severity, place: Place::disk(), reason, remedy }
}

/// `preferred`: the image says uefi-preferred.
fn no_uefi(problem: &NoUefi, architecture: Architecture, preferred: bool) -> Finding {
    let wanted = start::removable_path(architecture).replace('/', "\\");
    let (code, place, reason, remedy) = match problem {
        NoUefi::Esp => (
            Code::NoEsp,
            Place::disk(),
            if preferred {
                "there is no EFI system partition, so UEFI has nothing to start; EC2 starts an image of BootMode \
                 uefi-preferred by UEFI on every type that has it, and does not fall back to BIOS there"
                    .to_owned()
            } else {
                "there is no EFI system partition, so UEFI has nothing to start".to_owned()
            },
            format!("make one (`sgdisk -n 0:0:+100M -t 0:ef00`, FAT) with the loader as {wanted}"),
        ),
        NoUefi::Unread { partition, why } => (
            Code::EspUnreadable,
            Place::partition(*partition),
            format!("the EFI system partition cannot be read: {why}"),
            format!("make its FAT again, with the loader as {wanted}"),
        ),
        NoUefi::Path { partition, others } => (
            Code::NoRemovableLoader,
            Place::partition(*partition),
            no_removable_loader(&wanted, others, architecture),
            format!("put the loader there as {wanted}: `grub-install --removable`, `bootctl install`"),
        ),
        NoUefi::Machine { partition, path, machine } => (
            Code::LoaderMachine,
            Place::path(*partition, path),
            format!("it is for {machine}, and the image is for {architecture}"),
            format!("put {architecture}'s loader there"),
        ),
    };
    Finding { code, severity: Severity::Error, place, reason, remedy }
}

fn no_removable_loader(wanted: &str, others: &[(String, Machine)], architecture: Architecture) -> String {
    let paths: Vec<_> = others.iter().map(|(path, _)| path.as_str()).collect();
    let paths = paths.join(", ");
    match others {
        [] => format!("the EFI system partition has no {wanted}, and no other loader"),
        [(_, machine), ..] if *machine != start::machine(architecture) => format!(
            "the EFI system partition has no {wanted}, nor another loader for {architecture}, which the image is for; what it \
             has is for {machine}: {paths}"
        ),
        _ => format!(
            "the EFI system partition has no {wanted}; a new instance has no boot entry that would lead to {paths}, \
             unless the image brings one in its UefiData: EC2's firmware would find nothing to start"
        ),
    }
}
