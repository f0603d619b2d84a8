//! Physical region pages (NVMe 1.4, section 4.3): from the two pointers of a command to pieces of guest memory.

use super::spec::{PAGE, Status};
use ami_run_memory::{Buffers, Gpa, Memory};

/// MDTS as the power of two of pages, and in bytes: no command moves more.
pub(super) const MAX_TRANSFER_PAGES: u8 = 7;
pub(super) const MAX_TRANSFER: u64 = PAGE << MAX_TRANSFER_PAGES;
/// Bytes of an entry in a list.
const ENTRY: u64 = 8;

/// The `len` bytes that the pointers describe. `len` is at most [`MAX_TRANSFER`], which bounds the walk: a list
/// that leads back to itself is read like any other, and ends.
pub(super) fn buffers(memory: &Memory, prp1: u64, prp2: u64, len: u64) -> Result<Buffers, Status> {
    if len > MAX_TRANSFER {
        return Err(Status::INVALID_FIELD);
    }
    if prp1 & 3 != 0 {
        return Err(Status::INVALID_PRP_OFFSET);
    }
    let mut buffers = memory.buffers();
    let first = PAGE.saturating_sub(prp1 % PAGE).min(len);
    push(&mut buffers, prp1, first)?;
    let rest = len.saturating_sub(first);
    if rest > PAGE {
        walk(memory, prp2, rest, &mut buffers)?;
    } else if rest > 0 {
        page(&mut buffers, prp2, rest)?;
    }
    Ok(buffers)
}

/// Goes through the list at `at`, and through those that it continues in.
fn walk(memory: &Memory, mut at: u64, len: u64, buffers: &mut Buffers) -> Result<(), Status> {
    if !at.is_multiple_of(ENTRY) {
        return Err(Status::INVALID_PRP_OFFSET);
    }
    let mut left = len;
    while left > 0 {
        let slots = PAGE.saturating_sub(at % PAGE) / ENTRY;
        let wanted = left.div_ceil(PAGE);
        let count = wanted.min(slots);
        let mut list = [0; 4096];
        let bytes = usize::try_from(count.saturating_mul(ENTRY)).unwrap_or(0);
        let list = list.get_mut(..bytes).unwrap_or_default();
        memory.read(Gpa(at), list).map_err(|_| Status::DATA_TRANSFER)?;
        // Where a page doesn't hold the whole list, its last entry is where the list goes on.
        let here = if wanted > slots { slots.saturating_sub(1) } else { count };
        let mut entries = list.as_chunks().0.iter().map(|entry| u64::from_le_bytes(*entry));
        for _ in 0..here {
            let size = left.min(PAGE);
            page(buffers, entries.next().unwrap_or(u64::MAX), size)?;
            left = left.saturating_sub(size);
        }
        if let Some(next) = entries.next() {
            if !next.is_multiple_of(PAGE) {
                return Err(Status::INVALID_PRP_OFFSET);
            }
            at = next;
        }
    }
    Ok(())
}

/// A page after the first begins at its start.
fn page(buffers: &mut Buffers, at: u64, len: u64) -> Result<(), Status> {
    if !at.is_multiple_of(PAGE) {
        return Err(Status::INVALID_PRP_OFFSET);
    }
    push(buffers, at, len)
}

fn push(buffers: &mut Buffers, at: u64, len: u64) -> Result<(), Status> {
    buffers.push(Gpa(at), len).map_err(|_| Status::DATA_TRANSFER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ami_run_memory::Range;

    fn memory() -> Memory {
        Memory::new(&[Range::new(0, 1 << 20)]).unwrap()
    }

    fn put_list(memory: &Memory, at: u64, entries: &[u64]) {
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        memory.write(Gpa(at), &bytes).unwrap();
    }

    /// The first byte of every page of the memory is the page's number.
    fn pages_of(memory: &Memory, prp1: u64, prp2: u64, len: u64) -> Vec<u8> {
        let found = buffers(memory, prp1, prp2, len).unwrap();
        assert_eq!(found.len(), len);
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        found.get(0, &mut bytes).unwrap();
        bytes.chunks(4096).map(|page| page[0]).collect()
    }

    #[test]
    fn one_page_two_pages_and_lists() {
        let memory = memory();
        for page in 0..=255u8 {
            memory.write(Gpa(u64::from(page) << 12), &[page]).unwrap();
        }
        assert_eq!(pages_of(&memory, 0x5000, 1, 4096), [5], "the second pointer is not looked at");
        assert_eq!(pages_of(&memory, 0x5000, 0x9000, 8192), [5, 9]);
        put_list(&memory, 0x3008, &[0x7000, 0x6000, 0x8000]);
        assert_eq!(pages_of(&memory, 0x5000, 0x3008, 3 * 4096), [5, 7, 6]);
        let found = buffers(&memory, 0x5ffc, 0x3008, 4 + 4096 + 4).unwrap();
        let mut bytes = [0; 5];
        found.get(0, &mut bytes).unwrap();
        assert_eq!(bytes, [0, 0, 0, 0, 7], "the first piece is what is left of its page");
    }

    #[test]
    fn a_list_goes_on_where_its_page_ends() {
        let memory = memory();
        for page in 0..=255u8 {
            memory.write(Gpa(u64::from(page) << 12), &[page]).unwrap();
        }
        // Two entries are left in the first page: one page, then the next list; there all the rest.
        put_list(&memory, 0x4ff0, &[0x10000, 0x2000]);
        put_list(&memory, 0x2000, &[0x11000, 0x12000]);
        assert_eq!(pages_of(&memory, 0xf000, 0x4ff0, 4 * 4096), [15, 16, 17, 18]);
        put_list(&memory, 0x4ff8, &[0x2000]);
        assert_eq!(pages_of(&memory, 0xf000, 0x4ff8, 3 * 4096), [15, 17, 18], "one entry left: only a link");
    }

    #[test]
    fn wrong_pointers_have_their_status() {
        let memory = memory();
        let status = |prp1, prp2, len| buffers(&memory, prp1, prp2, len).unwrap_err();
        assert_eq!(status(0x1001, 0, 512), Status::INVALID_PRP_OFFSET);
        assert_eq!(status(0x1000, 0x2004, 8192), Status::INVALID_PRP_OFFSET);
        assert_eq!(status(0x1000, 0x2004, 12288), Status::INVALID_PRP_OFFSET);
        assert_eq!(status(0, 0, MAX_TRANSFER + 1), Status::INVALID_FIELD);
        assert_eq!(status(1 << 20, 0, 512), Status::DATA_TRANSFER);
        assert_eq!(status(u64::MAX - 4095, 0, 512), Status::DATA_TRANSFER);
        assert_eq!(status(0x1000, 1 << 40, 8192), Status::DATA_TRANSFER);
        assert_eq!(status(0x1000, 1 << 40, 12288), Status::DATA_TRANSFER);
        put_list(&memory, 0x3000, &[0x4000, 0x5001]);
        assert_eq!(status(0x1000, 0x3000, 12288), Status::INVALID_PRP_OFFSET);
        put_list(&memory, 0x3ff8, &[0x4008]);
        assert_eq!(status(0x1000, 0x3ff8, 12288), Status::INVALID_PRP_OFFSET, "a link not to a page's start");
    }

    #[test]
    fn a_list_of_itself_ends() {
        let memory = memory();
        put_list(&memory, 0x3000, &[0x3000; 512]);
        assert_eq!(buffers(&memory, 0x3000, 0x3000, MAX_TRANSFER).unwrap().len(), MAX_TRANSFER);
        assert_eq!(buffers(&memory, 0x3000, 0x3ff8, MAX_TRANSFER).unwrap().len(), MAX_TRANSFER);
    }
}
