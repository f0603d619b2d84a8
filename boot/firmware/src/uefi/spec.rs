//! Records of a variable store: the firmware volume's header (PI 1.8 volume 3 §3.2.1), EDK II's variable store and
//! its authenticated records (MdeModulePkg's Guid/VariableFormat.h), and the working block of its fault-tolerant
//! write (Guid/SystemNvDataGuid.h). Erased flash is all ones, so a flag is set where its bit is zero.

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// EFI_SYSTEM_NV_DATA_FV_GUID.
pub(super) const VARIABLES_FILE_SYSTEM: [u8; 16] =
    [0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50];
/// EFI_AUTHENTICATED_VARIABLE_GUID.
pub(super) const AUTHENTICATED_STORE: [u8; 16] =
    [0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92];
/// EFI_VARIABLE_GUID: records without times and counts.
pub(super) const PLAIN_STORE: [u8; 16] =
    [0x16, 0x36, 0xcf, 0xdd, 0x75, 0x32, 0x64, 0x41, 0x98, 0xb6, 0xfe, 0x85, 0x70, 0x7f, 0xfe, 0x7d];
/// EDKII_WORKING_BLOCK_SIGNATURE_GUID.
pub(super) const WORKING_BLOCK: [u8; 16] =
    [0x2b, 0x29, 0x58, 0x9e, 0x68, 0x7c, 0x7d, 0x49, 0xa0, 0xce, 0x65, 0x00, 0xfd, 0x9f, 0x1b, 0x95];
/// gEfiCertDbGuid, of the variable `certdb`.
pub(super) const CERTIFICATES: [u8; 16] =
    [0x6e, 0xe5, 0xbe, 0xd9, 0xdc, 0x75, 0xd9, 0x49, 0xb4, 0xd7, 0xb5, 0x34, 0x21, 0x0f, 0x63, 0x7a];

pub(super) const VOLUME_SIGNATURE: [u8; 4] = *b"_FVH";

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct VolumeHeader {
    pub reset_vector: [u8; 16],
    pub file_system: [u8; 16],
    /// Of the volume with this header.
    pub length: U64,
    pub signature: [u8; 4],
    pub attributes: U32,
    /// With the block map.
    pub header_length: U16,
    /// The header's words, this one too, add up to zero.
    pub checksum: U16,
    pub extension: U16,
    pub reserved: u8,
    pub revision: u8,
    /// The block map may have more entries, but flash has blocks of one size.
    pub blocks: Blocks,
    /// Zeros.
    pub end_of_blocks: Blocks,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Blocks {
    pub count: U32,
    pub size: U32,
}

pub(super) const FORMATTED: u8 = 0x5a;
pub(super) const HEALTHY: u8 = 0xfe;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct StoreHeader {
    pub kind: [u8; 16],
    /// Of the store with this header.
    pub size: U32,
    pub format: u8,
    pub state: u8,
    pub reserved: [u8; 6],
}

pub(super) const RECORD_START: u16 = 0x55aa;
/// Of the offsets of records.
pub(super) const RECORD_ALIGNMENT: usize = 4;

/// States of a record. Nothing of it counts yet.
pub(super) const STATE_ERASED: u8 = 0xff;
/// Written whole.
pub(super) const STATE_ADDED: u8 = 0x3f;
/// About to be replaced: it counts as long as there is no other.
pub(super) const STATE_BEING_REPLACED: u8 = 0x3e;

/// AUTHENTICATED_VARIABLE_HEADER; the name in UTF-16 with a NUL follows, then the data.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Record {
    pub start: U16,
    pub state: u8,
    pub reserved: u8,
    pub attributes: U32,
    pub monotonic_count: U64,
    pub timestamp: [u8; 16],
    pub public_key: U32,
    pub name_size: U32,
    pub data_size: U32,
    pub vendor: [u8; 16],
}

/// AUTH_CERT_DB_DATA; the name in UTF-16 without a NUL follows, then the digest.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Certificate {
    pub vendor: [u8; 16],
    /// With this header.
    pub size: U32,
    /// In characters.
    pub name_length: U32,
    pub digest_size: U32,
}

/// EFI_FAULT_TOLERANT_WORKING_BLOCK_HEADER; the queue of writes follows.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct WorkingBlock {
    pub signature: [u8; 16],
    /// CRC-32 of this header with this field and the flags all ones.
    pub crc: U32,
    pub flags: u8,
    pub reserved: [u8; 3],
    pub queue_size: U64,
}

/// [`WorkingBlock::flags`] of a block in use: made valid, and not yet invalid.
pub(super) const BLOCK_VALID: u8 = 0xfe;

/// EFI_FAULT_TOLERANT_WRITE_HEADER; its writes follow.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Writes {
    pub flags: u8,
    pub padding: [u8; 3],
    pub caller: [u8; 16],
    pub padding_2: [u8; 4],
    pub count: U64,
    /// Behind each write.
    pub private_size: U64,
}

/// Of [`Writes::flags`], set where zero: the counts below are written.
pub(super) const WRITES_ALLOCATED: u8 = 0x02;
/// Of [`Writes::flags`], set where zero.
pub(super) const WRITES_COMPLETE: u8 = 0x04;

/// EFI_FAULT_TOLERANT_WRITE_RECORD.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Write {
    pub flags: u8,
    pub padding: [u8; 7],
    pub block: U64,
    pub offset: U64,
    pub length: U64,
    /// The target's first block, less the spare area.
    pub relative_offset: I64,
}

/// Of [`Write::flags`], set where zero: the spare area has what the target shall have.
pub(super) const SPARE_COMPLETE: u8 = 0x02;
/// Of [`Write::flags`], set where zero.
pub(super) const TARGET_COMPLETE: u8 = 0x04;

/// The record at this place, if there are as many bytes.
pub(super) fn record<T: FromBytes>(bytes: &[u8], at: usize) -> Option<T> {
    T::read_from_prefix(bytes.get(at..)?).ok().map(|(record, _)| record)
}

const _: () = assert!(size_of::<VolumeHeader>() == 72);
const _: () = assert!(size_of::<Blocks>() == 8);
const _: () = assert!(size_of::<StoreHeader>() == 28);
const _: () = assert!(size_of::<Record>() == 60);
const _: () = assert!(size_of::<Certificate>() == 28);
const _: () = assert!(size_of::<WorkingBlock>() == 32);
const _: () = assert!(size_of::<Writes>() == 40);
const _: () = assert!(size_of::<Write>() == 40);
