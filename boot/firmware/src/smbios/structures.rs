//! The structures of one machine, with EC2's strings.

use super::spec::{
    Baseboard, Bios, BootInformation, Chassis, End, Header, MappedAddress, MemoryArray, MemoryDevice,
    MemoryDevice3, NO_ERRORS, NO_HANDLE, Processor, Processor3, System,
};
use super::{Machine, Smbios, Socket, Strings, header};
use crate::board::Identity;
use ami_run_memory::Range;

const MAKER: &str = "Amazon EC2";
const BIOS_VERSION: &str = "1.0";

// Handles: each structure has its own.
const BIOS: u16 = 0;
const SYSTEM: u16 = 1;
const BASEBOARD: u16 = 2;
const CHASSIS: u16 = 3;
const PROCESSOR: u16 = 4;
const MEMORY_ARRAY: u16 = 5;
const MEMORY_DEVICE: u16 = 6;
const BOOT_INFORMATION: u16 = 7;
const END: u16 = 8;
/// And those that follow, one a range of RAM.
const MAPPED_ADDRESS: u16 = 9;

/// Characteristics (§7.1.1): PCI, EDD.
const PCI_EDD: u64 = 1 << 7 | 1 << 19;
/// Extension (§7.1.2): ACPI; a virtual machine.
const ACPI_VIRTUAL: [u8; 2] = [1, 1 << 4];
/// And UEFI.
const ACPI_VIRTUAL_UEFI: [u8; 2] = [1, 1 << 4 | 1 << 3];
/// Where a BIOS begins in the first MiB; UEFI is not there (§7.1).
const BIOS_SEGMENT: u16 = 0xf000;
const NO_SEGMENT: u16 = 0;
const WAKE_POWER_SWITCH: u8 = 6;
const HOSTING_BOARD: u8 = 1;
const MOTHERBOARD: u8 = 0x0a;
const CHASSIS_OTHER: u8 = 1;
const STATE_SAFE: u8 = 3;
const SECURITY_NONE: u8 = 3;
const CENTRAL_PROCESSOR: u8 = 3;
const UNKNOWN: u8 = 2;
const POPULATED_ENABLED: u8 = 0x41;
/// 64-bit capable (§7.5.9).
const PROCESSOR_64_BIT: u16 = 1 << 2;
const SYSTEM_BOARD: u8 = 3;
const SYSTEM_MEMORY: u8 = 3;
const ECC_MULTI_BIT: u8 = 6;
const UNKNOWN_WIDTH: u16 = 0xffff;
const FORM_DIMM: u8 = 9;
const KIND_RAM: u8 = 7;
const DETAIL_OTHER: u16 = 1 << 1;
/// The number is too big for its field and stands in the extended one.
const COUNT_EXTENDED: u8 = 0xff;
const FAMILY_EXTENDED: u8 = 0xfe;
const CAPACITY_EXTENDED: u32 = 0x8000_0000;
const SIZE_EXTENDED: u16 = 0x7fff;
const ADDRESS_EXTENDED: u32 = u32::MAX;

pub(super) fn write(machine: Machine<'_>, smbios: &mut Smbios) {
    bios(machine.date, smbios);
    system(machine.identity, smbios);
    baseboard(machine.identity, smbios);
    chassis(smbios);
    processor(machine.cpus, machine.socket, smbios);
    let bytes = machine.ram.iter().fold(0u64, |sum, range| sum.saturating_add(range.len));
    memory_array(bytes, smbios);
    memory_device(bytes, smbios);
    for (handle, range) in (MAPPED_ADDRESS..).zip(machine.ram) {
        mapped_address(handle, *range, smbios);
    }
    let header32 = header::<BootInformation>(32, BOOT_INFORMATION);
    smbios.push(&BootInformation { header: header32, reserved: [0; 6], status: 0 }, &Strings::default());
    smbios.push(&End { header: header::<End>(127, END) }, &Strings::default());
}

fn bios(date: &str, smbios: &mut Smbios) {
    let uefi = smbios.is_3;
    let (segment, extension) =
        if uefi { (NO_SEGMENT, ACPI_VIRTUAL_UEFI) } else { (BIOS_SEGMENT, ACPI_VIRTUAL) };
    let mut strings = Strings::default();
    let structure = Bios {
        header: header::<Bios>(0, BIOS),
        vendor: strings.add(MAKER),
        version: strings.add(BIOS_VERSION),
        segment: segment.into(),
        date: strings.add(date),
        rom_size: 0,
        characteristics: PCI_EDD.into(),
        extension,
        major: 1,
        minor: 0,
        controller_major: 0xff,
        controller_minor: 0xff,
    };
    smbios.push(&structure, &strings);
}

fn system(identity: &Identity, smbios: &mut Smbios) {
    let mut strings = Strings::default();
    let structure = System {
        header: header::<System>(1, SYSTEM),
        manufacturer: strings.add(MAKER),
        product: strings.add(&identity.instance_type),
        version: 0,
        serial: strings.add(&written(identity.uuid)),
        uuid: stored(identity.uuid),
        wake_up: WAKE_POWER_SWITCH,
        sku: 0,
        family: 0,
    };
    smbios.push(&structure, &strings);
}

/// The UUID as text, in lower case.
fn written(uuid: [u8; 16]) -> String {
    let mut text = String::new();
    for (place, byte) in uuid.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Since SMBIOS 2.6 the first three fields are little-endian (§7.2.1).
fn stored(uuid: [u8; 16]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = uuid;
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

/// Its asset tag is where EC2's tools look for the instance id.
fn baseboard(identity: &Identity, smbios: &mut Smbios) {
    let mut strings = Strings::default();
    let structure = Baseboard {
        header: header::<Baseboard>(2, BASEBOARD),
        manufacturer: strings.add(MAKER),
        product: 0,
        version: 0,
        serial: 0,
        asset_tag: strings.add(&identity.instance_id),
        features: HOSTING_BOARD,
        location: 0,
        chassis: CHASSIS.into(),
        kind: MOTHERBOARD,
        contained: 0,
    };
    smbios.push(&structure, &strings);
}

fn chassis(smbios: &mut Smbios) {
    let mut strings = Strings::default();
    let structure = Chassis {
        header: header::<Chassis>(3, CHASSIS),
        manufacturer: strings.add(MAKER),
        kind: CHASSIS_OTHER,
        version: 0,
        serial: 0,
        asset_tag: strings.add(MAKER),
        boot_state: STATE_SAFE,
        power_state: STATE_SAFE,
        thermal_state: STATE_SAFE,
        security: SECURITY_NONE,
        oem: 0.into(),
        height: 0,
        power_cords: 0,
        contained: 0,
        contained_length: 0,
        sku: 0,
    };
    smbios.push(&structure, &strings);
}

/// One socket of single-thread cores, as CPUID has it.
fn processor(count: usize, what: Socket, smbios: &mut Smbios) {
    let mut strings = Strings::default();
    if !smbios.is_3 {
        // Zero: unknown.
        let count = u8::try_from(count).ok().filter(|count| *count < COUNT_EXTENDED).unwrap_or(0);
        let structure = socket(header::<Processor>(4, PROCESSOR), what, count, &mut strings);
        return smbios.push(&structure, &strings);
    }
    let few = u8::try_from(count).unwrap_or(COUNT_EXTENDED);
    let count = u16::try_from(count).unwrap_or(u16::MAX);
    let structure = Processor3 {
        before: socket(header::<Processor3>(4, PROCESSOR), what, few, &mut strings),
        cores: count.into(),
        enabled_cores: count.into(),
        threads: count.into(),
    };
    smbios.push(&structure, &strings);
}

fn socket(header: Header, what: Socket, count: u8, strings: &mut Strings) -> Processor {
    Processor {
        header,
        socket: strings.add("CPU 0"),
        kind: CENTRAL_PROCESSOR,
        family: u8::try_from(what.family).unwrap_or(FAMILY_EXTENDED),
        manufacturer: strings.add(what.maker),
        id: 0.into(),
        version: strings.add(what.version),
        voltage: 0,
        external_clock: 0.into(),
        max_speed: what.megahertz.into(),
        current_speed: what.megahertz.into(),
        status: POPULATED_ENABLED,
        upgrade: UNKNOWN,
        caches: [NO_HANDLE.into(); 3],
        serial: 0,
        asset_tag: 0,
        part_number: 0,
        cores: count,
        enabled_cores: count,
        threads: count,
        characteristics: PROCESSOR_64_BIT.into(),
        family_2: what.family.into(),
    }
}

fn memory_array(bytes: u64, smbios: &mut Smbios) {
    let kib = u32::try_from(bytes >> 10).ok().filter(|kib| *kib < CAPACITY_EXTENDED);
    let structure = MemoryArray {
        header: header::<MemoryArray>(16, MEMORY_ARRAY),
        location: SYSTEM_BOARD,
        usage: SYSTEM_MEMORY,
        error_correction: ECC_MULTI_BIT,
        capacity: kib.unwrap_or(CAPACITY_EXTENDED).into(),
        errors: NO_ERRORS.into(),
        devices: 1.into(),
        extended_capacity: if kib.is_some() { 0 } else { bytes }.into(),
    };
    smbios.push(&structure, &Strings::default());
}

fn memory_device(bytes: u64, smbios: &mut Smbios) {
    let mut strings = Strings::default();
    if !smbios.is_3 {
        let structure = module(header::<MemoryDevice>(17, MEMORY_DEVICE), bytes, &mut strings);
        return smbios.push(&structure, &strings);
    }
    let structure = MemoryDevice3 {
        before: module(header::<MemoryDevice3>(17, MEMORY_DEVICE), bytes, &mut strings),
        least_voltage: 0.into(),
        most_voltage: 0.into(),
        configured_voltage: 0.into(),
    };
    smbios.push(&structure, &strings);
}

fn module(header: Header, bytes: u64, strings: &mut Strings) -> MemoryDevice {
    let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
    let small = u16::try_from(mib).ok().filter(|mib| *mib < SIZE_EXTENDED);
    MemoryDevice {
        header,
        array: MEMORY_ARRAY.into(),
        errors: NO_ERRORS.into(),
        total_width: UNKNOWN_WIDTH.into(),
        data_width: UNKNOWN_WIDTH.into(),
        size: small.unwrap_or(SIZE_EXTENDED).into(),
        form_factor: FORM_DIMM,
        set: 0,
        locator: strings.add("DIMM 0"),
        bank: 0,
        kind: KIND_RAM,
        detail: DETAIL_OTHER.into(),
        speed: 0.into(),
        manufacturer: 0,
        serial: 0,
        asset_tag: 0,
        part_number: 0,
        attributes: 0,
        extended_size: if small.is_some() { 0 } else { mib }.into(),
        configured_speed: 0.into(),
    }
}

fn mapped_address(handle: u16, range: Range, smbios: &mut Smbios) {
    let (start, last) = (range.start, range.end().saturating_sub(1));
    // The last value says that the extended fields hold.
    let kib = |byte: u64| u32::try_from(byte >> 10).ok().filter(|kib| *kib < ADDRESS_EXTENDED);
    let near = kib(start).zip(kib(last));
    let (near_start, near_end) = near.unwrap_or((ADDRESS_EXTENDED, ADDRESS_EXTENDED));
    let (far_start, far_end) = if near.is_some() { (0, 0) } else { (start, last) };
    let structure = MappedAddress {
        header: header::<MappedAddress>(19, handle),
        start: near_start.into(),
        end: near_end.into(),
        array: MEMORY_ARRAY.into(),
        width: 1,
        extended_start: far_start.into(),
        extended_end: far_end.into(),
    };
    smbios.push(&structure, &Strings::default());
}
