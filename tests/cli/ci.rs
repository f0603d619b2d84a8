//! The command where scripts run it: no terminal, no home, no rights, nobody who holds a pipe open, signals at any
//! time, and state folders that are not as they should be.

use crate::guest::Guest;
use crate::leaks::Count;
use crate::life::Life;
use crate::run::{BOUND, Ended, Place, end, has_kvm, read_until, run, skip};
use serde_json::Value;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// In namespaces of its own, where /var/tmp is this place's `tmp` and everybody may use /dev/kvm: `$0`, a program in
/// /var/tmp, by user `$1` in the folder that a script makes current, with an empty environment.
fn bare(place: &Place, user: u32, folder: &str, arguments: &[&str]) -> Command {
    let tmp = place.folder().join("tmp");
    // By another process: a file that is open for writing here is busy in what other tests start meanwhile.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_ami-run")).arg(&tmp).status().unwrap();
    assert!(copied.success());
    fs::write(tmp.join("guest"), Guest::default().say("here").power_off().elf()).unwrap();
    let script = format!(
        "mknod -m 666 kvm c 10 232 && mount --bind kvm /dev/kvm && mount --bind \"$1\" /var/tmp && shift && \
         chmod 1777 /var/tmp && chmod 755 /var/tmp/ami-run && {folder} && exec setpriv --reuid={user} \
         --regid={user} --clear-groups env -i /var/tmp/ami-run \"$@\""
    );
    let mut command = Command::new("unshare");
    place.prepare(&mut command);
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]).arg(tmp).args(arguments);
    command
}

/// Whether that can be had here.
fn has_namespaces(place: &Place) -> bool {
    if !has_kvm() {
        return false;
    }
    let tried = run(bare(place, 65534, "test -c /dev/kvm && : </dev/kvm", &["--version"]));
    if tried.code != Some(0) {
        skip(&format!("only root has a /dev/kvm of its own: {}", tried.err));
    }
    fs::remove_file(place.inputs().join("kvm")).unwrap_or_default();
    tried.code == Some(0)
}

const LAUNCH: [&str; 8] = ["--kernel", "/var/tmp/guest", "--rm", "--force", "--cpus", "1", "--memory", "64"];

#[test]
fn with_nothing_around_it_a_launch_works_and_leaves_nothing() {
    if !has_namespaces(&Place::new()) {
        return;
    }
    let empty = "mkdir /var/tmp/empty && cd /var/tmp/empty";
    for folder in [empty, &format!("{empty} && rmdir /var/tmp/empty")] {
        for user in [0, 65534] {
            let place = Place::new();
            let Ended { code, out, err } = run(bare(&place, user, folder, &LAUNCH));
            assert_eq!((code, out.as_str()), (Some(0), "here"), "{user}: {folder}: {err}");
            let state = format!("ami-run-{user}");
            let own =
                ["version", "instances/lock", "addresses/lock"].map(|file| format!("tmp/{state}/{file}"));
            let known = ["in/kvm", "tmp/ami-run", "tmp/guest"].map(str::to_owned);
            let left = place.leftovers(&[]);
            let short =
                |path: &std::path::PathBuf| path.strip_prefix(place.folder()).unwrap().display().to_string();
            let left: Vec<_> = left.iter().map(short).collect();
            let leaked: Vec<_> =
                left.iter().filter(|path| !own.contains(path) && !known.contains(path)).collect();
            assert!(leaked.is_empty(), "{user}: {folder}: {leaked:?}");
        }
    }
}

#[test]
fn a_state_folder_that_cannot_be_used_is_said_in_words() {
    if !has_namespaces(&Place::new()) {
        return;
    }
    let with = |make: &str, arguments: &[&str]| {
        let place = Place::new();
        let make = format!("cd /var/tmp && mkdir state && {make}");
        let given = [&["--state-dir", "/var/tmp/state"], arguments].concat();
        (run(bare(&place, 65534, &make, &given)), place)
    };
    let cases = [
        ("chown 65534 state && chmod 500 state", "Permission denied"),
        ("true", "another user"),
        ("rmdir state && touch state", "another user"),
        ("rmdir state && touch state && chown 65534 state", "not a directory"),
        ("echo '{\"Version\": 2}' >state/version && chown -R 65534 state", "version 2"),
    ];
    for (make, says) in cases {
        let (Ended { code, out, err }, place) = with(make, &LAUNCH);
        assert_eq!((code, out.as_str()), (Some(3), ""), "{make}: {err}");
        assert!(err.contains("/var/tmp/state") && err.contains(says), "{make}: {err}");
        assert!(err.contains("AMI_RUN_STATE_DIR"), "what to do: {make}: {err}");
        let state = place.folder().join("tmp/state");
        let made = fs::read_dir(&state).map(Iterator::count).unwrap_or_default();
        assert_eq!(made, usize::from(make.contains("version")), "{make}");
    }
    // What there is to read is read.
    let (listed, _place) = with("chown 65534 state && chmod 500 state", &["ls"]);
    assert_eq!(listed.code, Some(0), "{}", listed.err);
}

#[test]
fn a_detached_launch_holds_no_pipe_open_and_writes_where_it_was_asked_to() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    life.place.write("guest", Guest::default().wait_for_button("up\r\n").elf());
    let options = "disk.raw --kernel guest --force --cpus 1 --memory 64 -d --console-log console --trace exits=trace \
        --wait-for console:up --output json";
    let mut launch = life.place.command(&[]);
    let mut script = Command::new("sh");
    life.place.prepare(&mut script);
    let program = launch.get_program().to_owned();
    launch.stdin(Stdio::null());
    script.args(["-c", &format!("answer=$(\"$0\" {options}) && printf %s \"$answer\"")]).arg(program);
    // Until both pipes are at their ends.
    let Ended { code, out, err } = run(script);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("seen       console:up"), "{err}");
    let launched: Value = serde_json::from_str(&out).unwrap();
    let instance = &launched["Instances"][0];
    let id = instance["InstanceId"].as_str().unwrap();
    assert!(launched["ReservationId"].as_str().unwrap().starts_with("r-0"), "{out}");
    assert_eq!(
        (&launched["OwnerId"], &instance["State"]["Name"]),
        (&"123456789012".into(), &"running".into())
    );
    assert_eq!(life.state(id), "running");
    life.done(&format!("terminate {id}"));
    assert_eq!(fs::read_to_string(life.place.inputs().join("console")).unwrap(), "up\r\n");
    assert!(fs::metadata(life.place.inputs().join("trace")).unwrap().len() > 0);
}

#[test]
fn a_detached_launch_that_does_not_see_what_it_waits_for_has_the_exit_code_of_why() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    let guests = [
        (5, Guest::default().say("stuck").halt(), "console:never was not seen"),
        (6, Guest::default().say("bye").power_off(), "before"),
    ];
    for (wanted, guest, says) in guests {
        life.place.write("guest", guest.elf());
        let line = "--kernel guest --force --cpus 1 --memory 64 -d --wait-for console:never --timeout 2";
        let Ended { code, out, err } = life.ended(&line.split(' ').collect::<Vec<_>>());
        assert_eq!((code, out.as_str()), (Some(wanted), ""), "{err}");
        assert!(err.contains(says), "{err}");
        let id = life.done("ls -q").lines().next().unwrap().to_owned();
        life.done(&format!("wait {id} stopped"));
        life.done(&format!("terminate {id}"));
        life.done("prune");
    }
    assert_eq!(Count::of(&life), Count::default());
}

/// A launch in the foreground whose guest has said `up`.
fn foreground(life: &Life, name: &str, guest: Guest, options: &[&str]) -> Child {
    let file = format!("guest-{name}");
    life.place.write(&file, guest.elf());
    let machine = ["disk.raw", "--kernel", &file, "--force", "--cpus", "1", "--memory", "64", "--name", name];
    let mut command = life.place.command(&machine);
    let mut child = command.args(options).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    read_until(child.stdout.as_mut().unwrap(), "up");
    child
}

fn process(life: &Life, id: &str) -> String {
    life.instance(id).unwrap()["AmiRun"]["Process"].to_string()
}

fn signal(process: &str, name: &str) {
    assert!(Command::new("kill").args([name, process]).status().unwrap().success());
}

fn id(life: &Life, name: &str) -> String {
    let ids = life.done("ls -q");
    let named = |id: &&str| life.instance(id).unwrap()["Tags"][0]["Value"] == name;
    ids.lines().find(named).unwrap().to_owned()
}

#[test]
fn sigterm_ends_a_guest_that_ignores_its_button_long_before_its_stop_timeout() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    let deaf = || Guest::default().ignore_button("up\r\n");
    // The seven seconds are measured where a slow computer does not count: session/course.rs.
    let patient = ["--stop-timeout", "1h"];
    let removed = foreground(&life, "removed", deaf(), &[&patient[..], &["--rm"]].concat());
    let kept = foreground(&life, "kept", deaf(), &patient);
    let detached = life.launch("detached", deaf(), &patient);
    let kept_id = id(&life, "kept");
    let begun = Instant::now();
    for process in [removed.id().to_string(), kept.id().to_string(), process(&life, &detached)] {
        signal(&process, "-TERM");
    }
    for mut child in [removed, kept] {
        assert_eq!(end(&mut child).code(), Some(143));
    }
    life.until(&detached, "stopped");
    assert!(begun.elapsed() < Duration::from_secs(600));
    assert_eq!(life.state(&kept_id), "stopped");
    assert_eq!(life.done("ls -q").lines().count(), 2, "nothing is left of the one with --rm");
    let two = Count { folders: 2, addresses: 2, volumes: 2, ..Count::default() };
    assert_eq!(Count::of(&life), two);
    life.done(&format!("terminate {kept_id} {detached}"));
    life.done("prune");
    assert_eq!(Count::of(&life), Count::default());
}

#[test]
fn after_sigkill_the_next_command_tells_the_truth_and_has_swept() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    let guest = || Guest::default().say("up\r\n").halt();
    let mut kept = foreground(&life, "kept", guest(), &[]);
    let mut removed = foreground(&life, "removed", guest(), &["--rm"]);
    let detached = life.launch("detached", guest(), &["--rm"]);
    let kept_id = id(&life, "kept");
    assert_eq!(life.done("ls -q").lines().count(), 3);
    let running = process(&life, &detached);
    for process in [kept.id().to_string(), removed.id().to_string(), running.clone()] {
        signal(&process, "-KILL");
    }
    for child in [&mut kept, &mut removed] {
        end(child);
    }
    // It is nobody's child here.
    let begun = Instant::now();
    while life.state(&detached) == "running" {
        assert!(begun.elapsed() < BOUND, "process {running} does not end");
    }
    assert_eq!((life.state(&kept_id), life.state(&detached)), ("stopped".into(), "terminated".into()));
    let table = life.done("ls");
    assert!(table.contains("was killed") && !table.contains("removed"), "{table}");
    // A terminated one is listed for an hour.
    let left = Count { folders: 2, addresses: 1, volumes: 1, ..Count::default() };
    assert_eq!(Count::of(&life), left);
    life.done("start --force kept");
    life.done("terminate --force kept");
    life.done("prune");
    assert_eq!(Count::of(&life), Count::default());
}

#[test]
fn what_cannot_be_meant_of_several_is_refused() {
    let place = Place::new();
    place.write("disk.raw", crate::lint::bios_disk());
    for (options, says) in [
        ("--count 0 -d", "1..=1000"),
        ("--count 2", "add -d"),
        ("--count 2 -d --console-log log", "(--console-log)"),
        ("--count 2 -d --trace exits=log", "(--trace)"),
        ("--count 2 -d --firmware-log log", "(--firmware-log)"),
        ("--rm --keep", "cannot be used with"),
        ("-d --name web\u{1b}[2J", "--name"),
    ] {
        let options: Vec<_> = options.split(' ').collect();
        let Ended { code, out, err } = run(place.command(&[&options[..], &["disk.raw"]].concat()));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{options:?}: {err}");
        assert!(err.contains(says), "{options:?}: {err}");
        assert!(!err.contains('\u{1b}'), "{options:?}: {err:?}");
    }
    let odd =
        ["i-", "i-0123456789abcdeg", "../i-0123456789abcdef0", "", " ", "web\n", "web\u{1b}[2J", "i-0/.."];
    for verb in ["stop", "start", "reboot", "terminate", "console", "logs"] {
        for name in odd {
            let Ended { code, out, err } = run(place.command(&[verb, name]));
            assert_eq!((code, out.as_str()), (Some(1), ""), "{verb} {name:?}: {err}");
            assert!(
                err.contains("(InvalidInstanceID.Malformed)") || err.contains("NotFound)"),
                "{name:?}: {err}"
            );
            assert!(!err.contains('\u{1b}'), "{verb} {name:?}: {err:?}");
        }
    }
    assert!(place.leftovers(&["disk.raw"]).is_empty(), "{:?}", place.leftovers(&["disk.raw"]));
}

#[test]
fn an_image_on_standard_input_is_launched_detached() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    life.place.write("guest", Guest::default().say("up").halt().elf());
    let image = r#"{"ImageId": "ami-1", "Architecture": "x86_64", "RootDeviceName": "/dev/xvda", "BlockDeviceMappings":
        [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1"}}]}"#;
    let image = life.place.write("image", image);
    let line = "- --snapshot snap-1=disk.raw --kernel guest --force --memory 64 -d --wait-for console:up";
    let mut command = life.place.command(&line.split(' ').collect::<Vec<_>>());
    command.stdin(fs::File::open(image).unwrap());
    let Ended { code, out, err } = run(command);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(life.instance(out.trim()).unwrap()["ImageId"], "ami-1");
    life.done(&format!("terminate --force {}", out.trim()));
}
