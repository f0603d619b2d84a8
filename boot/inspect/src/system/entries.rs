//! What a loader's entry leads to: its kernel, its initrds, and which of them are not there; systemd-boot's settings
//! and the add-ons of unified kernel images beside it.

use super::settings::{self, Entry, Kind};
use super::{MAX_COMMAND_LINES, MAX_INITRDS, Survey, Volume};
use crate::contents::BootEntry;
use crate::disk::{Disk, Fault};
use crate::program;

/// Where systemd-boot's stub finds more command line for every image, and behind an image's name for that one
/// (systemd-stub(7)).
const ADDONS: &str = "/loader/addons";
const OWN_ADDONS: &str = ".extra.d";
const MAX_ADDONS: usize = 16;

/// GRUB takes paths from the partition's root, and some settings count from /boot.
fn either(path: &str) -> [String; 2] {
    ["", "/boot"].map(|base| format!("{base}/{}", path.trim_start_matches('/')))
}

impl Survey {
    /// The kernel and the initrds that a loader's entry names.
    pub(super) fn started(&mut self, disk: &mut Disk<'_>, volume: &Volume<'_>, kind: Kind, entry: &Entry) {
        for path in either(&entry.kernel) {
            if let Some(file) = self.find(disk, volume, &path) {
                self.kernel(disk, volume, &path, &file);
                break;
            }
        }
        for path in entry.initrds.iter().take(MAX_INITRDS).flat_map(|path| either(path)) {
            if let Some(file) = self.find(disk, volume, &path) {
                self.initrd(disk, volume.place(&path), &file, 0, file.bytes);
            }
        }
        // These count from their own partition. Where GRUB's lead, only GRUB knows.
        if kind == Kind::Entry && self.system.entries.len() < MAX_COMMAND_LINES {
            let absent = |path: &&String| is_absent(disk, volume, path);
            let missing: Vec<String> =
                [&entry.kernel].into_iter().chain(&entry.initrds).filter(absent).cloned().collect();
            self.system.entries.push(BootEntry {
                place: entry.line.place.clone(),
                title: (!entry.title.is_empty()).then(|| entry.title.clone()),
                rescue: entry.line.rescue,
                kernel: !missing.contains(&entry.kernel),
                missing,
            });
        }
    }

    /// systemd-boot's own settings.
    pub(super) fn menu(&mut self, disk: &mut Disk<'_>, volume: &Volume<'_>) {
        if let Some(text) = self.text(disk, volume, settings::MENU, settings::MAX_SETTINGS) {
            self.system.menus.push(settings::menu(&text, volume.place(settings::MENU)));
        }
    }

    /// A unified kernel image's command line, and what add-ons add to it.
    pub(super) fn with_addons(
        &mut self,
        disk: &mut Disk<'_>,
        volume: &Volume<'_>,
        path: &str,
        mut text: String,
    ) -> String {
        for folder in [ADDONS.to_owned(), format!("{path}{OWN_ADDONS}")] {
            let mut names = self.list(disk, volume, &folder);
            names.retain(|name| name.to_ascii_lowercase().ends_with(".addon.efi"));
            names.sort();
            for name in names.iter().take(MAX_ADDONS) {
                let path = format!("{folder}/{name}");
                let Some(file) = self.find(disk, volume, &path) else { continue };
                let more = program::command_line(disk, &file);
                if let Some(Some(more)) = self.noted(more, volume, &path) {
                    text = format!("{text} {more}").trim().to_owned();
                }
            }
        }
        text
    }
}

/// Whether nothing is under this path. One that is made of GRUB's variables says nothing, and what cannot be read may
/// be there.
fn is_absent(disk: &mut Disk<'_>, volume: &Volume<'_>, path: &str) -> bool {
    !path.contains('$') && either(path).iter().all(|path| volume.files.find(disk, path) == Err(Fault::Absent))
}
