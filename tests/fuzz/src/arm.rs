//! The chips of Arm's board: PL011 and PL031, configuration space by memory, fw_cfg in memory. Each step of a play
//! begins with a byte: what to do, how wide.

use crate::chips::next_interrupt;
use crate::host;
use crate::input::{Input, width};
use ami_run_memory::Memory;
use ami_run_models::bus::{Access, Device, Width};
use ami_run_models::clock::Chip;
use ami_run_models::console::Console;
use ami_run_models::fw_cfg::{FwCfg, Items, Mapped};
use ami_run_models::irq::Line;
use ami_run_models::pci::{Address, Ecam, Function, HostBridge, Root, Window, Wiring};
use ami_run_models::pl031::Pl031;
use ami_run_models::serial::{ArmPort, Port};
use ami_run_models::virtio::{Block, Transport};
use std::sync::Arc;

/// A register of a PrimeCell: one of the first, or an identification register.
fn register(bits: u8) -> u64 {
    let word = u64::from(bits & 0x1f) << 2;
    if bits & 0x20 == 0 { word } else { word | 0xf80 }
}

/// A PL011 and a 16550 on one console that sends, and takes what comes.
pub fn pl011(data: &[u8]) {
    let console = Arc::new(Console::new().expect("an event"));
    let lines = host::lines();
    let kernel = Port::new(Line::new(Arc::clone(&lines), 8), &console);
    let port = ArmPort::new(Line::new(lines, 1), &console);
    let (mut input, mut output) = (Input::new(data), Vec::new());
    let mut step = || -> Option<()> {
        let what = input.byte()?;
        let width = width(what >> 2);
        match what & 3 {
            0 => assert!(port.read(Access::new(register(input.byte()?), width)) <= 0xffff),
            1 => {
                port.write(Access::new(register(input.byte()?), width), input.value(width)?);
            }
            2 => {
                kernel.write(Access::new(u64::from(what >> 5), Width::Byte), input.byte()?.into());
            }
            _ => {
                let text = input.bytes(usize::from(what >> 2))?;
                assert!(console.send(text) <= text.len());
            }
        }
        Some(())
    };
    while step().is_some() {}
    console.take(&mut output);
    assert!(output.len() <= data.len(), "more came out than went in");
    assert_eq!(port.read(Access::new(0xfe0, Width::Dword)), 0x11, "it is what it was");
}

/// The clock's chip: reading and writing at times that jump about, or that go on to the next interrupt.
pub fn pl031(data: &[u8]) {
    let mut input = Input::new(data);
    let mut chip = Pl031::default();
    let mut now = 0i64;
    let mut step = || -> Option<()> {
        let what = input.byte()?;
        match what & 3 {
            0 => {
                chip.read(register(what >> 2), now);
            }
            1 => chip.write(register(what >> 2), input.dword()?, now),
            2 if what & 4 == 0 => now = i64::from_le_bytes(input.qword()?.to_le_bytes()),
            2 => now = now.saturating_add(i64::from(input.word()?) << (what >> 3)),
            _ => now = next_interrupt(&mut chip, now),
        }
        assert!(!chip.interrupt() || chip.interrupts_are_on() && chip.next_interrupt(now).is_none());
        Some(())
    };
    while step().is_some() {}
    assert_eq!(chip.read(0x0c, now), 1, "it runs");
}

const RAM: u64 = 0x8000;
const DISK: Address = Address { slot: 4, function: 0 };
/// Where the window begins, and where plays like to put the disk's BARs.
const WINDOW: u64 = 0x1000_0000;

/// Configuration space by memory, with a virtio-blk in it, and the window of BARs. Each step begins with a byte: 0
/// reads and 1 writes a register of the disk, 2 reads and 3 writes in the window at a 24-bit offset. A step of the
/// space with bit 7 has all of its address from the play.
pub fn ecam(data: &[u8]) {
    let wiring = Wiring {
        memory: host::ram(RAM),
        hypervisor: host::hypervisor(),
        lines: host::lines(),
        gate: Arc::default(),
        trace: None,
        stages: None,
    };
    let block = Box::new(Block::new(host::volume(), "vol-0"));
    let disk = Transport::new("ecam", DISK.slot, block, wiring).expect("events for a disk");
    let functions: Vec<(Address, Arc<dyn Function>)> =
        vec![(Address { slot: 0, function: 0 }, Arc::new(HostBridge::of_graviton())), (DISK, disk)];
    let root = Arc::new(Root::new(functions, None));
    let (ecam, window) = (Ecam::new(Arc::clone(&root)), Window::new(root, WINDOW));
    let mut input = Input::new(data);
    let mut step = || -> Option<()> {
        let what = input.byte()?;
        let width = width(what >> 2);
        let (device, offset): (&dyn Device, u64) = if what & 2 != 0 {
            (&window, u64::from(input.word()?) | u64::from(what >> 4) << 16)
        } else if what & 0x80 != 0 {
            (&ecam, input.dword()?.into())
        } else {
            (&ecam, u64::from(DISK.slot) << 15 | u64::from(input.byte()?))
        };
        let at = Access::new(offset, width);
        if what & 1 == 0 {
            assert!(device.read(at) <= width.ones());
        } else {
            device.write(at, input.value(width)?);
        }
        Some(())
    };
    while step().is_some() {}
    let identity = ecam.read(Access::new(u64::from(DISK.slot) << 15, Width::Dword));
    assert_eq!(identity, 0x1042_1af4, "the disk is where it was");
}

/// fw_cfg in memory: its registers at every width; descriptors that the play puts into memory.
pub fn fw_cfg_mapped(data: &[u8]) {
    let memory: Memory = host::ram(RAM);
    let files = vec![("etc/a".to_owned(), vec![1, 2, 3]), ("etc/b".to_owned(), vec![7; 5000])];
    let device = Mapped::new(FwCfg::new(Items::new([(5, vec![2, 0])], files), memory.clone(), None));
    let mut input = Input::new(data);
    let mut step = || -> Option<()> {
        let what = input.byte()?;
        let width = width(what >> 2);
        match what & 3 {
            0 => assert!(device.read(Access::new(u64::from(what >> 4) << 1, width)) <= width.ones()),
            1 => {
                device.write(Access::new(u64::from(what >> 4) << 1, width), input.value(width)?);
            }
            2 => {
                let key = input.word()?;
                device.write(Access::new(8, Width::Word), key.swap_bytes().into());
            }
            _ => {
                let (at, descriptor) = (u64::from(input.word()?), input.bytes(16)?);
                if memory.write(ami_run_memory::Gpa(at), descriptor).is_ok() {
                    device.write(Access::new(16, Width::Qword), at.swap_bytes());
                }
            }
        }
        Some(())
    };
    while step().is_some() {}
    device.write(Access::new(8, Width::Word), 0);
    assert_eq!(device.read(Access::new(0, Width::Dword)).to_le_bytes()[..4], *b"QEMU");
}
