//! SMBIOS (DMTF DSP0134) with the strings that Nitro instances show: version 2.7 and its 31-byte entry point, as EC2's
//! BIOS has it; for UEFI version 3.0, the least that has the 64-bit entry point. Guests tell by it that they are on EC2,
//! and which instance they are.
//!
//! Left out: what the CPU and the memory map tell better (caches of the CPU; on x86_64 its name and speed too, which
//! CPUID has; modules of memory).

mod spec;
mod structures;

use crate::board::{FirmwareKind, Identity};
use ami_run_memory::Range;
use spec::{EntryPoint, EntryPoint3, Header, VERSION_2, VERSION_3};
use zerocopy::{Immutable, IntoBytes};

/// The specification's limit.
const MAX_STRING: usize = 64;

/// What the structures tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine<'a> {
    pub identity: &'a Identity,
    pub cpus: usize,
    pub ram: &'a [Range],
    pub firmware: FirmwareKind,
    /// Of the firmware, as month/day/year.
    pub date: &'static str,
    pub socket: Socket,
}

/// The CPU. Empty strings and zero are not told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Socket {
    pub maker: &'static str,
    pub version: &'static str,
    pub megahertz: u16,
    /// §7.5.2.
    pub family: u16,
}

/// A family that is not told.
#[cfg(target_arch = "x86_64")]
pub(crate) const UNKNOWN_FAMILY: u16 = 2;

/// The structures, one after another.
#[derive(Debug, Default)]
pub(crate) struct Smbios {
    pub bytes: Vec<u8>,
    structures: u16,
    largest: u16,
    /// They are of version 3.
    is_3: bool,
}

/// The strings of one structure, in order.
#[derive(Debug, Default)]
struct Strings(Vec<u8>);

impl Strings {
    /// Returns the string's number. What is empty or was not given has the number zero, which readers show as
    /// "Not Specified"; an empty string would end the list.
    fn add(&mut self, text: &str) -> u8 {
        let plain = text.bytes().filter(|byte| matches!(byte, b' '..=b'~')).take(MAX_STRING);
        let before = self.0.len();
        self.0.extend(plain);
        if self.0.len() == before {
            return 0;
        }
        self.0.push(0);
        let count = self.0.iter().filter(|byte| **byte == 0).count();
        u8::try_from(count).unwrap_or(0)
    }
}

fn header<T>(kind: u8, handle: u16) -> Header {
    Header { kind, length: u8::try_from(size_of::<T>()).unwrap_or(0), handle: handle.into() }
}

impl Smbios {
    fn push(&mut self, structure: &(impl IntoBytes + Immutable), strings: &Strings) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(structure.as_bytes());
        self.bytes.extend_from_slice(&strings.0);
        // A list ends in an empty string. One without strings has two NULs.
        self.bytes.resize(self.bytes.len() + if strings.0.is_empty() { 2 } else { 1 }, 0);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.largest = self.largest.max(length);
        self.structures = self.structures.saturating_add(1);
    }

    /// The entry point, for structures at `address`.
    pub(crate) fn anchor(&self, address: u32) -> Vec<u8> {
        if self.is_3 { self.anchor_64(address) } else { self.anchor_32(address) }
    }

    fn anchor_64(&self, address: u32) -> Vec<u8> {
        let [major, minor] = VERSION_3;
        let mut entry = EntryPoint3 {
            anchor: *b"_SM3_",
            checksum: 0,
            length: u8::try_from(size_of::<EntryPoint3>()).unwrap_or(0),
            major,
            minor,
            document: 0,
            revision: 1,
            reserved: 0,
            // OVMF takes it only if it is the table's own length.
            most_table_length: u32::try_from(self.bytes.len()).unwrap_or(u32::MAX).into(),
            table_address: u64::from(address).into(),
        };
        entry.checksum = complement(entry.as_bytes());
        entry.as_bytes().to_vec()
    }

    fn anchor_32(&self, address: u32) -> Vec<u8> {
        let [major, minor] = VERSION_2;
        let mut entry = EntryPoint {
            anchor: *b"_SM_",
            checksum: 0,
            length: u8::try_from(size_of::<EntryPoint>()).unwrap_or(0),
            major,
            minor,
            largest_structure: self.largest.into(),
            revision: 0,
            formatted_area: [0; 5],
            intermediate_anchor: *b"_DMI_",
            intermediate_checksum: 0,
            table_length: u16::try_from(self.bytes.len()).unwrap_or(u16::MAX).into(),
            table_address: address.into(),
            structures: self.structures.into(),
            bcd_revision: major << 4 | minor,
        };
        // The part from the intermediate anchor on adds up to zero by itself, and so does what is before it.
        entry.intermediate_checksum = complement(entry.as_bytes().get(16..).unwrap_or_default());
        entry.checksum = complement(entry.as_bytes());
        entry.as_bytes().to_vec()
    }
}

/// What makes them add up to zero.
fn complement(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_sub(*byte))
}

pub(crate) fn tables<'a>(machine: impl Into<Machine<'a>>) -> Smbios {
    let machine = machine.into();
    let mut smbios = Smbios { is_3: machine.firmware == FirmwareKind::Uefi, ..Smbios::default() };
    structures::write(machine, &mut smbios);
    smbios
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
#[path = "smbios_test.rs"]
mod tests;
