//! The fw_cfg file `bootorder` as edk2's QemuBootOrderLib reads it on Arm: Open-Firmware paths whose first node is
//! `pci` with the address of configuration space, in 16 digits; at the end NUL.

use super::Board;
use crate::board::PciKind;

pub(crate) fn boot_order(board: &Board) -> Vec<u8> {
    let mut text = String::new();
    for address in &board.boot_order {
        let function = board.pci.functions.iter().find(|function| function.address == *address);
        let device = match function.map(|function| function.kind) {
            Some(PciKind::VirtioBlock) => ("scsi", "disk@0,0"),
            Some(PciKind::Nvme) => ("pci1d0f,8061", "namespace@1,0"),
            _ => continue,
        };
        let (name, behind) = device;
        let (bridge, unit) = (board.pci.ecam.start, address.unit());
        text.push_str(&format!("/pci@{bridge:016x}/{name}@{unit}/{behind}\n"));
    }
    text.push('\0');
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aarch64::board::sample;
    use crate::board::{PciAddress, PciFunction};

    #[test]
    fn disks_stand_in_order_of_preference() {
        let mut board = sample::board();
        let address = PciAddress { slot: 0x1f, function: 2 };
        board.pci.functions.push(PciFunction { address, kind: PciKind::VirtioBlock });
        board.boot_order =
            [(31, 2), (5, 0), (4, 0), (9, 0)].map(|(slot, function)| PciAddress { slot, function }).to_vec();
        let expected = "/pci@000000003f000000/scsi@1f,2/disk@0,0\n\
                        /pci@000000003f000000/pci1d0f,8061@4/namespace@1,0\n\0";
        assert_eq!(String::from_utf8(boot_order(&board)).unwrap(), expected);
    }
}
