//! The state folder: where instances and volumes are kept, and what was taken out of disk files is.

use crate::disks::unusable;
use crate::exit::Code;
use crate::failure::Failure;
use ami_run_catalog::{Catalog, CatalogError};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{PathBuf, absolute};
use std::sync::OnceLock;

const OTHER: &str = "name another folder by --state-dir or AMI_RUN_STATE_DIR";

/// What `--state-dir` says.
static CHOSEN: OnceLock<PathBuf> = OnceLock::new();

/// Takes the folder that the command line names.
pub(crate) fn choose(folder: PathBuf) {
    // The command line is read once.
    CHOSEN.set(folder).unwrap_or_default();
}

/// Where it is, whoever's it is.
pub(crate) fn place() -> PathBuf {
    let folder = CHOSEN.get().cloned().unwrap_or_else(|| by_default(|name| std::env::var_os(name)));
    absolute(&folder).unwrap_or(folder)
}

/// The state folder, which may not be there yet. What is there is this user's own.
pub(crate) fn folder() -> Result<PathBuf, Failure> {
    let folder = place();
    match folder.metadata() {
        Ok(there) if there.uid() != rustix::process::geteuid().as_raw() => {
            Err(catalog_failure(&CatalogError::NotOurs { path: folder }))
        }
        _ => Ok(folder),
    }
}

/// The instances and volumes in it.
pub(crate) fn catalog() -> Result<Catalog, Failure> {
    Catalog::open(&folder()?).map_err(|cause| catalog_failure(&cause))
}

/// What a verb on instances or volumes was refused with.
pub(crate) fn catalog_failure(cause: &CatalogError) -> Failure {
    match cause {
        CatalogError::Refused { code, message, hint } => {
            let failure = Failure::new(Code::Refused, format!("{message} ({code})")).ec2(*code, message);
            match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        }
        CatalogError::NotOurs { .. } | CatalogError::Newer { .. } => {
            Failure::new(Code::Host, "cannot use the state folder").because(cause).hint(OTHER)
        }
        CatalogError::Io { source, .. }
            if matches!(source.kind(), ErrorKind::PermissionDenied | ErrorKind::NotADirectory) =>
        {
            Failure::new(Code::Host, "cannot use the state folder").because(cause).hint(OTHER)
        }
        CatalogError::Volume(cause) => unusable("the volume", cause),
        CatalogError::Busy { .. } => {
            of_instance(cause, "one command at a time: try again when that one has ended")
        }
        CatalogError::NoAnswer { .. } => {
            of_instance(cause, "its process may be suspended: `kill -CONT` and its number wakes it")
        }
        CatalogError::Protocol { .. } => {
            of_instance(cause, "another version of ami-run has started it: use that one")
        }
        CatalogError::Io { .. } | CatalogError::Damaged { .. } => {
            Failure::new(Code::Host, "cannot use the state folder").because(cause)
        }
    }
}

/// The folder is in order, and one instance in it is not to be had.
fn of_instance(cause: &CatalogError, hint: &str) -> Failure {
    let mut failure = Failure::new(Code::Host, cause.to_string()).hint(hint);
    failure.causes.extend(std::error::Error::source(cause).map(ToString::to_string));
    failure
}

/// AMI_RUN_STATE_DIR, or else the user's data folder as the XDG base directory specification has it, which ignores
/// a relative XDG_DATA_HOME. Where there is not even a home, a folder of this user's for what outlives a reboot.
fn by_default(variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let named = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = named("AMI_RUN_STATE_DIR") {
        return folder;
    }
    let data = named("XDG_DATA_HOME").filter(|path| path.is_absolute());
    match data.or_else(|| named("HOME").map(|home| home.join(".local/share"))) {
        Some(data) => data.join("ami-run"),
        None => {
            let temporary = named("TMPDIR").unwrap_or_else(|| PathBuf::from("/var/tmp"));
            temporary.join(format!("ami-run-{}", rustix::process::geteuid().as_raw()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_wins() {
        let set: &[(&str, &str)] =
            &[("TMPDIR", "/t"), ("HOME", "/u"), ("XDG_DATA_HOME", "/data"), ("AMI_RUN_STATE_DIR", "state")];
        let with = |count: usize| {
            by_default(|name| {
                set[..count].iter().find(|(set, _)| *set == name).map(|(_, value)| value.into())
            })
        };
        let me = rustix::process::geteuid().as_raw();
        assert_eq!(with(0), PathBuf::from(format!("/var/tmp/ami-run-{me}")));
        assert_eq!(with(1), PathBuf::from(format!("/t/ami-run-{me}")));
        assert_eq!(with(2), PathBuf::from("/u/.local/share/ami-run"));
        assert_eq!(with(3), PathBuf::from("/data/ami-run"));
        assert_eq!(with(4), PathBuf::from("state"));
        let odd = |name: &str| match name {
            "HOME" => Some("/h".into()),
            "XDG_DATA_HOME" => Some("relative".into()),
            _ => Some("".into()),
        };
        assert_eq!(by_default(odd), PathBuf::from("/h/.local/share/ami-run"));
    }
}
