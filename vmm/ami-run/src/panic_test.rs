//! A panic on a terminal, in a process of its own: this test runs itself again with a pty as standard input.

use super::*;
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::tcgetattr;
use std::process::{Command, Stdio};

const INSIDE: &str = "AMI_RUN_TEST_PANIC";

#[test]
fn a_panic_gives_the_terminal_back() {
    if std::env::var_os(INSIDE).is_some() {
        return panic_with_a_raw_terminal();
    }
    let keys = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    rustix::pty::grantpt(&keys).unwrap();
    rustix::pty::unlockpt(&keys).unwrap();
    let name = rustix::pty::ptsname(&keys, Vec::new()).unwrap();
    let terminal = rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let before = tcgetattr(&terminal).unwrap().local_modes;
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "panic::tests::a_panic_gives_the_terminal_back", "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::from(terminal.try_clone().unwrap()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(tcgetattr(&terminal).unwrap().local_modes, before);
    assert!(
        said.contains("error: this is a bug in ami-run") && said.contains("caused by: smoke, at "),
        "{said}"
    );
}

fn panic_with_a_raw_terminal() {
    // Leaked, so that it is the hook that restores and not the unwinding.
    Box::leak(Box::new(terminal::Raw::take().unwrap()));
    assert!(terminal::is_raw());
    install();
    let thread = std::thread::Builder::new().spawn(|| panic!("smoke")).unwrap();
    assert!(thread.join().is_err());
    assert!(!terminal::is_raw());
}
