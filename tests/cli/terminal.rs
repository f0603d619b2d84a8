//! The command on a terminal: keys and commands, and the terminal as it was before, however the run ends.

use crate::guest::Guest;
use crate::run::{BOUND, Place, end, has_kvm, read_until};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, Termios, tcgetattr};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::Instant;

/// `ami-run` on a terminal of its own.
pub(crate) struct Session {
    /// Our end of the terminal: its keys and its screen.
    keys: File,
    terminal: OwnedFd,
    before: Termios,
    child: Child,
    /// Of a guest of its own.
    place: Option<Place>,
}

impl Session {
    /// Starts a guest and waits until it says `up`.
    fn start(guest: Guest, arguments: &[&str]) -> (Session, String) {
        let place = Place::new();
        place.write("guest", guest.elf());
        let launch = ["--kernel", "guest", "--force", "--cpus", "1", "--memory", "64"];
        let mut session = Session::open(&place, &[&launch, arguments].concat());
        session.place = Some(place);
        let shown = session.until("up");
        (session, shown)
    }

    /// Runs `ami-run` with these arguments.
    pub(crate) fn open(place: &Place, arguments: &[&str]) -> Session {
        let keys =
            rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        rustix::pty::grantpt(&keys).unwrap();
        rustix::pty::unlockpt(&keys).unwrap();
        let name = rustix::pty::ptsname(&keys, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).unwrap();
        let before = tcgetattr(&terminal).unwrap();
        // A session of its own, whose terminal this is: what a terminal's window does.
        let mut command = Command::new("setsid");
        place.prepare(&mut command);
        command.args(["--ctty", env!("CARGO_BIN_EXE_ami-run")]).args(arguments);
        let stdio = || terminal.try_clone().unwrap();
        let child = command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
        Session { keys: File::from(keys), terminal, before, child, place: None }
    }

    pub(crate) fn until(&mut self, text: &str) -> String {
        read_until(&mut self.keys, text)
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal).unwrap().local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
    }

    fn is_as_before(&self) -> bool {
        let now = tcgetattr(&self.terminal).unwrap();
        let modes = |it: &Termios| (it.input_modes, it.output_modes, it.control_modes, it.local_modes);
        modes(&now) == modes(&self.before)
    }

    fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    }

    pub(crate) fn ends_with(mut self, code: i32) {
        assert_eq!(end(&mut self.child).code(), Some(code));
        assert!(self.is_as_before());
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < BOUND, "{what}: not in time");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn keys_go_to_the_guest_and_the_terminal_is_given_back() {
    if !has_kvm() {
        return;
    }
    let (mut session, shown) = Session::start(Guest::default().echo_after("up"), &[]);
    assert!(shown.contains("Ctrl-A x ends the guest"), "the way out is said at the start: {shown}");
    assert!(session.is_raw());
    // Ctrl-C, Ctrl-Z and Ctrl-S are the guest's.
    session.type_in("a\x03\x1a\x13b");
    session.until("a\x03\x1a\x13b");
    session.type_in("\x01\x01!");
    session.until("\x01!");
    session.type_in("Q");
    let shown = session.until("the guest powered itself off");
    assert!(shown.starts_with("\r\nstopped "), "status lines begin on a line of their own: {shown:?}");
    session.ends_with(0);
}

#[test]
fn the_escape_key_has_commands() {
    if !has_kvm() {
        return;
    }
    let (mut session, _) = Session::start(Guest::default().wait_for_button("up"), &[]);
    session.type_in("\x01h");
    session.until("Ctrl-A Ctrl-A send one Ctrl-A to the guest");
    session.type_in("\x01p");
    session.until("the power button is pressed");
    session.ends_with(0);
}

#[test]
fn the_escape_key_can_be_another() {
    if !has_kvm() {
        return;
    }
    let (mut session, shown) = Session::start(Guest::default().echo_after("up"), &["--escape", "ctrl-]"]);
    assert!(shown.contains("Ctrl-] x ends the guest"), "{shown}");
    session.type_in("\x01x");
    session.until("\x01x");
    session.type_in("\x1dx");
    session.until("the guest was ended at the terminal");
    session.ends_with(0);
}

#[test]
fn an_end_at_the_terminal_is_no_success_for_what_is_waited_for() {
    if !has_kvm() {
        return;
    }
    let arguments = ["--wait-for", "console:never"];
    let (mut session, _) = Session::start(Guest::default().ignore_button("up"), &arguments);
    session.type_in("\x01x");
    session.ends_with(6);
}

#[test]
fn every_signal_gives_the_terminal_back() {
    if !has_kvm() {
        return;
    }
    for (signal, number) in [(Signal::HUP, 1), (Signal::INT, 2), (Signal::QUIT, 3), (Signal::TERM, 15)] {
        let (session, _) = Session::start(Guest::default().wait_for_button("up"), &[]);
        assert!(session.is_raw());
        session.signal(signal);
        session.ends_with(128 + number);
    }
}

#[test]
fn a_stop_gives_the_terminal_back_until_it_goes_on() {
    if !has_kvm() {
        return;
    }
    let (mut session, _) = Session::start(Guest::default().echo_after("up"), &[]);
    for _ in 0..2 {
        session.signal(Signal::TSTP);
        wait_until("stop", || session.is_stopped());
        assert!(session.is_as_before());
        session.signal(Signal::CONT);
        wait_until("raw again", || session.is_raw());
        session.type_in("on");
        session.until("on");
    }
    session.type_in("Q");
    session.ends_with(0);
}

#[test]
fn a_screen_that_nobody_reads_stops_nothing() {
    if !has_kvm() {
        return;
    }
    let (session, _) = Session::start(Guest::default().say("up").flood(), &["--timeout", "2s"]);
    session.ends_with(5);
}
