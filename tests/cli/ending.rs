//! How runs end: exit codes, what is said, and that nothing is left.

use crate::guest::Guest;
use crate::run::{Place, end, has_kvm, read_until, rest, run, skip};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Starts it with its output in a pipe, and waits until the guest has said `text`.
fn start(place: &Place, guest: Guest, arguments: &[&str], text: &str) -> Child {
    let mut command = place.guest(guest, arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    read_until(child.stdout.as_mut().unwrap(), text);
    child
}

fn signal(child: &Child, number: i32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let signal = rustix::process::Signal::from_named_raw(number).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn a_guest_that_powers_itself_off_is_success() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let ended = run(place.guest(Guest::default().say("hello\r\n").power_off(), &["--append", "quiet"]));
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(ended.out, "hello\r\n");
    let lines: Vec<_> = ended.err.lines().collect();
    assert!(lines[0].starts_with("booting    guest as i-0"), "{}", ended.err);
    assert!(lines[0].contains(" (x86_64, no firmware, 1 vCPU, 64 MiB)  "), "{}", ended.err);
    assert!(lines[1].starts_with("stopped    the guest powered itself off  "), "{}", ended.err);
    assert_eq!(lines.len(), 2);
    assert!(place.leftovers(&["guest"]).is_empty());
}

#[test]
fn what_was_waited_for_presses_the_button() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let guest = Guest::default().say("one\r\n").wait_for_button("Debian login: ");
    let patterns = ["--wait-for", "console:^one$", "--wait-for", r"console:\blogin: $"];
    let ended = run(place.guest(guest, &patterns));
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    for said in ["seen       console:^one$  ", "the power button is pressed", "what was waited for was seen"]
    {
        assert!(ended.err.contains(said), "{said}: {}", ended.err);
    }
}

#[test]
fn a_guest_that_ignores_its_button_is_stopped_after_the_stop_timeout() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let start = Instant::now();
    let guest = Guest::default().ignore_button("up");
    let ended = run(place.guest(guest, &["--wait-for", "console:up", "--stop-timeout", "2"]));
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(start.elapsed() >= Duration::from_secs(2));
}

#[test]
fn a_guest_without_a_button_is_stopped_at_once() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let ended =
        run(place
            .guest(Guest::default().say("up").halt(), &["--wait-for", "console:up", "--stop-timeout", "1h"]));
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.err.contains("the guest does not listen to its power button"), "{}", ended.err);
}

#[test]
fn an_end_before_what_was_waited_for_is_6() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let guest = Guest::default().say("first line\r\nlast line\r\n").power_off();
    let ended = run(place.guest(guest, &["--wait-for", "console:login:"]));
    assert_eq!(ended.code, Some(6), "{}", ended.err);
    assert!(
        ended.err.contains("the console's last lines:\n  | first line\n  | last line\n"),
        "{}",
        ended.err
    );
}

#[test]
fn a_timeout_is_5_and_repeats_the_console() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let guest = Guest::default().say("\x1b[31mstuck here\x1b[0m\r\n").ignore_button("");
    let ended = run(place.guest(guest, &["--timeout", "1s", "--wait-for", "console:never"]));
    assert_eq!(ended.code, Some(5), "{}", ended.err);
    assert!(ended.err.contains("  | stuck here\n"), "{}", ended.err);
    assert!(ended.err.contains("error: console:never was not seen after 1 s (--timeout)"), "{}", ended.err);
}

#[test]
fn a_kernel_panic_without_a_reset_is_4_and_repeats_the_console() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let start = Instant::now();
    let guest = Guest::default().say("[    1.5] Kernel panic - not syncing: no init\r\n[    1.6] trace\r\n");
    let ended = run(place.guest(guest.halt(), &["--output", "json"]));
    assert_eq!(ended.code, Some(4), "{}", ended.err);
    assert!(start.elapsed() >= Duration::from_secs(10), "it is given ten seconds for a reset");
    assert!(ended.err.contains("  | [    1.6] trace\n"), "{}", ended.err);
    assert!(ended.err.contains("error: the guest failed: Kernel panic - not syncing: no init\n"));
    let result: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&result["ExitReason"], &result["ExitCode"]), (&"KernelPanic".into(), &4.into()), "{result}");
}

#[test]
fn a_kernel_panic_with_a_reset_is_the_guest_s_own_affair() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let guest = Guest::default().say("Kernel panic - not syncing: again\r\n").reset();
    let ended = run(place.guest(guest, &["--timeout", "13", "--output", "json"]));
    assert_eq!(ended.code, Some(5), "{}", ended.err);
}

#[test]
fn a_triple_fault_of_a_guest_that_is_waited_for_is_4() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let ended = run(place.guest(Guest::default().say("oh").triple_fault(), &["--wait-for", "console:never"]));
    match ended.code {
        Some(3) if ended.err.contains("cannot run an instruction of the guest") => skip("KVM only emulates"),
        code => assert_eq!(code, Some(4), "{}", ended.err),
    }
}

#[test]
fn signals_end_the_guest_and_give_128_and_their_number() {
    if !has_kvm() {
        return;
    }
    for (number, name) in [(1, "SIGHUP"), (2, "SIGINT"), (3, "SIGQUIT"), (15, "SIGTERM")] {
        let place = Place::new();
        let mut child = start(&place, Guest::default().wait_for_button("up"), &[], "up");
        signal(&child, number);
        assert_eq!(end(&mut child).code(), Some(128 + number));
        let said = rest(child.stderr.take().unwrap());
        assert!(said.contains(&format!("error: ended by {name}")), "{said}");
        assert_eq!(said.contains("power button is pressed"), number != 1, "{said}");
        assert!(place.leftovers(&["guest"]).is_empty());
    }
}

#[test]
fn a_second_signal_ends_a_guest_that_takes_its_time() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let mut child = start(&place, Guest::default().ignore_button("up"), &["--stop-timeout", "1h"], "up");
    signal(&child, 15);
    read_until(child.stderr.as_mut().unwrap(), "power button is pressed");
    signal(&child, 15);
    assert_eq!(end(&mut child).code(), Some(143));
}

#[test]
fn a_signal_that_was_ignored_before_stays_ignored() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    place.write("guest", Guest::default().echo_after("up").elf());
    let program = env!("CARGO_BIN_EXE_ami-run");
    let mut command = std::process::Command::new("sh");
    place.prepare(&mut command);
    command.args(["-c", &format!("trap '' HUP; exec {program} --kernel guest --force --memory 64")]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    read_until(&mut out, "up");
    signal(&child, 1);
    // That it goes on is shown by what it still answers.
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"still\n").unwrap();
    read_until(&mut out, "still");
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"Q").unwrap();
    assert_eq!(end(&mut child).code(), Some(0));
}
