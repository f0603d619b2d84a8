//! qcow2, versions 2 and 3, by the crate imago: its tables, compressed clusters and chains of backing files. What it
//! does not check is checked here: the header before it sees the file, where a file's name may lead, and that data is
//! in the file at all and not past an end that came too early.
//!
//! Left out: clusters compressed by zstd, extended L2 entries, encryption, internal snapshots (what is read is the
//! active state), images that were not closed.

mod chain;
mod header;
mod packed;

use super::read::{Reader, all_zero, fault};
use super::{Content, Fetch, Part};
use crate::StorageError;
use chain::Layer;
use imago::file::File;
use imago::qcow2::Qcow2;
use imago::raw::Raw;
use imago::{FormatAccess, Mapping, Storage};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::io;
use std::sync::Arc;

/// How much of second tables the crate may have in memory before it starts anew: it keeps 128 clusters of them for
/// every layer, which is 256 MiB a layer in files with the largest clusters.
const MOST_CACHED: u64 = 32 << 20;

/// A qcow2 file with all that backs it.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// The file that was named.
    first: Reader,
    layers: Arc<[Layer]>,
    size: u64,
    open: Arc<Mutex<Open>>,
}

/// The crate's view of the files, shared by all fetchers.
#[derive(Debug)]
struct Open {
    access: Arc<FormatAccess<File>>,
    tables: Tables,
}

/// Which second tables may have been read since the files were opened.
#[derive(Default, Debug)]
struct Tables {
    /// Layer and number.
    seen: HashSet<(usize, u64)>,
    bytes: u64,
}

impl Tables {
    /// Counts those of a layer that say where `len` bytes at `offset` are.
    fn touch(&mut self, layer: usize, cluster: u64, offset: u64, len: u64) {
        // A table is one cluster of entries of 8 bytes.
        let span = cluster.saturating_mul(cluster / 8).max(1);
        let last = offset.saturating_add(len.saturating_sub(1)).checked_div(span).unwrap_or(0);
        for number in offset.checked_div(span).unwrap_or(0)..=last {
            if self.seen.insert((layer, number)) {
                self.bytes = self.bytes.saturating_add(cluster);
            }
        }
    }
}

impl Image {
    pub(super) fn open(reader: Reader) -> Result<Image, StorageError> {
        let layers = chain::open_chain(reader.clone())?;
        let size = layers.first().and_then(|layer| layer.header.as_ref()).map_or(0, |header| header.size);
        let access = Arc::new(access(&layers)?);
        let open = Arc::new(Mutex::new(Open { access, tables: Tables::default() }));
        Ok(Image { first: reader, layers: layers.into(), size, open })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn parts(&self) -> Vec<Part> {
        let files = self.layers.iter().flat_map(|layer| [Some(&layer.reader), layer.data.as_ref()]);
        files.flatten().map(|reader| reader.part().clone()).collect()
    }

    /// The crate's view, to read `len` bytes at `offset`: a new one where the tables of the old one are many.
    fn access(&self, offset: u64, len: u64) -> Result<Arc<FormatAccess<File>>, StorageError> {
        let mut open = self.open.lock();
        if open.tables.bytes > MOST_CACHED {
            *open = Open { access: Arc::new(access(&self.layers)?), tables: Tables::default() };
        }
        for (number, layer) in self.layers.iter().enumerate() {
            if let Some(header) = &layer.header {
                open.tables.touch(number, header.cluster, offset, len);
            }
        }
        Ok(Arc::clone(&open.access))
    }

    /// Fills `to` with the disk's bytes at `offset`, piece by piece as the tables have them.
    fn read(&self, offset: u64, to: &mut [u8]) -> Result<Content, StorageError> {
        let access = self.access(offset, to.len() as u64)?;
        let wrong = |error: io::Error| self.wrong(&error);
        let (mut at, mut rest, mut content) = (offset, to, Content::Zeroes);
        while !rest.is_empty() {
            let (mapping, len) = access.get_mapping(at, rest.len() as u64).map_err(wrong)?;
            let len = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
            if len == 0 {
                return Err(self.wrong(&io::Error::other(format!("nothing says what is at {at}"))));
            }
            let (piece, behind) = rest.split_at_mut(len);
            match mapping {
                Mapping::Zero { .. } | Mapping::Eof { .. } => piece.fill(0),
                Mapping::Raw { storage, offset, .. } => {
                    self.check_end(storage, offset, piece.len() as u64)?;
                    access.read(&mut *piece, at).map_err(wrong)?;
                    content = Content::Data;
                }
                _ => {
                    self.check_packed(at, piece.len() as u64)?;
                    access.read(&mut *piece, at).map_err(wrong)?;
                    content = Content::Data;
                }
            }
            at = at.saturating_add(len as u64);
            rest = behind;
        }
        Ok(content)
    }

    /// The crate reads zeroes past a file's end. The last cluster may reach over it; one that is behind it has been
    /// cut off.
    fn check_end(&self, storage: &File, offset: u64, len: u64) -> Result<(), StorageError> {
        let size = storage.size().map_err(|error| self.wrong(&error))?;
        let cluster =
            self.layers.iter().filter_map(|layer| layer.header.as_ref()).map(|header| header.cluster).max();
        let end = offset.saturating_add(len).saturating_sub(cluster.unwrap_or(0));
        if offset >= size || end >= size {
            let what = format!(
                "its data at {offset} is past the end of a file of {size} bytes, which was cut short"
            );
            return Err(self.first.damaged(what));
        }
        Ok(())
    }

    fn check_packed(&self, offset: u64, len: u64) -> Result<(), StorageError> {
        // Which layer has them is not said; the smallest clusters of all are steps that leave none out.
        let clusters =
            self.layers.iter().filter_map(|layer| layer.header.as_ref()).map(|header| header.cluster);
        let step = usize::try_from(clusters.min().unwrap_or(512)).unwrap_or(512);
        (offset..offset.saturating_add(len)).step_by(step).try_for_each(|at| packed::check(&self.layers, at))
    }

    fn wrong(&self, error: &io::Error) -> StorageError {
        match error.raw_os_error() {
            Some(code) => self.first.unread(io::Error::from_raw_os_error(code)),
            None => self.first.damaged(error.to_string()),
        }
    }
}

/// Puts the files together for the crate, from the last to the first.
fn access(layers: &[Layer]) -> Result<FormatAccess<File>, StorageError> {
    let mut behind = None;
    for Layer { reader, header, data } in layers.iter().rev() {
        let wrong = |error: io::Error| reader.damaged(error.to_string());
        behind = Some(if header.is_none() {
            FormatAccess::new(Raw::open_image(file(reader)?, false).map_err(wrong)?)
        } else {
            let mut image: Qcow2<File> = Qcow2::open_image(file(reader)?, false).map_err(wrong)?;
            image.set_backing(behind.take());
            image.set_data_file(data.as_ref().map(file).transpose()?);
            FormatAccess::new(image)
        });
    }
    behind.ok_or_else(|| StorageError::Empty { path: Default::default() })
}

fn file(reader: &Reader) -> Result<File, StorageError> {
    reader.part().file.try_clone().and_then(File::try_from).map_err(|error| reader.unread(error))
}

impl Fetch for Image {
    fn fetch(&mut self, offset: u64, block: &mut [u8]) -> io::Result<Content> {
        match self.read(offset, block).map_err(fault)? {
            Content::Data if !all_zero(block) => Ok(Content::Data),
            _ => Ok(Content::Zeroes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::test::maker;

    #[test]
    fn tables_are_counted_once() {
        let mut tables = Tables::default();
        tables.touch(0, 64 << 10, 0, 512 << 10);
        tables.touch(0, 64 << 10, 511 << 20, 1 << 20);
        assert_eq!(tables.bytes, 64 << 10);
        tables.touch(0, 64 << 10, 511 << 20, (1 << 20) + 1);
        tables.touch(1, 64 << 10, 0, 1);
        assert_eq!(tables.bytes, 3 * (64 << 10));
        tables.touch(2, 512, 0, 512 << 10);
        assert_eq!(tables.bytes, 3 * (64 << 10) + 16 * 512);
    }

    #[test]
    fn the_crates_view_is_new_when_its_tables_are_many() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), maker::qcow2()).unwrap();
        let part =
            Part { path: file.path().to_owned(), file: Arc::new(std::fs::File::open(file.path()).unwrap()) };
        let image = Image::open(Reader::new(part, 9 * 512, "a qcow2 file")).unwrap();
        let first = image.access(0, 512).unwrap();
        assert!(Arc::ptr_eq(&first, &image.access(1 << 40, 512).unwrap()));
        image.open.lock().tables.bytes = MOST_CACHED + 1;
        let second = image.access(0, 512).unwrap();
        assert!(!Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&second, &image.access(0, 512).unwrap()));
        let mut block = [0; 512];
        assert!(matches!(image.read(0, &mut block), Ok(Content::Data)) && block == [0x11; 512]);
    }
}
