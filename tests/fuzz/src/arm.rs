//! The chips of Arm's board: PL011 and PL031, configuration space by memory, fw_cfg in memory. Each step of a play
//! begins with a byte: what to do, how wide.

use crate::chips::next_interrupt;
use crate::host::{self, Host};
use crate::input::{Input, width};
use ami_run_memory::Memory;
use ami_run_models::bus::{Access, Device, Width, little_endian};
use ami_run_models::clock::Chip;
use ami_run_models::console::Console;
use ami_run_models::fw_cfg::{FwCfg, Items, Mapped};
use ami_run_models::irq::Line;
use ami_run_models::pci::{Address, Ecam, Function, HostBridge, Root, Window, Wiring};
use ami_run_models::pl031::Pl031;
use ami_run_models::serial::{ArmPort, Port};
use ami_run_models::virtio::{Block, Transport};
use std::collections::VecDeque;
use std::sync::Arc;

/// A register of a PrimeCell: one of the first, or an identification register.
fn register(bits: u8) -> u64 {
    let word = u64::from(bits & 0x1f) << 2;
    if bits & 0x20 == 0 { word } else { word | 0xf80 }
}

/// A PL011 and a 16550 on one console that sends, and takes what comes: nothing but what was written, in order.
pub fn pl011(data: &[u8]) {
    let console = Arc::new(Console::new().expect("an event"));
    let lines = host::lines();
    let kernel = Port::new(Line::new(Arc::clone(&lines), 8), &console);
    let port = ArmPort::new(Line::new(lines, 1), &console);
    let (mut input, mut output, mut written) = (Input::new(data), Vec::new(), Vec::new());
    let mut step = || -> Option<()> {
        let what = input.byte()?;
        let width = width(what >> 2);
        match what & 3 {
            0 => assert!(port.read(Access::new(register(input.byte()?), width)) <= 0xffff),
            1 => {
                let at = Access::new(register(input.byte()?), width);
                let value = input.value(width)?;
                written.push(value.to_le_bytes()[0]);
                port.write(at, value);
            }
            2 => {
                let byte = input.byte()?;
                written.push(byte);
                kernel.write(Access::new(u64::from(what >> 5), Width::Byte), byte.into());
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
    let mut written = written.iter();
    assert!(output.iter().all(|byte| written.any(|other| other == byte)), "nobody wrote this");
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
    let host = Arc::new(Host::default());
    let wiring = Wiring {
        memory: host::ram(RAM),
        hypervisor: Arc::clone(&host) as _,
        lines: host::lines(),
        gate: Arc::default(),
        trace: None,
        stages: None,
    };
    let block = Box::new(Block::new(host::volume(), "vol-0"));
    let disk = Transport::new("ecam", DISK, block, wiring).expect("events for a disk");
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
    let register = |offset: u64| Access::new(u64::from(DISK.slot) << 15 | offset, Width::Dword);
    assert_eq!(ecam.read(register(0)), 0x1042_1af4, "the disk is where it was");
    let bars = [0x10, 0x14].map(|bar| ecam.read(register(bar)));
    ecam.write(register(4), 0);
    assert!(host.is_silent(), "a doorbell where nothing is decoded");
    for (bar, size) in bars.into_iter().zip([0x4000, 0x1000]) {
        assert!(bar.is_multiple_of(size) && (bar < WINDOW || !window.answers(bar - WINDOW)));
    }
}

/// fw_cfg in memory: its registers at every width; descriptors that the play puts into memory.
pub fn fw_cfg_mapped(data: &[u8]) {
    let memory: Memory = host::ram(RAM);
    let files = vec![("etc/a".to_owned(), vec![1, 2, 3]), ("etc/b".to_owned(), vec![7; 5000])];
    let device = Mapped::new(FwCfg::new(Items::new([(5, vec![2, 0])], files), memory.clone(), None));
    let mut input = Input::new(data);
    // What is left of the selected item, where the play knows.
    let mut left: Option<VecDeque<u8>> = None;
    let mut step = || -> Option<()> {
        let what = input.byte()?;
        let width = width(what >> 2);
        match what & 3 {
            0 => {
                let at = Access::new(u64::from(what >> 4) << 1, width);
                let value = device.read(at);
                assert!(value <= width.ones());
                if let (0, Some(left)) = (at.offset, &mut left) {
                    let next: Vec<u8> = (0..width.bytes()).map(|_| left.pop_front().unwrap_or(0)).collect();
                    assert_eq!(value, little_endian(&next), "the item's next bytes");
                }
            }
            1 => {
                left = None;
                device.write(Access::new(u64::from(what >> 4) << 1, width), input.value(width)?);
            }
            2 => {
                let key = input.word()?;
                left = match key {
                    0 => Some(VecDeque::from(*b"QEMU")),
                    5 => Some([2, 0].into()),
                    0x20 => Some([1, 2, 3].into()),
                    0x21 => Some(vec![7; 5000].into()),
                    0x22.. => Some(VecDeque::new()),
                    _ => None,
                };
                device.write(Access::new(8, Width::Word), key.swap_bytes().into());
            }
            _ => {
                let (at, descriptor) = (u64::from(input.word()?), input.bytes(16)?);
                left = None;
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
