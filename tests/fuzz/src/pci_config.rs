//! PCI: configuration mechanism 1 at every width on the board's bridges and a virtio-blk, and the window of BARs.
//! What starts the disk gets it started, with its thread.

use crate::host;
use crate::input::{Input, width};
use ami_run_models::bus::{Access, Device, Width};
use ami_run_models::pci::{Address, Function, HostBridge, IsaBridge, PowerManagement, Root, Window, Wiring};
use ami_run_models::virtio::{Block, Transport};
use std::sync::Arc;

const RAM: u64 = 0x8000;
const DISK: Address = Address { slot: 4, function: 0 };
/// Where the window begins, and where plays like to put the disk's BARs.
const WINDOW: u64 = 0xc000_0000;

fn board() -> (Arc<Root>, Window) {
    let (hypervisor, lines) = (host::hypervisor(), host::lines());
    let memory = host::ram(RAM);
    let wiring = Wiring {
        memory,
        hypervisor,
        lines: Arc::clone(&lines),
        gate: Arc::default(),
        trace: None,
        stages: None,
    };
    let block = Box::new(Block::new(host::volume(), "vol-0"));
    let disk = Transport::new("pci_config", DISK, block, wiring).expect("events for a disk");
    let functions: Vec<(Address, Arc<dyn Function>)> = vec![
        (Address { slot: 0, function: 0 }, Arc::new(HostBridge::new())),
        (Address { slot: 1, function: 0 }, Arc::new(IsaBridge::new(lines))),
        (Address { slot: 1, function: 3 }, Arc::new(PowerManagement::new(9))),
        (DISK, disk),
    ];
    let root = Arc::new(Root::new(functions, None));
    let window = Window::new(Arc::clone(&root), WINDOW);
    (root, window)
}

fn select(root: &Root, address: u32) {
    root.write(Access::new(0, Width::Dword), u64::from(address));
}

/// Each step begins with a byte: 0 reads one of the eight ports, 1 writes one, 2 and 3 read and write in the window
/// at a 24-bit offset. A port step with bit 7 first selects one of the disk's registers.
pub fn pci_config(data: &[u8]) {
    let (root, window) = board();
    let mut input = Input::new(data);
    let mut step = || -> Option<()> {
        let what = input.byte()?;
        let width = width(what >> 2);
        if what & 2 == 0 {
            if what & 0x80 != 0 {
                select(&root, 0x8000_2000 | u32::from(input.byte()?));
            }
            let at = Access::new(u64::from(what >> 4 & 7), width);
            if what & 1 == 0 {
                assert!(root.read(at) <= width.ones());
            } else {
                root.write(at, input.value(width)?);
            }
            return Some(());
        }
        let offset = u64::from(input.word()?) | u64::from(what >> 4) << 16;
        let at = Access::new(offset, width);
        if what & 1 == 0 {
            assert!(window.read(at) <= width.ones());
        } else {
            window.write(at, input.value(width)?);
        }
        Some(())
    };
    while step().is_some() {}
    select(&root, 0x8000_2000);
    assert_eq!(root.read(Access::new(4, Width::Dword)), 0x1042_1af4, "the disk is where it was");
}
