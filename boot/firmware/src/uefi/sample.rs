//! What the tests read: empty stores of the layouts that firmware packages have, and a small one; variables.

use super::blank;
use super::spec::{BLOCK_VALID, Blocks, WORKING_BLOCK, WorkingBlock};
use super::{Authentication, NON_VOLATILE, TIME_BASED_AUTHENTICATED, Variable};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

pub(super) const GLOBAL: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];

/// Sizes of areas, in the image's order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub block: u32,
    pub variables: usize,
    /// Between them and the working block.
    pub event_log: usize,
    pub work: usize,
    pub spare: usize,
    /// Behind the volume.
    pub padding: usize,
}

pub(crate) const OVMF_4M: Layout = Layout {
    block: 0x1000,
    variables: 0x4_0000,
    event_log: 0x1000,
    work: 0x1000,
    spare: 0x4_2000,
    padding: 0,
};
pub(crate) const OVMF_2M: Layout =
    Layout { block: 0x1000, variables: 0xe000, event_log: 0x1000, work: 0x1000, spare: 0x1_0000, padding: 0 };
pub(crate) const AAVMF: Layout = Layout {
    block: 0x4_0000,
    variables: 0x4_0000,
    event_log: 0,
    work: 0x4_0000,
    spare: 0x4_0000,
    padding: 0x10_0000,
};
/// Of a size at which every cut can be tried.
pub(super) const SMALL: Layout =
    Layout { block: 0x100, variables: 0x300, event_log: 0, work: 0x100, spare: 0x400, padding: 0 };

impl Layout {
    pub(super) fn spare_at(&self) -> usize {
        self.variables + self.event_log + self.work
    }

    pub(super) fn work_at(&self) -> usize {
        self.variables + self.event_log
    }

    pub(crate) fn empty(&self) -> Vec<u8> {
        let length = self.spare_at() + self.spare;
        let blocks = Blocks {
            count: U32::new(u32::try_from(length).unwrap() / self.block),
            size: U32::new(self.block),
        };
        let headers = blank::headers(0x4_feff, blocks, u32::try_from(self.variables).unwrap());
        let work = WorkingBlock {
            signature: WORKING_BLOCK,
            crc: U32::new(0x642c_af2c),
            flags: BLOCK_VALID,
            reserved: [0xff; 3],
            queue_size: U64::new((self.work - size_of::<WorkingBlock>()) as u64),
        };
        let mut image = vec![0xff; length];
        image.extend(vec![0; self.padding]);
        for (at, bytes) in [(0, &headers[..]), (self.work_at(), work.as_bytes())] {
            image[at..at + bytes.len()].copy_from_slice(bytes);
        }
        image
    }
}

/// Non-volatile, for boot and run time.
pub(super) fn variable(name: &str, data: &[u8]) -> Variable {
    Variable {
        name: name.to_owned(),
        vendor: GLOBAL,
        attributes: NON_VOLATILE | 6,
        data: data.to_vec(),
        authentication: None,
    }
}

/// One that somebody signed.
pub(super) fn signed(name: &str, digest: u8) -> Variable {
    Variable {
        attributes: NON_VOLATILE | 6 | TIME_BASED_AUTHENTICATED,
        authentication: Some(Authentication { timestamp: [9; 16], digest: vec![digest; 32] }),
        ..variable(name, name.as_bytes())
    }
}

/// Numbers below another (xorshift64, Marsaglia 2003), the same for the same seed.
pub(super) fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

/// Variables of all kinds, by a seed.
pub(super) fn some(seed: u64) -> Vec<Variable> {
    let mut next = random(seed);
    let one = |number: u64, next: &mut dyn FnMut(u64) -> u64| {
        let names = ["BootÜ", "名", "𝄞", "Key"];
        let name = format!("{}{number:04}", names[usize::try_from(next(4)).unwrap()]);
        let length = next(300);
        let data: Vec<u8> = (0..length).map(|_| u8::try_from(next(256)).unwrap()).collect();
        let whole = if next(2) == 0 { variable(&name, &data) } else { signed(&name, 0) };
        Variable {
            vendor: [u8::try_from(next(3)).unwrap(); 16],
            data,
            authentication: whole
                .authentication
                .map(|it| Authentication { digest: vec![u8::try_from(next(256)).unwrap(); 32], ..it }),
            ..whole
        }
    };
    (0..next(30)).map(|number| one(number, &mut next)).collect()
}
