//! The guides' commands are run as they stand, in a place that has the files that they name: here those of
//! resources/network.md. Launches go as far as `--dry-run` does; what is asked of an instance is asked where there is none,
//! so that only its form is tried; and what needs no guest must say what the guide shows.

use crate::life::Life;
use crate::run::{Ended, Place, end, read_until, run, skip};
use std::path::Path;
use std::process::{Command, Stdio};

const GUIDE: &str = include_str!("../../resources/network.md");
const IMAGE: &str = r#"{"Images": [{"ImageId": "ami-0123456789abcdef0", "Architecture": "x86_64", "ImdsSupport": "v2.0",
  "EnaSupport": true, "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": [
  {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1", "VolumeSize": 8}}]}]}"#;
const KEYS: &str = r#"{"AccessKeyId": "ASIA", "SecretAccessKey": "s", "SessionToken": "t"}"#;

/// One command of the guide.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown<'a> {
    pub(crate) line: &'a str,
    pub(crate) output: Vec<&'a str>,
}

/// The contents of the blocks that begin with this line.
fn blocks<'a>(text: &'a str, begin: &'a str) -> impl Iterator<Item = Vec<&'a str>> {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        lines.find(|line| *line == begin)?;
        Some(lines.by_ref().take_while(|line| *line != "```").collect())
    })
}

/// What stands behind `$ `, and below it.
pub(crate) fn shown(text: &str) -> Vec<Shown<'_>> {
    let mut all: Vec<Shown<'_>> = Vec::new();
    for line in blocks(text, "```console").flatten() {
        match line.strip_prefix("$ ") {
            Some(line) => all.push(Shown { line, output: Vec::new() }),
            None => all.last_mut().unwrap().output.push(line),
        }
    }
    all
}

/// Whether lines are the ones shown, where `…` stands for any.
pub(crate) fn agree(shown: &[&str], told: &[&str]) -> bool {
    match (shown, told) {
        ([], []) => true,
        (["…", rest @ ..], _) => (0..=told.len()).any(|skipped| agree(rest, &told[skipped..])),
        ([first, shown @ ..], [line, told @ ..]) => first == line && agree(shown, told),
        _ => false,
    }
}

/// A place with all files that the guide names.
fn place() -> Life {
    let life = Life::new();
    let place = &life.place;
    place.write("image.json", IMAGE);
    place.write("snap-1.raw", std::fs::read(place.inputs().join("disk.raw")).unwrap());
    place.write("keys.json", KEYS);
    place.write("setup.sh", "#!/bin/sh\n");
    place.write("me.pub", "ssh-ed25519 AAAAC3Nz me@here\n");
    let script = blocks(GUIDE, "```sh").find(|lines| lines.iter().any(|line| line.contains("curl")));
    place.write("ask.sh", script.unwrap().join("\n"));
    life
}

/// The line, to be run by a shell that ends with it.
pub(crate) fn shell(place: &Place, line: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_ami-run")).parent().unwrap();
    let search = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    place.prepare(&mut command);
    command.env("PATH", search).args(["-c", &format!("exec {line}")]);
    command
}

/// What was run of the guide.
#[derive(Default)]
struct Counts {
    launches: usize,
    of_instances: usize,
    metadata: usize,
}

#[test]
fn every_command_of_the_guide_is_one() {
    let life = place();
    let mut counts = Counts::default();
    for shown in shown(GUIDE) {
        let words: Vec<_> = shown.line.split_whitespace().collect();
        match words.as_slice() {
            ["ami-run", "image.json", ..] => {
                let Ended { code, out, err } = run(shell(&life.place, &format!("{} --dry-run", shown.line)));
                assert_eq!(code, Some(0), "{}: {err}", shown.line);
                assert!(format!("{out}{err}").contains("ami-0123456789abcdef0"), "{}: {out}", shown.line);
                counts.launches += 1;
            }
            ["ami-run", "metadata-options" | "event" | "ssh" | "cp", ..] => {
                let Ended { code, err, .. } = run(shell(&life.place, shown.line));
                assert_eq!(code, Some(1), "{}: {err}", shown.line);
                assert!(err.contains("no instance has this name"), "{}: {err}", shown.line);
                counts.of_instances += 1;
            }
            ["ami-run", "metadata", ..] => {
                metadata(&life.place, &shown);
                counts.metadata += 1;
            }
            _ => panic!("{}: what is it?", shown.line),
        }
        assert!(shown.output.is_empty() || words[1] == "metadata", "{}: nobody compares it", shown.line);
    }
    // A guide that is not read has no mistakes.
    assert!(counts.launches >= 9 && counts.of_instances >= 9 && counts.metadata >= 7);
}

/// Runs a command of `ami-run metadata` to its end, or until it serves.
fn metadata(place: &Place, shown: &Shown<'_>) {
    let mut command = shell(place, shown.line);
    if shown.line.contains("--listen") {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        read_until(child.stderr.as_mut().unwrap(), "serving ");
        child.kill().unwrap();
        end(&mut child);
        return;
    }
    let ended = run(command);
    let forbidden = ["network namespace of its own", "cannot use /dev/net/tun"];
    if ended.code == Some(3) && forbidden.iter().any(|why| ended.err.contains(why)) {
        return skip(&format!("{}: {}", shown.line, ended.err));
    }
    if shown.line.contains("-- ") && Command::new("curl").arg("--version").output().is_err() {
        return skip(&format!("{}: there is no curl", shown.line));
    }
    assert_eq!(ended.code, Some(0), "{}: {}", shown.line, ended.err);
    let told: Vec<_> = ended.out.lines().collect();
    assert!(agree(&shown.output, &told), "{}: {}", shown.line, ended.out);
}

#[test]
fn blocks_and_what_they_show_are_told_apart() {
    let text = "$ no\n```console\n$ a b\nx\n…\n$ c\n```\ny\n```sh\nz\n```\n```console\n$ d\n```\n";
    let wanted = [("a b", vec!["x", "…"]), ("c", vec![]), ("d", vec![])];
    assert_eq!(shown(text), wanted.map(|(line, output)| Shown { line, output }));
    assert_eq!(blocks(text, "```sh").collect::<Vec<_>>(), [["z"]]);
    assert!(agree(&["a", "…", "d"], &["a", "b", "c", "d"]) && agree(&["…"], &[]));
    assert!(!agree(&["a"], &["a", "b"]) && !agree(&["a", "…", "c"], &["a", "b"]) && !agree(&["a"], &[]));
}
