//! The fw_cfg file `bootorder`: one Open-Firmware path a disk, best first. Syntax: QEMU's docs/bootindex, as
//! matched by SeaBIOS's src/boot.c (a glob on bus, slot and function) and edk2's QemuBootOrderLib (which wants two
//! nodes for a virtio disk).

use crate::board::{Board, PciAddress, PciKind};

/// Ends in `HALT`: SeaBIOS then starts only the disks that are listed, which is faster with many volumes. Ends in
/// NUL: edk2 ignores the file otherwise.
pub(crate) fn boot_order(board: &Board) -> Vec<u8> {
    let mut text = String::new();
    for address in &board.boot_order {
        let function = board.pci.iter().find(|function| function.address == *address);
        if function.is_some_and(|function| function.kind == PciKind::VirtioBlock) {
            text.push_str(&format!("/pci@i0cf8/scsi@{}/disk@0,0\n", unit(*address)));
        }
    }
    text.push_str("HALT\0");
    text.into_bytes()
}

/// Open Firmware leaves out function 0.
fn unit(address: PciAddress) -> String {
    match address.function {
        0 => format!("{:x}", address.slot),
        function => format!("{:x},{function:x}", address.slot),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::{PciFunction, sample};

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
    fn a_machine_without_disks_tries_nothing() {
        let mut board = sample::board();
        board.boot_order.clear();
        assert_eq!(boot_order(&board), b"HALT\0");
    }
}
