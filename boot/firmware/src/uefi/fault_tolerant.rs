//! EDK II's fault-tolerant write (FaultTolerantWriteDxe), as far as a reader needs it. When the firmware throws
//! replaced variables away, it writes the new content into the spare area, notes that in a queue, and only then
//! erases and writes the variables. Cut off in between, the variables are half written, and the firmware's next start
//! takes them from the spare area: so does who reads the store.

use super::spec::{
    BLOCK_VALID, SPARE_COMPLETE, TARGET_COMPLETE, WRITES_ALLOCATED, WRITES_COMPLETE, WorkingBlock, Write,
    Writes, record,
};
use super::volume::{Volume, WriteAreas};
use std::borrow::Cow;

/// The image as the firmware's next start will have it.
pub(super) fn finished<'a>(image: &'a [u8], volume: &Volume) -> Cow<'a, [u8]> {
    let unfinished = || {
        let areas = volume.write_areas.as_ref()?;
        let write = last_write(image, areas)?;
        // Both say where the target is; where they disagree, this is not the queue of this spare area.
        let target = usize::try_from(write.block.get()).ok()?.checked_mul(volume.block)?;
        let ahead = i64::try_from(target).ok()?.checked_sub(i64::try_from(areas.spare.start).ok()?)?;
        if write.relative_offset.get() != ahead {
            return None;
        }
        let length = write.offset.get().checked_add(write.length.get())?;
        let length = usize::try_from(length).ok()?.checked_next_multiple_of(volume.block)?;
        let new = image.get(areas.spare.clone())?.get(..length)?;
        let mut image = image.to_vec();
        image.get_mut(target..target.checked_add(length)?)?.copy_from_slice(new);
        Some(image)
    };
    unfinished().map_or(Cow::Borrowed(image), Cow::Owned)
}

/// The write that the spare area has whole and its target has not.
fn last_write(image: &[u8], areas: &WriteAreas) -> Option<Write> {
    let block: WorkingBlock = record(image, areas.queue.start.checked_sub(size_of::<WorkingBlock>())?)?;
    if block.flags != BLOCK_VALID {
        return None;
    }
    let queue = image.get(areas.queue.clone())?;
    let mut at = 0usize;
    loop {
        let writes: Writes = record(queue, at)?;
        if writes.flags & WRITES_ALLOCATED != 0 {
            return None;
        }
        let first = at.checked_add(size_of::<Writes>())?;
        let private = usize::try_from(writes.private_size.get()).ok()?;
        let step = size_of::<Write>().checked_add(private)?;
        let length = usize::try_from(writes.count.get()).ok()?.checked_mul(step)?;
        let end = first.checked_add(length)?;
        if writes.flags & WRITES_COMPLETE != 0 {
            return unfinished_of(queue.get(first..end)?, step);
        }
        at = end;
    }
}

/// The first that is not complete, if its content is safe.
fn unfinished_of(writes: &[u8], step: usize) -> Option<Write> {
    let mut writes = writes.chunks(step).filter_map(|write| record::<Write>(write, 0));
    let write = writes.find(|write| write.flags & TARGET_COMPLETE != 0)?;
    (write.flags & SPARE_COMPLETE == 0).then_some(write)
}
