//! Records of SMBIOS 2.7 and 3.0 (DMTF DSP0134): the entry points (§5.2) and the structures (§7), field by field.
//! A string is its number in the structure's list, zero for none.

use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

/// Of the 32-bit entry point, and the structures that it leads to.
pub(super) const VERSION_2: [u8; 2] = [2, 7];
/// The first that has the 64-bit entry point.
pub(super) const VERSION_3: [u8; 2] = [3, 0];
/// A handle that names nothing.
pub(super) const NO_HANDLE: u16 = 0xffff;
/// Of errors: the hardware tells none.
pub(super) const NO_ERRORS: u16 = 0xfffe;

#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct EntryPoint {
    pub anchor: [u8; 4],
    /// Of the whole entry point.
    pub checksum: u8,
    pub length: u8,
    pub major: u8,
    pub minor: u8,
    pub largest_structure: U16,
    pub revision: u8,
    pub formatted_area: [u8; 5],
    pub intermediate_anchor: [u8; 5],
    /// From the intermediate anchor on.
    pub intermediate_checksum: u8,
    pub table_length: U16,
    pub table_address: U32,
    pub structures: U16,
    pub bcd_revision: u8,
}

/// The 64-bit one (§5.2.2).
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct EntryPoint3 {
    pub anchor: [u8; 5],
    pub checksum: u8,
    pub length: u8,
    pub major: u8,
    pub minor: u8,
    /// Of the specification's text.
    pub document: u8,
    pub revision: u8,
    pub reserved: u8,
    pub most_table_length: U32,
    pub table_address: U64,
}

#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Header {
    pub kind: u8,
    pub length: u8,
    pub handle: U16,
}

/// Type 0.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Bios {
    pub header: Header,
    pub vendor: u8,
    pub version: u8,
    pub segment: U16,
    pub date: u8,
    /// In 64 KiB, less one.
    pub rom_size: u8,
    pub characteristics: U64,
    pub extension: [u8; 2],
    pub major: u8,
    pub minor: u8,
    pub controller_major: u8,
    pub controller_minor: u8,
}

/// Type 1.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct System {
    pub header: Header,
    pub manufacturer: u8,
    pub product: u8,
    pub version: u8,
    pub serial: u8,
    pub uuid: [u8; 16],
    pub wake_up: u8,
    pub sku: u8,
    pub family: u8,
}

/// Type 2.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Baseboard {
    pub header: Header,
    pub manufacturer: u8,
    pub product: u8,
    pub version: u8,
    pub serial: u8,
    pub asset_tag: u8,
    pub features: u8,
    pub location: u8,
    pub chassis: U16,
    pub kind: u8,
    pub contained: u8,
}

/// Type 3.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Chassis {
    pub header: Header,
    pub manufacturer: u8,
    pub kind: u8,
    pub version: u8,
    pub serial: u8,
    pub asset_tag: u8,
    pub boot_state: u8,
    pub power_state: u8,
    pub thermal_state: u8,
    pub security: u8,
    pub oem: U32,
    pub height: u8,
    pub power_cords: u8,
    pub contained: u8,
    pub contained_length: u8,
    pub sku: u8,
}

/// Type 4.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Processor {
    pub header: Header,
    pub socket: u8,
    pub kind: u8,
    pub family: u8,
    pub manufacturer: u8,
    pub id: U64,
    pub version: u8,
    pub voltage: u8,
    pub external_clock: U16,
    pub max_speed: U16,
    pub current_speed: U16,
    pub status: u8,
    pub upgrade: u8,
    pub caches: [U16; 3],
    pub serial: u8,
    pub asset_tag: u8,
    pub part_number: u8,
    pub cores: u8,
    pub enabled_cores: u8,
    pub threads: u8,
    pub characteristics: U16,
    pub family_2: U16,
}

/// Type 4 since 3.0.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Processor3 {
    pub before: Processor,
    pub cores: U16,
    pub enabled_cores: U16,
    pub threads: U16,
}

/// Type 16.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct MemoryArray {
    pub header: Header,
    pub location: u8,
    pub usage: u8,
    pub error_correction: u8,
    /// In KiB.
    pub capacity: U32,
    pub errors: U16,
    pub devices: U16,
    /// In bytes.
    pub extended_capacity: U64,
}

/// Type 17.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct MemoryDevice {
    pub header: Header,
    pub array: U16,
    pub errors: U16,
    pub total_width: U16,
    pub data_width: U16,
    /// In MiB.
    pub size: U16,
    pub form_factor: u8,
    pub set: u8,
    pub locator: u8,
    pub bank: u8,
    pub kind: u8,
    pub detail: U16,
    pub speed: U16,
    pub manufacturer: u8,
    pub serial: u8,
    pub asset_tag: u8,
    pub part_number: u8,
    pub attributes: u8,
    /// In MiB.
    pub extended_size: U32,
    pub configured_speed: U16,
}

/// Type 17 since 2.8.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct MemoryDevice3 {
    pub before: MemoryDevice,
    pub least_voltage: U16,
    pub most_voltage: U16,
    pub configured_voltage: U16,
}

/// Type 19.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct MappedAddress {
    pub header: Header,
    /// In KiB.
    pub start: U32,
    /// The last KiB.
    pub end: U32,
    pub array: U16,
    pub width: u8,
    /// In bytes.
    pub extended_start: U64,
    /// The last byte.
    pub extended_end: U64,
}

/// Type 32.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct BootInformation {
    pub header: Header,
    pub reserved: [u8; 6],
    pub status: u8,
}

/// Type 127.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct End {
    pub header: Header,
}

const _: () = assert!(size_of::<EntryPoint>() == 31);
const _: () = assert!(size_of::<EntryPoint3>() == 24);
const _: () = assert!(size_of::<Bios>() == 24);
const _: () = assert!(size_of::<System>() == 27);
const _: () = assert!(size_of::<Baseboard>() == 15);
const _: () = assert!(size_of::<Chassis>() == 22);
const _: () = assert!(size_of::<Processor>() == 42);
const _: () = assert!(size_of::<Processor3>() == 48);
const _: () = assert!(size_of::<MemoryArray>() == 23);
const _: () = assert!(size_of::<MemoryDevice>() == 34);
const _: () = assert!(size_of::<MemoryDevice3>() == 40);
const _: () = assert!(size_of::<MappedAddress>() == 31);
const _: () = assert!(size_of::<BootInformation>() == 11);
const _: () = assert!(size_of::<End>() == 4);
