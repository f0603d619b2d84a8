//! `ami-run doctor`: what it says of this computer, whatever that is, and of one that was spoilt for it.

use crate::run::{Ended, Place, has_kvm, run, skip};
use std::fs;
use std::process::{Command, Stdio};

/// Of an x86_64 computer; on arm64 there is no BIOS to look for.
const NAMES: [&str; 10] = [
    "/dev/kvm",
    "virtualization",
    "nested",
    "vCPUs",
    "firmware",
    "UEFI firmware",
    "memory",
    "disk space",
    "state folder",
    "io_uring",
];

/// The checks by name, after a look that the object and the exit code agree.
fn checks(ended: &Ended) -> serde_json::Value {
    assert_eq!(ended.out.lines().count(), 1, "{}\n{}", ended.out, ended.err);
    let result: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    let checks = result["Checks"].as_array().unwrap();
    let names: Vec<_> = checks.iter().map(|check| check["Name"].as_str().unwrap()).collect();
    assert_eq!(names, NAMES);
    let statuses: Vec<_> = checks.iter().map(|check| check["Status"].as_str().unwrap()).collect();
    let known = ["ok", "warning", "failed", "information"];
    assert!(statuses.iter().all(|status| known.contains(status)), "{statuses:?}");
    let ok = !statuses.contains(&"failed");
    assert_eq!(
        (result["Ok"].as_bool(), ended.code),
        (Some(ok), Some(if ok { 0 } else { 3 })),
        "{}",
        ended.out
    );
    assert_eq!(ended.err, "");
    checks.iter().map(|check| (check["Name"].as_str().unwrap().to_owned(), check.clone())).collect()
}

fn json(place: &Place) -> Command {
    place.command(&["doctor", "--output", "json"])
}

#[test]
fn it_agrees_with_a_launch_and_leaves_nothing() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let found = checks(&run(json(&place)));
    assert_eq!(found["/dev/kvm"]["Status"], "ok", "{found}");
    let kept = fs::read_to_string(place.inputs().join("../home/.cache/ami-run/kvm")).unwrap();
    let real = kept.ends_with(" real\n");
    let (status, words) = if real {
        ("ok", "real: ")
    } else {
        ("failed", "only emulates a guest's kernel: it would stop half-way")
    };
    let check = &found["virtualization"];
    assert_eq!(check["Status"], status, "{check}");
    assert!(check["Found"].as_str().unwrap().contains(words), "{check}");
    assert_eq!(check["Remedy"].is_null(), real, "{check}");
    assert!(place.leftovers(&[]).is_empty(), "{:?}", place.leftovers(&[]));
    // Not made: only told.
    assert!(!place.inputs().join("../home/.local").exists());
    assert!(found["state folder"]["Found"].as_str().unwrap().contains(".local/share/ami-run can be made"));
}

#[test]
fn every_check_is_a_line_and_the_last_line_is_the_sum() {
    let place = Place::new();
    let ended = run(place.command(&["doctor"]));
    let ok = ended.code == Some(0);
    assert!(ok || ended.code == Some(3), "{:?} {}", ended.code, ended.err);
    for name in NAMES {
        let lines = ended.out.lines().filter(|line| line.starts_with(&format!("{name}  "))).count();
        assert_eq!(lines, 1, "{name}: {}", ended.out);
    }
    let last = ended.out.lines().last().unwrap();
    let sum = if ok { "a launch will work here" } else { "a launch will not work here: see " };
    assert!(last.starts_with(sum), "{last}");
    assert_eq!(ended.out.contains("  failed "), !ok, "{}", ended.out);
    assert_eq!(ended.err, "");
}

#[test]
fn a_folder_for_writes_that_is_not_there_or_not_writable_is_told() {
    let place = Place::new();
    for (folder, found, remedy) in [
        ("/no/such/folder", "no folder /no/such/folder", "mkdir -p /no/such/folder"),
        ("/proc", "/proc (proc, 0 MiB free): no file can be made there", "set TMPDIR"),
    ] {
        let mut command = json(&place);
        command.env("TMPDIR", folder);
        let ended = run(command);
        assert_eq!(ended.code, Some(3), "{}", ended.out);
        let check = &checks(&ended)["disk space"];
        assert_eq!(check["Status"], "failed", "{check}");
        assert!(check["Found"].as_str().unwrap().starts_with(found), "{check}");
        assert!(check["Remedy"].as_str().unwrap().contains(remedy), "{check}");
        let mut command = place.command(&["doctor"]);
        command.env("TMPDIR", folder);
        assert!(run(command).out.lines().last().unwrap().ends_with("disk space"));
    }
}

#[test]
fn a_limit_on_the_size_of_files_does_not_end_it() {
    let place = Place::new();
    let mut command = Command::new("sh");
    place.prepare(&mut command);
    let limited = r#"ulimit -f 64 && exec "$0" doctor --output json"#;
    command.args(["-c", limited, env!("CARGO_BIN_EXE_ami-run")]);
    let check = checks(&run(command))["disk space"].clone();
    assert_eq!(check["Status"], "failed", "{check}");
    assert!(check["Remedy"].as_str().unwrap().contains("ulimit -f unlimited"), "{check}");
}

#[test]
fn a_computer_without_kvm_is_told_so_and_the_rest_is_checked_all_the_same() {
    let place = Place::new();
    let mut command = Command::new("unshare");
    place.prepare(&mut command);
    let hide = r#"mount -t tmpfs none /dev && exec "$0" "$@""#;
    command.args(["--mount", "sh", "-c", hide, env!("CARGO_BIN_EXE_ami-run"), "doctor", "--output", "json"]);
    let ended = run(command);
    if ended.err.contains("unshare") || ended.err.contains("mount") {
        return skip(&ended.err);
    }
    let found = checks(&ended);
    assert_eq!(found["/dev/kvm"]["Status"], "failed");
    assert!(found["/dev/kvm"]["Found"].as_str().unwrap().contains("cannot open /dev/kvm: No such file"));
    assert!(found["/dev/kvm"]["Remedy"].is_string());
    assert_eq!(found["virtualization"]["Status"], "information");
    assert_ne!(found["disk space"]["Status"], "failed", "{found}");
}

/// A KVM may have been loaded anew in a way that the remembered answer does not know of.
#[test]
fn what_was_remembered_of_kvm_is_not_believed_but_renewed() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let kept = place.inputs().join("../home/.cache/ami-run/kvm");
    let first = checks(&run(json(&place)));
    let right = fs::read_to_string(&kept).unwrap();
    let swapped = match right.trim_end().rsplit_once(' ').unwrap() {
        (key, "real") => format!("{key} emulated\n"),
        (key, _) => format!("{key} real\n"),
    };
    fs::write(&kept, swapped).unwrap();
    assert_eq!(checks(&run(json(&place)))["virtualization"], first["virtualization"]);
    assert_eq!(fs::read_to_string(&kept).unwrap(), right);
}

#[test]
fn its_command_line_is_its_own() {
    let place = Place::new();
    for words in [&["doctor", "--help"][..], &["help", "doctor"]] {
        let ended = run(place.command(words));
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(ended.out.contains("Usage: ami-run doctor [OPTIONS]\n"), "{}", ended.out);
        assert!(ended.out.contains("Exit codes:\n  0  a launch can work\n"), "{}", ended.out);
    }
    for words in [&["doctor", "--cpus", "3"][..], &["doctor", "image.json"], &["doctor", "--output", "xml"]] {
        let ended = run(place.command(words));
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{words:?}");
        assert!(ended.err.starts_with("error: "), "{}", ended.err);
    }
}

#[test]
fn an_image_may_have_its_name() {
    let place = Place::new();
    place.write("doctor", "");
    for words in [&["./doctor"][..], &["launch", "doctor"], &["--cpus", "1", "doctor"]] {
        let ended = run(place.command(words));
        assert_eq!(ended.code, Some(1), "{words:?}: {}", ended.err);
        assert!(ended.err.contains("doctor is empty"), "{}", ended.err);
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let place = Place::new();
    for words in [&["doctor"][..], &["doctor", "--output", "json"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = place.command(words).stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("cannot write to standard output"), "{said}");

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(place.command(words).stdout(writer).status().unwrap().code(), Some(141));
    }
}
