//! Making a kept top, and changing its header: each step durable before the next relies on it.

use super::header::{Found, Header, VERSION};
use super::layout::{HEADER_LEN, HEADERS};
use std::io;

/// Where a top is kept: a file in a folder, or the tests' simulated disk.
pub(crate) trait Store {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes room for a volume of this size.
    fn set_size(&self, size: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    /// Gives the file its name.
    fn publish(&self) -> io::Result<()>;
    /// Makes the name durable.
    fn sync_folder(&self) -> io::Result<()>;
}

/// Writes what an empty top of this size is, and gives it its name. Before that there is nothing that anybody could
/// take for a volume.
pub(crate) fn create(store: &impl Store, header: &Header) -> io::Result<()> {
    store.set_size(header.size)?;
    write(store, header)?;
    store.sync()?;
    store.publish()?;
    store.sync_folder()
}

/// Writes the next header: what was there stays until this one is durable.
pub(crate) fn replace(store: &impl Store, old: &Header, new: Header) -> io::Result<Header> {
    let new = Header { version: VERSION, sequence: old.sequence.wrapping_add(1), ..new };
    if new.size > old.size {
        store.set_size(new.size)?;
        store.sync()?;
    }
    write(store, &new)?;
    store.sync()?;
    Ok(new)
}

fn write(store: &impl Store, header: &Header) -> io::Result<()> {
    let Some((place, bytes)) = header.encode() else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path of its disk file is too long to be kept",
        ));
    };
    store.write(place, &bytes)
}

pub(crate) fn read(store: &impl Store) -> io::Result<Found> {
    let mut copies = [vec![0; HEADER_LEN], vec![0; HEADER_LEN]];
    for (copy, place) in copies.iter_mut().zip(HEADERS) {
        match store.read(place, copy) {
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => copy.clear(),
            other => other?,
        }
    }
    let [first, second] = &copies;
    Ok(Header::decode([first, second]))
}
