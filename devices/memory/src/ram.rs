//! RAM and read-only firmware pages: mapped once for a process' life, kept over a reset of the machine.
#![expect(unsafe_code, reason = "madvise on guest memory")]

use crate::{Bitmap, Buffers, Gpa, MemoryError, Range};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
    MemoryRegionAddress, MmapRegion,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What the host and KVM map by one entry where the guest's and the host's address allow it.
const LARGE_PAGE: u64 = 2 << 20;
/// How often a better place for a range is looked for.
const MAX_SPACERS: usize = 8;

/// vm-memory's view of the RAM, for the crates of that family (virtio-queue, linux-loader).
pub type Ram = GuestMemoryMmap<Bitmap>;

/// A piece of guest memory as the hypervisor maps it.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    pub gpa: u64,
    pub len: u64,
    pub host: u64,
    pub read_only: bool,
}

/// The RAM of a machine. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Memory {
    ram: Arc<Ram>,
}

impl Memory {
    /// Reserves RAM for these ranges; nothing is touched before the guest touches it.
    pub fn new(ranges: &[Range]) -> Result<Memory, MemoryError> {
        let total = ranges.iter().fold(0u64, |sum, range| sum.saturating_add(range.len));
        let fail = |cause: String| MemoryError::Reserve { size: total >> 20, cause };
        let mut regions = Vec::new();
        for range in ranges {
            let region = map(*range).map_err(fail)?;
            want_large_pages(&region);
            regions.push(region);
        }
        let ram = Ram::from_regions(regions).map_err(|cause| fail(cause.to_string()))?;
        Ok(Memory { ram: Arc::new(ram) })
    }

    #[must_use]
    pub fn ram(&self) -> &Ram {
        &self.ram
    }

    #[must_use]
    pub fn shared(&self) -> Arc<Ram> {
        Arc::clone(&self.ram)
    }

    pub fn read(&self, gpa: Gpa, into: &mut [u8]) -> Result<(), MemoryError> {
        let len = into.len() as u64;
        self.ram.read_slice(into, GuestAddress(gpa.0)).map_err(|_| MemoryError::OutOfRange { gpa, len })
    }

    pub fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), MemoryError> {
        let len = bytes.len() as u64;
        self.ram.write_slice(bytes, GuestAddress(gpa.0)).map_err(|_| MemoryError::OutOfRange { gpa, len })
    }

    /// Copies a record out of guest memory.
    pub fn read_record<T: FromBytes + IntoBytes>(&self, gpa: Gpa) -> Result<T, MemoryError> {
        let mut record = T::new_zeroed();
        self.read(gpa, record.as_mut_bytes())?;
        Ok(record)
    }

    pub fn write_record<T: IntoBytes + Immutable>(&self, gpa: Gpa, record: &T) -> Result<(), MemoryError> {
        self.write(gpa, record.as_bytes())
    }

    /// Reads a number that the guest may be writing, in one access; what is read after it is at least as new.
    pub fn load_u32(&self, gpa: Gpa) -> Result<u32, MemoryError> {
        let wrong = |_| MemoryError::OutOfRange { gpa, len: 4 };
        self.ram.load(GuestAddress(gpa.0), Ordering::Acquire).map_err(wrong)
    }

    /// Writes a number that the guest may be reading, in one access, after all that was written before.
    pub fn store_u32(&self, gpa: Gpa, value: u32) -> Result<(), MemoryError> {
        let wrong = |_| MemoryError::OutOfRange { gpa, len: 4 };
        self.ram.store(value, GuestAddress(gpa.0), Ordering::Release).map_err(wrong)
    }

    /// An empty list of I/O buffers in this memory.
    #[must_use]
    pub fn buffers(&self) -> Buffers {
        Buffers::new(self.shared())
    }

    /// Where each range of RAM lies in this process.
    #[must_use]
    pub fn slots(&self) -> Vec<Slot> {
        self.ram.iter().filter_map(|region| slot_of(region, false)).collect()
    }

    /// Forgets all content: every byte reads as zero, and the host gets the pages back.
    pub fn clear(&self) {
        for region in self.ram.iter() {
            // SAFETY: the range is one whole private anonymous mapping that `region` owns; MADV_DONTNEED only
            // replaces its pages by zero pages, and all access to it is volatile.
            let result = unsafe { libc::madvise(region.as_ptr().cast(), region.size(), libc::MADV_DONTNEED) };
            debug_assert_eq!(result, 0);
        }
    }
}

/// Maps a range where its host address is the guest's modulo the size of a large page. Linux since 6.7 does so by
/// itself; before, it puts a mapping right below the last one, so that one of the right size in between moves it.
/// Should that fail, the guest only runs more slowly.
fn map(range: Range) -> Result<GuestRegionMmap<Bitmap>, String> {
    let len = usize::try_from(range.len).map_err(|cause| cause.to_string())?;
    let mut spacers = Vec::new();
    loop {
        let mapping = MmapRegion::<Bitmap>::new(len).map_err(|cause| cause.to_string())?;
        let beyond = (mapping.as_ptr() as u64).wrapping_sub(range.start) % LARGE_PAGE;
        if beyond == 0 || range.len < LARGE_PAGE || spacers.len() == MAX_SPACERS {
            let region = GuestRegionMmap::new(mapping, GuestAddress(range.start));
            return region.ok_or_else(|| "address overflow".to_owned());
        }
        drop(mapping);
        // A small one may find a gap elsewhere, where it moves nothing: the next is larger by whole pages.
        let more = if spacers.is_empty() { 0 } else { LARGE_PAGE << spacers.len() };
        let spacer = usize::try_from(beyond.wrapping_add(more)).map_err(|cause| cause.to_string())?;
        spacers.push(MmapRegion::<Bitmap>::new(spacer).map_err(|cause| cause.to_string())?);
    }
}

/// Asks the host for large pages: a guest of small ones exits four times as often for missing memory. Not below the
/// first of them, where firmware and the VGA hole leave room for none.
fn want_large_pages(region: &GuestRegionMmap<Bitmap>) {
    let skipped = LARGE_PAGE.saturating_sub(region.start_addr().0).min(region.len());
    let rest = region.len().saturating_sub(skipped);
    let (Ok(skipped), Ok(rest)) = (usize::try_from(skipped), usize::try_from(rest)) else { return };
    // SAFETY: `skipped` is at most the mapping's length.
    let start = unsafe { region.as_ptr().add(skipped) };
    // A host without large pages refuses, and that is all right.
    // SAFETY: the range is within a private anonymous mapping that `region` owns; its content does not change.
    unsafe { libc::madvise(start.cast(), rest, libc::MADV_HUGEPAGE) };
}

fn slot_of(region: &GuestRegionMmap<Bitmap>, read_only: bool) -> Option<Slot> {
    let host = region.get_host_address(MemoryRegionAddress(0)).ok()?;
    Some(Slot { gpa: region.start_addr().0, len: region.len(), host: host as u64, read_only })
}

/// Firmware in memory that the guest can only read and run, at full speed; devices don't see it.
#[derive(Debug)]
pub struct Rom {
    region: GuestRegionMmap<Bitmap>,
}

impl Rom {
    pub fn new(gpa: u64, content: &[u8]) -> Result<Rom, MemoryError> {
        if content.is_empty() || !content.len().is_multiple_of(4096) {
            return Err(MemoryError::RomSize(content.len()));
        }
        let fail = |cause: String| MemoryError::Reserve { size: content.len() as u64 >> 20, cause };
        let mapping = MmapRegion::new(content.len()).map_err(|cause| fail(cause.to_string()))?;
        let region = GuestRegionMmap::new(mapping, GuestAddress(gpa))
            .ok_or_else(|| fail("address overflow".to_owned()))?;
        region.write_slice(content, MemoryRegionAddress(0)).map_err(|cause| fail(cause.to_string()))?;
        Ok(Rom { region })
    }

    /// Bytes of a file from `offset` on, a multiple of 4096, read as the guest touches them: a megabyte of firmware costs a launch nothing, and
    /// all machines share it. It cannot be written to.
    pub fn of_file(gpa: u64, file: File, offset: u64, len: usize) -> Result<Rom, MemoryError> {
        if len == 0 || !len.is_multiple_of(4096) {
            return Err(MemoryError::RomSize(len));
        }
        let fail = |cause: String| MemoryError::Reserve { size: len as u64 >> 20, cause };
        let has = file.metadata().map_err(|cause| fail(cause.to_string()))?.len();
        if has < offset.saturating_add(len as u64) {
            // The guest would stop at the first page behind the file's end.
            return Err(fail(format!("the file has {has} bytes")));
        }
        let (protection, flags) = (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_NORESERVE);
        let mapping = MmapRegion::build(Some(FileOffset::new(file, offset)), len, protection, flags)
            .map_err(|cause| fail(cause.to_string()))?;
        let region = GuestRegionMmap::new(mapping, GuestAddress(gpa))
            .ok_or_else(|| fail("address overflow".to_owned()))?;
        Ok(Rom { region })
    }

    /// Changes what the guest reads, if it was made of bytes.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        let gpa = Gpa(self.region.start_addr().0.saturating_add(offset));
        let outside = || MemoryError::OutOfRange { gpa, len: bytes.len() as u64 };
        if self.region.prot() & libc::PROT_WRITE == 0 {
            return Err(outside());
        }
        self.region.write_slice(bytes, MemoryRegionAddress(offset)).map_err(|_| outside())
    }

    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        slot_of(&self.region, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_ranges() -> Memory {
        Memory::new(&[Range::new(0, 0x10000), Range::new(0x1_0000_0000, 0x1000)]).unwrap()
    }

    #[test]
    fn bytes_come_back_and_clear_forgets_them() {
        let memory = two_ranges();
        memory.write(Gpa(0xfffe), &[1, 2]).unwrap();
        memory.write_record(Gpa(0x1_0000_0000), &0x1122_3344u32).unwrap();
        let mut bytes = [0; 2];
        memory.read(Gpa(0xfffe), &mut bytes).unwrap();
        assert_eq!(bytes, [1, 2]);
        assert_eq!(memory.read_record::<u32>(Gpa(0x1_0000_0000)).unwrap(), 0x1122_3344);
        memory.clear();
        assert_eq!(memory.read_record::<u32>(Gpa(0x1_0000_0000)).unwrap(), 0);
    }

    /// With a page more than Linux aligns by itself. Other tests map memory at the same time, which may spoil a try.
    #[test]
    fn large_pages_fit_into_ram() {
        let aligned = || {
            let memory =
                Memory::new(&[Range::new(0, (48 << 20) + 4096), Range::new(1 << 32, 16 << 20)]).unwrap();
            memory.slots().iter().all(|slot| (slot.host - slot.gpa) % LARGE_PAGE == 0)
        };
        assert!((0..100).any(|_| aligned()));
    }

    #[test]
    fn an_address_that_is_not_memory_is_an_error() {
        let memory = two_ranges();
        for gpa in [0xffff, 0x10000, 0x1_0000_0fff, u64::MAX] {
            assert!(memory.write(Gpa(gpa), &[0; 2]).is_err(), "{gpa:#x}");
            assert!(memory.read(Gpa(gpa), &mut [0; 2]).is_err(), "{gpa:#x}");
        }
    }

    #[test]
    fn a_number_is_read_and_written_in_one_access_at_its_own_alignment() {
        let memory = two_ranges();
        memory.store_u32(Gpa(0xfffc), 0x1122_3344).unwrap();
        assert_eq!(memory.load_u32(Gpa(0xfffc)).unwrap(), 0x1122_3344);
        assert_eq!(memory.read_record::<u32>(Gpa(0xfffc)).unwrap(), 0x1122_3344);
        for gpa in [0x10000, 2, u64::MAX - 3] {
            assert!(memory.store_u32(Gpa(gpa), 1).is_err(), "{gpa:#x}");
            assert!(memory.load_u32(Gpa(gpa)).is_err(), "{gpa:#x}");
        }
    }

    #[test]
    fn a_rom_s_bytes_are_those_of_its_file_and_change_where_they_are_written() {
        use std::io::Write as _;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 8192]).unwrap();
        let mapped = Rom::of_file(0xffff_e000, file.try_clone().unwrap(), 0, 8192).unwrap();
        let mut last = [0; 2];
        mapped.region.read_slice(&mut last, MemoryRegionAddress(8190)).unwrap();
        assert_eq!(last, [7; 2]);
        assert!(mapped.write(0, &[1]).is_err(), "a file's");
        for (offset, len) in [(0, 0), (0, 100), (0, 12288), (4096, 8192), (100, 4096)] {
            let bad = Rom::of_file(0xffff_e000, file.try_clone().unwrap(), offset, len);
            assert!(bad.is_err(), "{offset} {len}");
        }
        let rom = Rom::new(0xffff_f000, &[0xff; 4096]).unwrap();
        rom.write(4094, &[1, 2]).unwrap();
        rom.region.read_slice(&mut last, MemoryRegionAddress(4094)).unwrap();
        assert_eq!(last, [1, 2]);
        assert!(rom.write(4095, &[1, 2]).is_err() && rom.write(u64::MAX, &[1]).is_err());
    }

    #[test]
    fn a_rom_wants_whole_pages() {
        assert!(Rom::new(0xffff_f000, &[0; 4096]).unwrap().slot().unwrap().read_only);
        assert!(Rom::new(0xffff_f000, &[]).is_err());
        assert!(Rom::new(0xffff_f000, &[0; 100]).is_err());
    }
}
