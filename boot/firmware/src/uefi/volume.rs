//! Where things lie in a variable store's image: the firmware volume's header, its blocks, the variables, and the
//! areas of the fault-tolerant write. The sizes are the image's own, so that every build's layout is read: OVMF's of
//! 2 and 4 MiB, AAVMF's.

use super::StoreError;
use super::spec::{
    AUTHENTICATED_STORE, FORMATTED, HEALTHY, PLAIN_STORE, RECORD_ALIGNMENT, StoreHeader,
    VARIABLES_FILE_SYSTEM, VOLUME_SIGNATURE, VolumeHeader, WORKING_BLOCK, WorkingBlock, record,
};
use std::ops::Range;
use zerocopy::IntoBytes;

/// Smaller blocks are of no flash.
const SMALLEST_BLOCK: usize = 256;

/// Both headers are as long as this, and it is a multiple of the records' alignment.
const FIRST_RECORD: usize = size_of::<VolumeHeader>() + size_of::<StoreHeader>();
const _: () = assert!(FIRST_RECORD.is_multiple_of(RECORD_ALIGNMENT));

/// What lies where, from the image's start. The image may be longer than the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Volume {
    pub block: usize,
    /// From the first record on.
    pub variables: Range<usize>,
    /// None where no firmware has made it yet.
    pub write_areas: Option<WriteAreas>,
}

/// Of the fault-tolerant write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WriteAreas {
    /// Of its working block, behind the header.
    pub queue: Range<usize>,
    pub spare: Range<usize>,
}

impl Volume {
    pub(super) fn find(image: &[u8]) -> Result<Volume, StoreError> {
        match record::<VolumeHeader>(image, 0) {
            Some(header) if is_of_variables(&header) => Volume::by(&header, image, 0),
            header => Err(StoreError::Foreign { found: what(image, header.as_ref()) }),
        }
    }

    /// By the header's copy in the spare area, for when the header's own block is the one that was being written.
    pub(super) fn find_in_spare(image: &[u8]) -> Option<Volume> {
        let mut starts = (0..image.len()).step_by(SMALLEST_BLOCK).skip(1);
        let (at, header) = starts.find_map(|at| {
            let header = record(image, at).filter(is_of_variables)?;
            (sum(&header) == 0).then_some((at, header))
        })?;
        let volume = Volume::by(&header, image, at).ok()?;
        volume.write_areas.as_ref().is_some_and(|areas| areas.spare.start == at).then_some(volume)
    }

    /// By a header and the store's header, which follows it.
    fn by(header: &VolumeHeader, image: &[u8], at: usize) -> Result<Volume, StoreError> {
        let bad = |what| StoreError::Damaged { what };
        if usize::from(header.header_length.get()) != size_of::<VolumeHeader>() {
            return Err(bad("its header has an unknown form"));
        }
        if sum(header) != 0 {
            return Err(StoreError::Checksum);
        }
        let length = usize::try_from(header.length.get()).unwrap_or(usize::MAX);
        let truncated = StoreError::Truncated { size: image.len(), needed: header.length.get() };
        let volume = image.get(..length).ok_or(truncated)?;
        let (count, block) = (header.blocks.count.get() as usize, header.blocks.size.get() as usize);
        let known = block.is_power_of_two() && block >= SMALLEST_BLOCK && length.is_multiple_of(block);
        // AAVMF counts the blocks of its whole flash chip, which goes on behind the volume.
        if !known || count.checked_mul(block).is_none_or(|blocks| blocks < length) {
            return Err(bad("its blocks are not as many as fill it"));
        }
        let store = at.checked_add(size_of::<VolumeHeader>()).and_then(|at| record(image, at));
        let variables = variables(&store.ok_or(bad("it ends within its header"))?, length)?;
        let write_areas = write_areas(volume, variables.end, block);
        Ok(Volume { block, variables, write_areas })
    }
}

/// The firmware volume that begins here: its length, and whether it is one of variables.
pub(crate) fn volume_at(image: &[u8]) -> Option<(u64, bool)> {
    let header: VolumeHeader = record(image, 0)?;
    (header.signature == VOLUME_SIGNATURE).then_some((header.length.get(), is_of_variables(&header)))
}

fn is_of_variables(header: &VolumeHeader) -> bool {
    header.signature == VOLUME_SIGNATURE && header.file_system == VARIABLES_FILE_SYSTEM
}

/// Of the header's words, as they add up.
pub(super) fn sum(header: &VolumeHeader) -> u16 {
    let (words, _) = header.as_bytes().as_chunks::<2>();
    words.iter().fold(0, |sum, word| sum.wrapping_add(u16::from_le_bytes(*word)))
}

/// In words, what is no volume of variables.
fn what(image: &[u8], header: Option<&VolumeHeader>) -> &'static str {
    match image {
        [] => "an empty file",
        [b'Q', b'F', b'I', 0xfb, ..] => "a qcow2 file (qemu-img convert -O raw makes one of it)",
        _ if header.is_some_and(|header| header.signature == VOLUME_SIGNATURE) => "firmware itself",
        _ if image.iter().all(|byte| matches!(byte, 0 | 0xff)) => "an empty image",
        _ => "something else",
    }
}

fn variables(header: &StoreHeader, length: usize) -> Result<Range<usize>, StoreError> {
    let bad = |what| Err(StoreError::Damaged { what });
    if header.kind == PLAIN_STORE {
        let found = "a variable store of firmware without authenticated variables";
        return Err(StoreError::Foreign { found });
    }
    if header.kind != AUTHENTICATED_STORE {
        return bad("no variables are where they should be");
    }
    if (header.format, header.state) != (FORMATTED, HEALTHY) {
        return bad("its variables were never made valid");
    }
    let end = size_of::<VolumeHeader>().checked_add(header.size.get() as usize);
    match end {
        Some(end) if end > length => bad("its variables are longer than itself"),
        Some(end) if end >= FIRST_RECORD => Ok(FIRST_RECORD..end),
        _ => bad("its variables are shorter than their header"),
    }
}

/// The first valid working block behind the variables. The spare area follows it to the volume's end.
fn write_areas(volume: &[u8], from: usize, block: usize) -> Option<WriteAreas> {
    let mut at = from.checked_next_multiple_of(block)?;
    loop {
        let header: WorkingBlock = record(volume, at)?;
        if header.signature == WORKING_BLOCK {
            let start = at.checked_add(size_of::<WorkingBlock>())?;
            let end = start.checked_add(usize::try_from(header.queue_size.get()).ok()?)?;
            let spare = end.checked_next_multiple_of(block)?..volume.len();
            return (spare.start <= spare.end).then_some(WriteAreas { queue: start..end, spare });
        }
        at = at.checked_add(block)?;
    }
}
