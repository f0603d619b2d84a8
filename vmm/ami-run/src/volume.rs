//! `volume create` and `volume rebase`, and where a volume's file is found.

use crate::args::{VolumeCreate, VolumeRebase};
use crate::disks::unusable;
use crate::exit::Code;
use crate::failure::Failure;
use crate::{answer, bases, state, ui};
use ami_run_storage::{Base, StorageError, Volume};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const GIB: u64 = 1 << 30;

/// Makes one, and says so.
pub(crate) fn create(args: &VolumeCreate) -> Code {
    answer::ended(create_file(args).map(|text| done("created", &text)))
}

/// Takes another disk file as what the volume stands on.
pub(crate) fn rebase(args: &VolumeRebase) -> Code {
    let rebased = bases::open(&args.disk)
        .map_err(|cause| unusable(&args.disk.display().to_string(), &cause))
        .and_then(|base| Volume::rebase(&args.file, &base).map_err(|cause| refused(&args.file, &cause)));
    let text = format!("{} stands on {}", args.file.display(), args.disk.display());
    answer::ended(rebased.map(|()| done("rebased", &text)))
}

fn done(what: &str, text: &str) -> Code {
    ui::status(what, text);
    Code::Success
}

fn create_file(args: &VolumeCreate) -> Result<String, Failure> {
    let path = &args.file;
    let base = match (&args.from, args.size) {
        (Some(from), _) => {
            bases::open(from).map_err(|cause| unusable(&from.display().to_string(), &cause))?
        }
        (None, Some(_)) => Base::empty("nothing"),
        (None, None) => {
            let missing = "The request must contain the parameter size or snapshotId";
            return Err(Failure::new(Code::CommandLine, "a volume needs a size or a snapshot")
                .ec2("MissingParameter", missing)
                .hint("give --size GIB, --from DISKFILE, or both"));
        }
    };
    // EBS has whole gibibytes, as large as the snapshot at least.
    let gib = args.size.map_or(base.size().div_ceil(GIB), u64::from);
    let volume = Volume::create(path, base, Some(gib.saturating_mul(GIB)));
    volume.map_err(|cause| refused(path, &cause))?;
    let from = args.from.as_ref().map_or(String::new(), |from| format!(" on {}", from.display()));
    Ok(format!("{}: {gib} GiB{from}", path.display()))
}

/// Why a volume is not there: what is wrong with it, or with this computer.
pub(crate) fn refused(path: &Path, cause: &StorageError) -> Failure {
    let code = match cause {
        StorageError::Create { .. } | StorageError::Grow { .. } | StorageError::Busy { .. } => Code::Host,
        _ => return unusable(&path.display().to_string(), cause),
    };
    let failure = Failure::new(code, format!("cannot use {}", path.display())).because(cause);
    let StorageError::Create { source, .. } = cause else { return failure };
    match source.kind() {
        ErrorKind::AlreadyExists => failure.hint("no file is overwritten: choose another name, or remove it"),
        ErrorKind::NotFound => failure.hint("make its folder first"),
        ErrorKind::FileTooLarge => {
            failure.hint("give a smaller --size, or a folder on a file system that takes files of this size")
        }
        ErrorKind::StorageFull => failure.hint("free some space there, or choose another folder"),
        _ => failure,
    }
}

/// The file of this name, or else that of the volume with this id.
pub(crate) fn find(given: &Path) -> Result<PathBuf, Failure> {
    let (Some(id), Err(_)) = (given.to_str().filter(|id| id.starts_with("vol-")), given.symlink_metadata())
    else {
        return Ok(given.to_owned());
    };
    let volumes = state::catalog()?.volumes().map_err(|cause| state::catalog_failure(&cause))?;
    let found = volumes.into_iter().find(|volume| volume.volume_id == id);
    found.and_then(|volume| volume.own.file).ok_or_else(|| unknown(id))
}

/// EC2 has no volume of this id.
pub(crate) fn unknown(id: &str) -> Failure {
    let message = format!("The volume '{id}' does not exist.");
    Failure::new(Code::Refused, format!("{message} (InvalidVolume.NotFound)"))
        .ec2("InvalidVolume.NotFound", message)
        .hint("`ami-run volume ls` lists them; another is named by the path of its file")
}
