//! SMBIOS with what Graviton instances show.

use super::Board;
use crate::board::FirmwareKind;
use crate::smbios::{Machine, Socket};

const DATE: &str = "11/1/2018";
/// The one whose strings are known. ARMv8 is its family (§7.5.2).
const GRAVITON: Socket = Socket { maker: "AWS", version: "AWS Graviton2", megahertz: 2500, family: 0x101 };

impl<'a> From<&'a Board> for Machine<'a> {
    fn from(board: &'a Board) -> Machine<'a> {
        Machine {
            identity: &board.identity,
            cpus: board.cpus.len(),
            ram: &board.ram,
            firmware: FirmwareKind::Uefi,
            date: DATE,
            socket: GRAVITON,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::aarch64::board::sample;
    use crate::smbios::tables;
    use std::process::Command;

    /// dmidecode reads a dump of two parts: the entry point, which says where the structures are in the file.
    #[test]
    fn dmidecode_reads_a_graviton() {
        if Command::new("dmidecode").arg("--version").output().is_err() {
            println!("skipped: dmidecode is not installed (package dmidecode)");
            return;
        }
        let board = sample::board();
        let smbios = tables(&board);
        let mut dump = smbios.anchor(32);
        assert_eq!((dump.len(), &dump[..5]), (24, &b"_SM3_"[..]));
        dump.resize(32, 0);
        dump.extend(&smbios.bytes);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), dump).unwrap();
        let run = |arguments: &[&str]| {
            let output = Command::new("dmidecode")
                .arg("--from-dump")
                .arg(file.path())
                .args(arguments)
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        for (keyword, value) in [
            ("bios-vendor", "Amazon EC2"),
            ("bios-release-date", "11/1/2018"),
            ("system-product-name", board.identity.instance_type.as_str()),
            ("baseboard-asset-tag", board.identity.instance_id.as_str()),
            ("processor-manufacturer", "AWS"),
            ("processor-version", "AWS Graviton2"),
            ("processor-frequency", "2500 MHz"),
            ("processor-family", "ARMv8"),
        ] {
            assert_eq!(run(&["-s", keyword]).trim(), value, "{keyword}");
        }
        let text = run(&[]);
        assert!(text.contains("SMBIOS 3.0") && text.contains("UEFI is supported"), "{text}");
        for wrong in ["<BAD INDEX>", "<OUT OF SPEC>", "Invalid", "Wrong", "truncated", "broken", "mismatch"] {
            assert!(!text.contains(wrong), "{wrong}: {text}");
        }
    }
}
