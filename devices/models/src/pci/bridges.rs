//! The three functions that make the board an i440FX to firmware and kernels: Nitro instances show the same.
//!
//! Host bridge 00:00.0 (Intel 290549), ISA bridge 00:01.0 (PIIX3), power management 00:01.3 (PIIX4). Left out:
//! what the PAM registers would do (the segments are plain RAM, filled before reset), SMRAM, IDE, USB, SMBus.
//! Registers that are not named below are reserved ones ([`Config`]). Of those, Linux reads the resources of the
//! PIIX4's device monitors (0x5c to 0x7c): zero says that none takes a range of ports. SeaBIOS writes the base and the
//! control of the SMBus (0x90, 0xd2), which keep zero: so drivers do not try ports where nobody is.

use super::{Config, Function, Identity};
use crate::bus::Width;
use crate::irq::Lines;
use ami_run_memory::Range;
use parking_lot::Mutex;
use std::sync::Arc;

/// The subsystem by which SeaBIOS knows that fw_cfg is there.
const SEABIOS_SUBSYSTEM: (u16, u16) = (0x1af4, 0x1100);

fn identity(device: u16, class: u32, revision: u8) -> Identity {
    let (subsystem_vendor, subsystem) = SEABIOS_SUBSYSTEM;
    Identity { vendor: 0x8086, device, class, revision, subsystem_vendor, subsystem }
}

/// 00:00.0. PAM registers (0x59 to 0x5f) store what is written; PAM0 must reset to 0, so that SeaBIOS copies
/// itself into RAM.
#[derive(Debug)]
pub struct HostBridge(Mutex<Config>);

impl HostBridge {
    #[must_use]
    pub fn new() -> HostBridge {
        let mut config = Config::new(identity(0x1237, 0x06_0000, 2));
        config.allow(0x59, &[0xff; 7]);
        config.allow(0x72, &[0xff]);
        HostBridge(Mutex::new(config))
    }

    /// The one that arm64 instances show: nothing but a name.
    #[must_use]
    pub fn of_graviton() -> HostBridge {
        let identity = Identity { vendor: 0x1d0f, device: 0x0200, class: 0x06_0000, ..Identity::default() };
        HostBridge(Mutex::new(Config::new(identity)))
    }
}

impl Default for HostBridge {
    fn default() -> HostBridge {
        HostBridge::new()
    }
}

impl Function for HostBridge {
    fn config_read(&self, offset: u8, width: Width) -> u32 {
        self.0.lock().read(offset, width)
    }
    fn config_write(&self, offset: u8, width: Width, value: u32) {
        self.0.lock().write(offset, width, value);
    }
    fn bar(&self, _: u8) -> Option<Range> {
        None
    }
}

/// First of the four PIRQ route control registers.
const PIRQ: u8 = 0x60;
/// Linux turns passive release on here. There is no bus to release, but what is written reads back.
const DETERMINISTIC_LATENCY: u8 = 0x82;

/// 00:01.0: where PCI interrupt links are routed to ISA interrupts. I/O and memory decoding are on from reset:
/// EDK II looks for a serial console only behind such a bridge.
#[derive(Debug)]
pub struct IsaBridge {
    config: Mutex<Config>,
    lines: Arc<Lines>,
}

impl IsaBridge {
    #[must_use]
    pub fn new(lines: Arc<Lines>) -> IsaBridge {
        let mut config = Config::new(identity(0x7000, 0x06_0100, 0));
        config.set_multi_function();
        config.set(0x04, &[0x03]);
        config.set(PIRQ, &[0x80; 4]);
        config.allow(PIRQ, &[0x8f; 4]);
        config.allow(DETERMINISTIC_LATENCY, &[0x0f]);
        IsaBridge { config: Mutex::new(config), lines }
    }
}

impl Function for IsaBridge {
    fn config_read(&self, offset: u8, width: Width) -> u32 {
        self.config.lock().read(offset, width)
    }

    fn config_write(&self, offset: u8, width: Width, value: u32) {
        let mut config = self.config.lock();
        config.write(offset, width, value);
        let routes = config.dword(PIRQ).to_le_bytes();
        drop(config);
        if offset & !3 == PIRQ {
            for (link, route) in (0..).zip(routes) {
                // Bit 7: not routed. Else the interrupt is in the low four (Intel 290549, PIRQRC).
                self.lines.set_route(link, (route & 0x80 == 0).then_some(route & 0x0f));
            }
        }
    }

    fn bar(&self, _: u8) -> Option<Range> {
        None
    }
}

/// 00:01.3: SeaBIOS and EDK II write their base of the PM ports here (0x40); the ports answer at the base of the
/// firmware that the machine was built for.
#[derive(Debug)]
pub struct PowerManagement(Mutex<Config>);

impl PowerManagement {
    #[must_use]
    pub fn new(sci: u8) -> PowerManagement {
        // No class, as on EC2: firmware and kernels know this function by vendor and device. Linux works round a
        // timer bug of revisions before 3.
        let mut config = Config::new(identity(0x7113, 0, 3));
        config.set_multi_function();
        config.set(0x3c, &[sci]);
        config.set_interrupt_pin_a();
        config.set(0x40, &[0x01]);
        config.allow(0x40, &[0xc0, 0xff]);
        // APMC_EN reads as set: SeaBIOS then leaves system management mode alone.
        config.set(0x5b, &[0x02]);
        config.allow(0x80, &[0x01]);
        PowerManagement(Mutex::new(config))
    }
}

impl Function for PowerManagement {
    fn config_read(&self, offset: u8, width: Width) -> u32 {
        self.0.lock().read(offset, width)
    }
    fn config_write(&self, offset: u8, width: Width, value: u32) {
        self.0.lock().write(offset, width, value);
    }
    fn bar(&self, _: u8) -> Option<Range> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irq::fake::Recorder;

    #[test]
    fn seabios_finds_its_board() {
        let host = HostBridge::new();
        assert_eq!(host.config_read(0, Width::Dword), 0x1237_8086);
        assert_eq!(host.config_read(0x2c, Width::Dword), 0x1100_1af4);
        assert_eq!(host.config_read(0x59, Width::Byte), 0, "PAM0 makes SeaBIOS copy itself");
        host.config_write(0x58, Width::Dword, 0x3333_3000);
        assert_eq!(host.config_read(0x58, Width::Dword), 0x3333_3000);
        let pm = PowerManagement::new(9);
        assert_eq!(pm.config_read(0, Width::Dword), 0x7113_8086);
        assert_eq!(pm.config_read(8, Width::Dword), 3, "no class, and a revision with a sound timer");
        assert_eq!(pm.config_read(0x58, Width::Dword) & 1 << 25, 1 << 25);
        pm.config_write(0x40, Width::Dword, 0x601);
        assert_eq!(pm.config_read(0x40, Width::Dword), 0x601);
        pm.config_write(0x90, Width::Dword, 0x701);
        assert_eq!(pm.config_read(0x90, Width::Dword), 0, "no SMBus");
    }

    #[test]
    fn graviton_s_bridge_has_a_name_and_nothing_to_write() {
        let host = HostBridge::of_graviton();
        assert_eq!(host.config_read(0, Width::Dword), 0x0200_1d0f);
        assert_eq!(host.config_read(8, Width::Dword), 0x0600_0000);
        for offset in (0x10..=0xfc).step_by(4).filter(|offset| *offset != 0x3c) {
            host.config_write(offset, Width::Dword, u32::MAX);
            assert_eq!(host.config_read(offset, Width::Dword), 0, "{offset:#x}");
        }
    }

    #[test]
    fn the_isa_bridge_routes_links() {
        let recorder = Arc::new(Recorder::default());
        let lines = Arc::new(Lines::new(recorder.clone()));
        let bridge = IsaBridge::new(lines.clone());
        assert_eq!(bridge.config_read(0x60, Width::Dword), 0x8080_8080);
        bridge.config_write(0x63, Width::Byte, 10);
        lines.set_intx(4, true);
        bridge.config_write(0x63, Width::Byte, 0x80);
        assert_eq!(*recorder.lines.lock(), [(10, true), (10, false)]);
    }
}
