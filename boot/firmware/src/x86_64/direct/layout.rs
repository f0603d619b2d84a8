//! Where a directly started kernel finds things in the first MiB. Kernel and initrd lie above it, the ACPI tables
//! at the end of low RAM.

use ami_run_memory::Range;

pub(super) const GDT: u64 = 0x1000;
pub(super) const START_INFO: u64 = 0x2000;
pub(super) const MODULES: u64 = 0x2100;
pub(super) const MEMORY_MAP: u64 = 0x3000;
/// Grows down to the memory map's end.
pub(super) const STACK_TOP: u64 = 0x7000;
pub(super) const ZERO_PAGE: u64 = 0x7000;
/// Six tables.
pub(super) const PAGE_TABLES: u64 = 0x9000;
pub(super) const COMMAND_LINE: u64 = 0x2_0000;
/// Its room, NUL included.
pub(super) const COMMAND_LINE_ROOM: usize = 0x1_0000;
/// Below this address nothing of a kernel may lie.
pub(super) const KERNEL_MIN: u64 = 0x10_0000;
/// Nor above this one: what the machine has there depends on its size.
pub(super) const KERNEL_MAX: u64 = 0x8000_0000;
pub(super) const PAGE: u64 = 0x1000;
/// The F-segment's halves: for the RSDP, and for SMBIOS.
pub(super) const RSDP: Range = Range { start: 0xf_0000, len: 0x8000 };
pub(super) const SMBIOS: Range = Range { start: 0xf_8000, len: 0x8000 };
