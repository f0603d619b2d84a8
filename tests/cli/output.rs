//! Where the console goes: standard output, the log, JSON; readers that are slow or gone; standard input.

use crate::guest::Guest;
use crate::run::{Ended, Place, end, has_kvm, read_until, rest, run};
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

fn json(ended: &Ended) -> serde_json::Value {
    assert_eq!(ended.out.lines().count(), 1, "{}", ended.out);
    serde_json::from_str(&ended.out).unwrap()
}

#[test]
fn json_is_all_that_standard_output_holds() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let guest = Guest::default().say("login: ").power_off();
    let patterns = ["--output", "json", "--wait-for", "console:login:", "--wait-for", "console:never"];
    let ended = run(place.guest(guest, &patterns));
    assert_eq!(ended.code, Some(6), "{}", ended.err);
    assert!(ended.err.contains("login: "), "the console is on standard error: {}", ended.err);
    let result = json(&ended);
    assert_eq!(result["Result"], "Failed");
    assert_eq!(result["ExitReason"], "EndedEarly");
    assert_eq!(result["ExitCode"], 6);
    assert_eq!(result["ImageId"], serde_json::Value::Null);
    assert!(result["InstanceSeconds"].as_f64().unwrap() > 0.0);
    assert_eq!(result["WaitedFor"][0]["Pattern"], "console:login:");
    assert_eq!(result["WaitedFor"][0]["Seen"], true);
    assert!(result["WaitedFor"][0]["Seconds"].as_f64().is_some());
    assert_eq!(result["WaitedFor"][1]["Seen"], false);
    assert_eq!(result["BootMode"], "legacy-bios");
    let time = |stage: &str| result["Timings"][stage].as_f64().unwrap();
    assert!(time("Running") <= time("FirstOutput") && time("FirstOutput") <= time("Ended"), "{result}");
    assert_eq!(result["Timings"]["SshAnswered"], serde_json::Value::Null);
    assert!(result["Message"].as_str().unwrap().contains("before what was waited for"));
}

#[test]
fn json_with_a_log_shows_the_console_in_the_log_only() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    place.write("log", "an older log that is longer than the new one");
    let guest = Guest::default().say("\x1b[1mhello\r\n").power_off();
    let ended = run(place.guest(guest, &["--output", "json", "--console-log", "log"]));
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(!ended.err.contains("hello"), "{}", ended.err);
    assert_eq!(fs::read_to_string(place.inputs().join("log")).unwrap(), "\x1b[1mhello\r\n");
    let result = json(&ended);
    assert_eq!((&result["Result"], &result["ExitReason"]), (&"Succeeded".into(), &"PoweredOff".into()));
    assert_eq!(result["ConsoleLog"], "log");
}

#[test]
fn an_image_brings_its_id_and_its_volumes() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let image = r#"{"ImageId": "ami-0123", "RootDeviceName": "/dev/sda1", "BlockDeviceMappings": [
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 4, "DeleteOnTermination": true}},
        {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": "snap-1", "VolumeSize": 8}}]}"#;
    place.write("image.json", image);
    place.write("snap-1.img", [0; 512]);
    let guest = Guest::default().power_off();
    let ended = run(place.guest(guest, &["image.json", "--output", "json"]));
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(
        ended.err.contains("booting    ami-0123 as i-0")
            && ended.err.contains(" (x86_64, no firmware, 1 vCPU, 64 MiB, virtio)"),
        "{}",
        ended.err
    );
    assert_eq!(json(&ended)["ImageId"], "ami-0123");
    assert!(place.leftovers(&["guest", "image.json", "snap-1.img"]).is_empty());
    assert_eq!(fs::read(place.inputs().join("snap-1.img")).unwrap(), [0; 512]);
}

#[test]
fn a_refusal_is_json_too() {
    let place = Place::new();
    let ended = run(place.command(&["no.json", "--output", "json", "--wait-for", "console:x"]));
    let result = json(&ended);
    assert_eq!((&result["ExitCode"], &result["ExitReason"]), (&1.into(), &"ImageRefused".into()));
    assert_eq!(result["Message"], "no such image: no.json");
    assert_eq!(result["WaitedFor"][0]["Seen"], false);
    assert!(ended.err.contains("error: no such image"), "{}", ended.err);
}

#[test]
fn a_closed_standard_output_ends_a_guest_that_nobody_waits_for() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let mut child = place
        .guest(Guest::default().flood(), &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    read_until(&mut child.stdout.take().unwrap(), "flood");
    assert_eq!(end(&mut child).code(), Some(141));
    let said = rest(child.stderr.take().unwrap());
    assert!(said.contains("error: nobody reads standard output any more"), "{said}");
}

#[test]
fn a_closed_standard_output_does_not_end_what_is_waited_for() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let guest = Guest::default().say("one").echo_after("two");
    let mut command = place.guest(guest, &["--wait-for", "console:three"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    read_until(&mut child.stdout.take().unwrap(), "two");
    child.stdin.as_mut().unwrap().write_all(b"three").unwrap();
    assert_eq!(end(&mut child).code(), Some(0));
}

#[test]
fn a_full_device_is_told_not_ignored() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = place.guest(Guest::default().power_off(), &["--output", "json"]);
    let mut child = command.stdout(full()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(end(&mut child).code(), Some(3));
    let said = rest(child.stderr.take().unwrap());
    assert!(said.contains("cannot write the result to standard output"), "{said}");
}

#[test]
fn a_standard_output_that_was_never_open_is_no_matter() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    place.write("guest", Guest::default().say("into the void").power_off().elf());
    let mut command = Command::new("sh");
    place.prepare(&mut command);
    let run_closed = r#"exec "$0" --kernel guest --force --memory 64 >&-"#;
    command.args(["-c", run_closed, env!("CARGO_BIN_EXE_ami-run")]);
    assert_eq!(run(command).code, Some(0));
}

#[test]
fn a_reader_that_stops_reading_stops_neither_guest_nor_log() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let mut command = place.guest(Guest::default().flood(), &["--console-log", "log"]);
    let (mut out, pipe) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&pipe, 4096).unwrap();
    let mut child = command.stdout(pipe).stderr(Stdio::null()).spawn().unwrap();
    // It holds the other end of the pipe, too.
    drop(command);
    read_until(&mut out, "flood");
    // More than the pipe and what is kept for its reader: something must have been dropped by then.
    let log = place.inputs().join("log");
    let start = std::time::Instant::now();
    while fs::metadata(&log).unwrap().len() < 80 << 10 {
        assert!(start.elapsed() < crate::run::BOUND, "the log does not grow");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let pid = rustix::process::Pid::from_child(&child);
    let reader = std::thread::Builder::new().spawn(move || rest(out)).unwrap();
    // The mark comes with what is read next; the end comes when it is read, so no time is waited for.
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(end(&mut child).code(), Some(143));
    let shown = reader.join().unwrap();
    assert!(shown.contains("bytes of console output dropped: they were not read in time]"));
}

#[test]
fn standard_input_reaches_the_guest_to_its_end() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    // A file, which no event tells of, and larger than what the guest's console keeps for it.
    let text = "0123456789abcdef".repeat(1024);
    let typed = place.write("typed", format!("{text}Q"));
    let mut command = place.guest(Guest::default().echo_after(""), &[]);
    command.stdin(fs::File::open(typed).unwrap());
    let ended = run(command);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(ended.out, text);
}

#[test]
fn the_end_of_standard_input_ends_nothing() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let mut command = place.guest(Guest::default().wait_for_button("up"), &[]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdin.take());
    read_until(child.stdout.as_mut().unwrap(), "up");
    assert!(child.try_wait().unwrap().is_none());
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .unwrap();
    assert_eq!(end(&mut child).code(), Some(143));
}

#[test]
fn a_trace_holds_what_was_asked_for() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let ended = run(place.guest(Guest::default().power_off(), &["--trace", "exits=trace"]));
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(fs::read_to_string(place.inputs().join("trace")).unwrap().contains(" exits "));
}
