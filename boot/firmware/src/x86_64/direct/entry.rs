//! The state that a kernel expects of the CPU at its first instruction: flat segments, interrupts off, and no
//! paging (32-bit) or the first 4 GiB mapped one to one (64-bit). Intel SDM volume 3, §3.4.5 for descriptors and
//! §4.5 for page tables.

use crate::FirmwareError;
use crate::x86_64::direct::layout;
use ami_run_memory::{Gpa, Memory};

/// By which agreement the kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// bzImage: Linux's 32-bit boot protocol.
    Linux32,
    /// ELF without a PVH note: Linux's 64-bit boot protocol.
    Linux64,
    /// ELF with a PVH note.
    Pvh,
}

/// Everything that must be set on the boot CPU. All other general registers are zero; LDT, control and debug
/// registers that are not named stay as KVM resets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub protocol: Protocol,
    pub registers: Registers,
    /// CS.
    pub code: Segment,
    /// DS, ES, FS, GS and SS.
    pub data: Segment,
    /// TR.
    pub task: Segment,
    pub gdt: DescriptorTable,
    pub idt: DescriptorTable,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    pub rip: u64,
    pub rsp: u64,
    pub rbx: u64,
    pub rsi: u64,
    pub rflags: u64,
    pub cr0: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
}

/// A segment register with its hidden part, in KVM's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub base: u64,
    pub limit: u32,
    pub selector: u16,
    pub type_: u8,
    pub s: u8,
    pub dpl: u8,
    pub present: u8,
    pub db: u8,
    pub l: u8,
    pub g: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorTable {
    pub base: u64,
    pub limit: u16,
}

const RFLAGS_ALWAYS_SET: u64 = 1 << 1;
const CR0_PROTECTED: u64 = 1;
const CR0_EXTENSION_TYPE: u64 = 1 << 4;
const CR0_PAGING: u64 = 1 << 31;
const CR4_PHYSICAL_ADDRESS_EXTENSION: u64 = 1 << 5;
const EFER_LONG_ENABLED: u64 = 1 << 8;
const EFER_LONG_ACTIVE: u64 = 1 << 10;

/// The selectors are Linux's __BOOT_CS, __BOOT_DS and __BOOT_TSS.
const CODE: Segment = Segment {
    base: 0,
    limit: u32::MAX,
    selector: 0x10,
    type_: 0b1011,
    s: 1,
    dpl: 0,
    present: 1,
    db: 1,
    l: 0,
    g: 1,
};
const CODE_64: Segment = Segment { db: 0, l: 1, ..CODE };
const DATA: Segment = Segment { selector: 0x18, type_: 0b0011, ..CODE };
const TASK: Segment = Segment { selector: 0x20, limit: 0x67, s: 0, db: 0, g: 0, ..CODE };

impl Segment {
    /// As it stands in the GDT.
    fn descriptor(self) -> u64 {
        let limit = u64::from(if self.g == 1 { self.limit >> 12 } else { self.limit });
        let bits = [
            (limit & 0xffff, 0),
            (self.base & 0xff_ffff, 16),
            (u64::from(self.type_), 40),
            (u64::from(self.s), 44),
            (u64::from(self.dpl), 45),
            (u64::from(self.present), 47),
            (limit >> 16 & 0xf, 48),
            (u64::from(self.l), 53),
            (u64::from(self.db), 54),
            (u64::from(self.g), 55),
            (self.base >> 24 & 0xff, 56),
        ];
        bits.into_iter().fold(0, |descriptor, (value, shift)| descriptor | value << shift)
    }
}

/// Where to enter, and what to hand over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub protocol: Protocol,
    pub address: u64,
    /// The zero page or the start info.
    pub information: u64,
}

/// Writes the GDT and, for 64-bit code, the page tables.
pub(super) fn prepare(memory: &Memory, start: Start) -> Result<Entry, FirmwareError> {
    let mut registers = Registers {
        rip: start.address,
        rsp: layout::STACK_TOP,
        rflags: RFLAGS_ALWAYS_SET,
        ..Registers::default()
    };
    registers.cr0 = CR0_PROTECTED | CR0_EXTENSION_TYPE;
    let mut code = CODE;
    match start.protocol {
        Protocol::Linux32 => registers.rsi = start.information,
        Protocol::Pvh => registers.rbx = start.information,
        Protocol::Linux64 => {
            registers.rsi = start.information;
            registers.cr0 |= CR0_PAGING;
            registers.cr3 = layout::PAGE_TABLES;
            registers.cr4 = CR4_PHYSICAL_ADDRESS_EXTENSION;
            registers.efer = EFER_LONG_ENABLED | EFER_LONG_ACTIVE;
            code = CODE_64;
            write_page_tables(memory)?;
        }
    }
    let descriptors = [0, 0, code.descriptor(), DATA.descriptor(), TASK.descriptor()];
    memory.write_record(Gpa(layout::GDT), &descriptors)?;
    let gdt = DescriptorTable { base: layout::GDT, limit: 5 * 8 - 1 };
    let idt = DescriptorTable { base: 0, limit: 0 };
    Ok(Entry { protocol: start.protocol, registers, code, data: DATA, task: TASK, gdt, idt })
}

const TABLE: u64 = 0x1000;
const TABLE_ENTRIES: u64 = 512;
const PRESENT_WRITABLE: u64 = 0b11;
const LARGE_PAGE: u64 = 1 << 7;
const LARGE_PAGE_SHIFT: u64 = 21;
const GIB: u64 = 4;

/// One PML4 entry, four page directories of 2 MiB pages.
fn write_page_tables(memory: &Memory) -> Result<(), FirmwareError> {
    let pointers = layout::PAGE_TABLES + TABLE;
    let directories = pointers + TABLE;
    memory.write_record(Gpa(layout::PAGE_TABLES), &(pointers | PRESENT_WRITABLE))?;
    for gib in 0..GIB {
        let directory = directories.saturating_add(gib.saturating_mul(TABLE));
        let pointer = pointers.saturating_add(gib.saturating_mul(8));
        memory.write_record(Gpa(pointer), &(directory | PRESENT_WRITABLE))?;
    }
    let pages = (0..GIB * TABLE_ENTRIES).map(|page| page << LARGE_PAGE_SHIFT | PRESENT_WRITABLE | LARGE_PAGE);
    let bytes: Vec<u8> = pages.flat_map(u64::to_le_bytes).collect();
    memory.write(Gpa(directories), &bytes)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ami_run_memory::Range;

    #[test]
    fn descriptors_have_the_well_known_values() {
        assert_eq!(CODE.descriptor(), 0x00cf_9b00_0000_ffff);
        assert_eq!(CODE_64.descriptor(), 0x00af_9b00_0000_ffff);
        assert_eq!(DATA.descriptor(), 0x00cf_9300_0000_ffff);
        assert_eq!(TASK.descriptor(), 0x0000_8b00_0000_0067);
    }

    #[test]
    fn the_page_tables_map_every_address_to_itself() {
        let memory = Memory::new(&[Range::new(0, 0x10_0000)]).unwrap();
        let start =
            Start { protocol: Protocol::Linux64, address: 0x100_0000, information: layout::ZERO_PAGE };
        let entry = prepare(&memory, start).unwrap();
        let read =
            |table: u64, index: u64| memory.read_record::<u64>(Gpa((table & !0xfff) + index * 8)).unwrap();
        for address in [0u64, 0x20_0000, 0x3fff_ffff, 0x4000_0000, 0x1_0000_0000 - 1] {
            let pointers = read(entry.registers.cr3, 0);
            let directory = read(pointers, address >> 30);
            let page = read(directory, address >> 21 & 511);
            assert_eq!(page, address >> 21 << 21 | 0x83);
        }
        assert_eq!(memory.read_record::<u64>(Gpa(entry.gdt.base + 0x10)).unwrap(), CODE_64.descriptor());
    }
}
