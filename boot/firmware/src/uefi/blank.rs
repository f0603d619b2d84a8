//! A variable store's headers, and AAVMF's store without variables. AAVMF makes it by itself where its flash is blank
//! (OvmfPkg/VirtNorFlashDxe/VirtNorFlashFvb.c), but only when it runs, and an instance may be given variables before.
//! Left out: the working block of the fault-tolerant write, which every firmware makes by itself.

use super::spec::{
    AUTHENTICATED_STORE, Blocks, FORMATTED, HEALTHY, StoreHeader, VARIABLES_FILE_SYSTEM, VOLUME_SIGNATURE,
    VolumeHeader,
};
use super::volume;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

/// Of a block of AAVMF's flash, and of its variables (ArmVirtPkg/VarStore.fdf.inc).
const BLOCK: u32 = 0x4_0000;
/// Variables, working block and spare area.
const BLOCKS: u32 = 3;
/// The size of AAVMF's store.
pub const AAVMF_STORE: usize = 0xc_0000;
const _: () = assert!(AAVMF_STORE == BLOCK as usize * BLOCKS as usize);

/// What AAVMF declares: memory-mapped flash, readable and writable now and ever, whose erased bits are ones
/// (PI 1.8 volume 3 §3.2.1, EFI_FVB_ATTRIBUTES_2).
const ATTRIBUTES: u32 = 0xe36;
/// Of the volume's header with its block map.
const HEADER: u16 = 72;
const _: () = assert!(size_of::<VolumeHeader>() == HEADER as usize);
/// EFI_FVH_REVISION.
const REVISION: u8 = 2;

/// AAVMF's store without variables.
pub(crate) fn aavmf_store() -> Vec<u8> {
    let mut image = headers(ATTRIBUTES, Blocks { count: U32::new(BLOCKS), size: U32::new(BLOCK) }, BLOCK);
    image.resize(AAVMF_STORE, 0xff);
    image
}

/// Of a volume that has all of these blocks. `variables`: the size of their area, headers included.
pub(super) fn headers(attributes: u32, blocks: Blocks, variables: u32) -> Vec<u8> {
    let mut header = VolumeHeader {
        reset_vector: [0; 16],
        file_system: VARIABLES_FILE_SYSTEM,
        length: U64::new(u64::from(blocks.count.get()).saturating_mul(blocks.size.get().into())),
        signature: VOLUME_SIGNATURE,
        attributes: U32::new(attributes),
        header_length: U16::new(HEADER),
        checksum: U16::ZERO,
        extension: U16::ZERO,
        reserved: 0,
        revision: REVISION,
        blocks,
        end_of_blocks: Blocks { count: U32::ZERO, size: U32::ZERO },
    };
    header.checksum = U16::new(volume::sum(&header).wrapping_neg());
    let store = StoreHeader {
        kind: AUTHENTICATED_STORE,
        size: U32::new(variables.saturating_sub(HEADER.into())),
        format: FORMATTED,
        state: HEALTHY,
        reserved: [0; 6],
    };
    [header.as_bytes(), store.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uefi::{Store, sample};

    /// What AAVMF itself has written at the beginning of 64 MiB of flash: Debian's AAVMF_VARS.ms.fd.
    const WRITTEN: [u8; 100] = [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9,
        0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50, 0, 0, 0x0c, 0, 0, 0, 0, 0, 0x5f, 0x46, 0x56, 0x48, 0x36,
        0x0e, 0, 0, 0x48, 0, 0xf8, 0xf8, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x78,
        0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92, 0xb8, 0xff,
        3, 0, 0x5a, 0xfe, 0, 0, 0, 0, 0, 0,
    ];

    #[test]
    fn aavmf_s_store_is_what_aavmf_itself_writes_but_for_the_size_of_the_chip() {
        let mut expected = WRITTEN;
        // Three blocks in place of 256, and so much more in the checksum.
        expected[56..58].copy_from_slice(&[3, 0]);
        expected[50..52].copy_from_slice(&(0xf8f8u16 + 256 - 3).to_le_bytes());
        let store = aavmf_store();
        assert_eq!(store[..100], expected);
        assert_eq!(store.len(), 768 << 10);
        assert!(store[100..].iter().all(|byte| *byte == 0xff));
    }

    #[test]
    fn variables_go_into_aavmf_s_store_and_into_one_on_a_bigger_chip() {
        let mut written = WRITTEN.to_vec();
        written.resize(AAVMF_STORE, 0xff);
        for template in [aavmf_store(), written] {
            let variables = sample::some(7);
            let image = Store::build(&template, &variables).unwrap();
            assert_eq!(image[..100], template[..100]);
            assert_eq!(Store::parse(&image).unwrap().variables(), variables);
        }
    }
}
