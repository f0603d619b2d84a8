//! What the ACPI tables of every architecture have in common (ACPI 6.5): the ids that EC2's tables carry, a table's
//! header, how tables lie in one file, terms of AML, and the VM generation id.

pub(crate) mod devices;
pub(crate) mod vmgenid;

use crate::Blob;
use acpi_tables::sdt::Sdt;
use acpi_tables::{Aml, AmlSink};

pub(crate) const RSDP: &str = "etc/acpi/rsdp";
pub(crate) const TABLES: &str = "etc/acpi/tables";

/// The FACS must be aligned so (ACPI 6.5 §5.2.10); the others profit from it.
pub(crate) const ALIGN: u32 = 64;
pub(crate) const RSDP_ALIGN: u32 = 16;
pub(crate) const HEADER: u32 = 36;
/// Where a table's header holds its checksum.
pub(crate) const CHECKSUM: u32 = 9;
pub(crate) const RSDP_CHECKSUM: u32 = 8;

pub(crate) const OEM_ID: [u8; 6] = *b"AMAZON";
pub(crate) const OEM_REVISION: u32 = 1;
pub(crate) const CREATOR_ID: [u8; 4] = *b"AMZN";
pub(crate) const CREATOR_REVISION: u32 = 1;

/// What the script places, and the script.
pub(crate) struct Tables {
    pub files: Vec<Blob>,
    pub script: Vec<u8>,
}

/// A table: header and `body`. Its OEM table id is AMZN and the signature.
pub(crate) fn table(signature: [u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let mut sdt = Sdt::new(signature, HEADER, revision, OEM_ID, table_id(signature), OEM_REVISION);
    sdt.write_bytes(28, &CREATOR_ID);
    sdt.write_u32(32, CREATOR_REVISION);
    sdt.append_slice(body);
    sdt.as_slice().to_vec()
}

pub(crate) fn table_id(signature: [u8; 4]) -> [u8; 8] {
    let mut id = *b"AMZN    ";
    for (to, from) in id.iter_mut().skip(4).zip(signature) {
        *to = from;
    }
    id
}

/// Tables one after another.
#[derive(Default)]
pub(crate) struct Layout {
    pub bytes: Vec<u8>,
}

impl Layout {
    pub(crate) fn push(&mut self, table: &[u8]) -> Placed {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN as usize), 0);
        let placed = Placed { offset: length(&self.bytes), length: length(table) };
        self.bytes.extend_from_slice(table);
        placed
    }

    /// A checksum that the loader fills in must be zero before.
    pub(crate) fn push_patched(&mut self, mut table: Vec<u8>) -> Placed {
        if let Some(checksum) = table.get_mut(CHECKSUM as usize) {
            *checksum = 0;
        }
        self.push(&table)
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Placed {
    pub offset: u32,
    pub length: u32,
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// Terms that were encoded already.
pub(crate) struct Encoded(Vec<u8>);

impl Encoded {
    pub(crate) fn new(terms: &[&dyn Aml]) -> Encoded {
        let mut bytes = Vec::new();
        for term in terms {
            term.to_aml_bytes(&mut bytes);
        }
        Encoded(bytes)
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl Aml for Encoded {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}
