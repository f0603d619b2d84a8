//! What the command refuses: one clear message, the exit code of the table, nothing left behind.

use crate::guest::Guest;
use crate::run::{Ended, Place, has_kvm, run, skip};
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

const IMAGE: &str = r#"{"Images": [{"ImageId": "ami-1", "Architecture": "x86_64", "RootDeviceName": "/dev/xvda",
  "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1", "VolumeSize": 8}}]}]}"#;

/// Arguments, files, exit code, and what the message holds.
type Case = (&'static [&'static str], &'static [(&'static str, &'static str)], i32, &'static [&'static str]);

const CASES: &[Case] = &[
    // The command line.
    (&[], &[], 2, &["Usage: ami-run"]),
    (&["--cpus", "0", "d.raw"], &[], 2, &["invalid value '0' for '--cpus <N>'"]),
    (&["--cpus", "65", "d.raw"], &[], 2, &["1..=64"]),
    (&["--memory", "1Q", "d.raw"], &[], 2, &["--memory <SIZE>", "a number with M or G"]),
    (&["--memory", "1M", "d.raw"], &[], 2, &["give 16M or more"]),
    (&["--timeout", "0", "d.raw"], &[], 2, &["--timeout <DURATION>"]),
    (&["--wait-for", "login:", "d.raw"], &[], 2, &["give console:REGEX"]),
    (&["--net", "bridge", "d.raw"], &[], 2, &["give user, tap=NAME or none"]),
    (&["-p", "22", "d.raw"], &[], 2, &["2222:22"]),
    (&["-p", "2222:22", "-p", "2222:23", "d.raw"], &[], 2, &["127.0.0.1:2222 is given twice"]),
    (&["-p", "2222:22", "--net", "none", "d.raw"], &[], 2, &["-p is for --net user"]),
    (&["-d", "--count", "2", "-p", "2222:22", "d.raw"], &[], 2, &["cannot share one port"]),
    (
        &["-d", "--count", "2", "--net", "tap=t", "d.raw"],
        &[],
        2,
        &["cannot share one interface (--net tap=t)"],
    ),
    (&["--exec", "true", "--net", "none", "d.raw"], &[], 122, &["--net none: SSH does not reach a guest"]),
    (&["--wait-for", "ssh", "--net", "none", "d.raw"], &[], 2, &["--net none: SSH does not reach a guest"]),
    (&["--wait-for", "console:(", "d.raw"], &[], 2, &["unclosed group"]),
    (&["--snapshot", "vol-1=x", "d.raw"], &[], 2, &["`vol-1` is not a snapshot id"]),
    (&["--escape", "enter", "d.raw"], &[], 2, &["such as ctrl-t"]),
    (&["--trace", "smoke=x", "d.raw"], &[], 2, &["choose from exits, pci, fwcfg, irq"]),
    (&["--firmware", "f", "--kernel", "k"], &[], 2, &["cannot be used with"]),
    (&["--firmware-log", "f", "--kernel", "k"], &[], 2, &["cannot be used with"]),
    (&["--hang-after", "soon", "d.raw"], &[], 2, &["--hang-after <DURATION>", "such as 90s or 5m"]),
    (&["--append", "x", "d.raw"], &[], 2, &["--kernel <FILE>"]),
    (&["--nonsense", "d.raw"], &[], 2, &["unexpected argument '--nonsense'"]),
    (&["lunch"], &[], 2, &["no such command or image: lunch", "hint: did you mean launch?"]),
    (&["dcotor"], &[], 2, &["no such command or image: dcotor", "hint: did you mean doctor?"]),
    (&["help", "lunch"], &[], 2, &["no such command: lunch", "hint: did you mean launch?"]),
    (&["lunch", "d.raw"], &[("d.raw", "")], 2, &["no such command or image: lunch"]),
    (
        &["i.json", "--snapshot", "snap-2=x"],
        &[("i.json", IMAGE)],
        2,
        &["is not the image's", "the image has snap-1"],
    ),
    (
        &["i.json", "--snapshot", "snap-1=x", "--snapshot", "snap-1=y"],
        &[("i.json", IMAGE)],
        2,
        &["given twice"],
    ),
    (&["d.raw", "--snapshot", "snap-1=x"], &[("d.raw", SECTOR)], 2, &["there is no image.json"]),
    // What an instance is given.
    (
        &["d.raw", "--user-data", "#!/bin/sh"],
        &[("d.raw", SECTOR)],
        2,
        &["--user-data: cannot read a file of this name", "--user-data -"],
    ),
    (
        &["d.raw", "--iam-credentials", "file:k"],
        &[("d.raw", SECTOR), ("k", "x")],
        2,
        &["k holds no credentials", "aws configure export-credentials"],
    ),
    (
        &["d.raw", "--metadata-options", "HttpPutResponseHopLimit=0"],
        &[("d.raw", SECTOR)],
        2,
        &["Value (0) for parameter HttpPutResponseHopLimit is invalid.", "a number from 1 to 64"],
    ),
    (&["metadata-options", "i-1"], &[], 2, &["--http-tokens"]),
    (&["event", "i-1", "maintenance"], &[], 2, &["it has a code", "system-reboot"]),
    // The metadata service.
    (&["metadata"], &[], 2, &["<IMAGE>", "--listen <ADDR:PORT>"]),
    (
        &["metadata", "i.json", "--listen", "0.0.0.0:80"],
        &[("i.json", IMAGE)],
        2,
        &["for this computer alone"],
    ),
    (&["metadata", "i.json", "--listen", "localhost"], &[], 2, &["--listen <ADDR:PORT>"]),
    (
        &["metadata", "i.json", "--listen", "127.0.0.1:0", "--region", "mars"],
        &[],
        2,
        &["give a Region such as"],
    ),
    (&["metadata", "i.json", "--listen", "127.0.0.1:0", "--tag", "x"], &[], 2, &["give KEY=VALUE"]),
    (
        &[
            "metadata",
            "i.json",
            "--listen",
            "127.0.0.1:0",
            "--metadata-options",
            "HttpPutResponseHopLimit=65",
        ],
        &[("i.json", IMAGE)],
        2,
        &["Value (65) for parameter HttpPutResponseHopLimit is invalid.", "a number from 1 to 64"],
    ),
    (
        &["metadata", "i.json", "--listen", "127.0.0.1:0", "--user-data", "#!/bin/sh"],
        &[("i.json", IMAGE)],
        2,
        &["--user-data: cannot read a file of this name", "--user-data -"],
    ),
    (
        &["metadata", "i.json", "--listen", "127.0.0.1:0", "--user-data", "i.json", "--tag", "aws:x=y"],
        &[("i.json", IMAGE)],
        1,
        &["Tag keys starting with 'aws:' are reserved for internal use"],
    ),
    (
        &["metadata", "i.json", "--listen", "127.0.0.1:0", "--ssh-key", "i.json"],
        &[("i.json", IMAGE)],
        2,
        &["--ssh-key i.json: it holds no public key"],
    ),
    (
        &["metadata", "i.json", "--listen", "127.0.0.1:0", "--iam-credentials", "x", "--allow-local-users"],
        &[("i.json", IMAGE)],
        2,
        &["it is none of file:PATH, env and profile:NAME"],
    ),
    (&["metadata", "i.json", "--listen", "127.0.0.1:0"], &[("i.json", "{}")], 1, &["cannot launch i.json"]),
    (&["snapshot", "serve", "d.raw"], &[], 2, &["--socket <PATH>"]),
    (&["snapshot", "sevre", "d.raw"], &[], 2, &["there is `ami-run snapshot serve`"]),
    (
        &["snapshot", "serve", "d.raw", "--socket", LONG],
        &[("d.raw", SECTOR)],
        2,
        &["has 108 bytes", "107 at most"],
    ),
    (
        &["snapshot", "serve", "d.raw", "--socket", "d.raw"],
        &[("d.raw", SECTOR)],
        2,
        &["there is a file of this name, and it is no socket"],
    ),
    (
        &["snapshot", "serve", "d.raw", "--socket", "no/s"],
        &[("d.raw", SECTOR)],
        3,
        &["--socket no/s: the socket cannot be made", "No such file"],
    ),
    (&["volume", "create", "v"], &[], 2, &["a volume needs a size or a snapshot", "give --size GIB"]),
    (&["volume", "create", "v", "--size", "65537"], &[], 2, &["1..=65536"]),
    (&["volume", "create", "v", "--from", "no.raw"], &[], 1, &["cannot use no.raw", "No such file"]),
    (&["volume", "create", "v", "--size", "1"], &[("v", "mine")], 3, &["cannot use v", "File exists"]),
    (&["volume", "serve", "v", "--socket", "s"], &[("v", SECTOR)], 1, &["cannot use v", "v is not a volume"]),
    (&["volume", "serve", "vol-1", "--socket", "s"], &[], 1, &["(InvalidVolume.NotFound)", "volume ls"]),
    (&["volume", "resize", "vol-1", "--size", "0"], &[], 2, &["--size <GIB>"]),
    (&["attach-volume", "web", "vol-1"], &[], 2, &["--device <NAME>"]),
    (&["stop"], &[], 2, &["<INSTANCE>..."]),
    (&["stop", "web", "--force", "--timeout", "1"], &[], 2, &["cannot be used with"]),
    (&["wait", "web"], &[], 2, &["<STATE>"]),
    (&["wait", "web", "gone"], &[], 2, &["running, stopped or terminated"]),
    (&["modify", "web"], &[], 2, &["--instance-type <TYPE>"]),
    (&["modify", "web", "--delete-on-termination", "/dev/sdf"], &[], 2, &["give DEVICE=true"]),
    (&["volume", "rebase", "v", "d.raw"], &[("v", SECTOR), ("d.raw", SECTOR)], 1, &["v is not a volume"]),
    (&["snapshot", "serve", "no.raw", "--socket", "s"], &[], 1, &["cannot use no.raw", "No such file"]),
    (
        &["snapshot", "serve", "snap-1", "--socket", "s"],
        &[],
        1,
        &["no disk file holds snapshot snap-1", "there is no ./snap-1.raw", "give the path of its disk file"],
    ),
    // The image.
    (&["imgae.json"], &[("image.json", "{}")], 1, &["no such image: imgae.json", "did you mean image.json?"]),
    (&["."], &[("image.json", "{}")], 1, &[". is a directory", "did you mean ./image.json?"]),
    (&["e.json"], &[("e.json", "")], 1, &["e.json is empty"]),
    (&["e.raw"], &[("e.raw", "")], 1, &["e.raw is empty"]),
    (&["odd.raw"], &[("odd.raw", "odd")], 1, &["3 bytes, not a multiple of 512"]),
    (
        &["x.json"],
        &[("x.json", "{\"ImageId\":\n  oops}")],
        1,
        &["cannot launch x.json", "line 2, column 3: "],
    ),
    (
        &["x.json"],
        &[("x.json", "Images:\n- ImageId: ami-1\n")],
        1,
        &["an output of the AWS CLI as YAML", "--output json"],
    ),
    (&["x"], &[("x", "  {\"Reservations\": []}")], 1, &["the output of describe-instances, not"]),
    (&["i.json"], &[("i.json", r#"{"Images": []}"#)], 1, &["list is empty", "the region"]),
    (
        &["i.json"],
        &[("i.json", r#"{"ImageId": "ami-1", "Architecture": "i386", "RootDeviceName": "/dev/xvda"}"#)],
        1,
        &["the image is for i386, and this computer is x86_64", "hint: take the image's x86_64 build"],
    ),
    (
        // No type mends it, so none is offered.
        &["i.json", "--instance-type", "t3.micro"],
        &[("i.json", r#"{"ImageId": "ami-1", "Architecture": "arm64", "RootDeviceName": "/dev/xvda"}"#)],
        1,
        &[
            "the image is for arm64, and this computer is x86_64 (Unsupported)",
            "hint: launch it on a computer that is arm64 and has KVM",
            "no option helps",
        ],
    ),
    (
        &["i.json"],
        &[("i.json", IMAGE)],
        1,
        &[
            "no disk file holds snapshot snap-1",
            "no ./snap-1.raw, nor one of .img, .qcow2, ",
            "coldsnap download snap-1",
        ],
    ),
    (
        &["i.json"],
        &[("i.json", IMAGE), ("snap-1.qcow2", "x")],
        1,
        &[
            "./snap-1.qcow2 as volume /dev/xvda",
            "disk file ./snap-1.qcow2 has 1 bytes, not a multiple of 512",
        ],
    ),
    (
        &["i.json", "--snapshot", "snap-1=no.raw"],
        &[("i.json", IMAGE)],
        1,
        &["no.raw as volume /dev/xvda", "No such file"],
    ),
    (&["i.json"], &[("i.json", IMAGE), ("snap-1.raw", "")], 1, &["./snap-1.raw is empty"]),
    (&["--kernel", "no"], &[], 1, &["cannot start the kernel no", "No such file"]),
    (&["--kernel", "k"], &[("k", "echo hello, this is a script")], 1, &["k is not a kernel"]),
    // This computer.
    (
        &["--memory", "1000000G", "d.raw"],
        &[("d.raw", SECTOR)],
        3,
        &["--memory: ", "more than this computer has"],
    ),
    (&["--firmware", "no", "d.raw"], &[("d.raw", SECTOR)], 3, &["there is no firmware", "cannot read no"]),
];

/// A path that no socket can have.
const LONG: &str = "1234567890/1234567890/1234567890/1234567890/1234567890/1234567890/1234567890/1234567890/\
                    1234567890/123456789";

/// As many zeroes as a disk has at least.
const SECTOR: &str = concat_zeroes();

const fn concat_zeroes() -> &'static str {
    match std::str::from_utf8(&[0; 512]) {
        Ok(text) => text,
        Err(_) => "",
    }
}

fn check(ended: &Ended, what: &str, code: i32, fragments: &[&str]) {
    assert_eq!(ended.code, Some(code), "{what}: {}", ended.err);
    for fragment in fragments {
        assert!(ended.err.contains(fragment), "{what}: no {fragment:?} in: {}", ended.err);
    }
    assert_eq!(ended.out, "", "{what}");
    assert!(!ended.err.contains("panicked"), "{what}: {}", ended.err);
}

#[test]
fn mistakes_are_told_with_the_code_of_the_table() {
    for (arguments, files, code, fragments) in CASES {
        let place = Place::new();
        for (name, content) in *files {
            place.write(name, content);
        }
        let ended = run(place.command(arguments));
        let what = format!("ami-run {}", arguments.join(" "));
        check(&ended, &what, *code, fragments);
        let given: Vec<_> = files.iter().map(|(name, _)| *name).collect();
        assert!(place.leftovers(&given).is_empty(), "{what}: {:?}", place.leftovers(&given));
    }
}

#[test]
fn a_named_pipe_is_refused_without_waiting_for_its_writer() {
    let place = Place::new();
    assert!(Command::new("mkfifo").arg(place.inputs().join("pipe")).status().unwrap().success());
    check(&run(place.command(&["pipe"])), "pipe", 1, &["pipe is a named pipe", "pass - as the image"]);
}

#[test]
fn an_image_on_standard_input_has_its_snapshots_in_the_current_folder() {
    let place = Place::new();
    let image = place.write("image", IMAGE);
    let mut command = place.command(&["-"]);
    command.stdin(fs::File::open(image).unwrap());
    check(&run(command), "-", 1, &["there is no ./snap-1.raw"]);
    let mut command = place.command(&["-"]);
    command.stdin(Stdio::null());
    check(&run(command), "-", 1, &["standard input is empty"]);
}

#[test]
fn files_that_are_read_are_not_written() {
    if !has_kvm() {
        return;
    }
    for option in [&["--console-log", "guest"][..], &["--trace", "exits=guest"]] {
        let place = Place::new();
        let ended = run(place.guest(Guest::default().power_off(), option));
        check(&ended, option[0], 2, &["would overwrite guest"]);
        assert_eq!(fs::read(place.inputs().join("guest")).unwrap(), Guest::default().power_off().elf());
    }
    let place = Place::new();
    let twice = ["--console-log", "x", "--trace", "exits=x"];
    check(&run(place.guest(Guest::default().power_off(), &twice)), "x", 2, &["--trace would overwrite x"]);
    assert!(place.leftovers(&["guest"]).is_empty());
}

#[test]
fn folders_that_cannot_be_written_are_named() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let ended = run(place.guest(Guest::default().power_off(), &["--console-log", "guest/log"]));
    check(&ended, "log", 3, &["cannot write the console log guest/log", "Not a directory"]);
    place.write("d.raw", SECTOR);
    let mut command = place.guest(Guest::default().power_off(), &["d.raw"]);
    command.env("TMPDIR", "/proc");
    check(&run(command), "TMPDIR", 3, &["private file of 512 bytes in /proc"]);
}

#[test]
fn without_any_home_everything_works() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let mut command = place.guest(Guest::default().say("here").power_off(), &[]);
    command.env_remove("HOME");
    let ended = run(command);
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "here"), "{}", ended.err);
    let me = rustix::process::geteuid().as_raw();
    assert!(place.folder().join(format!("tmp/ami-run-{me}/version")).exists());
}

#[test]
fn a_kvm_that_only_emulates_is_told_and_remembered() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    place.write("guest", Guest::default().power_off().elf());
    for _ in 0..2 {
        let ended = run(place.command(&["--kernel", "guest", "--memory", "64"]));
        let kept = fs::read_to_string(place.inputs().join("../home/.cache/ami-run/kvm")).unwrap();
        if kept.ends_with(" real\n") {
            assert_eq!(ended.code, Some(0), "{}", ended.err);
        } else {
            check(
                &ended,
                "probe",
                3,
                &["only emulates", "tests/testbed/run -- ami-run", "--force", "\n`ami-run doctor`"],
            );
        }
    }
    assert!(place.leftovers(&["guest"]).is_empty());
}

#[test]
fn a_computer_without_kvm_is_told_what_to_do() {
    let place = Place::new();
    place.write("guest", Guest::default().power_off().elf());
    let mut command = Command::new("unshare");
    place.prepare(&mut command);
    let hide = r#"mount -t tmpfs none /dev && exec "$0" "$@""#;
    command.args(["--mount", "sh", "-c", hide, env!("CARGO_BIN_EXE_ami-run"), "--kernel", "guest"]);
    match run(command) {
        ended if ended.err.contains("unshare") || ended.err.contains("mount") => skip(&ended.err),
        ended => check(
            &ended,
            "no /dev/kvm",
            3,
            &["cannot open /dev/kvm", "No such file", "\nhint: ", "\n`ami-run doctor`"],
        ),
    }
}

#[test]
fn ports_and_interfaces_that_cannot_be_had_are_told() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let forward = format!("{port}:22");
    let refused = |network: &[&str], fragments: &[&str]| {
        let ended = run(place.guest(Guest::default().power_off(), network));
        check(&ended, &network.join(" "), 3, fragments);
    };
    refused(&["-p", &forward], &[&format!("another program has 127.0.0.1:{port}; give another port")]);
    refused(&["--net", "tap=ami-run-none"], &["there is no network interface ami-run-none", "ip tuntap add"]);
    let left = place.leftovers(&["guest"]);
    assert!(left.is_empty(), "{left:?}");
    match TcpListener::bind("127.0.0.1:1") {
        Err(cause) if cause.kind() == ErrorKind::PermissionDenied => {
            refused(&["-p", "1:22"], &["only root may have ports below", "give one above 1023"]);
        }
        _ => skip("this user may have ports below 1024"),
    }
}

#[test]
fn a_computer_that_knows_no_name_server_is_told() {
    let place = Place::new();
    place.write("d.raw", SECTOR);
    let mut command = Command::new("unshare");
    place.prepare(&mut command);
    let hide = r#"mount --bind /dev/null /etc/resolv.conf && exec "$0" "$@""#;
    let launch = ["d.raw", "--dry-run"];
    command.args(["--mount", "sh", "-c", hide, env!("CARGO_BIN_EXE_ami-run")]).args(launch);
    match run(command) {
        ended if ended.err.contains("unshare") || ended.err.contains("mount") => skip(&ended.err),
        ended => {
            assert_eq!(ended.code, Some(0), "{}", ended.err);
            assert!(ended.out.contains("/etc/resolv.conf names no server"), "{}", ended.out);
        }
    }
}

#[test]
fn a_user_without_permission_is_told_the_group() {
    let public = tempfile::tempdir().unwrap();
    let program = public.path().join("ami-run");
    // By another process: a file that is open for writing here is busy in what other tests start meanwhile.
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_ami-run")).arg(&program).status().unwrap().success());
    fs::write(public.path().join("guest"), Guest::default().power_off().elf()).unwrap();
    fs::set_permissions(public.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let open_to_all = fs::metadata("/dev/kvm").is_ok_and(|node| node.permissions().mode() & 0o006 != 0);
    if open_to_all || !has_kvm() {
        return skip("everybody may use /dev/kvm here, or nobody");
    }
    let mut command = Command::new(program);
    command
        .current_dir(public.path())
        .stdin(Stdio::null())
        .args(["--kernel", "guest", "--memory", "64"])
        .uid(65534);
    command.gid(65534).stdout(Stdio::null()).stderr(Stdio::null());
    if command.status().is_err() {
        return skip("only root can become somebody else");
    }
    check(
        &run(command),
        "nobody",
        3,
        &["cannot open /dev/kvm", "Permission denied", "usermod -aG ", " $USER", "\n`ami-run doctor`"],
    );
}
