//! What a kernel is told in memory: Linux's zero page, or PVH's start info.

use super::layout;
use super::spec::{
    E820_ENTRIES, MemoryMapEntry, Module, START_INFO_MAGIC, START_INFO_VERSION, SetupHeader, StartInfo,
    ZeroPage,
};
use crate::FirmwareError;
use crate::x86_64::memory_map;
use ami_run_memory::{Gpa, Memory, Range};
use zerocopy::{FromZeros, IntoBytes};

/// What both say.
pub(super) struct Facts {
    pub map: Vec<memory_map::Entry>,
    pub rsdp: Gpa,
    pub initrd: Option<Range>,
}

/// Addresses and sizes below 4 GiB: everything is loaded there.
fn low(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Returns where the zero page is.
pub(super) fn zero_page(memory: &Memory, header: &SetupHeader, facts: &Facts) -> Result<u64, FirmwareError> {
    let mut page = ZeroPage::new_zeroed();
    page.header = header.clone();
    page.header.cmd_line_ptr = low(layout::COMMAND_LINE).into();
    if let Some(initrd) = facts.initrd {
        page.header.ramdisk_image = low(initrd.start).into();
        page.header.ramdisk_size = low(initrd.len).into();
    }
    page.acpi_rsdp = facts.rsdp.0.into();
    page.e820_entries = u8::try_from(facts.map.len().min(E820_ENTRIES)).unwrap_or(0);
    for (to, from) in page.e820.iter_mut().zip(&facts.map) {
        *to = *from;
    }
    memory.write_record(Gpa(layout::ZERO_PAGE), &page)?;
    Ok(layout::ZERO_PAGE)
}

/// Returns where the start info is.
pub(super) fn start_info(memory: &Memory, facts: &Facts) -> Result<u64, FirmwareError> {
    let map: Vec<MemoryMapEntry> = facts
        .map
        .iter()
        .map(|entry| {
            let memory_map::Entry { start, length, kind } = *entry;
            MemoryMapEntry { start, length, kind, reserved: 0.into() }
        })
        .collect();
    memory.write(Gpa(layout::MEMORY_MAP), map.as_bytes())?;
    if let Some(initrd) = facts.initrd {
        let (address, size) = (initrd.start.into(), initrd.len.into());
        let module = Module { address, size, command_line: 0.into(), reserved: 0.into() };
        memory.write_record(Gpa(layout::MODULES), &module)?;
    }
    let info = StartInfo {
        magic: START_INFO_MAGIC.into(),
        version: START_INFO_VERSION.into(),
        flags: 0.into(),
        modules: u32::from(facts.initrd.is_some()).into(),
        module_list: facts.initrd.map_or(0, |_| layout::MODULES).into(),
        command_line: layout::COMMAND_LINE.into(),
        rsdp: facts.rsdp.0.into(),
        memory_map: layout::MEMORY_MAP.into(),
        memory_map_entries: low(map.len() as u64).into(),
        reserved: 0.into(),
    };
    memory.write_record(Gpa(layout::START_INFO), &info)?;
    Ok(layout::START_INFO)
}
