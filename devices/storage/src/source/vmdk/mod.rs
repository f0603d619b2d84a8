//! VMDK with everything in one file: streamOptimized, as `VBoxManage`, VMware's tools, EC2's export and qemu-img write
//! it, and monolithicSparse. Grains of 64 KiB are found by a directory of tables of sectors.
//!
//! Left out: descriptors with data in other files, delta disks, ESX's formats.

mod header;
mod walk;

use super::read::{Reader, all_zero, fault};
use super::{Content, Fetch};
use crate::{SECTOR, StorageError};
use flate2::{Decompress, FlushDecompress, Status};
use header::Header;
use std::io;

pub(super) use walk::decode;

/// How a VMDK file can be read.
#[derive(Debug)]
pub(super) enum Vmdk {
    Tables(Sparse),
    /// Its tables are missing or damaged, but its grains say themselves where they belong.
    Markers(Stream),
}

/// One that is read from start to end.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    reader: Reader,
    header: Header,
}

impl Stream {
    pub(super) fn size(&self) -> u64 {
        self.header.capacity.saturating_mul(SECTOR)
    }
}

/// One whose tables find every grain.
#[derive(Debug)]
pub(super) struct Sparse {
    reader: Reader,
    header: Header,
    /// In sectors.
    directory: u64,
    grains: Grains,
}

impl Clone for Sparse {
    fn clone(&self) -> Sparse {
        let (reader, header) = (self.reader.clone(), self.header.clone());
        let grains = Grains::new(&header);
        Sparse { reader, header, directory: self.directory, grains }
    }
}

pub(super) fn open(reader: Reader) -> Result<Vmdk, StorageError> {
    let header = Header::read(&reader, 0)?;
    header.check_descriptor(&reader)?;
    match tables(&reader, &header)? {
        Ok(directory) => {
            let grains = Grains::new(&header);
            Ok(Vmdk::Tables(Sparse { reader, header, directory, grains }))
        }
        Err(why) if !header.compressed || !header.markers => Err(reader.damaged(why)),
        Err(_) => Ok(Vmdk::Markers(Stream { reader, header })),
    }
}

/// Where the grain directory is, or why there is none that could be used. Only the directory is looked at: as much
/// of it as is sure to be there in a file of this size.
fn tables(reader: &Reader, header: &Header) -> Result<Result<u64, String>, StorageError> {
    let directory = match header.directory {
        Some(directory) => directory,
        // [footer's marker] [footer] [end's marker] end the file.
        None => {
            let Some(offset) = reader.size().checked_sub(2 * SECTOR) else {
                return Ok(Err("it has no footer; it may have been cut short".to_owned()));
            };
            if !header::is_header(&reader.array::<4>(offset)?) {
                return Ok(Err("it has no footer; it may have been cut short".to_owned()));
            }
            let footer = Header::read(reader, offset)?;
            if (footer.capacity, footer.grain, footer.entries)
                != (header.capacity, header.grain, header.entries)
            {
                return Ok(Err("its header and its footer differ".to_owned()));
            }
            match footer.directory {
                Some(directory) => directory,
                None => return Ok(Err("its footer does not say where the grain directory is".to_owned())),
            }
        }
    };
    let (count, start) = (header.tables(), directory.saturating_mul(SECTOR));
    let end = count.saturating_mul(4).saturating_add(start);
    if directory == 0 || end > reader.size() {
        return Ok(Err(format!("it has no grain directory of {count} entries at sector {directory}")));
    }
    let most = reader.size() / SECTOR;
    let mut at = start;
    while at < end {
        let bytes = reader.up_to((64 << 10).min(end.saturating_sub(at)), at)?;
        for entry in bytes.as_chunks::<4>().0 {
            let table = u64::from(u32::from_le_bytes(*entry));
            if table > most {
                return Ok(Err(format!("its grain directory leads to sector {table}, past its end")));
            }
        }
        at = at.saturating_add(64 << 10);
    }
    Ok(Ok(directory))
}

impl Sparse {
    pub(super) fn size(&self) -> u64 {
        self.header.capacity.saturating_mul(SECTOR)
    }

    /// The sector where a grain is. 0: nowhere, so it is zeroes.
    fn find(&self, grain: u64) -> Result<u64, StorageError> {
        let (table, entry) = (grain.checked_div(self.header.entries), grain.checked_rem(self.header.entries));
        let place = |start: u64, index: Option<u64>| {
            start.saturating_mul(SECTOR).saturating_add(index.unwrap_or(0).saturating_mul(4))
        };
        let table = u32::from_le_bytes(self.reader.array(place(self.directory, table))?);
        if table == 0 {
            return Ok(0);
        }
        let sector = u32::from_le_bytes(self.reader.array(place(u64::from(table), entry))?);
        Ok(if sector == 1 && self.header.zero_grains { 0 } else { u64::from(sector) })
    }

    /// Fills `to` with what one grain has from its byte `inside` on.
    fn read(&mut self, grain: u64, inside: usize, to: &mut [u8]) -> Result<(), StorageError> {
        let sector = self.find(grain)?;
        if sector == 0 {
            to.fill(0);
            return Ok(());
        }
        let offset = sector.saturating_mul(SECTOR);
        if !self.header.compressed {
            return self.reader.fill(to, offset.saturating_add(inside as u64));
        }
        let first = grain.saturating_mul(self.header.grain);
        let found = Marker::read(&self.reader, offset)?;
        if found.value != first || found.size == 0 {
            return Err(self.reader.damaged(format!("the grain of sector {first} is not at {offset}")));
        }
        let data = self.grains.inflate(&self.reader, &self.header, &found)?;
        // The last grain may end where the disk does.
        let held = data.get(inside..).unwrap_or_default();
        let len = held.len().min(to.len());
        let (front, rest) = to.split_at_mut(len);
        front.copy_from_slice(held.get(..len).unwrap_or_default());
        rest.fill(0);
        Ok(())
    }
}

impl Fetch for Sparse {
    fn fetch(&mut self, offset: u64, block: &mut [u8]) -> io::Result<Content> {
        let size = self.header.grain_bytes();
        let (mut at, mut rest) = (offset, &mut *block);
        while !rest.is_empty() {
            let grain = at.checked_div(size as u64).unwrap_or(0);
            let inside = usize::try_from(at.checked_rem(size as u64).unwrap_or(0)).unwrap_or(0);
            let (front, back) = rest.split_at_mut(size.saturating_sub(inside).min(rest.len()));
            self.read(grain, inside, front).map_err(fault)?;
            at = at.saturating_add(front.len() as u64);
            rest = back;
        }
        Ok(if all_zero(block) { Content::Zeroes } else { Content::Data })
    }
}

/// What is in front of every compressed grain; or, where the size is 0, of a table or of the end.
#[derive(Clone, Copy, Debug)]
struct Marker {
    /// The grain's first sector on the disk, or how many sectors follow.
    value: u64,
    /// How many bytes of compressed data follow.
    size: u32,
    /// Where they start.
    data: u64,
}

/// A marker's bytes before the data.
const MARKER: u64 = 12;

impl Marker {
    fn read(reader: &Reader, offset: u64) -> Result<Marker, StorageError> {
        let [v0, v1, v2, v3, v4, v5, v6, v7, s0, s1, s2, s3] = reader.array::<12>(offset)?;
        Ok(Marker {
            value: u64::from_le_bytes([v0, v1, v2, v3, v4, v5, v6, v7]),
            size: u32::from_le_bytes([s0, s1, s2, s3]),
            data: offset.saturating_add(MARKER),
        })
    }
}

/// Inflates grains, one at a time.
struct Grains {
    inflater: Decompress,
    packed: Vec<u8>,
    plain: Vec<u8>,
}

impl std::fmt::Debug for Grains {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grains").field("size", &self.plain.len()).finish_non_exhaustive()
    }
}

impl Grains {
    fn new(header: &Header) -> Grains {
        let size = header.grain_bytes();
        Grains { inflater: Decompress::new(true), packed: Vec::new(), plain: vec![0; size] }
    }

    /// One grain's bytes: as many as a grain has, or less where the disk ends in it.
    fn inflate(&mut self, reader: &Reader, header: &Header, marker: &Marker) -> Result<&[u8], StorageError> {
        let Marker { value: first, size, data } = *marker;
        let whole = self.plain.len();
        // What cannot be compressed grows a little.
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > whole.saturating_mul(2) {
            return Err(reader.damaged(format!("the grain of sector {first} has {size} compressed bytes")));
        }
        self.packed.resize(size, 0);
        reader.fill(&mut self.packed, data)?;
        self.inflater.reset(true);
        let status = self.inflater.decompress(&self.packed, &mut self.plain, FlushDecompress::Finish);
        let len = usize::try_from(self.inflater.total_out()).unwrap_or(0);
        let left = header.capacity.saturating_sub(first).saturating_mul(SECTOR);
        let expected = u64::try_from(whole).unwrap_or(0).min(left);
        match status {
            Ok(Status::StreamEnd) if len as u64 >= expected => Ok(self.plain.get(..len).unwrap_or_default()),
            Ok(Status::StreamEnd) => {
                Err(reader.damaged(format!("the grain of sector {first} has only {len} bytes")))
            }
            Ok(_) if len == whole => {
                Err(reader.damaged(format!("the grain of sector {first} has more than its {whole} bytes")))
            }
            _ => {
                Err(reader
                    .damaged(format!("the compressed grain of sector {first} at {data} cannot be read")))
            }
        }
    }
}
