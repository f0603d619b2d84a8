//! Loaders' settings: which kernel they start, with which command line and initrd. GRUB 2's and GRUB Legacy's files,
//! the Boot Loader Specification's entries (UAPI.1: GRUB on Fedora and its kin, systemd-boot), extlinux.
//!
//! GRUB's file is a program. It is not run here: its `linux` lines are taken as they stand, with the variables that
//! are set to plain text in it or in grubenv.

use crate::contents::{CommandLine, Menu, Place};
use std::collections::BTreeMap;

pub(super) const MAX_SETTINGS: u64 = 1 << 20;
/// Entries of one disk: kernels that a distribution keeps, twice over, for each of several systems.
pub(super) const MAX_ENTRIES: usize = 64;
/// As long as Linux takes one; and no variable is longer, so that a file cannot grow by what it repeats.
const MAX_LINE: usize = 4096;
const MAX_INITRDS: usize = 16;
const MAX_TITLE: usize = 128;

/// One thing that a loader can start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) line: CommandLine,
    /// False: it starts a program that brings its command line along.
    pub(super) own_line: bool,
    /// As it stands in the settings, quoted or not; empty where there is none.
    pub(super) title: String,
    /// Paths as they stand in the settings.
    pub(super) kernel: String,
    pub(super) initrds: Vec<String>,
}

pub(super) type Variables = BTreeMap<String, String>;

/// The kinds of files, in the order that they are read in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Grub,
    /// One entry of the Boot Loader Specification.
    Entry,
    Extlinux,
    /// GRUB Legacy's, which lies about beside a GRUB 2 that nobody starts by it.
    Legacy,
}

/// Where they lie, below the root or /boot.
pub(super) const PLACES: [(&str, Kind); 8] = [
    ("grub/grub.cfg", Kind::Grub),
    ("grub2/grub.cfg", Kind::Grub),
    ("extlinux/extlinux.conf", Kind::Extlinux),
    ("extlinux.conf", Kind::Extlinux),
    ("syslinux/syslinux.cfg", Kind::Extlinux),
    ("syslinux.cfg", Kind::Extlinux),
    ("grub/menu.lst", Kind::Legacy),
    ("grub/grub.conf", Kind::Legacy),
];

/// systemd-boot's own settings, where it is started from.
pub(super) const MENU: &str = "/loader/loader.conf";
/// Folders of entries: below the root or /boot.
pub(super) const ENTRIES: &str = "loader/entries";
/// Folders of which each may hold a grub.cfg and a grubenv, on an EFI system partition.
pub(super) const VENDORS: &str = "/EFI";

/// What loader.conf(5) says.
pub(super) fn menu(text: &str, place: Place) -> Menu {
    let value = |key: &'static str| {
        // The last line counts.
        text.lines().filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix([' ', '\t'])).next_back()
    };
    let default = value("default").map(|pattern| pattern.trim().chars().take(MAX_LINE).collect());
    Menu { place, default, waits: value("timeout").map(str::trim) == Some("menu-force") }
}

/// The variables of a grubenv.
pub(super) fn environment(text: &str) -> Variables {
    text.lines().filter_map(assignment).collect()
}

/// What one of these files can start.
pub(super) fn parse(kind: Kind, text: &str, place: &Place, variables: &mut Variables) -> Vec<Entry> {
    match kind {
        Kind::Grub | Kind::Legacy => of_grub(text, place, variables),
        Kind::Entry => of_bls(text, place, variables).into_iter().collect(),
        Kind::Extlinux => of_extlinux(text, place),
    }
}

fn of_grub(text: &str, place: &Place, variables: &mut Variables) -> Vec<Entry> {
    for line in text.lines() {
        let line = line.trim();
        variables.extend(line.strip_prefix("set ").and_then(|rest| assignment(rest.trim())));
    }
    let (mut found, mut title) = (Vec::<Entry>::new(), "");
    for line in text.lines().map(str::trim) {
        let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        match word {
            "menuentry" | "title" => title = rest,
            "linux" | "linux16" | "linuxefi" | "kernel" if found.len() >= MAX_ENTRIES => break,
            "linux" | "linux16" | "linuxefi" | "kernel" => {
                let text = expand(rest, variables);
                found.extend(entry(&text, title, place));
            }
            "initrd" | "initrd16" | "initrdefi" => {
                if let Some(last) = found.last_mut().filter(|last| last.initrds.len() < MAX_INITRDS) {
                    let text = expand(rest, variables);
                    last.initrds.extend(text.split_whitespace().map(|path| on_device(path).to_owned()));
                }
            }
            _ => {}
        }
    }
    found
}

/// A kernel's path and its command line, in one.
fn entry(text: &str, title: &str, place: &Place) -> Option<Entry> {
    let (kernel, options) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
    let kernel = on_device(kernel);
    let options: String = options.trim().chars().take(MAX_LINE).collect();
    // Memory tests are started the same way.
    if kernel.is_empty() || kernel.len() > MAX_LINE || kernel.contains("memtest") {
        return None;
    }
    let says =
        |words: &[&str]| words.iter().any(|word| options.split_whitespace().any(|option| option == *word));
    let named = [title, kernel, place.path.as_deref().unwrap_or("")].map(str::to_lowercase);
    let rescue = says(&["single", "recovery", "rescue", "systemd.unit=rescue.target"])
        || named.iter().any(|name| name.contains("rescue") || name.contains("recovery"));
    let line = CommandLine { place: place.clone(), text: options, rescue };
    Some(Entry {
        line,
        own_line: true,
        title: title.chars().take(MAX_TITLE).collect(),
        kernel: kernel.to_owned(),
        initrds: Vec::new(),
    })
}

/// A path without GRUB's device before it: `($root)/vmlinuz`.
fn on_device(path: &str) -> &str {
    path.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(path, |(_, path)| path)
}

fn of_bls(text: &str, place: &Place, variables: &Variables) -> Option<Entry> {
    let values = |key: &'static str| {
        text.lines()
            .filter_map(move |line| line.trim().strip_prefix(key)?.strip_prefix([' ', '\t']))
            .map(str::trim)
    };
    let kernel = values("linux").chain(values("efi")).chain(values("uki")).next()?;
    let options: Vec<&str> = values("options").collect();
    let text = format!("{kernel} {}", expand(&options.join(" "), variables));
    let mut entry = entry(&text, values("title").next().unwrap_or(""), place)?;
    entry.initrds = values("initrd")
        .flat_map(|line| expand(line, variables).split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .take(MAX_INITRDS)
        .collect();
    entry.own_line = values("linux").next().is_some() || !options.is_empty();
    Some(entry)
}

fn of_extlinux(text: &str, place: &Place) -> Vec<Entry> {
    let (mut found, mut title) = (Vec::<Entry>::new(), "");
    for line in text.lines().map(str::trim) {
        if found.len() >= MAX_ENTRIES {
            break;
        }
        let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        match (word.to_lowercase().as_str(), found.last_mut()) {
            ("label", _) => title = rest,
            ("linux" | "kernel", _) => found.extend(entry(rest, title, place)),
            ("append", Some(last)) => {
                let whole = format!("{} {} {rest}", last.kernel, last.line.text);
                let again = entry(&whole, title, place);
                last.line = again.map_or_else(|| last.line.clone(), |again| again.line);
                // An initrd can also be named here.
                let named = rest.split_whitespace().filter_map(|option| option.strip_prefix("initrd="));
                last.initrds.extend(named.flat_map(|paths| paths.split(',')).map(str::to_owned));
            }
            ("initrd", Some(last)) => last.initrds.extend(rest.split(',').map(|path| path.trim().to_owned())),
            _ => {}
        }
    }
    found
}

/// `name=value`, quoted or not.
fn assignment(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let value = value.trim_matches(['"', '\'']);
    (plain && value.len() <= MAX_LINE).then(|| (name.to_owned(), value.to_owned()))
}

/// Replaces `$name` and `${name}` once: what a value names in turn stays as it is. What is not set is nothing.
fn expand(text: &str, variables: &Variables) -> String {
    let mut out = String::new();
    let mut left = text;
    while let Some((before, after)) = left.split_once('$') {
        out.push_str(before);
        let braced = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let (name, rest) = braced.unwrap_or_else(|| {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            after.split_at_checked(end).unwrap_or((after, ""))
        });
        out.push_str(variables.get(name).map_or("", String::as_str));
        left = rest;
        if out.len() > MAX_LINE {
            break;
        }
    }
    out.push_str(left);
    out.replace(['"', '\''], "")
}

#[cfg(test)]
#[path = "settings_test.rs"]
mod tests;
