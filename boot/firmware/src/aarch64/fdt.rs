//! The flattened device tree (Devicetree Specification 0.4) of the board: what AAVMF reads at the start of RAM, and
//! what a kernel is handed that is started without firmware. AAVMF keeps it from the kernels that it starts; those
//! go by ACPI.
//!
//! Bindings are Linux' (Documentation/devicetree/bindings), node names QEMU's where firmware might know them. Left
//! out: the power button (the event device has no binding), and virtio over memory.

use super::board::{HYPERVISOR_TIMER, PHYSICAL_TIMER, PMU, SECURE_TIMER, VIRTUAL_TIMER};
use super::{Board, Chip, Flash, Pci};
use crate::FirmwareError;
use ami_run_memory::Range;
use vm_fdt::FdtWriter;

/// Who reads the tree.
#[derive(Clone, Copy, Debug)]
pub enum Reader<'a> {
    Firmware,
    Kernel { command_line: &'a str, initrd: Option<Range>, seed: &'a Seed },
}

/// Random bytes that only this start of a kernel knows: it wipes them out of the tree when it has read them.
pub type Seed = [u8; 40];

// Phandles.
const GIC: u32 = 1;
const ITS: u32 = 2;
const CLOCK: u32 = 3;

// Of an interrupt: shared or a CPU's own; edge or level.
const SPI: u32 = 0;
const PPI: u32 = 1;
const FIRST_PPI: u32 = 16;
const LEVEL_HIGH: u32 = 4;

/// Of the PrimeCells' bus and the PL011. Nothing is as fast as this says, but drivers divide it.
const CLOCK_HERTZ: u32 = 24_000_000;
/// Of a 16550: 115,200 baud times 16.
const UART_HERTZ: u32 = 1_843_200;
/// PCI address cells: a 32-bit memory window.
const MEMORY_WINDOW: u32 = 0x0200_0000;
/// In an interrupt map, of an address: the low two bits of the slot, which are all that routing goes by; of a pin.
const SLOT_MASK: u32 = 0x1800;
const PIN_MASK: u32 = 7;
/// Requesters of one segment.
const REQUESTERS: u32 = 0x1_0000;

type Written = Result<(), vm_fdt::Error>;

/// The tree as bytes.
pub fn device_tree(board: &Board, reader: Reader<'_>) -> Result<Vec<u8>, FirmwareError> {
    if let Reader::Kernel { command_line, .. } = reader
        && command_line.contains('\0')
    {
        return Err(FirmwareError::CommandLineNul);
    }
    let written = || -> Result<Vec<u8>, vm_fdt::Error> {
        let mut fdt = FdtWriter::new()?;
        let root = fdt.begin_node("")?;
        fdt.property_string("compatible", "linux,dummy-virt")?;
        fdt.property_u32("#address-cells", 2)?;
        fdt.property_u32("#size-cells", 2)?;
        fdt.property_u32("interrupt-parent", GIC)?;
        chosen(&mut fdt, board, reader)?;
        cpus(&mut fdt, board)?;
        for range in &board.ram {
            node(&mut fdt, &at("memory", *range), |fdt| {
                fdt.property_string("device_type", "memory")?;
                reg(fdt, &[*range])
            })?;
        }
        interrupts(&mut fdt, board)?;
        chips(&mut fdt, board)?;
        if let Some(flash) = board.flash {
            flash_chips(&mut fdt, flash)?;
            fw_cfg(&mut fdt, board.fw_cfg)?;
        }
        pcie(&mut fdt, &board.pci)?;
        fdt.end_node(root)?;
        fdt.finish()
    };
    written().map_err(|_| FirmwareError::Tables("the device tree cannot be written"))
}

fn node(fdt: &mut FdtWriter, name: &str, content: impl FnOnce(&mut FdtWriter) -> Written) -> Written {
    let node = fdt.begin_node(name)?;
    content(fdt)?;
    fdt.end_node(node)
}

/// A node's name: with the address of its first registers.
fn at(name: &str, range: Range) -> String {
    format!("{name}@{:x}", range.start)
}

fn reg(fdt: &mut FdtWriter, ranges: &[Range]) -> Written {
    let cells: Vec<u64> = ranges.iter().flat_map(|range| [range.start, range.len]).collect();
    fdt.property_array_u64("reg", &cells)
}

fn list(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn interrupt(fdt: &mut FdtWriter, chip: &Chip) -> Written {
    fdt.property_array_u32("interrupts", &[SPI, chip.spi, LEVEL_HIGH])
}

/// The three cells of a CPU's own interrupt.
fn private(id: u32) -> [u32; 3] {
    [PPI, id.saturating_sub(FIRST_PPI), LEVEL_HIGH]
}

fn chosen(fdt: &mut FdtWriter, board: &Board, reader: Reader<'_>) -> Written {
    node(fdt, "chosen", |fdt| {
        let console = at("/pl011", board.console.registers);
        match reader {
            // It speaks to a PL011 alone.
            Reader::Firmware => fdt.property_string("stdout-path", &console),
            Reader::Kernel { command_line, initrd, seed } => {
                // The kernel's own place (KASLR), and its first random numbers.
                if let Some((place, numbers)) = seed.split_first_chunk() {
                    fdt.property_u64("kaslr-seed", u64::from_be_bytes(*place))?;
                    fdt.property("rng-seed", numbers)?;
                }
                let serial = board.serial.map(|serial| at("/serial", serial.registers));
                fdt.property_string("stdout-path", &serial.unwrap_or(console))?;
                fdt.property_string("bootargs", command_line)?;
                let Some(initrd) = initrd else { return Ok(()) };
                fdt.property_u64("linux,initrd-start", initrd.start)?;
                fdt.property_u64("linux,initrd-end", initrd.end())
            }
        }
    })
}

fn cpus(fdt: &mut FdtWriter, board: &Board) -> Written {
    node(fdt, "cpus", |fdt| {
        fdt.property_u32("#address-cells", 2)?;
        fdt.property_u32("#size-cells", 0)?;
        for mpidr in &board.cpus {
            node(fdt, &format!("cpu@{mpidr:x}"), |fdt| {
                fdt.property_string("device_type", "cpu")?;
                fdt.property_string("compatible", "arm,armv8")?;
                fdt.property_string("enable-method", "psci")?;
                fdt.property_u64("reg", *mpidr)
            })?;
        }
        Ok(())
    })
}

/// The GIC, and what interrupts each CPU by itself.
fn interrupts(fdt: &mut FdtWriter, board: &Board) -> Written {
    let gic = &board.gic;
    node(fdt, &at("intc", gic.distributor), |fdt| {
        fdt.property_string("compatible", "arm,gic-v3")?;
        fdt.property_null("interrupt-controller")?;
        fdt.property_u32("#interrupt-cells", 3)?;
        fdt.property_phandle(GIC)?;
        reg(fdt, &[gic.distributor, gic.redistributors])?;
        fdt.property_u32("#address-cells", 2)?;
        fdt.property_u32("#size-cells", 2)?;
        fdt.property_null("ranges")?;
        node(fdt, &at("its", gic.its), |fdt| {
            fdt.property_string("compatible", "arm,gic-v3-its")?;
            fdt.property_null("msi-controller")?;
            fdt.property_u32("#msi-cells", 1)?;
            fdt.property_phandle(ITS)?;
            reg(fdt, &[gic.its])
        })
    })?;
    node(fdt, "timer", |fdt| {
        fdt.property_string_list("compatible", list(&["arm,armv8-timer", "arm,armv7-timer"]))?;
        fdt.property_null("always-on")?;
        let timers = [SECURE_TIMER, PHYSICAL_TIMER, VIRTUAL_TIMER, HYPERVISOR_TIMER];
        fdt.property_array_u32("interrupts", &timers.map(private).concat())
    })?;
    if board.pmu {
        node(fdt, "pmu", |fdt| {
            fdt.property_string("compatible", "arm,armv8-pmuv3")?;
            fdt.property_array_u32("interrupts", &private(PMU))
        })?;
    }
    node(fdt, "psci", |fdt| {
        fdt.property_string_list("compatible", list(&["arm,psci-1.0", "arm,psci-0.2", "arm,psci"]))?;
        fdt.property_string("method", "hvc")
    })
}

/// Consoles and clock.
fn chips(fdt: &mut FdtWriter, board: &Board) -> Written {
    node(fdt, "apb-pclk", |fdt| {
        fdt.property_string("compatible", "fixed-clock")?;
        fdt.property_u32("#clock-cells", 0)?;
        fdt.property_u32("clock-frequency", CLOCK_HERTZ)?;
        fdt.property_phandle(CLOCK)
    })?;
    node(fdt, &at("pl011", board.console.registers), |fdt| {
        fdt.property_string_list("compatible", list(&["arm,pl011", "arm,primecell"]))?;
        reg(fdt, &[board.console.registers])?;
        interrupt(fdt, &board.console)?;
        fdt.property_array_u32("clocks", &[CLOCK, CLOCK])?;
        fdt.property_string_list("clock-names", list(&["uartclk", "apb_pclk"]))
    })?;
    if let Some(serial) = &board.serial {
        node(fdt, &at("serial", serial.registers), |fdt| {
            fdt.property_string("compatible", "ns16550a")?;
            reg(fdt, &[serial.registers])?;
            interrupt(fdt, serial)?;
            fdt.property_u32("clock-frequency", UART_HERTZ)
        })?;
    }
    node(fdt, &at("pl031", board.clock.registers), |fdt| {
        fdt.property_string_list("compatible", list(&["arm,pl031", "arm,primecell"]))?;
        reg(fdt, &[board.clock.registers])?;
        interrupt(fdt, &board.clock)?;
        fdt.property_u32("clocks", CLOCK)?;
        fdt.property_string("clock-names", "apb_pclk")
    })
}

/// A machine without firmware has no such device either.
fn fw_cfg(fdt: &mut FdtWriter, registers: Range) -> Written {
    node(fdt, &at("fw-cfg", registers), |fdt| {
        fdt.property_string("compatible", "qemu,fw-cfg-mmio")?;
        fdt.property_null("dma-coherent")?;
        reg(fdt, &[registers])
    })
}

/// AAVMF takes the range that it does not run from for its variables.
fn flash_chips(fdt: &mut FdtWriter, flash: Flash) -> Written {
    node(fdt, &at("flash", flash.code), |fdt| {
        fdt.property_string("compatible", "cfi-flash")?;
        fdt.property_u32("bank-width", 4)?;
        reg(fdt, &[flash.code, flash.variables])
    })
}

/// There is a window for 32-bit memory BARs only, at the addresses that CPUs see: no function has another BAR.
fn pcie(fdt: &mut FdtWriter, pci: &Pci) -> Written {
    node(fdt, &at("pcie", pci.ecam), |fdt| {
        fdt.property_string("compatible", "pci-host-ecam-generic")?;
        fdt.property_string("device_type", "pci")?;
        fdt.property_u32("#address-cells", 3)?;
        fdt.property_u32("#size-cells", 2)?;
        fdt.property_u32("#interrupt-cells", 1)?;
        fdt.property_u32("linux,pci-domain", 0)?;
        fdt.property_array_u32("bus-range", &[0, pci.last_bus().into()])?;
        fdt.property_null("dma-coherent")?;
        reg(fdt, &[pci.ecam])?;
        let start = halves(pci.window.start);
        let window = [&[MEMORY_WINDOW][..], &start, &start, &halves(pci.window.len)];
        fdt.property_array_u32("ranges", &window.concat())?;
        fdt.property_array_u32("msi-map", &[0, ITS, 0, REQUESTERS])?;
        fdt.property_array_u32("interrupt-map-mask", &[SLOT_MASK, 0, 0, PIN_MASK])?;
        let pins = (0..4u32).flat_map(|slot| (0..4u32).map(move |pin| (slot, pin)));
        let map = pins.flat_map(|(slot, pin)| {
            let from = [slot << 11, 0, 0, pin.saturating_add(1)];
            let to = [GIC, 0, 0, SPI, pci.spi(slot, pin), LEVEL_HIGH];
            [&from[..], &to].concat()
        });
        fdt.property_array_u32("interrupt-map", &map.collect::<Vec<u32>>())
    })
}

/// The two cells of a number.
fn halves(number: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])]
}

#[cfg(test)]
#[path = "fdt_test.rs"]
mod tests;
