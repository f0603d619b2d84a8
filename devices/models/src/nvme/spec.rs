//! Records and numbers of the NVM Express Base Specification 1.4; the section stands beside each.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// CC.MPS 0: the one page size of this controller (3.1.5).
pub(super) const PAGE: u64 = 4096;
/// All namespaces at once (6.1.2).
pub(super) const ALL_NAMESPACES: u32 = 0xffff_ffff;
/// The one namespace of a controller here.
pub(super) const NAMESPACE: u32 = 1;

/// A submission queue entry (4.2).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Sqe {
    pub(super) opcode: u8,
    /// Fused operation in bits 1:0, PRP or SGL in bits 7:6.
    pub(super) flags: u8,
    pub(super) cid: U16,
    pub(super) nsid: U32,
    pub(super) reserved: [U32; 2],
    pub(super) metadata: U64,
    pub(super) prp1: U64,
    pub(super) prp2: U64,
    pub(super) cdw10: U32,
    pub(super) cdw11: U32,
    pub(super) cdw12: U32,
    pub(super) cdw13: U32,
    pub(super) cdw14: U32,
    pub(super) cdw15: U32,
}

/// A completion queue entry (4.6).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Cqe {
    pub(super) result: U32,
    pub(super) reserved: U32,
    pub(super) sq_head: U16,
    pub(super) sq_id: U16,
    pub(super) cid: U16,
    /// The status in bits 15:1, the phase tag in bit 0.
    pub(super) status: U16,
}

/// One range of Dataset Management (6.7.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct DsmRange {
    pub(super) attributes: U32,
    pub(super) blocks: U32,
    pub(super) start: U64,
}

pub(super) const SQE: u64 = 64;
pub(super) const CQE: u64 = 16;
const _: () = assert!(size_of::<Sqe>() == 64 && size_of::<Cqe>() == 16 && size_of::<DsmRange>() == 16);

/// Admin command opcodes (5, figure 139).
pub(super) mod admin {
    pub(crate) const DELETE_SQ: u8 = 0x00;
    pub(crate) const CREATE_SQ: u8 = 0x01;
    pub(crate) const GET_LOG_PAGE: u8 = 0x02;
    pub(crate) const DELETE_CQ: u8 = 0x04;
    pub(crate) const CREATE_CQ: u8 = 0x05;
    pub(crate) const IDENTIFY: u8 = 0x06;
    pub(crate) const ABORT: u8 = 0x08;
    pub(crate) const SET_FEATURES: u8 = 0x09;
    pub(crate) const GET_FEATURES: u8 = 0x0a;
    pub(crate) const ASYNC_EVENT: u8 = 0x0c;
    pub(crate) const DOORBELL_BUFFER: u8 = 0x7c;
}

/// I/O command opcodes (6, figure 346).
pub(super) mod io {
    pub(crate) const FLUSH: u8 = 0x00;
    pub(crate) const WRITE: u8 = 0x01;
    pub(crate) const READ: u8 = 0x02;
    pub(crate) const WRITE_ZEROES: u8 = 0x08;
    pub(crate) const DATASET_MANAGEMENT: u8 = 0x09;
}

/// Feature identifiers (5.21.1).
pub(super) mod feature {
    pub(crate) const ARBITRATION: u8 = 0x01;
    pub(crate) const POWER_MANAGEMENT: u8 = 0x02;
    pub(crate) const TEMPERATURE_THRESHOLD: u8 = 0x04;
    pub(crate) const ERROR_RECOVERY: u8 = 0x05;
    pub(crate) const WRITE_CACHE: u8 = 0x06;
    pub(crate) const NUMBER_OF_QUEUES: u8 = 0x07;
    pub(crate) const INTERRUPT_COALESCING: u8 = 0x08;
    pub(crate) const INTERRUPT_VECTOR: u8 = 0x09;
    pub(crate) const WRITE_ATOMICITY: u8 = 0x0a;
    pub(crate) const ASYNC_EVENTS: u8 = 0x0b;
}

/// Log page identifiers (5.14.1); the last is EC2's own.
pub(super) mod log_page {
    pub(crate) const ERRORS: u8 = 0x01;
    pub(crate) const SMART: u8 = 0x02;
    pub(crate) const FIRMWARE_SLOT: u8 = 0x03;
    pub(crate) const CHANGED_NAMESPACES: u8 = 0x04;
    pub(crate) const EBS_STATISTICS: u8 = 0xd0;
}

/// The outcome of a command, as in bits 15:1 of a completion's status (4.6.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Status(pub(super) u16);

const DO_NOT_RETRY: u16 = 1 << 14;
const COMMAND_SPECIFIC: u16 = 1 << 8;
const MEDIA: u16 = 2 << 8;

impl Status {
    pub(super) const SUCCESS: Status = Status(0);
    // Generic (4.6.1.2.1).
    pub(super) const INVALID_OPCODE: Status = Status(DO_NOT_RETRY | 0x01);
    pub(super) const INVALID_FIELD: Status = Status(DO_NOT_RETRY | 0x02);
    pub(super) const DATA_TRANSFER: Status = Status(DO_NOT_RETRY | 0x04);
    pub(super) const INTERNAL: Status = Status(0x06);
    pub(super) const INVALID_NAMESPACE: Status = Status(DO_NOT_RETRY | 0x0b);
    pub(super) const INVALID_PRP_OFFSET: Status = Status(DO_NOT_RETRY | 0x13);
    pub(super) const LBA_OUT_OF_RANGE: Status = Status(DO_NOT_RETRY | 0x80);
    pub(super) const CAPACITY_EXCEEDED: Status = Status(DO_NOT_RETRY | 0x81);
    // Command specific (4.6.1.2.2).
    pub(super) const COMPLETION_QUEUE_INVALID: Status = Status(DO_NOT_RETRY | COMMAND_SPECIFIC);
    pub(super) const INVALID_QUEUE_ID: Status = Status(DO_NOT_RETRY | COMMAND_SPECIFIC | 0x01);
    pub(super) const INVALID_QUEUE_SIZE: Status = Status(DO_NOT_RETRY | COMMAND_SPECIFIC | 0x02);
    pub(super) const TOO_MANY_EVENT_REQUESTS: Status = Status(DO_NOT_RETRY | COMMAND_SPECIFIC | 0x05);
    pub(super) const INVALID_VECTOR: Status = Status(DO_NOT_RETRY | COMMAND_SPECIFIC | 0x08);
    pub(super) const INVALID_LOG_PAGE: Status = Status(DO_NOT_RETRY | COMMAND_SPECIFIC | 0x09);
    pub(super) const INVALID_QUEUE_DELETION: Status = Status(DO_NOT_RETRY | COMMAND_SPECIFIC | 0x0c);
    pub(super) const NOT_SAVEABLE: Status = Status(DO_NOT_RETRY | COMMAND_SPECIFIC | 0x0d);
    // Media and data integrity (4.6.1.2.3).
    pub(super) const WRITE_FAULT: Status = Status(MEDIA | 0x80);
    pub(super) const UNRECOVERED_READ: Status = Status(MEDIA | 0x81);
}

/// What a command comes to, on its way into a completion queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    pub(super) cid: u16,
    pub(super) sq_id: u16,
    pub(super) sq_head: u16,
    pub(super) status: Status,
    /// Dword 0.
    pub(super) result: u32,
}

impl Answer {
    /// The completion with this phase tag.
    pub(super) fn cqe(&self, phase: bool) -> Cqe {
        Cqe {
            result: self.result.into(),
            reserved: 0.into(),
            sq_head: self.sq_head.into(),
            sq_id: self.sq_id.into(),
            cid: self.cid.into(),
            status: self.tag(phase).into(),
        }
    }

    /// The completion's last dword, which holds the phase tag.
    pub(super) fn last_dword(&self, phase: bool) -> u32 {
        u32::from(self.tag(phase)) << 16 | u32::from(self.cid)
    }

    fn tag(&self, phase: bool) -> u16 {
        self.status.0 << 1 | u16::from(phase)
    }
}

impl Sqe {
    /// The starting block of an I/O command.
    pub(super) fn start(&self) -> u64 {
        u64::from(self.cdw11.get()) << 32 | u64::from(self.cdw10.get())
    }

    /// The queue identifier and the 0-based size of the queue commands.
    pub(super) fn queue(&self) -> (u16, u16) {
        halves(self.cdw10.get())
    }
}

/// The low and the high half of a dword.
pub(super) fn halves(value: u32) -> (u16, u16) {
    let [b0, b1, b2, b3] = value.to_le_bytes();
    (u16::from_le_bytes([b0, b1]), u16::from_le_bytes([b2, b3]))
}
