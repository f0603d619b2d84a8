//! Records of the boot protocols: Linux's zero page (Documentation/arch/x86/boot.rst and zero-page.rst), Xen's PVH
//! start info (xen/include/public/arch-x86/hvm/start_info.h), ELF headers and notes (System V ABI, chapter 4).
//! linux-loader has them too, but as types that turn into bytes only through vm-memory's traits.

use crate::x86_64::memory_map;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Where the setup header begins, in the kernel's file and in the zero page.
pub(super) const SETUP_HEADER: usize = 0x1f1;
/// The first version that tells how much memory the kernel needs while it starts (Linux 2.6.31).
pub(super) const VERSION_WITH_INIT_SIZE: u16 = 0x020a;
/// loadflags bit 0: the kernel is loaded at 1 MiB.
pub(super) const LOADED_HIGH: u8 = 1;
/// type_of_loader of a loader that has no number.
pub(super) const LOADER_OTHER: u8 = 0xff;

#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct SetupHeader {
    pub setup_sects: u8,
    pub root_flags: U16,
    pub syssize: U32,
    pub ram_size: U16,
    pub vid_mode: U16,
    pub root_dev: U16,
    pub boot_flag: U16,
    pub jump: U16,
    pub header: U32,
    pub version: U16,
    pub realmode_swtch: U32,
    pub start_sys_seg: U16,
    pub kernel_version: U16,
    pub type_of_loader: u8,
    pub loadflags: u8,
    pub setup_move_size: U16,
    pub code32_start: U32,
    pub ramdisk_image: U32,
    pub ramdisk_size: U32,
    pub bootsect_kludge: U32,
    pub heap_end_ptr: U16,
    pub ext_loader_ver: u8,
    pub ext_loader_type: u8,
    pub cmd_line_ptr: U32,
    pub initrd_addr_max: U32,
    pub kernel_alignment: U32,
    pub relocatable_kernel: u8,
    pub min_alignment: u8,
    pub xloadflags: U16,
    pub cmdline_size: U32,
    pub hardware_subarch: U32,
    pub hardware_subarch_data: U64,
    pub payload_offset: U32,
    pub payload_length: U32,
    pub setup_data: U64,
    pub pref_address: U64,
    pub init_size: U32,
    pub handover_offset: U32,
    pub kernel_info_offset: U32,
}

pub(super) const E820_ENTRIES: usize = 128;

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct ZeroPage {
    unused_0: [u8; 0x70],
    pub acpi_rsdp: U64,
    unused_1: [u8; 0x1e8 - 0x78],
    pub e820_entries: u8,
    unused_2: [u8; 0x1f1 - 0x1e9],
    pub header: SetupHeader,
    unused_3: [u8; 0x2d0 - 0x26c],
    pub e820: [memory_map::Entry; E820_ENTRIES],
    unused_4: [u8; 0x1000 - 0xcd0],
}

const _: () = assert!(size_of::<SetupHeader>() == 0x26c - SETUP_HEADER);
const _: () = assert!(size_of::<ZeroPage>() == 0x1000);

pub(super) const START_INFO_MAGIC: u32 = 0x336e_c578;
/// The version that has a memory map.
pub(super) const START_INFO_VERSION: u32 = 1;

#[derive(Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct StartInfo {
    pub magic: U32,
    pub version: U32,
    pub flags: U32,
    pub modules: U32,
    pub module_list: U64,
    pub command_line: U64,
    pub rsdp: U64,
    pub memory_map: U64,
    pub memory_map_entries: U32,
    pub reserved: U32,
}

#[derive(Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Module {
    pub address: U64,
    pub size: U64,
    pub command_line: U64,
    pub reserved: U64,
}

#[derive(Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct MemoryMapEntry {
    pub start: U64,
    pub length: U64,
    pub kind: U32,
    pub reserved: U32,
}

const _: () = assert!(size_of::<StartInfo>() == 56);
const _: () = assert!(size_of::<Module>() == 32);
const _: () = assert!(size_of::<MemoryMapEntry>() == 24);

pub(super) const ELF_CLASS_64: u8 = 2;
pub(super) const ELF_LITTLE_ENDIAN: u8 = 1;
pub(super) const ELF_EXECUTABLE: u16 = 2;
pub(super) const ELF_SHARED: u16 = 3;
pub(super) const ELF_X86_64: u16 = 62;

#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct ElfHeader {
    pub magic: [u8; 4],
    pub class: u8,
    pub encoding: u8,
    pub ident: [u8; 10],
    pub kind: U16,
    pub machine: U16,
    pub version: U32,
    pub entry: U64,
    pub program_headers: U64,
    pub section_headers: U64,
    pub flags: U32,
    pub size: U16,
    pub program_header_size: U16,
    pub program_header_count: U16,
    pub section_header_size: U16,
    pub section_header_count: U16,
    pub section_names: U16,
}

pub(super) const SEGMENT_LOAD: u32 = 1;
pub(super) const SEGMENT_NOTE: u32 = 4;

#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct ProgramHeader {
    pub kind: U32,
    pub flags: U32,
    pub offset: U64,
    pub virtual_address: U64,
    pub address: U64,
    pub file_size: U64,
    pub memory_size: U64,
    pub align: U64,
}

const _: () = assert!(size_of::<ElfHeader>() == 64);
const _: () = assert!(size_of::<ProgramHeader>() == 56);

/// XEN_ELFNOTE_PHYS32_ENTRY: its content is the address to enter in 32-bit mode.
pub(super) const NOTE_PHYS32_ENTRY: u32 = 18;
pub(super) const NOTE_NAME: &[u8] = b"Xen\0";

#[derive(Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct NoteHeader {
    pub name_size: U32,
    pub content_size: U32,
    pub kind: U32,
}
