//! qcow2 files behind qcow2 files, and where their names may lead.

use super::{Files, assert_holds, disk, error, source};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Writes `disk.raw`, and a qcow2 file on it with some changes; gives the changed disk.
fn overlay(files: &Files) -> Option<Vec<u8>> {
    let mut disk = disk();
    files.write("disk.raw", &disk);
    // qemu-img has no word for a write: what differs from another file is written when that takes its place.
    disk[700 << 10..709 << 10].fill(0x5a);
    disk.resize(6 << 20, 0);
    files.write("changed.raw", &disk);
    let made = files.run("qemu-img create -q -f qcow2 -b changed.raw -F raw over.qcow2")
        && files.run("qemu-img rebase -b disk.raw -F raw over.qcow2");
    assert!(!made || fs::metadata(files.path("over.qcow2")).unwrap().len() < 1 << 20);
    made.then_some(disk)
}

#[test]
fn backing_files_are_read_where_nothing_is_in_front() {
    let files = Files::new();
    let Some(disk) = overlay(&files) else { return };
    assert_holds(&files.path("over.qcow2"), &disk);
    let parts = source(&files.path("over.qcow2")).parts().to_vec();
    let names: Vec<_> = parts.iter().map(|part| part.path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["over.qcow2", "disk.raw"]);
    // A chain of as many as are allowed, and of one more; the format of each is told by its content.
    let mut behind = "over.qcow2".to_owned();
    for number in 0..14 {
        let name = format!("{number}.qcow2");
        files.run(&format!("qemu-img create -q -f qcow2 -b {behind} -F qcow2 {name}"));
        behind = name;
    }
    assert_holds(&files.path(&behind), &disk);
    assert_eq!(source(&files.path(&behind)).parts().len(), 16);
    files.run(&format!("qemu-img create -q -f qcow2 -b {behind} -F qcow2 last.qcow2"));
    let said = error(&files.path("last.qcow2"));
    assert!(
        said.contains("with 16 others in front of it, which cannot be used here: make one file of them"),
        "{said}"
    );
}

#[test]
fn a_backing_file_shorter_than_the_disk_ends_in_zeroes() {
    let files = Files::new();
    let disk = disk();
    files.write("disk.raw", &disk[..disk.len() - 700]);
    if !files.run("qemu-img create -q -f qcow2 -b disk.raw -F raw over.qcow2 9M") {
        return;
    }
    let mut disk = disk;
    let end = disk.len();
    disk[end - 700..].fill(0);
    disk.resize(9 << 20, 0);
    assert_holds(&files.path("over.qcow2"), &disk);
}

#[test]
fn data_in_another_file_is_read_there() {
    let (files, disk) = (Files::new(), disk());
    files.write("disk.raw", &disk);
    for (name, raw) in [("plain", "off"), ("raw", "on")] {
        let options = format!("data_file={name}.data,data_file_raw={raw}");
        if !files.run(&format!("qemu-img convert -O qcow2 -o {options} disk.raw {name}.qcow2")) {
            return;
        }
        let path = files.path(&format!("{name}.qcow2"));
        assert_holds(&path, &disk);
        assert_eq!(source(&path).parts()[1].path, files.path(&format!("{name}.data")));
    }
    fs::remove_file(files.path("raw.data")).unwrap();
    let said = error(&files.path("raw.qcow2"));
    assert!(
        said.contains("has \"raw.data\" as its data file, which cannot be opened: put that file beside it"),
        "{said}"
    );
}

/// Rewrites the name of a backing file, whatever it leads to.
fn rebase(files: &Files, name: &str, format: &str) -> bool {
    files.run(&format!("qemu-img create -q -u -f qcow2 -b {name} -F {format} over.qcow2 6M"))
}

#[test]
fn names_that_lead_elsewhere_are_not_followed() {
    let (files, elsewhere) = (Files::new(), Files::new());
    elsewhere.write("secret", disk());
    files.write("disk.raw", disk());
    fs::create_dir(files.path("sub")).unwrap();
    files.write("sub/disk.raw", disk());
    let secret = elsewhere.path("secret");
    symlink(&secret, files.path("link")).unwrap();
    let over = files.path("over.qcow2");
    let secret = secret.to_str().unwrap();
    let outside =
        format!("outside its own folder {}", files.path("").display().to_string().trim_end_matches('/'));
    for (name, words) in [
        ("/etc/shadow", "whose backing file is /etc/shadow, outside"),
        ("file:/etc/shadow", "whose backing file is /etc/shadow, outside"),
        (secret, outside.as_str()),
        ("link", outside.as_str()),
        ("sub/disk.raw", outside.as_str()),
        ("../../../../../../../../etc/passwd", outside.as_str()),
        ("nbd://localhost/x", "no plain file"),
        ("json:{\"driver\":\"raw\"}", "no plain file"),
        ("none.raw", "as its backing file, which cannot be opened: put that file beside it"),
        (".", "outside"),
    ] {
        if !rebase(&files, name, "raw") {
            return;
        }
        let said = error(&over);
        assert!(said.contains(words), "{name}: {said}");
        assert!(said.starts_with(over.to_str().unwrap()), "{said}");
    }
    // What lies beside it is followed by any name.
    for name in [files.path("disk.raw").to_str().unwrap(), "./sub/../disk.raw", "file:disk.raw"] {
        rebase(&files, name, "raw");
        assert_eq!(source(&over).parts()[1].path, files.path("disk.raw"), "{name}");
    }
    // And from wherever the file is named.
    symlink(&over, elsewhere.path("from-there.qcow2")).unwrap();
    assert_eq!(source(&elsewhere.path("from-there.qcow2")).parts()[1].path, files.path("disk.raw"));
}

#[test]
fn chains_that_lead_back_are_refused() {
    let files = Files::new();
    if !rebase(&files, "self.qcow2", "qcow2") {
        return;
    }
    fs::rename(files.path("over.qcow2"), files.path("self.qcow2")).unwrap();
    let back = |path: &Path| error(path).contains("whose backing files lead back to");
    assert!(back(&files.path("self.qcow2")));
    files.run("qemu-img create -q -u -f qcow2 -b two.qcow2 -F qcow2 one.qcow2 6M");
    files.run("qemu-img create -q -u -f qcow2 -b over.qcow2 -F qcow2 two.qcow2 6M");
    rebase(&files, "one.qcow2", "qcow2");
    assert!(back(&files.path("over.qcow2")));
    // By another name of the same file.
    fs::hard_link(files.path("two.qcow2"), files.path("again.qcow2")).unwrap();
    rebase(&files, "again.qcow2", "qcow2");
    assert!(back(&files.path("over.qcow2")));
}

#[test]
fn backing_files_of_other_formats_are_refused() {
    let files = Files::new();
    files.write("disk.raw", disk());
    if !files.run("qemu-img convert -O vmdk disk.raw disk.vmdk") {
        return;
    }
    rebase(&files, "disk.vmdk", "vmdk");
    let said = error(&files.path("over.qcow2"));
    assert!(
        said.contains("is of the format \"vmdk\", which cannot be used here: make one file of them"),
        "{said}"
    );
}
