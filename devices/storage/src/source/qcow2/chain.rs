//! The files that a qcow2 disk is made of: each may have a backing file behind it, and its data in another file.
//!
//! A header's names are somebody else's words. They are followed only to files that lie in the named file's own
//! folder, so that an image from elsewhere cannot show a guest what else is on this computer; and all is opened here,
//! none of it by the crate that reads the format.

use super::header::Header;
use crate::StorageError;
use crate::open::{Opened, open};
use crate::source::Part;
use crate::source::format::{Format, HEAD, tell};
use crate::source::read::Reader;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// How many files may back each other; each of them slows every read of zeroes.
const MOST_LAYERS: usize = 16;
/// What the first tables of all layers may take of memory: 64 TiB in clusters of 64 KiB take 1 MiB.
const MOST_TABLES: u64 = 64 << 20;

const FLATTEN: &str = "make one file of them with `qemu-img convert -O qcow2 FILE NEW.qcow2`";

/// One file of the chain, and what is asked of the crate for it.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) reader: Reader,
    /// None: a raw disk.
    pub(super) header: Option<Header>,
    /// The file with its data, if that is another.
    pub(super) data: Option<Reader>,
}

/// Opens every file that the first one needs; the first one is the named one.
pub(super) fn open_chain(first: Reader) -> Result<Vec<Layer>, StorageError> {
    let folder = first.path().parent().unwrap_or(Path::new("/")).to_owned();
    let (mut layers, mut tables) = (Vec::new(), 0u64);
    let mut next = Some((first, true));
    while let Some((reader, is_qcow2)) = next.take() {
        if !is_qcow2 {
            layers.push(Layer { reader, header: None, data: None });
            break;
        }
        let header = Header::read(&reader)?;
        tables = tables.saturating_add(header.l1_len);
        if tables > MOST_TABLES {
            let most = MOST_TABLES >> 20;
            return Err(reader.refused(format!("whose tables take more than {most} MiB"), FLATTEN));
        }
        let data = match &header.data_file {
            Some(name) => Some(follow(&reader, &folder, name, "data file")?),
            None => None,
        };
        if let Some(name) = &header.backing {
            let backing = follow(&reader, &folder, name, "backing file")?;
            let is_qcow2 = backing_is_qcow2(&reader, &backing, header.backing_format.as_deref())?;
            let format = if is_qcow2 { Format::Qcow2 } else { Format::Raw };
            next = Some((Reader::new(backing.part().clone(), backing.size(), format.name()), is_qcow2));
        }
        layers.push(Layer { reader, header: Some(header), data });
        if let (Some((backing, _)), Some(layer)) = (&next, layers.last()) {
            if layers.iter().any(|other| is_same(other.reader.part(), backing.part())) {
                let what = format!("whose backing files lead back to {}", backing.path().display());
                return Err(layer.reader.refused(what, "make it again from the files it was made of"));
            }
            if layers.len() >= MOST_LAYERS {
                return Err(layer
                    .reader
                    .refused(format!("with {MOST_LAYERS} others in front of it"), FLATTEN));
            }
        }
    }
    Ok(layers)
}

/// Opens a file that a header names. `role` is what it is for.
fn follow(from: &Reader, folder: &Path, name: &str, role: &str) -> Result<Reader, StorageError> {
    let plain = name.strip_prefix("file:").unwrap_or(name);
    // `json:`, `nbd:`, `https:` and the like, as QEMU tells them: a colon before any slash.
    if plain.split('/').next().is_some_and(|front| front.contains(':')) {
        return Err(from.refused(format!("whose {role} is {name:?}, no plain file"), FLATTEN));
    }
    let beside = from.path().with_file_name("").join(plain);
    let outside = |path: &Path| {
        let (path, folder) = (path.display(), folder.display());
        from.refused(format!("whose {role} is {path}, outside its own folder {folder}"), FLATTEN)
    };
    // What is certainly outside is not even looked at: whether it exists is nobody's business.
    if Path::new(plain).is_absolute() && Path::new(plain).parent() != Some(folder) {
        return Err(outside(Path::new(plain)));
    }
    let path = beside.canonicalize().map_err(|source| StorageError::Missing {
        path: from.path().to_owned(),
        role: role.to_owned(),
        name: name.to_owned(),
        source,
    })?;
    if path.parent() != Some(folder) {
        return Err(outside(&path));
    }
    let read = |source| StorageError::Read { path: path.clone(), source };
    let file = match open(&path).map_err(read)? {
        Opened::Data(file) => file,
        Opened::Other(what) => return Err(StorageError::NotADisk { path, what }),
    };
    let size = size_of(&file).map_err(read)?;
    Ok(Reader::new(Part { path: path.clone(), file: Arc::new(file) }, size, Format::Raw.name()))
}

fn size_of(mut file: &File) -> std::io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

/// What the header says of the backing file's format; where it says nothing, its content does.
fn backing_is_qcow2(from: &Reader, backing: &Reader, format: Option<&str>) -> Result<bool, StorageError> {
    let path = backing.path().display();
    match format {
        Some("qcow2") => Ok(true),
        Some("raw" | "file" | "host_device") => Ok(false),
        Some(other) => {
            Err(from.refused(format!("whose backing file {path} is of the format {other:?}"), FLATTEN))
        }
        None => {
            let head = backing.up_to(HEAD as u64, 0)?;
            let tail = backing.up_to(512, backing.size().saturating_sub(512))?;
            match tell(&head, &tail) {
                Ok(Format::Qcow2) => Ok(true),
                Ok(Format::Raw) => Ok(false),
                Ok(other) => {
                    Err(from.refused(format!("whose backing file {path} is {}", other.name()), FLATTEN))
                }
                Err(other) => {
                    Err(from.refused(format!("whose backing file {path} is {}", other.format), FLATTEN))
                }
            }
        }
    }
}

fn is_same(one: &Part, other: &Part) -> bool {
    match (one.file.metadata(), other.file.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => one.path == other.path,
    }
}
