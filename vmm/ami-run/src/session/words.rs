//! Whose words the console shows: the firmware's own, or somebody else's.
//!
//! SeaBIOS and EDK II are known by how their lines begin; what is not known is somebody else's, so that a guest that
//! speaks is never taken for one that does not. A line that is cut by a reset is forgotten.

use crate::console::Plain;
use crate::explain::{Said, Word};
use std::time::Instant;

/// What is kept of a line.
const MAX_LINE: usize = 200;

/// What a line tells.
type Tells = fn(&str) -> Word;

/// How a line of the firmware's begins, and what it tells.
const LINES: [(&str, Tells); 29] = [
    // SeaBIOS: its banner, its menu, and its option ROM.
    ("SeaBIOS (", |_| Word::Other),
    ("Machine UUID ", |_| Word::Other),
    ("Press ESC for boot menu", |_| Word::Other),
    ("Select boot device", |_| Word::Other),
    ("iPXE (", |_| Word::Other),
    ("Booting from ", |_| Word::Booting),
    ("Boot failed", |line| Word::Failed(line.to_owned())),
    ("No bootable device", |line| Word::Nothing(line.to_owned())),
    // EDK II: BdsDxe and PlatformBootManagerLib.
    ("BdsDxe: failed to ", |line| Word::Failed(line.to_owned())),
    ("BdsDxe: starting ", |line| Word::Starting(line.to_owned())),
    ("BdsDxe: No bootable option", |line| Word::Nothing(line.to_owned())),
    ("BdsDxe: ", |_| Word::Other),
    (">>Start ", |_| Word::Other),
    ("PXE-E", |_| Word::Other),
    // On arm64: what it says first (ArmPlatformPkg, PrePeiCore), and where a fault ends it
    // (ArmPkg, DefaultExceptionHandlerLib).
    ("UEFI firmware (version ", |_| Word::Other),
    ("Synchronous Exception at ", |line| Word::Failed(line.to_owned())),
    ("Recursive exception occurred while ", |_| Word::Other),
    // Its shell, and the table that it begins with.
    ("UEFI Interactive Shell", |_| Word::Shell),
    ("Shell>", |_| Word::Shell),
    ("EDK II", |_| Word::Other),
    ("UEFI v", |_| Word::Other),
    ("Mapping table", |_| Word::Other),
    ("FS0:", |_| Word::Other),
    ("FS1:", |_| Word::Other),
    ("BLK", |_| Word::Other),
    ("PciRoot(", |_| Word::Other),
    ("map: ", |_| Word::Other),
    ("Press ESC in ", |_| Word::Other),
    ("Press any key to enter the Boot Manager", |_| Word::Other),
];
/// EDK II starts its shell as it starts a loader.
const SHELL: &str = "EFI Internal Shell";

#[derive(Debug, Default)]
pub(super) struct Words {
    plain: Plain,
    /// The line that is not at its end, and when it was added to last.
    line: Vec<u8>,
    line_at: Option<Instant>,
    said: Said,
}

impl Words {
    /// Takes what the console said.
    pub(super) fn add(&mut self, bytes: &[u8], now: Instant) {
        let mut text = Vec::new();
        self.plain.strip(bytes, &mut text);
        for byte in text {
            if matches!(byte, b'\n' | b'\r') {
                if let Some(at) = self.line_at.take() {
                    tell(&mut self.said, &self.line, at);
                }
                self.line.clear();
            } else if self.line.len() < MAX_LINE {
                self.line.push(byte);
                self.line_at = Some(now);
            }
        }
    }

    /// What comes next is said by a machine that starts anew.
    pub(super) fn start_over(&mut self) {
        let before = self.said();
        let said = Said { earlier: before.earlier || before.others.is_some(), ..Said::default() };
        *self = Words { said, ..Words::default() };
    }

    /// What was said by now.
    pub(super) fn said(&self) -> Said {
        let mut said = self.said.clone();
        if let Some(at) = self.line_at {
            tell(&mut said, &self.line, at);
        }
        said
    }
}

/// Adds a line. The firmware's last word that tells anything stands.
fn tell(said: &mut Said, line: &[u8], now: Instant) {
    let text = String::from_utf8_lossy(line);
    let text = text.trim();
    if text.is_empty() {
        return;
    }
    let Some((_, word)) = LINES.iter().find(|(begin, _)| text.starts_with(begin)) else {
        said.others = Some(now);
        return;
    };
    let word = match word(text) {
        Word::Starting(line) if line.contains(SHELL) => Word::Other,
        word => word,
    };
    if said.firmware.is_none() || word != Word::Other {
        said.firmware = Some(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn said(text: &str) -> Said {
        let now = Instant::now();
        let mut words = Words::default();
        // However it is cut.
        text.bytes().for_each(|byte| words.add(&[byte], now));
        words.said()
    }

    fn firmware(word: Word) -> Said {
        Said { firmware: Some(word), ..Said::default() }
    }

    #[test]
    fn seabios_is_known_and_its_last_word_stands() {
        let banner = "\u{1b}[2JSeaBIOS (version 1.16.2-debian-1.16.2-1)\r\n\r\n";
        assert_eq!(said(banner), firmware(Word::Other));
        let booting = format!("{banner}Booting from Hard Disk...\r\n");
        assert_eq!(said(&booting), firmware(Word::Booting));
        let nothing = format!("{booting}Boot failed: not a bootable disk\r\n\r\nNo bootable device.\r\n");
        assert_eq!(said(&nothing).firmware, Some(Word::Nothing("No bootable device.".to_owned())));
        let loader = said(&format!("{booting}GRUB loading.\r\n"));
        assert!(loader.others.is_some() && loader.firmware == Some(Word::Booting));
    }

    /// As Debian's OVMF says it.
    #[test]
    fn the_shell_of_edk_2_is_no_loader() {
        let text = "\u{1b}[2J\u{1b}[01;01H\u{1b}[=3hBdsDxe: failed to load Boot0001 \"UEFI Disk\" from PciRoot(0x0)/Pci(0x4,0x0): Not Found\r\n\
            BdsDxe: loading Boot0002 \"EFI Internal Shell\" from Fv(7CB8BDC9)/FvFile(7C04A583)\r\n\
            BdsDxe: starting Boot0002 \"EFI Internal Shell\" from Fv(7CB8BDC9)/FvFile(7C04A583)\r\n";
        assert!(matches!(said(text).firmware, Some(Word::Failed(_))));
        let shell = format!(
            "{text}\u{1b}[01;01HUEFI Interactive Shell v2.2\r\nEDK II\r\nUEFI v2.70 (EDK II, 0x00010000)\r\n\
             \u{1b}[1m\u{1b}[33mMapping table\u{1b}[0m\r\n     BLK0: Alias(s):\r\n          PciRoot(0x0)/Pci(0x2,0x0)\r\n\
             \u{1b}[07;01HPress ESC in 5 seconds to skip startup.nsh or any other key to continue.\r\n\
             \u{1b}[08;01H\u{1b}[1mShell> \u{1b}[0m"
        );
        assert_eq!(said(&shell), firmware(Word::Shell));
        let loader = "BdsDxe: starting Boot0001 \"UEFI Disk\" from PciRoot(0x0)/Pci(0x4,0x0)\r\n";
        assert!(matches!(said(loader).firmware, Some(Word::Starting(_))));
    }

    /// As Debian's AAVMF says it; what follows is Linux, whose loader speaks by the firmware.
    #[test]
    fn firmware_for_arm64_is_known_and_the_kernel_behind_it_is_not_it() {
        let banner =
            "UEFI firmware (version  built at 13:10:49 on Nov  5 2024)\r\n\u{1b}[2J\u{1b}[01;01H\u{1b}[=3h";
        assert_eq!(said(banner), firmware(Word::Other));
        let nothing = format!(
            "{banner}BdsDxe: failed to load Boot0001 \"UEFI QEMU NVMe Ctrl vol 1\" from \
             PciRoot(0x0)/Pci(0x1,0x0)/NVMe(0x1,00-00-00-00-00-00-00-00): Not Found\r\n"
        );
        assert!(matches!(said(&nothing), Said { firmware: Some(Word::Failed(_)), others: None, .. }));
        let fault = said(&format!("{banner}\n\nSynchronous Exception at 0x000000005C0D1000\n"));
        assert_eq!(fault, firmware(Word::Failed("Synchronous Exception at 0x000000005C0D1000".to_owned())));
        for line in [
            "EFI stub: Booting Linux Kernel...",
            "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x413fd0c1]",
        ] {
            assert!(said(&format!("{banner}{line}\r\n")).others.is_some(), "{line}");
        }
    }

    #[test]
    fn what_was_said_without_a_line_s_end_was_said_then() {
        let then = Instant::now();
        let mut words = Words::default();
        words.add(b"grub> ", then);
        assert_eq!(words.said().others, Some(then));
        words.start_over();
        assert_eq!(words.said(), Said { earlier: true, ..Said::default() });
    }

    #[test]
    fn silence_and_empty_lines_are_nobody_s() {
        assert_eq!(said("\u{1b}[2J\r\n \r\n"), Said::default());
        assert!(said("login:").others.is_some(), "also without the line's end");
    }

    #[test]
    fn a_line_without_an_end_was_said_when_it_was_said() {
        let (start, mut words) = (Instant::now(), Words::default());
        let later = |seconds| start + Duration::from_secs(seconds);
        words.add(b"Loading", start);
        words.add(b" initial ramdisk ...", later(1));
        assert_eq!(words.said().others, Some(later(1)));
        words.add(b"\r\n", later(5));
        words.start_over();
        assert_eq!(words.said(), Said { earlier: true, ..Said::default() });
        words.add(b"SeaBIOS (version 1)", later(9));
        words.start_over();
        assert_eq!(words.said(), Said { earlier: true, ..Said::default() });
    }
}
