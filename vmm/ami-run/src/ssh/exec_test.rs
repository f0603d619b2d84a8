//! Commands by the distribution's own ssh and sshd: the server is started for each connection, as inetd does it.

use super::*;
use crate::ssh::key::{self, KeyPair};
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const BOUND: Duration = Duration::from_secs(120);
const SSHD: &str = "/usr/sbin/sshd";
/// For a command: the process of its server is the parent of the shell that tells its status.
const SERVER: &str = "server=$(cut -d ' ' -f 4 /proc/$PPID/stat)";
const WHILE_IT_RUNS: &str = "while kill -0 $server 2>/dev/null; do sleep 0.1; done";

/// A guest that is this computer.
struct Server {
    folder: TempDir,
    key: KeyPair,
}

impl Server {
    /// None: it was said what is missing.
    fn new() -> Option<Server> {
        if !Path::new(SSHD).exists() {
            eprintln!("skipped: commands by SSH: there is no {SSHD} (openssh-server)");
            return None;
        }
        if rustix::process::geteuid().is_root() {
            // What its service makes; sshd asks for it.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let key = key::for_launch(false, true).unwrap().unwrap();
        let place = folder.path().to_owned();
        key.store(&place).unwrap();
        let host = place.join("host");
        std::fs::create_dir(&host).unwrap();
        key::for_launch(false, true).unwrap().unwrap().store(&host).unwrap();
        let settings = format!(
            "HostKey {0}/host/key\nAuthorizedKeysFile {0}/authorized\nUsePAM no\nStrictModes no\nPidFile none\n\
             PermitRootLogin yes\nPasswordAuthentication no\n",
            place.display()
        );
        std::fs::write(place.join("sshd_config"), settings).unwrap();
        let server = Server { folder, key };
        server.authorize();
        Some(server)
    }

    fn authorize(&self) {
        std::fs::write(self.path("authorized"), format!("{}\n", self.key.public)).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn login(&self) -> Login {
        let me = Command::new("id").arg("-un").output().unwrap().stdout;
        let proxy = format!("{SSHD} -i -f {0}/sshd_config -E {0}/log", self.folder.path().display());
        Login {
            id: "i-0123456789abcdef0".to_owned(),
            folder: self.folder.path().to_owned(),
            user: String::from_utf8(me).unwrap().trim().to_owned(),
            identity: Some(self.path(key::FILE)),
            proxy: OsString::from(proxy),
        }
    }

    fn start(&self, command: &str) -> Exec {
        let file = |name| File::create(self.path(name)).unwrap();
        let outputs = Outputs { output: file("output"), error: file("error") };
        Exec::start(self.login(), OsStr::new(command), outputs).unwrap()
    }

    /// What came of it, and its standard output and error.
    fn run(&self, command: &str) -> (Result<u8, Failure>, String, String) {
        let outcome = outcome(&self.start(command));
        let read = |name| std::fs::read_to_string(self.path(name)).unwrap();
        (outcome, read("output"), read("error"))
    }
}

fn outcome(exec: &Exec) -> Result<u8, Failure> {
    let ready = wait(&[(exec.as_fd(), PollFlags::IN)], Some(Instant::now() + BOUND)).unwrap();
    assert_eq!(ready, Some(0), "{}", exec.stands());
    exec.outcome().unwrap()
}

fn until(what: &str, seen: impl Fn() -> bool) {
    let end = Instant::now() + BOUND;
    while !seen() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_command_s_own_status_is_told() {
    let Some(server) = Server::new() else { return };
    for status in [0, 1, 127, 255] {
        let (outcome, output, error) =
            server.run(&format!("echo 'it'\"'s\" out; echo err >&2; exit {status}"));
        assert_eq!(outcome.unwrap(), status);
        assert_eq!((output.as_str(), error.as_str()), ("it's out\n", "err\n"));
    }
    // It has nothing to read, and is the login shell's.
    let (outcome, output, _) = server.run("cat; echo \"$0\"; echo \"$SHELL\"; kill -SEGV $$");
    assert_eq!(outcome.unwrap(), 139);
    let lines: Vec<_> = output.lines().collect();
    assert!(lines.len() == 2 && lines[0] == lines[1], "{output}");
}

#[test]
fn all_output_has_come_when_there_is_an_outcome() {
    let Some(server) = Server::new() else { return };
    let (outcome, output, error) =
        server.run("head -c 1048576 /dev/zero | tr '\\0' x; head -c 1048576 /dev/zero | tr '\\0' y >&2");
    assert_eq!(outcome.unwrap(), 0);
    assert!(output.len() == 1 << 20 && output.bytes().all(|byte| byte == b'x'), "{}", output.len());
    assert!(error.len() == 1 << 20 && error.bytes().all(|byte| byte == b'y'), "{}", error.len());
}

#[test]
fn no_reader_ends_what_only_writes() {
    let Some(server) = Server::new() else { return };
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let outputs = Outputs {
        output: File::from(std::os::fd::OwnedFd::from(writer)),
        error: File::create(server.path("error")).unwrap(),
    };
    let exec = Exec::start(server.login(), OsStr::new("yes"), outputs).unwrap();
    // By SIGPIPE, or because it cannot write.
    assert!(matches!(outcome(&exec), Ok(141 | 1)), "{:?}", exec.outcome());
}

#[test]
fn what_breaks_is_no_status() {
    let Some(server) = Server::new() else { return };
    let message = |command: &str| server.run(command).0.unwrap_err().message;
    // The shell that would have told is $PPID.
    assert_eq!(message("kill -9 $PPID"), "the command's shell was ended by a signal");
    let broken = message(&format!("{SERVER}; kill -9 $server; {WHILE_IT_RUNS}"));
    assert_eq!(broken, "the connection broke before the command's end");
}

#[test]
fn a_key_that_comes_late_is_waited_for() {
    let Some(server) = Server::new() else { return };
    std::fs::write(server.path("authorized"), "").unwrap();
    let exec = server.start("exit 7");
    until("it is refused", || exec.stands().contains("Permission denied"));
    assert!(exec.outcome().is_none());
    server.authorize();
    assert_eq!(outcome(&exec).unwrap(), 7);
}

#[test]
fn a_server_that_was_given_another_host_key_is_the_guest_s_still() {
    let Some(server) = Server::new() else { return };
    let other = format!("{} {}\n", server.login().id, server.key.public);
    std::fs::write(server.path("known_hosts"), other).unwrap();
    assert_eq!(server.run("exit 3").0.unwrap(), 3);
}

#[test]
fn whoever_waits_no_more_ends_it() {
    let Some(server) = Server::new() else { return };
    // As in a session: what is started here has its mask, too.
    let signals = crate::session::Signals::block().unwrap();
    let exec = server.start(&format!("{SERVER}; echo $server; {WHILE_IT_RUNS}"));
    let said = || std::fs::read_to_string(server.path("output")).unwrap();
    until("it runs", || said().ends_with('\n'));
    let process = Path::new("/proc").join(said().trim());
    assert!(process.exists() && exec.outcome().is_none());
    drop(exec);
    until("its server ends", || !process.exists());
    drop(signals);
}
