//! The IORT (Arm DEN 0049E.b): which ITS the messages of PCI's functions go to, and as whom. Without it Linux gives
//! no function MSI. A requester's id on the bus is its device id at the ITS, as KVM's routes have it.
//!
//! Left out: SMMUs, for there are none.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes};

pub(super) const REVISION: u8 = 3;
/// The ITS' id, as in the MADT.
pub(super) const ITS: u32 = 0;

/// Where the first node is: behind the table's header and its own fields.
const FIRST: u32 = 48;

/// A node's common fields (table 3).
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Node {
    kind: u8,
    length: U16,
    revision: u8,
    id: U32,
    mappings: U32,
    mappings_offset: U32,
}

/// ITS group (table 12).
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Group {
    node: Node,
    count: U32,
    its: U32,
}

/// PCI root complex (table 14), with one mapping (table 4).
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct RootComplex {
    node: Node,
    coherent: U32,
    allocation: u8,
    reserved: U16,
    access: u8,
    ats: U32,
    segment: U32,
    address_bits: u8,
    pasid: U16,
    reserved_2: u8,
    first_input: U32,
    /// How many ids, less one.
    count: U32,
    first_output: U32,
    output: U32,
    flags: U32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Iort {
    nodes: U32,
    nodes_offset: U32,
    reserved: U32,
    group: Group,
    root: RootComplex,
}

const GROUP: u16 = size_of::<Group>() as u16;
const ROOT: u16 = size_of::<RootComplex>() as u16;
const MAPPING: u32 = 20;
const _: () = assert!(GROUP == 24 && ROOT == 36 + 20);

/// Access flags: its DMA is coherent with the CPUs' caches without anyone's doing.
const COHERENT_ALWAYS: u8 = 0x03;

/// The table without its header.
pub(super) fn iort() -> Vec<u8> {
    let node = |kind, length: u16, revision, id: u32, mappings: u32| Node {
        kind,
        length: length.into(),
        revision,
        id: id.into(),
        mappings: mappings.into(),
        mappings_offset: if mappings == 0 { 0 } else { u32::from(length) - MAPPING }.into(),
    };
    let iort = Iort {
        nodes: 2.into(),
        nodes_offset: FIRST.into(),
        reserved: 0.into(),
        group: Group { node: node(0, GROUP, 1, 0, 0), count: 1.into(), its: ITS.into() },
        root: RootComplex {
            node: node(2, ROOT, 3, 1, 1),
            coherent: 1.into(),
            allocation: 0,
            reserved: 0.into(),
            access: COHERENT_ALWAYS,
            ats: 0.into(),
            segment: 0.into(),
            address_bits: 64,
            pasid: 0.into(),
            reserved_2: 0,
            first_input: 0.into(),
            count: 0xffff.into(),
            first_output: 0.into(),
            output: FIRST.into(),
            flags: 0.into(),
        },
    };
    iort.as_bytes().to_vec()
}
