//! The fw_cfg file `bootorder`: one Open-Firmware path a disk, best first. Syntax: QEMU's docs/bootindex, as
//! matched by SeaBIOS's src/boot.c (a glob on bus, slot and function) and edk2's QemuBootOrderLib (which wants two
//! nodes for a virtio disk).

use crate::board::{Board, PciKind};

/// Ends in `HALT`: SeaBIOS then starts only the disks that are listed, which is faster with many volumes. Ends in
/// NUL: edk2 ignores the file otherwise.
pub(crate) fn boot_order(board: &Board) -> Vec<u8> {
    let mut text = String::new();
    for address in &board.boot_order {
        let function = board.pci.iter().find(|function| function.address == *address);
        let unit = address.unit();
        match function.map(|function| function.kind) {
            Some(PciKind::VirtioBlock) => text.push_str(&format!("/pci@i0cf8/scsi@{unit}/disk@0,0\n")),
            Some(PciKind::Nvme) => text.push_str(&format!("/pci@i0cf8/pci1d0f,8061@{unit}/namespace@1,0\n")),
            _ => {}
        }
    }
    text.push_str("HALT\0");
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::{PciAddress, PciFunction, sample};

    #[test]
    fn disks_stand_in_order_of_preference() {
        let mut board = sample::board();
        let address = PciAddress { slot: 0x1f, function: 2 };
        board.pci.push(PciFunction { address, kind: PciKind::VirtioBlock });
        board.boot_order = vec![address, PciAddress { slot: 4, function: 0 }];
        let expected = "/pci@i0cf8/scsi@1f,2/disk@0,0\n/pci@i0cf8/scsi@4/disk@0,0\nHALT\0";
        assert_eq!(String::from_utf8(boot_order(&board)).unwrap(), expected);
    }

    #[test]
    fn nvme_has_its_own_words() {
        let mut board = sample::board();
        let address = PciAddress { slot: 6, function: 0 };
        board.pci.push(PciFunction { address, kind: PciKind::Nvme });
        board.boot_order = vec![address];
        assert_eq!(boot_order(&board), b"/pci@i0cf8/pci1d0f,8061@6/namespace@1,0\nHALT\0");
    }

    #[test]
    fn a_machine_without_disks_tries_nothing() {
        let mut board = sample::board();
        board.boot_order.clear();
        assert_eq!(boot_order(&board), b"HALT\0");
    }
}
