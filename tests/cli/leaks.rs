//! Real launches whose commands and processes are killed at every point that there is, and two commands at
//! once: what is told afterwards is true, the next command goes on, and nothing is left over.

use crate::guest::Guest;
use crate::life::{Life, paths};
use crate::run::{BOUND, Ended, end, has_kvm, read_until, run};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// What there is of all that can leak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Of instances.
    pub(crate) folders: usize,
    pub(crate) addresses: usize,
    pub(crate) sockets: usize,
    pub(crate) volumes: usize,
    pub(crate) processes: usize,
}

impl Count {
    pub(crate) fn of(life: &Life) -> Count {
        Count::of_folder(life, &life.state_folder())
    }

    /// Of a state folder that is seen from outside.
    pub(crate) fn of_folder(life: &Life, state: &Path) -> Count {
        let left = paths(state);
        let name = |path: &&String| path.rsplit('/').next().unwrap().to_owned();
        let count = |is: &dyn Fn(&str) -> bool| left.iter().filter(|path| is(&name(path))).count();
        Count {
            folders: count(&|name| name.starts_with("i-")),
            addresses: count(&|name| name.starts_with("172.")),
            sockets: count(&|name| name == "control.sock"),
            volumes: count(&|name| name.starts_with("vol-")),
            processes: processes(life.place.folder()).len(),
        }
    }
}

/// Those that were started with a path in this folder, or in it.
fn processes(folder: &Path) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()));
    let here = |process: &u32| {
        let of = PathBuf::from(format!("/proc/{process}"));
        let words = fs::read(of.join("cmdline")).unwrap_or_default();
        let named = String::from_utf8_lossy(&words).contains(folder.to_str().unwrap());
        named || fs::read_link(of.join("cwd")).is_ok_and(|current| current.starts_with(folder))
    };
    all.filter(here).collect()
}

/// Waits until nobody runs who was started here: who is killed may be gone a moment later.
fn nobody_runs(life: &Life, what: &str) {
    let begun = Instant::now();
    while !processes(life.place.folder()).is_empty() {
        assert!(begun.elapsed() < BOUND, "{what}: {:?}", processes(life.place.folder()));
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn nothing_is_left(life: &Life, what: &str) {
    nobody_runs(life, what);
    assert_eq!(Count::of(life), Count::default(), "{what}: {:?}", life.left());
}

/// Every instance's id and state.
fn listed(life: &Life) -> Vec<(String, String)> {
    let listed: Value = serde_json::from_str(&life.done("ls --output json")).unwrap();
    let all = listed["Reservations"].as_array().unwrap().iter();
    let all = all.flat_map(|one| one["Instances"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    all.map(|one| (text(&one["InstanceId"]), text(&one["State"]["Name"]))).collect()
}

/// A launch of a guest that runs on, or powers off.
fn launch(life: &Life, options: &str, point: &str) -> Ended {
    let line = format!("disk.raw --kernel guest --force --cpus 1 --memory 64 {options}");
    let mut command = life.place.command(&line.split(' ').collect::<Vec<_>>());
    command.env("AMI_RUN_FAULT", point);
    run(command)
}

fn guest(life: &Life, guest: Guest) {
    life.place.write("guest", guest.elf());
}

fn halting() -> Guest {
    Guest::default().say("up\r\n").halt()
}

const MAKING: [&str; 6] =
    ["create-folder", "create-lock", "create-address", "create-record", "record-written", "record-renamed"];
const HANDING_ON: [&str; 2] = ["spawn-begun", "spawn-done"];
const RUNNING: [&str; 3] = ["run-disks", "run-socket", "run-running"];
const TERMINATING: [&str; 4] =
    ["terminate-begun", "terminate-volume", "terminate-volumes", "terminate-address"];
const REMOVING: [&str; 2] = ["remove-begun", "remove-record"];

#[test]
fn a_launch_with_rm_that_is_killed_anywhere_is_swept_by_the_next_command() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    guest(&life, Guest::default().say("up\r\n").power_off());
    let points = MAKING.iter().chain(&RUNNING).chain(&["run-ended"]).chain(&TERMINATING).chain(&REMOVING);
    for point in points {
        let killed = launch(&life, "--rm", point);
        assert_eq!(killed.code, None, "{point}: {}", killed.err);
        // Who was killed between its end and its removal is told of, and is gone then.
        assert!(listed(&life).iter().all(|(_, state)| state == "terminated"), "{point}");
        nothing_is_left(&life, point);
        launch(&life, "--rm", point);
        let next = launch(&life, "--rm", "");
        assert_eq!(next.code, Some(0), "{point}: {}", next.err);
        nothing_is_left(&life, point);
    }
}

#[test]
fn a_detached_launch_that_is_killed_anywhere_leaves_what_ls_tells_of() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    guest(&life, halting());
    for point in MAKING.iter().chain(&HANDING_ON).chain(&RUNNING) {
        let Ended { code, out, err } = launch(&life, "-d --count 2", point);
        // It was killed itself, or has seen its processes killed.
        assert!(matches!(code, None | Some(70)), "{point}: {code:?}: {err}");
        assert_eq!(out, "", "{point}");
        if code.is_some() {
            assert!(err.contains("has ended by itself") && err.contains("signal: 9"), "{point}: {err}");
            nobody_runs(&life, point);
        }
        let instances = listed(&life);
        for (id, state) in &instances {
            // Whoever was started before the command was killed runs.
            let wanted = match *point {
                "spawn-done" => &["pending", "running"][..],
                "run-running" => &["stopped"],
                _ => &["terminated"],
            };
            assert!(wanted.contains(&state.as_str()), "{point}: {state}");
            life.done(&format!("terminate --force {id}"));
        }
        life.done("prune");
        nothing_is_left(&life, point);
    }
}

#[test]
fn an_instance_whose_process_is_killed_anywhere_goes_on_with_the_next_verb() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    guest(&life, halting());
    for point in TERMINATING.iter().chain(&["run-ended"]) {
        let launched = launch(&life, "-d", point);
        assert_eq!(launched.code, Some(0), "{point}: {}", launched.err);
        let id = launched.out.trim();
        life.ended(&["terminate", "--force", id]);
        nobody_runs(&life, point);
        life.done(&format!("terminate {id}"));
        assert_eq!(life.state(id), "terminated", "{point}");
        life.done("prune");
        nothing_is_left(&life, point);
    }
    let launched = launch(&life, "-d", "run-ended");
    let id = launched.out.trim();
    assert_eq!(life.done(&format!("stop --force {id}")), format!("{id}  running → stopped\n"));
    for point in ["record-written", "record-renamed"].iter().chain(&HANDING_ON).chain(&RUNNING) {
        let mut start = life.place.command(&["start", "--force", id]);
        start.env("AMI_RUN_FAULT", point);
        let Ended { code, out, err } = run(start);
        assert!(matches!(code, None | Some(70)) && out.is_empty(), "{point}: {code:?}: {out}{err}");
        if *point == "spawn-done" {
            life.until(id, "running");
        } else {
            nobody_runs(&life, point);
            assert_eq!(life.state(id), "stopped", "{point}");
            life.done(&format!("start --force {id}"));
        }
        assert_eq!(life.state(id), "running", "{point}");
        life.done(&format!("stop --force {id}"));
        let one = Count { folders: 1, addresses: 1, volumes: 1, ..Count::default() };
        nobody_runs(&life, point);
        assert_eq!(Count::of(&life), one, "{point}");
    }
    life.done(&format!("terminate {id}"));
    life.done("prune");
    nothing_is_left(&life, "at the end");
}

#[test]
fn who_is_killed_while_asking_a_machine_leaves_nothing_in_its_process() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    let deaf = Guest::default().ignore_button("up\r\n");
    let id = life.launch("web", deaf, &["--stop-timeout", "1h"]);
    let process = life.instance(&id).unwrap()["AmiRun"]["Process"].as_u64().unwrap();
    let descriptors = || fs::read_dir(format!("/proc/{process}/fd")).unwrap().count();
    let before = (descriptors(), Count::of(&life));
    for words in
        [&["console", "web"][..], &["logs", "-f", "web"], &["wait", "web", "stopped"], &["stop", "web"]]
    {
        for _ in 0..3 {
            let mut asking = life.place.command(words);
            let piped = asking.stdout(Stdio::piped()).stderr(Stdio::null());
            let mut asking = piped.stdin(Stdio::piped()).spawn().unwrap();
            match words[0] {
                "console" | "logs" => drop(read_until(asking.stdout.as_mut().unwrap(), "up")),
                "stop" => life.until(&id, "stopping"),
                _ => {}
            }
            asking.kill().unwrap();
            end(&mut asking);
        }
    }
    let begun = Instant::now();
    while (descriptors(), Count::of(&life)) != before {
        let now = (descriptors(), Count::of(&life));
        assert!(begun.elapsed() < BOUND, "{now:?} and not {before:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    life.done("terminate --force web");
}

/// Both at once, from a shell's point of view; what each said.
fn both(life: &Life, lines: [&str; 2]) -> [Ended; 2] {
    let begin = |line: &str| -> Child {
        let mut command = life.place.command(&line.split(' ').collect::<Vec<_>>());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    lines.map(begin).map(|child| child.wait_with_output().unwrap().into())
}

/// Who has not won says that.
fn check_both(lines: [&str; 2], ended: &[Ended; 2]) -> usize {
    let says = [
        "is being worked on by another command",
        "(IncorrectInstanceState)",
        "(IncorrectState)",
        "(VolumeInUse)",
        "is in use",
    ];
    for (line, Ended { code, out, err }) in lines.iter().zip(ended) {
        let refused = matches!(code, Some(1 | 3)) && says.iter().any(|said| err.contains(said));
        assert!(*code == Some(0) || refused, "{line}: {code:?}: {out}{err}");
    }
    let won = ended.iter().filter(|one| one.code == Some(0)).count();
    assert!(won > 0, "{lines:?}: {}{}", ended[0].err, ended[1].err);
    won
}

const TIMES: usize = 10;

#[test]
fn of_two_commands_on_one_running_instance_each_knows_what_the_other_did() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    life.done("volume create data.volume --size 1");
    for _ in 0..TIMES {
        let id = life.launch("web", halting(), &[]);
        life.done("stop web");
        let lines = ["start --force web"; 2];
        let started = both(&life, lines);
        check_both(lines, &started);
        let changed = started.iter().filter(|one| one.out.contains("stopped → running")).count();
        assert_eq!((changed, life.state(&id).as_str()), (1, "running"));
        life.done("stop web");
        let lines = ["start --force web", "attach-volume web data.volume --device /dev/sdf"];
        let ended = both(&life, lines);
        check_both(lines, &ended);
        let [started, attached] = ended.map(|one| one.code == Some(0));
        assert_eq!(life.state(&id), if started { "running" } else { "stopped" });
        let mappings = life.instance(&id).unwrap()["BlockDeviceMappings"].as_array().unwrap().len();
        assert_eq!(mappings, 1 + usize::from(attached));
        life.done("start --force web");
        let lines = ["stop web", "terminate web"];
        let ended = both(&life, lines);
        check_both(lines, &ended);
        assert_eq!(ended[1].code, Some(0), "{}", ended[1].err);
        assert_eq!(life.state(&id), "terminated");
        life.done("prune");
    }
    nothing_is_left(&life, "at the end");
}

#[test]
fn of_two_commands_on_what_is_stopped_one_wins() {
    let life = Life::new();
    for _ in 0..TIMES {
        let (web, db) = (life.stopped("web"), life.stopped("db"));
        let data = life.volume(&web, "/dev/sdf");
        life.done(&format!("detach-volume {data}"));
        let lines = [&web, &db].map(|id| format!("attach-volume {id} {data} --device /dev/sdg"));
        let lines = [lines[0].as_str(), lines[1].as_str()];
        assert_eq!(check_both(lines, &both(&life, lines)), 1);
        let lines = ["terminate web"; 2];
        let ended = both(&life, lines);
        check_both(lines, &ended);
        let changed = ended.iter().filter(|one| one.out.contains("stopped → terminated")).count();
        assert_eq!((changed, life.state(&web).as_str()), (1, "terminated"));
        life.done("terminate db");
        for volume in life.done("volume ls").lines().filter(|line| line.starts_with("vol-")) {
            life.done(&format!("volume rm {}", volume.split(' ').next().unwrap()));
        }
        life.done("prune");
    }
    nothing_is_left(&life, "at the end");
}

#[test]
fn of_two_launches_of_one_volume_one_wins() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    guest(&life, halting());
    life.done("volume create my.volume --size 1");
    for _ in 0..TIMES {
        let lines = ["my.volume --kernel guest --force --cpus 1 --memory 64 -d"; 2];
        let ended = both(&life, lines);
        assert_eq!(check_both(lines, &ended), 1, "{} {}", ended[0].err, ended[1].err);
        let id = ended.iter().find(|one| one.code == Some(0)).unwrap().out.trim();
        let instances = listed(&life);
        let running: Vec<_> = instances.iter().filter(|(_, state)| state == "running").collect();
        assert_eq!(running, [&(id.to_owned(), "running".to_owned())], "{instances:?}");
        life.done(&format!("terminate --force {id}"));
        life.done("prune");
    }
    nothing_is_left(&life, "at the end");
}
