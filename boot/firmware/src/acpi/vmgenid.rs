//! The VM generation id (Microsoft's "Virtual Machine Generation ID") by the names that EC2 gives its device: 16
//! bytes in memory, and a method that says where. They are the same as long as the machine lives, so nothing is
//! ever notified.

use super::Encoded;
use acpi_tables::aml::{Add, Device, Index, Local, Method, Name, Package, Path, Return, Scope, Store, ZERO};
use acpi_tables::{Aml, AmlSink};

pub(crate) const FILE: &str = "etc/vmgenid_guid";
/// The file is one page of its own, so that nothing else is mapped with it.
pub(crate) const ALIGN: u32 = 4096;
/// The id's place in the file. edk2 looks for a table wherever the loader puts a pointer to; zeros of a header's
/// length tell it that there is none.
const OFFSET: u8 = 40;

/// Where in the SSDT's body the loader puts the file's address: behind NameOp, the name and the number's prefix.
pub(crate) const POINTER: u32 = 6;
const DWORD_PREFIX: u8 = 0x0c;

/// A number that the loader patches. It has 32 bits whatever it is; acpi_tables makes zero one byte.
struct Patched;

impl Aml for Patched {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.byte(DWORD_PREFIX);
        sink.dword(0);
    }
}

pub(crate) fn file(generation: [u8; 16]) -> Vec<u8> {
    let mut bytes = vec![0; usize::from(OFFSET)];
    bytes.extend_from_slice(&generation);
    bytes.resize(ALIGN as usize, 0);
    bytes
}

/// The table without its header. ADDR gives the address in two halves of 32 bits.
pub(crate) fn ssdt() -> Vec<u8> {
    // An operator's target of zero is none: the result is the operand of the next.
    let (page, low) = (Path::new("VGIA"), Index::new(&ZERO, &Local(0), &ZERO));
    let (address, halves) = (Add::new(&ZERO, &page, &OFFSET), Package::new(vec![&ZERO, &ZERO]));
    let address = Encoded::new(&[
        &Store::new(&Local(0), &halves),
        &Store::new(&low, &address),
        &Return::new(&Local(0)),
    ]);
    let device = Encoded::new(&[&Device::new(
        "VMGN".into(),
        vec![
            &Name::new("_HID".into(), &"AMZN0000"),
            &Name::new("_CID".into(), &"VM_Gen_Counter"),
            &Name::new("_DDN".into(), &"VM_Gen_Counter"),
            &Method::new("ADDR".into(), 0, false, vec![&address]),
        ],
    )]);
    let page = Name::new("VGIA".into(), &Patched);
    Encoded::new(&[&page, &Scope::new("_SB_".into(), vec![&device])]).into_bytes()
}
