//! Looks into a disk file or a volume: what it would start, and what would keep it from starting.

use crate::args::Looked;
use crate::bases::Bases;
use crate::disks::unusable;
use crate::failure::Failure;
use crate::host;
use crate::snapshots::{self, Places};
use crate::source::{self, Source};
use ami_run_image::{Architecture, BlockDeviceMapping, Image};
use ami_run_inspect::{Claims, Contents, Depth, Guess};
use ami_run_storage::{Base, StorageError, Volume};
use std::io;
use std::path::{Path, PathBuf};

/// What is looked into.
#[derive(Debug)]
pub(crate) enum Disk {
    File(Base),
    Volume(PathBuf, Volume),
}

/// Opens a disk file to look into it.
pub(crate) fn open(bases: &mut Bases, file: &Path) -> Result<Disk, Failure> {
    bases.open(file).map(Disk::File).map_err(|cause| unusable(&file.display().to_string(), &cause))
}

/// Opens a volume to look into it. Others may do the same meanwhile, but not write.
pub(crate) fn open_volume(bases: &mut Bases, file: &Path) -> Result<Disk, Failure> {
    let volume = Volume::open(file, true, |base| bases.open(base));
    volume
        .map(|volume| Disk::Volume(file.to_owned(), volume))
        .map_err(|cause| unusable(&file.display().to_string(), &cause))
}

impl Disk {
    /// In bytes.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Disk::File(base) => base.size(),
            Disk::Volume(_, volume) => volume.size(),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Disk::File(base) => base.path(),
            Disk::Volume(path, _) => path,
        }
    }

    fn contents(&self, volume_bytes: u64, depth: Depth) -> io::Result<Contents> {
        match self {
            Disk::File(base) => ami_run_inspect::look(&mut base.reader(), volume_bytes, depth),
            Disk::Volume(_, volume) => ami_run_inspect::look(&mut volume.reader()?, volume_bytes, depth),
        }
    }
}

/// What is said of a disk for another computer than this one: by its image, or by what it is taken for.
pub(crate) fn elsewhere(
    claims: Option<&Claims>,
    assumed: Option<&Guess>,
    here: Architecture,
) -> Option<String> {
    let claimed = claims.and_then(|claims| claims.architecture);
    host::elsewhere(claimed.or(assumed.map(|guess| guess.architecture))?, here)
}

/// The user that cloud-init makes of the system on a disk.
pub(crate) fn login_user(disk: &Disk) -> Result<Option<String>, Failure> {
    let found = match disk {
        Disk::File(base) => ami_run_inspect::login_user(&mut base.reader(), base.size()),
        Disk::Volume(_, volume) => {
            volume.reader().and_then(|mut reader| ami_run_inspect::login_user(&mut reader, volume.size()))
        }
    };
    found.map_err(|source| {
        let path = disk.path().to_owned();
        unusable(&path.display().to_string(), &StorageError::Read { path, source })
    })
}

/// What a volume on this disk file holds, or the volume that it is. None of `volume_bytes`: as large as the disk.
pub(crate) fn look(disk: &Disk, volume_bytes: Option<u64>, depth: Depth) -> Result<Contents, Failure> {
    let size = disk.size();
    disk.contents(volume_bytes.unwrap_or(size).max(size), depth).map_err(|source| {
        let path = disk.path().to_owned();
        unusable(&path.display().to_string(), &StorageError::Read { path, source })
    })
}

/// What a command line names, looked into.
#[derive(Debug)]
pub(crate) struct Seen {
    /// None: no image describes the disk.
    pub(crate) claims: Option<Claims>,
    /// None: the image has no snapshot as its root.
    pub(crate) contents: Option<Contents>,
}

/// Looks into all of the root disk.
pub(crate) fn seen(args: &Looked) -> Result<Seen, Failure> {
    let mut bases = Bases::default();
    let disk = match source::open(&args.image, false, args.image_id.as_deref())? {
        Source::Disk(path) => {
            snapshots::check(&args.snapshots, &[])?;
            open(&mut bases, &path)?
        }
        Source::Volume(path) => {
            snapshots::check(&args.snapshots, &[])?;
            open_volume(&mut bases, &path)?
        }
        Source::Description { image, folder, .. } => {
            let claims = Some(Claims::from(&*image));
            let contents = match root(args, &image, &folder)? {
                Some((file, bytes)) => Some(look(&open(&mut bases, &file)?, bytes, Depth::System)?),
                None => None,
            };
            return Ok(Seen { claims, contents });
        }
    };
    Ok(Seen { claims: None, contents: Some(look(&disk, None, Depth::System)?) })
}

/// The disk file of the root volume, and the volume's size where it is said. None: no snapshot is the root.
fn root(args: &Looked, image: &Image, folder: &Path) -> Result<Option<(PathBuf, Option<u64>)>, Failure> {
    let mappings = image.block_device_mappings.as_deref().unwrap_or_default();
    let snapshot =
        |mapping: &BlockDeviceMapping| mapping.ebs.as_ref().and_then(|ebs| ebs.snapshot_id.clone());
    let known: Vec<_> = mappings.iter().filter_map(snapshot).collect();
    snapshots::check(&args.snapshots, &known.iter().map(String::as_str).collect::<Vec<_>>())?;
    let is_root = |mapping: &&BlockDeviceMapping| {
        mapping.device_name.is_some() && mapping.device_name == image.root_device_name
    };
    let Some(ebs) = mappings.iter().find(is_root).and_then(|mapping| mapping.ebs.as_ref()) else {
        return Ok(None);
    };
    let Some(id) = &ebs.snapshot_id else { return Ok(None) };
    let external = args.allow_external_files;
    let file = snapshots::find(id, &Places { given: &args.snapshots, image, folder, external })?;
    let bytes = ebs.volume_size.map(|gib| u64::from(gib) << 30);
    Ok(Some((file, bytes)))
}
