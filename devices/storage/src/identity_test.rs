//! Each thing that can happen to a disk file, and whether it is a change.

use super::*;
use std::fs::{self, FileTimes, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

struct Disk {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn disk() -> Disk {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("debian.qcow2");
    fs::write(&path, vec![7; 300 << 10]).unwrap();
    Disk { _folder: folder, path }
}

fn identity(path: &Path) -> Identity {
    let file = Arc::new(File::open(path).unwrap());
    Identity::of(&[Part { path: path.to_owned(), file }]).unwrap()
}

/// Writes one byte and puts the old time of modification back.
fn write_secretly(path: &Path, offset: u64) {
    let before = fs::metadata(path).unwrap().modified().unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[8], offset).unwrap();
    file.set_times(FileTimes::new().set_modified(before)).unwrap();
}

#[test]
fn each_change_is_told_in_words() {
    type Change = fn(&Path);
    let cases: &[(Change, &str)] = &[
        (
            |path| drop(File::options().write(true).open(path).unwrap().set_len(512)),
            "its size was 307200 bytes and is 512",
        ),
        (|path| write_secretly(path, 0), "since: its first 64 KiB are different"),
        (|path| write_secretly(path, (300 << 10) - 1), "since: its last 64 KiB are different"),
        (
            |path| {
                let other = path.with_extension("new");
                fs::copy(path, &other).unwrap();
                let times = FileTimes::new().set_modified(fs::metadata(path).unwrap().modified().unwrap());
                File::options().write(true).open(&other).unwrap().set_times(times).unwrap();
                fs::rename(other, path).unwrap();
            },
            "since: another file has its name",
        ),
        (
            |path| {
                let file = File::options().write(true).open(path).unwrap();
                file.set_times(FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH)).unwrap();
            },
            "since: it was written to",
        ),
        (|path| fs::remove_file(path).unwrap(), "since: it is gone"),
        (
            |path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            },
            "since: it is a directory now",
        ),
    ];
    for (change, words) in cases {
        let disk = disk();
        let before = identity(&disk.path);
        assert!(before.check().is_ok() && before.is_untouched(), "{words}");
        change(&disk.path);
        assert!(!before.is_untouched(), "{words}");
        let told = before.check().unwrap_err();
        assert!(told.to_string().starts_with(&format!("{} was", disk.path.display())), "{told}");
        assert!(told.to_string().contains(words), "{words}: {told}");
        assert!(told.way_out("vol-1").contains("`ami-run volume rebase vol-1 "), "{}", told.way_out("vol-1"));
    }
}

/// To rebase on a file that the named one stands on would make a mixture of the volume.
#[test]
fn the_way_out_names_the_disk_file_whichever_of_its_files_changed() {
    let [named, backing] = [(); 2].map(|()| disk());
    let part =
        |disk: &Disk| Part { path: disk.path.clone(), file: Arc::new(File::open(&disk.path).unwrap()) };
    let before = Identity::of(&[part(&named), part(&backing)]).unwrap();
    write_secretly(&backing.path, 0);
    let told = before.check().unwrap_err();
    assert!(told.to_string().starts_with(backing.path.to_str().unwrap()), "{told}");
    let way = |file: &str| format!("`ami-run volume rebase vol-1 {file}`");
    assert!(told.way_out("vol-1").ends_with(&way(named.path.to_str().unwrap())), "{}", told.way_out("vol-1"));
    fs::remove_file(&named.path).unwrap();
    assert!(told.way_out("vol-1").ends_with(&way("DISKFILE")), "{}", told.way_out("vol-1"));
}

#[test]
fn a_chmod_and_a_new_link_are_no_change_but_another_name_in_the_cache() {
    let disk = disk();
    let before = identity(&disk.path);
    fs::set_permissions(&disk.path, Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(&disk.path, disk.path.with_extension("link")).unwrap();
    before.check().unwrap();
    assert!(!before.is_untouched());
    assert_ne!(before.key(""), identity(&disk.path).key(""));
    assert_eq!(identity(&disk.path).key(""), identity(&disk.path).key(""));
    assert_ne!(identity(&disk.path).key("a"), identity(&disk.path).key("b"));
}

#[test]
fn it_outlives_the_process_as_text() {
    let disk = disk();
    let odd = disk.path.with_file_name(std::ffi::OsStr::from_bytes(b"d\xffsk"));
    fs::copy(&disk.path, &odd).unwrap();
    for path in [&disk.path, &odd] {
        let before = identity(path);
        let text = serde_json::to_string(&before).unwrap();
        let after: Identity = serde_json::from_str(&text).unwrap();
        assert_eq!(before, after, "{text}");
        assert!(after.paths().eq([path.clone()]));
        after.check().unwrap();
    }
}
