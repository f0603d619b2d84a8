//! What UEFI's loader starts in turn: shim's second stage, systemd-boot's entries, what entries name.

use super::Ways;
use super::finding::{Code, Finding, Severity};
use crate::chain::{self, NoNext};
use crate::contents::{BootEntry, Contents, Holds, Partition, Place, Role};
use crate::loader::{Loader, LoaderKind};
use crate::start;
use ami_run_image::BootMode;

/// What keeps the loader that UEFI starts from starting the next.
pub(super) fn chain(contents: &Contents, first: &Loader) -> Option<Finding> {
    let (chain, why) = chain::chain(contents, first);
    let last = chain.last()?;
    let what = &last.kind;
    let (code, place, reason, remedy) = match why? {
        NoNext::Beside(name) => (
            Code::ShimStartsNothing,
            here(last),
            format!(
                "it is {what}, which starts {name} beside it, and that is not there: the start would end here"
            ),
            format!(
                "put {name} there: `grub-install --removable --uefi-secure-boot`, or a copy of the loader"
            ),
        ),
        NoNext::List(name) => (
            Code::ShimStartsNothing,
            here(last),
            format!(
                "it is {what}, which shim starts under the removable path; it makes boot entries of the {name} in other \
                 folders, and there is none: it would reset the machine, again and again"
            ),
            format!("put a folder with shim, the loader and {name} below \\EFI, or remove this file"),
        ),
        NoNext::Listed(names) => (
            Code::ShimStartsNothing,
            here(last),
            format!("it is {what}, whose lists name nothing that is there: {}", names.join(", ")),
            "put the loaders there that the lists name".to_owned(),
        ),
        NoNext::Machine(next) => (
            Code::LoaderMachine,
            here(&next),
            format!("{what} for {} starts it, and it is for {}", last.machine, next.machine),
            format!("put {}'s loader there", last.machine),
        ),
    };
    Some(Finding { code, severity: Severity::Error, place, reason, remedy })
}

fn here(loader: &Loader) -> Place {
    Place::path(loader.partition, &loader.path)
}

/// Entries that lead nowhere, and systemd-boot without one, where UEFI is what starts the disk.
pub(super) fn entries(contents: &Contents, ways: &Ways, found: &mut Vec<Finding>) {
    found.extend(incomplete(contents));
    if ways.first != BootMode::Uefi {
        return;
    }
    let Ok(first) = start::uefi(contents, ways.architecture) else { return };
    let (chain, _) = chain::chain(contents, first);
    let Some(boot) = chain.last().filter(|last| matches!(last.kind, LoaderKind::SystemdBoot { .. })) else {
        return;
    };
    found.extend(no_entry(contents, boot));
    let menu = |menu: &&crate::contents::Menu| menu.place.partition == Some(boot.partition) && menu.waits;
    found.extend(contents.system.menus.iter().find(menu).map(|menu| {
        Finding {
            code: Code::LoaderWaits,
            severity: Severity::Error,
            place: menu.place.clone(),
            reason:
                "`timeout menu-force` has systemd-boot wait until somebody chooses, and on EC2 nobody does"
                    .to_owned(),
            remedy: "give it a number of seconds: `timeout 0`".to_owned(),
        }
    }));
}

/// systemd-boot sees the partition that it lies on and XBOOTLDR, both only if they are FATs.
fn no_entry(contents: &Contents, boot: &Loader) -> Option<Finding> {
    let seen = |partition: &&Partition| {
        partition.number == boot.partition
            || (partition.role == Role::XBootLoader && partition.holds == Holds::Fat)
    };
    let seen: Vec<u32> = contents.partitions.iter().filter(seen).map(|partition| partition.number).collect();
    let is_seen = |number: u32| seen.contains(&number);
    let entry = |entry: &BootEntry| entry.kernel && entry.place.partition.is_some_and(is_seen);
    // It also looks for Windows' loader, and for the images that the specification has in /EFI/Linux.
    let program = |loader: &Loader| {
        let path = loader.path.to_ascii_lowercase();
        let unified = matches!(loader.kind, LoaderKind::Unified { .. }) && path.starts_with("/efi/linux/");
        is_seen(loader.partition) && (unified || path.ends_with("/bootmgfw.efi"))
    };
    let blind = seen.iter().any(|number| start::unread(contents, *number).is_some());
    if blind || contents.system.entries.iter().any(entry) || contents.loaders.iter().any(program) {
        return None;
    }
    let elsewhere = contents
        .system
        .entries
        .iter()
        .find(|entry| entry.kernel)
        .map(|entry| format!("; {} is an entry, but systemd-boot does not look there", entry.place));
    Some(Finding {
        code: Code::NoBootEntry,
        severity: Severity::Error,
        place: here(boot),
        reason: format!(
            "it is systemd-boot, and it has nothing to start: no entry in /loader/entries whose kernel is there, and no \
             unified kernel image in /EFI/Linux{}",
            elsewhere.unwrap_or_default()
        ),
        remedy: "put entries and kernels on the EFI system partition or on an XBOOTLDR partition with a FAT \
                 (`kernel-install add`, `bootctl list` to see them)"
            .to_owned(),
    })
}

/// Entries that name what is not there.
fn incomplete(contents: &Contents) -> impl Iterator<Item = Finding> {
    let entries = contents.system.entries.iter().filter(|entry| !entry.rescue);
    let broken = entries.clone().filter(|entry| !entry.missing.is_empty());
    let is_broken = |place: &Place| broken.clone().any(|entry| entry.place == *place);
    // Another entry, GRUB's menu or a unified kernel image.
    let other = contents.system.command_lines.iter().any(|line| !line.rescue && !is_broken(&line.place))
        || entries.clone().any(|entry| entry.missing.is_empty());
    let severity = if other { Severity::Warning } else { Severity::Error };
    broken.clone().map(move |entry| {
        let loss = if entry.kernel { "its kernel would not start" } else { "it cannot be started" };
        let names = entry.missing.join(", ");
        let is = if entry.missing.len() == 1 { "is" } else { "are" };
        Finding {
            code: Code::BootEntryIncomplete,
            severity,
            place: entry.place.clone(),
            reason: format!("it names {names}, which {is} not on its partition: {loss}"),
            remedy: "put the files there, or remove the entry".to_owned(),
        }
    })
}
