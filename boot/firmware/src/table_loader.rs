//! QEMU's table-loader script (fw_cfg file `etc/table-loader`): fixed records that tell the firmware where to put
//! each file and which pointers and checksums to fill in afterwards. Layout: SeaBIOS's src/fw/romfile_loader.h,
//! QEMU's hw/acpi/bios-linker-loader.c. WRITE_POINTER is left out: nothing here wants an address back.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub(crate) const RECORD: usize = 128;
const NAME: usize = 56;

pub(crate) const ALLOCATE: u32 = 1;
pub(crate) const ADD_POINTER: u32 = 2;
pub(crate) const ADD_CHECKSUM: u32 = 3;

/// Anywhere below 4 GiB.
pub(crate) const ZONE_HIGH: u8 = 1;
/// 0xF0000 to 0xFFFFF, where an OS looks for the RSDP.
pub(crate) const ZONE_F_SEGMENT: u8 = 2;

/// A NUL-terminated file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct FileName([u8; NAME]);

impl FileName {
    pub(crate) fn new(name: &str) -> FileName {
        let mut bytes = [0; NAME];
        for (to, from) in bytes.iter_mut().take(NAME - 1).zip(name.bytes()) {
            *to = from;
        }
        FileName(bytes)
    }
}

/// The firmware allocates memory for a file and copies it there.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Allocate {
    pub file: FileName,
    /// A power of two.
    pub align: U32,
    pub zone: u8,
    unused: [u8; 63],
}

/// The firmware adds the address of `source` to the number at `offset` in `target`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct AddPointer {
    pub target: FileName,
    pub source: FileName,
    pub offset: U32,
    /// Width of the number: 1, 2, 4 or 8.
    pub size: u8,
    unused: [u8; 7],
}

/// The firmware sets the byte at `result` so that `length` bytes from `start` add up to zero.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct AddChecksum {
    pub file: FileName,
    pub result: U32,
    pub start: U32,
    pub length: U32,
    unused: [u8; 56],
}

const _: () = assert!(size_of::<Allocate>() == RECORD - 4);
const _: () = assert!(size_of::<AddPointer>() == RECORD - 4);
const _: () = assert!(size_of::<AddChecksum>() == RECORD - 4);

/// A script under construction.
#[derive(Debug, Default)]
pub(crate) struct Script {
    bytes: Vec<u8>,
}

impl Script {
    fn push(&mut self, command: u32, payload: &[u8]) {
        self.bytes.extend_from_slice(&command.to_le_bytes());
        self.bytes.extend_from_slice(payload);
    }

    pub(crate) fn allocate(&mut self, file: &str, align: u32, zone: u8) {
        let record = Allocate { file: FileName::new(file), align: align.into(), zone, unused: [0; 63] };
        self.push(ALLOCATE, record.as_bytes());
    }

    /// A 32-bit pointer at `offset` in `target`, which holds an offset into `source` until then.
    pub(crate) fn add_pointer(&mut self, target: &str, offset: u32, source: &str) {
        self.pointer(target, offset, source, 4);
    }

    /// A 64-bit one.
    pub(crate) fn add_wide_pointer(&mut self, target: &str, offset: u32, source: &str) {
        self.pointer(target, offset, source, 8);
    }

    fn pointer(&mut self, target: &str, offset: u32, source: &str, size: u8) {
        let (target, source) = (FileName::new(target), FileName::new(source));
        let record = AddPointer { target, source, offset: offset.into(), size, unused: [0; 7] };
        self.push(ADD_POINTER, record.as_bytes());
    }

    /// The byte at `result` must be zero until then.
    pub(crate) fn add_checksum(&mut self, file: &str, result: u32, start: u32, length: u32) {
        let (result, start, length) = (result.into(), start.into(), length.into());
        let record = AddChecksum { file: FileName::new(file), result, start, length, unused: [0; 56] };
        self.push(ADD_CHECKSUM, record.as_bytes());
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
