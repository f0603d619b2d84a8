//! The verbs on instances with guests: each verb in each state, with EC2's error where the state is the wrong one,
//! and the ways from one state to another.

use crate::guest::Guest;
use crate::life::Life;
use crate::run::{BOUND, Ended, end, has_kvm, read_until, run};
use ami_run_catalog::{Held, State};
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Exit code, and what is said. None: this one waits for what the instance is doing.
type Expected = Option<(i32, &'static str)>;

const WRONG: Expected = Some((1, "(IncorrectInstanceState)"));
const NOT_STOPPED: Expected = Some((1, "(IncorrectState)"));
const IS_ROOT: Expected = Some((1, "(OperationNotPermitted)"));
const NO_VOLUME: Expected = Some((1, "(InvalidVolume.NotFound)"));
const IN_USE: Expected = Some((1, "(VolumeInUse)"));
const NEVER: Expected = Some((1, "will not be "));
const LATE: Expected = Some((5, "(--timeout)"));
const YES: Expected = Some((0, ""));

const fn says(text: &'static str) -> Expected {
    Some((0, text))
}

/// Verbs and states, in the order of [`State::ALL`]: pending, running, shutting-down, terminated, stopping, stopped.
/// `ID` stands for the instance, `VOL` for its root volume.
const TABLE: [(&str, [Expected; 6]); 15] = [
    (
        "stop --force ID",
        [WRONG, says("running → stopped"), WRONG, WRONG, says("stopping → stopped"), says("stopped already")],
    ),
    ("start --force ID", [None, says("running already"), WRONG, WRONG, WRONG, says("stopped → running")]),
    ("reboot ID", [WRONG, says("rebooting"), WRONG, WRONG, WRONG, WRONG]),
    (
        "terminate --force ID",
        [
            None,
            says("running → terminated"),
            says("shutting-down → terminated"),
            says("terminated already"),
            says("stopping → terminated"),
            says("stopped → terminated"),
        ],
    ),
    ("console ID", [WRONG, None, None, WRONG, None, WRONG]),
    ("logs ID", [YES, says("up"), says("up"), says("up"), says("up"), says("up")]),
    ("modify ID --cpus 1", [WRONG, WRONG, WRONG, WRONG, WRONG, says("1 vCPUs")]),
    (
        "attach-volume ID data.volume --device /dev/sdf",
        [NOT_STOPPED, NOT_STOPPED, NOT_STOPPED, NOT_STOPPED, NOT_STOPPED, says("attached to ID at /dev/sdf")],
    ),
    (
        "volume resize VOL --size 9",
        [NOT_STOPPED, NOT_STOPPED, NOT_STOPPED, NO_VOLUME, NOT_STOPPED, says("→ 9 GiB")],
    ),
    ("volume rm VOL", [IN_USE, IN_USE, IN_USE, NO_VOLUME, IN_USE, IN_USE]),
    ("wait ID running --timeout 0", [LATE, YES, NEVER, NEVER, LATE, LATE]),
    ("wait ID stopped --timeout 0", [LATE, LATE, NEVER, NEVER, LATE, YES]),
    ("wait ID terminated --timeout 0", [LATE, LATE, LATE, YES, LATE, LATE]),
    ("detach-volume VOL", [IS_ROOT, IS_ROOT, IS_ROOT, NO_VOLUME, IS_ROOT, says("detached from ID")]),
    // What is left of those before is pruned, too.
    ("prune", [YES, YES, YES, says("ID  terminated"), YES, says("ID  stopped")]),
];

/// An instance in a state.
struct There {
    id: String,
    volume: String,
    /// Of one that is pending: this process is the one that launches it.
    _held: Option<Held>,
}

fn there(life: &Life, state: State) -> There {
    let of = |id: String, held: Option<Held>| {
        let volume = life.volume(&id, "/dev/xvda");
        There { id, volume, _held: held }
    };
    let going = |verb: &[&str], name: &str| {
        let going = of(life.launch(name, deaf(), &["--stop-timeout", "600"]), None);
        let mut words = verb.to_vec();
        words.push(&going.id);
        let mut asking =
            life.place.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        life.until(&going.id, state.name());
        // The machine goes on without who has asked.
        asking.kill().unwrap();
        end(&mut asking);
        going
    };
    match state {
        State::Pending => {
            let held = life.pending("pending");
            of(held.record().instance_id.clone(), Some(held))
        }
        State::Running => of(life.launch("running", waiting(), &[]), None),
        State::Stopping => going(&["stop", "--timeout", "600"], "stopping"),
        State::ShuttingDown => going(&["terminate"], "shutting"),
        State::Stopped | State::Terminated => {
            let there = of(life.launch("stopped", waiting(), &[]), None);
            let verb = if state == State::Stopped { "stop" } else { "terminate" };
            life.done(&format!("{verb} {}", there.id));
            there
        }
    }
}

fn waiting() -> Guest {
    Guest::default().wait_for_button("up\r\n")
}

fn deaf() -> Guest {
    Guest::default().ignore_button("up\r\n")
}

#[test]
fn each_verb_in_each_state_does_what_ec2_does() {
    if !has_kvm() {
        return;
    }
    for (column, state) in State::ALL.into_iter().enumerate() {
        let life = Life::new();
        life.done("volume create data.volume --size 1");
        let mut at = there(&life, state);
        for (line, expected) in TABLE {
            let Some((code, says)) = expected[column] else { continue };
            let line = line.replace("ID", &at.id).replace("VOL", &at.volume);
            let Ended { code: ended, out, err } = life.ended(&line.split(' ').collect::<Vec<_>>());
            let said = format!("{out}{err}");
            let wanted = says.replace("ID", &at.id);
            assert!(ended == Some(code) && said.contains(&wanted), "{state}: {line}: {ended:?}: {said}");
            let after = life.state(&at.id);
            if after == state.name() {
                continue;
            }
            assert_eq!(code, 0, "{state}: {line}: refused, and changed something");
            if after != "gone" {
                life.done(&format!("terminate --force {}", at.id));
            }
            at = there(&life, state);
        }
    }
}

#[test]
fn an_instance_is_stopped_started_rebooted_and_terminated() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    let id = life.launch("web", waiting(), &[]);
    let address = life.instance(&id).unwrap()["PrivateIpAddress"].clone();
    let change = |verb: &str, list: &str| {
        let said = life.done(&format!("{verb} web --output json"));
        let said: Value = serde_json::from_str(&said).unwrap();
        let one = &said[list][0];
        assert_eq!(one["InstanceId"], id, "{said}");
        [&one["PreviousState"], &one["CurrentState"]].map(|state| state["Name"].as_str().unwrap().to_owned())
    };
    assert_eq!(change("stop", "StoppingInstances"), ["running", "stopped"]);
    assert_eq!(life.instance(&id).unwrap()["StateReason"]["Code"], "Client.UserInitiatedShutdown");
    assert_eq!(change("start --force", "StartingInstances"), ["stopped", "running"]);
    assert_eq!(life.instance(&id).unwrap()["PrivateIpAddress"], address, "it is kept");
    // The guest starts over in the same run: it has powered off, and its machine has not.
    let log = life.state_folder().join("instances").join(&id).join("console.log");
    let started = || fs::read_to_string(&log).unwrap().matches("up").count();
    assert_eq!(started(), 1);
    life.done("reboot web");
    let begun = Instant::now();
    while started() < 2 {
        assert!(begun.elapsed() < BOUND, "the guest does not start over");
        std::thread::sleep(Duration::from_millis(20));
    }
    life.done("wait web running");
    assert_eq!(change("terminate", "TerminatingInstances"), ["running", "terminated"]);
    assert_eq!(change("terminate", "TerminatingInstances"), ["terminated", "terminated"]);
    assert!(!life.done("volume ls").contains("vol-"), "its root volume went with it");
    life.done("prune");
    let left = life.left();
    assert!(!left.iter().any(|path| ["i-", "vol-", "172"].iter().any(|of| path.contains(of))), "{left:?}");
}

#[test]
fn one_that_was_launched_to_be_removed_is_terminated_by_stop() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    let id = life.launch("web", waiting(), &["--rm"]);
    assert_eq!(life.done("stop web"), format!("{id}  running → terminated\n"));
    assert!(life.left().iter().any(|path| path.ends_with("console.log")), "it is listed for an hour");
    assert_eq!(life.state(&id), "terminated");
}

#[test]
fn several_are_asked_before_any_is_waited_for() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    let ids = ["a", "b"].map(|name| life.launch(name, deaf(), &[]));
    let said = life.done("stop a b --timeout 1");
    let wanted: Vec<_> = ids.iter().map(|id| format!("{id}  running → stopped\n")).collect();
    assert_eq!(said, wanted.concat());
    life.done("wait a b stopped");
}

#[test]
fn a_launch_in_another_terminal_is_stopped_too() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    life.place.write("guest", waiting().elf());
    let machine = ["--kernel", "guest", "--force", "--cpus", "1", "--memory", "64", "--name", "web"];
    let mut launch = life.place.command(&machine);
    let mut child = launch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    read_until(child.stdout.as_mut().unwrap(), "up");
    // The guest may be faster than its record.
    life.done("wait web running");
    let said = life.done("stop web");
    assert!(said.ends_with("  running → stopped\n"), "{said}");
    assert_eq!(end(&mut child).code(), Some(0));
    assert_eq!(life.done("ls -q").lines().count(), 1);
}

/// A root volume that stays when its instance is terminated.
const KEPT: [&str; 2] = ["--block-device-mappings", "DeviceName=/dev/xvda,Ebs={DeleteOnTermination=false}"];

#[test]
fn a_machine_that_stands_still_keeps_nobody_waiting_for_long() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    let (id, other) = (life.launch("web", waiting(), &KEPT), life.launch("db", waiting(), &[]));
    let process = life.instance(&id).unwrap()["AmiRun"]["Process"].to_string();
    let signal =
        |name: &str| assert!(Command::new("kill").args([name, &process]).status().unwrap().success());
    signal("-STOP");
    let table = life.done("ls");
    let holds = |id: &str| table.lines().find(|line| line.starts_with(id)).unwrap().ends_with('?');
    assert!(holds(&id) && !holds(&other), "{table}");
    let refused = ["stop", "console", "terminate"].map(|verb| life.ended(&[verb, &id]));
    signal("-CONT");
    for refused in refused {
        assert_eq!(refused.code, Some(3), "{}", refused.err);
        let said = format!("error: the machine of {id} does not answer");
        assert!(refused.err.contains(&said), "{}", refused.err);
        assert_eq!(refused.out, "");
    }
    // What was asked for is done when it goes on.
    life.done("terminate web db");
}

#[test]
fn a_killed_process_leaves_an_instance_that_says_so_and_starts_again() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    let id = life.launch("web", waiting(), &[]);
    signal(&life, &id, "-KILL");
    life.done("wait web stopped");
    let table = life.done("ls");
    assert!(table.contains("the process that ran the machine was killed"), "{table}");
    assert_eq!(life.done("start --force web"), format!("{id}  stopped → running\n"));
    assert!(!life.done("ls").contains("WHY"));
    // One that was to be removed is terminated.
    let other = life.launch("db", waiting(), &["--rm"]);
    signal(&life, &other, "-KILL");
    life.done("wait db terminated");
}

/// Sends a signal to the process of a running instance.
fn signal(life: &Life, id: &str, name: &str) {
    let process = life.instance(id).unwrap()["AmiRun"]["Process"].to_string();
    assert!(Command::new("kill").args([name, &process]).status().unwrap().success());
}

#[test]
fn of_two_commands_at_once_on_one_instance_one_wins() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    let id = life.launch("web", waiting(), &[]);
    life.done("stop web");
    let start = || {
        let mut command = life.place.command(&["start", "--force", "web"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let ended: Vec<Ended> =
        [start(), start(), start()].map(|child| child.wait_with_output().unwrap().into()).into();
    assert!(ended.iter().any(|one| one.out == format!("{id}  stopped → running\n")), "one has done it");
    for Ended { code, out, err } in &ended {
        let fine = *code == Some(0) && out.contains("running");
        let busy = *code == Some(3) && err.contains("is being worked on by another command");
        assert!(fine || busy, "{code:?}: {out}{err}");
    }
    assert_eq!(life.state(&id), "running");
    assert_eq!(ended.iter().filter(|one| one.out.contains("stopped → running")).count(), 1, "one alone");
}

#[test]
fn a_disk_file_that_changed_keeps_its_instance_stopped() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    let id = life.launch("web", waiting(), &[]);
    life.done("stop web");
    let mut disk = crate::lint::bios_disk();
    disk[100] = 1;
    life.place.write("disk.raw", disk);
    let refused = run(life.place.command(&["start", "--force", "web"]));
    assert_eq!(refused.code, Some(1), "{}", refused.err);
    assert!(refused.err.contains("disk.raw was changed since"), "{}", refused.err);
    assert_eq!(life.state(&id), "stopped");
    let json = json!({"Code": 80, "Name": "stopped"});
    assert_eq!(life.instance(&id).unwrap()["State"], json);
}

#[test]
fn a_volume_s_file_is_known_whatever_it_was_called_at_its_launch() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    let web = life.stopped("web");
    life.done("volume create my.volume --size 1");
    life.place.write("guest", Guest::default().say("up").power_off().elf());
    std::os::unix::fs::symlink("my.volume", life.place.inputs().join("link.volume")).unwrap();
    life.done("link.volume --kernel guest --force --cpus 1 --memory 64");
    let line = ["attach-volume", &web, "my.volume", "--device", "/dev/sdg"];
    let refused = life.ended(&line);
    assert_eq!(refused.code, Some(1), "{}", refused.err);
    assert!(refused.err.contains("(VolumeInUse)"), "{}", refused.err);
    life.done("detach-volume my.volume");
    assert_eq!(life.ended(&line).code, Some(0));
}
