//! `console` and `logs`, beside a guest that runs in the foreground elsewhere.

use crate::guest::Guest;
use crate::run::{BOUND, Ended, Place, end, has_kvm, read_until, rest, run};
use crate::terminal::Session;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Instant;

/// A guest that runs, without a terminal or input.
struct Running {
    child: Child,
    out: ChildStdout,
}

impl Running {
    /// Starts a guest and waits until it says `up`.
    fn start(place: &Place, guest: Guest) -> Running {
        place.write("guest", guest.elf());
        let mut command = place.command(&["--kernel", "guest", "--force", "--cpus", "1", "--memory", "64"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        read_until(&mut out, "up");
        Running { child, out }
    }

    fn ends(mut self) -> String {
        end(&mut self.child);
        rest(self.out)
    }
}

/// The only instance's folder.
fn instance(place: &Place) -> PathBuf {
    let folder = place.folder().join("home/.local/share/ami-run/instances");
    let mut entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.find(|path| path.is_dir()).unwrap()
}

fn id(place: &Place) -> String {
    instance(place).file_name().unwrap().to_str().unwrap().to_owned()
}

fn verb(place: &Place, arguments: &[&str]) -> Ended {
    run(place.command(arguments))
}

#[test]
fn a_console_is_attached_late_left_and_attached_again() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let guest = Running::start(&place, Guest::default().echo_after("up"));
    let id = id(&place);
    let mut session = Session::open(&place, &["console", &id]);
    let shown = session.until("up");
    assert!(shown.contains("Ctrl-A d detaches, Ctrl-A x ends the guest"), "{shown}");
    session.type_in("hello");
    session.until("hello");
    session.type_in("\x01h");
    session.until("leave the console; the guest runs on");
    session.type_in("\x01p");
    session.until("the guest does not listen to its power button");
    session.type_in("\x01d");
    session.until("runs on: `ami-run console");
    session.ends_with(0);
    let mut session = Session::open(&place, &["console", &id, "--escape", "ctrl-]"]);
    session.until("uphello");
    session.type_in("\x01d");
    session.until("\x01d");
    session.type_in("\x1dx");
    session.until(&format!("{id} is stopped (Client.UserInitiatedShutdown"));
    session.ends_with(0);
    assert_eq!(guest.ends(), "hello\x01d");
    let refused = verb(&place, &["console", &id]);
    assert_eq!(refused.code, Some(1), "{}", refused.err);
    assert!(refused.err.contains("(IncorrectInstanceState)") && refused.err.contains("ami-run start"));
}

#[test]
fn without_a_terminal_input_is_typed_and_the_end_awaited() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let guest = Running::start(&place, Guest::default().echo_after("up"));
    let id = id(&place);
    let typed = place.write("typed", "one\x01xQ");
    // By a regular file, which epoll does not take, and to several at once.
    let mut reader =
        place.command(&["console", &id]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    read_until(reader.stdout.as_mut().unwrap(), "up");
    let mut typist = place.command(&["console", &id]);
    typist.stdin(std::fs::File::open(typed).unwrap());
    let typist = run(typist);
    assert_eq!((typist.code, typist.out.as_str()), (Some(0), "upone\x01x"), "{}", typist.err);
    assert!(typist.err.contains(&format!("{id} is stopped")), "{}", typist.err);
    assert_eq!(end(&mut reader).code(), Some(0));
    assert_eq!(rest(reader.stdout.unwrap()), "one\x01x");
    assert_eq!(guest.ends(), "one\x01x");
    let logs = verb(&place, &["logs", &id]);
    assert_eq!((logs.code, logs.out.as_str()), (Some(0), "upone\x01x"));
}

#[test]
fn logs_are_followed_to_the_end_and_there_afterwards() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let guest = Running::start(&place, Guest::default().echo_after("up"));
    let id = id(&place);
    assert_eq!(verb(&place, &["logs", id.get(..6).unwrap()]).out, "up", "a beginning of the id will do");
    let mut follower =
        place.command(&["logs", "-f", &id]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    read_until(follower.stdout.as_mut().unwrap(), "up");
    let mut typist = place
        .command(&["console", &id])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    typist.stdin.take().unwrap().write_all(b"moreQ").unwrap();
    assert_eq!(end(&mut follower).code(), Some(0));
    assert_eq!(rest(follower.stdout.unwrap()), "more");
    assert_eq!(end(&mut typist).code(), Some(0));
    guest.ends();
    let json = verb(&place, &["logs", &id, "--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json["InstanceId"].as_str(), json["Output"].as_str()), (Some(id.as_str()), Some("upmore")));
    assert!(json["Timestamp"].as_str().is_some_and(|time| time.ends_with("+00:00")));
    for (verb_name, given, code) in
        [("logs", "i-0fffffffffffffff0", "NotFound"), ("console", "nobody", "Malformed")]
    {
        let refused = verb(&place, &[verb_name, given]);
        assert_eq!(refused.code, Some(1));
        assert!(refused.err.contains(&format!("InvalidInstanceID.{code}")), "{}", refused.err);
    }
}

#[test]
fn bad_clients_cost_a_running_guest_nothing() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let guest = Running::start(&place, Guest::default().echo_after("up"));
    let socket = instance(&place).join("control.sock");
    let mut clients = Vec::new();
    for number in 0..200 {
        let mut client = UnixStream::connect(&socket).unwrap();
        // Who is one too many has been left already.
        match number % 3 {
            0 => {}
            1 => client.write_all(&[b'x'; 1000]).unwrap_or_default(),
            _ => client.write_all(b"\xff\n{\"Version\":1,").unwrap_or_default(),
        }
        clients.push(client);
    }
    drop(clients);
    // Until their leaving has been seen, there may be one too many.
    let start = Instant::now();
    loop {
        let mut typist = place.command(&["console", &id(&place)]);
        typist.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut typist = typist.spawn().unwrap();
        // Who is refused reads nothing.
        typist.stdin.take().unwrap().write_all(b"stillQ").unwrap_or_default();
        if end(&mut typist).success() {
            break;
        }
        let said = rest(typist.stderr.unwrap());
        assert!(said.contains("RequestLimitExceeded") && start.elapsed() < BOUND, "{said}");
    }
    assert_eq!(guest.ends(), "still");
}
