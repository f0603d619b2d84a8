//! Which disk file holds a snapshot: what `--snapshot` says, else a file beside image.json.

use crate::exit::Code;
use crate::failure::Failure;
use crate::values::SnapshotFile;
use std::path::{Path, PathBuf};

/// What a raw disk file beside image.json may be called.
const RAW: [&str; 2] = ["raw", "img"];
/// Formats whose files are known to lie there, but that cannot be read yet.
const LATER: [&str; 3] = ["qcow2", "vmdk", "vhd"];

/// Finds the disk file of snapshot `id`.
pub(crate) fn find(id: &str, given: &[SnapshotFile], folder: &Path) -> Result<PathBuf, Failure> {
    if let Some(named) = given.iter().find(|one| one.id == id) {
        return Ok(named.file.clone());
    }
    let beside = |extension: &&str| folder.join(format!("{id}.{extension}"));
    let places: Vec<_> = RAW.iter().map(beside).collect();
    // A file that is there but cannot be opened is found: opening it tells why.
    if let Some(found) = places.iter().find(|path| path.symlink_metadata().is_ok()) {
        return Ok(found.clone());
    }
    if let Some(other) = LATER.iter().map(beside).find(|path| path.is_file()) {
        return Err(unsupported(id, &other));
    }
    let mut failure = Failure::new(Code::Refused, format!("no disk file holds snapshot {id}"));
    failure.causes = places.iter().map(|path| format!("there is no {}", path.display())).collect();
    Err(failure.hint(format!(
        "`coldsnap download {id} {}` gets it from your account; --snapshot {id}=FILE uses another file",
        places.first().map_or(PathBuf::from(id), Clone::clone).display()
    )))
}

/// `--snapshot` names each snapshot once, and only such as the image has.
pub(crate) fn check(given: &[SnapshotFile], known: &[&str]) -> Result<(), Failure> {
    let mut seen: Vec<&str> = Vec::new();
    for one in given {
        let id = one.id.as_str();
        if seen.contains(&id) {
            return Err(Failure::new(Code::CommandLine, format!("--snapshot {id}=… is given twice")));
        }
        if !known.contains(&id) {
            let failure = Failure::new(Code::CommandLine, format!("--snapshot {id}=… is not the image's"));
            return Err(match known {
                [] => failure.hint("there is no image.json, so there is no snapshot to name"),
                _ => failure.hint(format!("the image has {}", known.join(", "))),
            });
        }
        seen.push(id);
    }
    Ok(())
}

fn unsupported(id: &str, found: &Path) -> Failure {
    let raw = found.with_extension("raw");
    let message = format!("snapshot {id} is in {}, a format that is not supported yet", found.display());
    Failure::new(Code::Refused, message).hint(format!(
        "make a raw disk file of it: qemu-img convert -O raw {} {}",
        found.display(),
        raw.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(id: &str, file: &str) -> SnapshotFile {
        SnapshotFile { id: id.to_owned(), file: PathBuf::from(file) }
    }

    #[test]
    fn the_option_wins_over_the_folder_and_raw_over_img() {
        let folder = tempfile::tempdir().unwrap();
        let img = folder.path().join("snap-1.img");
        std::fs::write(&img, "").unwrap();
        assert_eq!(find("snap-1", &[], folder.path()).unwrap(), img);
        let raw = folder.path().join("snap-1.raw");
        std::fs::write(&raw, "").unwrap();
        assert_eq!(find("snap-1", &[given("snap-2", "y")], folder.path()).unwrap(), raw);
        assert_eq!(find("snap-1", &[given("snap-1", "x")], folder.path()).unwrap(), PathBuf::from("x"));
    }

    #[test]
    fn what_is_not_found_says_where_it_was_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let told = find("snap-1", &[], folder.path()).unwrap_err();
        assert_eq!(told.causes.len(), 2);
        assert!(told.causes[1].ends_with("/snap-1.img"), "{:?}", told.causes);
        assert!(told.hint.unwrap().contains("coldsnap download snap-1 "));
        std::fs::write(folder.path().join("snap-1.qcow2"), "").unwrap();
        let told = find("snap-1", &[], folder.path()).unwrap_err();
        assert!(told.hint.unwrap().contains("qemu-img convert -O raw "));
    }

    #[test]
    fn options_name_the_images_snapshots_once() {
        assert!(check(&[given("snap-1", "x")], &["snap-1", "snap-2"]).is_ok());
        let twice = check(&[given("snap-1", "x"), given("snap-1", "y")], &["snap-1"]).unwrap_err();
        assert!(twice.message.contains("twice"));
        let other = check(&[given("snap-3", "x")], &["snap-1", "snap-2"]).unwrap_err();
        assert_eq!(other.hint.as_deref(), Some("the image has snap-1, snap-2"));
    }
}
