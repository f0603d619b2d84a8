//! The memory map, as an e820 table (ACPI 6.5 §15.1): for a firmware, which carves its own pieces out of it, and
//! for a kernel that is started without one.

use crate::board::Board;
use ami_run_memory::Range;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub(crate) const RAM: u32 = 1;
pub(crate) const RESERVED: u32 = 2;

const FOUR_GIB: u64 = 1 << 32;
/// RAM for programs ends here; the VGA window follows.
const CONVENTIONAL_END: u64 = 0xa_0000;
/// Where an OS looks for the RSDP and the SMBIOS anchor.
pub(crate) const F_SEGMENT: Range = Range { start: 0xf_0000, len: 0x1_0000 };
pub(crate) const ONE_MIB: u64 = 0x10_0000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Entry {
    pub start: U64,
    pub length: U64,
    pub kind: U32,
}

const _: () = assert!(size_of::<Entry>() == 20);

fn entry(range: Range, kind: u32) -> Entry {
    Entry { start: range.start.into(), length: range.len.into(), kind: kind.into() }
}

fn between(start: u64, end: u64) -> Range {
    Range::new(start, end.saturating_sub(start))
}

/// Where RAM below the PCI hole ends.
pub(crate) fn low_end(board: &Board) -> u64 {
    board.ram.iter().filter(|range| range.start < FOUR_GIB).map(|range| range.end()).max().unwrap_or(0)
}

/// RAM above 4 GiB, and what nobody may use.
fn beyond_low(board: &Board) -> impl Iterator<Item = Entry> {
    let high = board.ram.iter().filter(|range| range.start >= FOUR_GIB);
    high.map(|range| entry(*range, RAM)).chain(board.reserved.iter().map(|range| entry(*range, RESERVED)))
}

/// Low RAM is one entry from zero: SeaBIOS makes the holes below 1 MiB itself.
pub(crate) fn for_firmware(board: &Board) -> Vec<Entry> {
    let low = entry(between(0, low_end(board)), RAM);
    std::iter::once(low).chain(beyond_low(board)).collect()
}

/// The map for a kernel, with the tables where they are: in `tables`, the last thing in low RAM, and in the
/// F-segment. They are not called ACPI data, which an OS may take once it has read it: the VM generation id stays.
pub(crate) fn for_kernel(board: &Board, tables: Range) -> Vec<Entry> {
    let low = [
        entry(between(0, CONVENTIONAL_END), RAM),
        entry(F_SEGMENT, RESERVED),
        entry(between(ONE_MIB, tables.start), RAM),
        entry(between(tables.start, low_end(board)), RESERVED),
    ];
    low.into_iter().chain(beyond_low(board)).collect()
}

pub(crate) fn bytes(entries: &[Entry]) -> Vec<u8> {
    entries.as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::sample;

    #[test]
    fn firmware_sees_low_ram_whole_whatever_slots_it_is_made_of() {
        let mut board = sample::board();
        board.ram =
            vec![Range::new(0, 0xa_0000), Range::new(0xc_0000, 0x3ff4_0000), Range::new(1 << 32, 1 << 30)];
        let expected = [
            entry(Range::new(0, 0x4000_0000), RAM),
            entry(Range::new(1 << 32, 1 << 30), RAM),
            entry(Range::new(0xfeff_c000, 0x4000), RESERVED),
        ];
        assert_eq!(for_firmware(&board), expected);
        assert_eq!(bytes(&expected).len(), 60);
    }

    #[test]
    fn a_kernel_sees_the_tables_as_reserved_and_nothing_twice() {
        let board = sample::board();
        let end = low_end(&board);
        let map = for_kernel(&board, Range::new(end - 0x2000, 0x2000));
        let ranges: Vec<Range> = map.iter().map(|e| Range::new(e.start.get(), e.length.get())).collect();
        for (i, range) in ranges.iter().enumerate() {
            assert!(range.len > 0);
            assert!(ranges.iter().skip(i + 1).all(|other| !range.overlaps(*other)), "{range:x?}");
        }
        assert!(map.contains(&entry(Range::new(end - 0x2000, 0x2000), RESERVED)));
    }
}
