//! What a loader starts in turn, as far as other loaders are concerned: shim's second stage and its fallback (shim 16's
//! shim.c and fallback.c). What GRUB or systemd-boot start is in their settings.

use crate::contents::Contents;
use crate::loader::{BootList, Loader, LoaderKind, Machine};
use crate::start::unread;

/// Why a shim, or its fallback, would start nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoNext {
    /// There is no such program beside it.
    Beside(String),
    /// The fallback finds no list of this name, in any folder but its own.
    List(String),
    /// No program of the lists is there.
    Listed(Vec<String>),
    /// A program for another machine.
    Machine(Loader),
}

/// Programs that lead to each other are few: shim, fallback, the shim of a list, GRUB.
const MAX_CHAIN: usize = 8;

/// The programs that follow each other from this one on, itself first, and why there is not one more.
pub(crate) fn chain<'c>(contents: &'c Contents, first: &'c Loader) -> (Vec<&'c Loader>, Option<NoNext>) {
    let mut chain = vec![first];
    while let Some(last) = chain.last().filter(|_| chain.len() < MAX_CHAIN) {
        match next(contents, last) {
            Some(Ok(next)) if !chain.contains(&next) => chain.push(next),
            Some(Err(why)) => return (chain, Some(why)),
            Some(Ok(_)) | None => break,
        }
    }
    (chain, None)
}

/// The program that this one starts, where its own rules say so.
#[must_use]
pub fn starts<'c>(contents: &'c Contents, loader: &Loader) -> Option<&'c Loader> {
    next(contents, loader)?.ok()
}

/// None: settings decide what it starts, or nobody can tell.
fn next<'c>(contents: &'c Contents, loader: &Loader) -> Option<Result<&'c Loader, NoNext>> {
    let suffix = suffix(loader.machine)?;
    let found = match loader.kind {
        // Under the removable path it prefers its fallback (shim.c, should_use_fallback).
        LoaderKind::Shim => {
            let fallback = beside(contents, loader, &format!("fb{suffix}.efi"));
            let grub = format!("grub{suffix}.efi");
            let next = fallback.filter(|_| is_removable(loader)).or_else(|| beside(contents, loader, &grub));
            next.ok_or(NoNext::Beside(grub))
        }
        LoaderKind::ShimFallback => listed(contents, loader, suffix),
        _ => return None,
    };
    match found {
        Ok(next) if next.machine != loader.machine => Some(Err(NoNext::Machine(next.clone()))),
        // What could not be read may be what is missed.
        Err(_) if unread(contents, loader.partition).is_some() => None,
        found => Some(found),
    }
}

/// As the names of programs end.
fn suffix(machine: Machine) -> Option<&'static str> {
    match machine {
        Machine::X86_64 => Some("x64"),
        Machine::Arm64 => Some("aa64"),
        Machine::I386 => Some("ia32"),
        Machine::Other(_) | Machine::None => None,
    }
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn is_removable(loader: &Loader) -> bool {
    loader.path.to_ascii_uppercase().starts_with("/EFI/BOOT/BOOT")
}

/// The program of this name in the same folder.
fn beside<'c>(contents: &'c Contents, loader: &Loader, name: &str) -> Option<&'c Loader> {
    at(contents, loader.partition, folder(&loader.path), name)
}

fn at<'c>(contents: &'c Contents, partition: u32, folder: &str, name: &str) -> Option<&'c Loader> {
    let path = format!("{folder}/{name}");
    contents.loaders.iter().find(|it| it.partition == partition && it.path.eq_ignore_ascii_case(&path))
}

/// The fallback takes a folder's list for its own machine, or else the one for all (fallback.c, find_boot_csv).
fn listed<'c>(contents: &'c Contents, fallback: &Loader, suffix: &str) -> Result<&'c Loader, NoNext> {
    let name = format!("BOOT{}.CSV", suffix.to_ascii_uppercase());
    let is_named = |list: &&BootList, name: &str| {
        list.partition == fallback.partition
            && list.path.rsplit('/').next().is_some_and(|it| it.eq_ignore_ascii_case(name))
    };
    let own: Vec<&BootList> = contents.boot_lists.iter().filter(|list| is_named(list, &name)).collect();
    let has_own = |list: &&BootList| own.iter().any(|own| folder(&own.path) == folder(&list.path));
    let for_all = contents.boot_lists.iter().filter(|list| is_named(list, "BOOT.CSV") && !has_own(list));
    let lists: Vec<&BootList> = own.iter().copied().chain(for_all).collect();
    if lists.is_empty() {
        return Err(NoNext::List(name));
    }
    let mut named = lists.iter().flat_map(|list| list.starts.iter().map(|it| (folder(&list.path), it)));
    let there = named.clone().find_map(|(folder, name)| at(contents, fallback.partition, folder, name));
    there.ok_or_else(|| NoNext::Listed(named.by_ref().map(|(at, name)| format!("{at}/{name}")).collect()))
}
