//! The file of a top: data by O_DIRECT where the file system gives it by whole sectors, since a guest has a page cache
//! of its own; all else through the host's. Data and map never share a page, so the two ways never meet.

use super::layout::{self, GRANULE, MAP_SECTOR, MAX_SIZE, PAGE_SECTORS};
use crate::ranges::Ranges;
use crate::{SECTOR, StorageError};
use rustix::fs::{AtFlags, SeekFrom, StatxFlags, seek, statx};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How many pieces of a map are told apart when it is opened; what comes after them counts as one.
const MOST_EXTENTS: usize = 4096;

#[derive(Debug)]
pub(crate) struct TopFile {
    file: File,
    direct: Option<File>,
    /// It has a name, and what is flushed must outlive the machine.
    kept: bool,
}

impl TopFile {
    pub(crate) fn kept(file: File, read_only: bool) -> TopFile {
        TopFile { direct: direct(&file, !read_only), file, kept: true }
    }

    /// A sparse top in a file without a name, which vanishes with the process however it ends.
    pub(crate) fn temporary(folder: &Path, size: u64) -> Result<TopFile, StorageError> {
        let fail = |source| StorageError::Top { folder: folder.to_owned(), size, source };
        let file = tempfile::tempfile_in(folder).map_err(fail)?;
        set_size(&file, size).map_err(fail)?;
        Ok(TopFile { direct: direct(&file, true), file, kept: false })
    }

    /// The host's cached way to it.
    pub(crate) fn cached(&self) -> &File {
        &self.file
    }

    /// The way to its data.
    pub(crate) fn data(&self) -> &File {
        self.direct.as_ref().unwrap_or(&self.file)
    }

    pub(crate) fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    /// Nobody will read it after a crash, and what fails to reach the disk is told by the write itself: then there is
    /// nothing to sync.
    pub(crate) fn needs_sync(&self) -> bool {
        self.kept || self.direct.is_none()
    }

    /// Its map is read again one day.
    pub(crate) fn keeps_map(&self) -> bool {
        self.kept
    }

    /// The pages of the map that hold anything on disk, for a volume of this size.
    pub(crate) fn map_pages(&self, size: u64) -> io::Result<Ranges> {
        const PAGE: u64 = PAGE_SECTORS * MAP_SECTOR;
        let end = layout::pages(size);
        let number = |offset: u64| offset.saturating_sub(layout::map_sector(0)) / PAGE;
        let (mut pages, mut at) = (Ranges::default(), layout::map_sector(0));
        for extent in 0..=MOST_EXTENTS {
            let data = match seek(&self.file, SeekFrom::Data(at)) {
                Ok(data) => data.max(at),
                Err(Errno::NXIO) => break,
                Err(cause) => return Err(cause.into()),
            };
            if number(data) >= end {
                break;
            }
            let hole = seek(&self.file, SeekFrom::Hole(data))?;
            let last =
                if extent == MOST_EXTENTS { end } else { number(hole.saturating_sub(1)).saturating_add(1) };
            pages.insert(number(data)..last.min(end));
            at = hole;
        }
        Ok(pages)
    }
}

/// Makes room for a volume's size, as far as the file system goes.
pub(crate) fn set_size(file: &File, size: u64) -> io::Result<()> {
    if size > MAX_SIZE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    file.set_len(length(size))
}

/// The bytes of a top: whole granules, so that a read of the last one finds all of it.
pub(crate) fn length(size: u64) -> u64 {
    layout::data(size.next_multiple_of(GRANULE))
}

/// A second way to the same file, where it takes whole sectors from memory that is aligned to sectors.
fn direct(file: &File, writes: bool) -> Option<File> {
    let told = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    let fits = |align: u32| align != 0 && u64::from(align) <= SECTOR;
    let gives = StatxFlags::from_bits_retain(told.stx_mask).contains(StatxFlags::DIOALIGN);
    if !gives || !fits(told.stx_dio_mem_align) || !fits(told.stx_dio_offset_align) {
        return None;
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = libc::O_DIRECT | libc::O_CLOEXEC;
    OpenOptions::new().read(true).write(writes).custom_flags(flags).open(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn only_pages_that_hold_something_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let size = 100 << 30;
        let top = TopFile::temporary(folder.path(), size).unwrap();
        assert!(top.map_pages(size).unwrap().is_empty());
        top.cached().write_all_at(&[1; 512], layout::map_sector(PAGE_SECTORS * 3 + 1)).unwrap();
        top.cached().write_all_at(&[1; 512], layout::data(0)).unwrap();
        top.cached().write_all_at(&[1; 4096], layout::HEADERS[0]).unwrap();
        let mut pages = top.map_pages(size).unwrap();
        assert_eq!((pages.take_first(9), pages.take_first(9)), (Some(3..4), None));
    }
}
