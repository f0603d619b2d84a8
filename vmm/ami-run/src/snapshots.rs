//! Which disk file holds a snapshot: what `--snapshot` says, else a `File` member of image.json, else a file beside it.

use crate::exit::Code;
use crate::failure::Failure;
use crate::values::SnapshotFile;
use ami_run_image::{Image, Snapshot, code, is_snapshot_id};
use std::path::{Component, Path, PathBuf};

/// What a disk file beside image.json may be called, the first that is there wins. What it is, its content tells.
const EXTENSIONS: [&str; 8] = ["raw", "img", "qcow2", "vmdk", "vhd", "raw.xz", "raw.gz", "raw.zst"];

/// Where snapshots are looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places<'a> {
    pub(crate) given: &'a [SnapshotFile],
    pub(crate) image: &'a Image,
    /// That of image.json.
    pub(crate) folder: &'a Path,
    /// `File` members may name any file.
    pub(crate) external: bool,
}

/// Finds the disk file of snapshot `id`.
pub(crate) fn find(id: &str, places: &Places<'_>) -> Result<PathBuf, Failure> {
    // It becomes a file name, and image.json may come from anybody.
    if !is_snapshot_id(id) {
        let message = format!("`{id}` is not a snapshot id (`snap-` and letters or digits)");
        let failure = Failure::new(Code::Refused, message.as_str());
        return Err(failure.ec2(code::INVALID_SNAPSHOT_MALFORMED, message));
    }
    if let Some(named) = places.given.iter().find(|one| one.id == id) {
        return Ok(named.file.clone());
    }
    let is_it = |one: &&Snapshot| one.snapshot_id.as_deref() == Some(id);
    let listed = places.image.snapshots.as_deref().unwrap_or_default().iter().find(is_it);
    if let Some(file) = listed.and_then(|one| one.file.as_deref()) {
        return listed_file(id, Path::new(file), places);
    }
    let beside = |extension: &&str| places.folder.join(format!("{id}.{extension}"));
    // A file that is there but cannot be opened is found: opening it tells why.
    let found = EXTENSIONS.iter().map(beside).find(|path| path.symlink_metadata().is_ok());
    found.ok_or_else(|| nowhere(id, &beside(&"raw"), places.image))
}

/// A file that image.json names: whoever wrote it chooses what the guest can read, so only from its own folder.
fn listed_file(id: &str, file: &Path, places: &Places<'_>) -> Result<PathBuf, Failure> {
    let path = places.folder.join(file);
    if places.external {
        return Ok(path);
    }
    let refuse = |why: &str| {
        let message = format!("Snapshots: the File of {id}, {}, is {why}", file.display());
        Failure::new(Code::Refused, message)
            .hint(format!("--allow-external-files permits it; --snapshot {id}=FILE names a file by hand"))
    };
    if file.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(refuse("not inside image.json's folder"));
    }
    // What a symbolic link hides is outside, too. A file that is not there is told when it is opened.
    match (path.canonicalize(), places.folder.canonicalize()) {
        (Ok(real), Ok(folder)) if !real.starts_with(&folder) => {
            Err(refuse("a link to outside of image.json's folder"))
        }
        _ => Ok(path),
    }
}

/// Where it was looked for, and how to get it.
fn nowhere(id: &str, raw: &Path, image: &Image) -> Failure {
    let message = format!("no disk file holds snapshot {id}");
    let mut failure = Failure::new(Code::Refused, message);
    failure = failure.ec2(code::INVALID_SNAPSHOT_NOT_FOUND, format!("The snapshot '{id}' does not exist."));
    let others: Vec<_> = EXTENSIONS.iter().skip(1).map(|extension| format!(".{extension}")).collect();
    failure.causes = vec![format!("there is no {}, nor one of {}", raw.display(), others.join(", "))];
    if image.product_codes.as_ref().is_some_and(|codes| !codes.is_empty()) {
        return failure.hint(format!(
            "the image is from the Marketplace, whose snapshots cannot be downloaded; --snapshot {id}=FILE names a \
             disk file that you have"
        ));
    }
    let image = image.image_id.as_deref().unwrap_or("ami-…");
    failure.hint(format!(
        "`coldsnap download {id} {}` gets it from your account; --snapshot {id}=FILE names another file.\n\
         If the download is denied, the snapshot is not yours: `aws ec2 copy-image --source-image-id {image}` makes a \
         copy that is, or launch the image once and take `aws ec2 create-snapshot` of its volume",
        raw.display()
    ))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn given(id: &str, file: &str) -> SnapshotFile {
        SnapshotFile { id: id.to_owned(), file: PathBuf::from(file) }
    }

    fn look(id: &str, given: &[SnapshotFile], image: &Image, folder: &Path) -> Result<PathBuf, Failure> {
        find(id, &Places { given, image, folder, external: false })
    }

    /// An image whose Snapshots name this file.
    fn listing(file: &str) -> Image {
        let listed = Snapshot {
            snapshot_id: Some("snap-1".to_owned()),
            file: Some(file.to_owned()),
            ..Snapshot::default()
        };
        Image { snapshots: Some(vec![listed]), ..Image::default() }
    }

    #[test]
    fn the_option_wins_over_the_folder_and_raw_over_others() {
        let folder = tempfile::tempdir().unwrap();
        let look = |given: &[SnapshotFile]| look("snap-1", given, &Image::default(), folder.path()).unwrap();
        for extension in ["raw.zst", "raw.gz", "raw.xz", "vhd", "vmdk", "qcow2", "img", "raw"] {
            let file = folder.path().join(format!("snap-1.{extension}"));
            std::fs::write(&file, "").unwrap();
            assert_eq!(look(&[given("snap-2", "y")]), file);
        }
        assert_eq!(look(&[given("snap-1", "x")]), PathBuf::from("x"));
    }

    #[test]
    fn a_listed_file_wins_over_one_beside_and_stays_inside_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        for file in ["root.raw", "inside/root.raw", "inside/snap-1.raw"] {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        symlink("../root.raw", inside.join("link.raw")).unwrap();
        symlink("root.raw", inside.join("near.raw")).unwrap();
        for file in ["root.raw", "./root.raw", "near.raw", "not-there.raw"] {
            assert_eq!(look("snap-1", &[], &listing(file), &inside).unwrap(), inside.join(file), "{file}");
        }
        let absolute = inside.join("root.raw").display().to_string();
        for file in ["../root.raw", "a/../../root.raw", absolute.as_str(), "link.raw", "/etc/passwd"] {
            let refused = look("snap-1", &[], &listing(file), &inside).unwrap_err();
            assert!(refused.message.contains("image.json's folder"), "{file}: {}", refused.message);
            let image = listing(file);
            let places = Places { given: &[], image: &image, folder: &inside, external: true };
            assert_eq!(find("snap-1", &places).unwrap(), inside.join(file), "{file}");
        }
        let option = [given("snap-1", "x")];
        assert_eq!(look("snap-1", &option, &listing("../root.raw"), &inside).unwrap(), PathBuf::from("x"));
    }

    #[test]
    fn what_is_not_found_says_where_it_was_looked_for_and_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let image = Image { image_id: Some("ami-1".to_owned()), ..Image::default() };
        let told = look("snap-1", &[], &image, folder.path()).unwrap_err();
        assert_eq!((told.causes.len(), told.ec2.unwrap().code.as_str()), (1, "InvalidSnapshot.NotFound"));
        assert!(told.causes[0].contains("/snap-1.raw, nor one of .img, .qcow2, "), "{:?}", told.causes);
        let hint = told.hint.unwrap();
        for way in ["coldsnap download snap-1 ", "copy-image --source-image-id ami-1", "create-snapshot"] {
            assert!(hint.contains(way), "{hint}");
        }
        let sold = Image { product_codes: Some(vec![Default::default()]), ..image };
        let hint = look("snap-1", &[], &sold, folder.path()).unwrap_err().hint.unwrap();
        assert!(hint.contains("Marketplace") && !hint.contains("coldsnap"), "{hint}");
    }

    #[test]
    fn an_id_that_is_none_leads_to_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let file = elsewhere.path().join("disk.raw");
        std::fs::write(&file, "").unwrap();
        let absolute = file.with_extension("").display().to_string();
        for id in [absolute.as_str(), "snap-../../etc", "../snap-1", ""] {
            let told = look(id, &[], &Image::default(), folder.path()).unwrap_err();
            assert_eq!(told.ec2.unwrap().code, "InvalidSnapshotID.Malformed", "{id}");
            assert_eq!((told.causes.len(), told.message.contains("is not a snapshot id")), (0, true), "{id}");
        }
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
