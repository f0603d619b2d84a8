//! `ssh` and `cp` by the distribution's own programs, into an instance whose machine is played here: its process'
//! control socket leads to a real sshd on this computer.

use crate::life::Life;
use crate::run::{Ended, end_within, read_until, rest, run_within, skip};
use ami_run_catalog::control::{Action, Outcome, answer_line, listen, parse_request};
use ami_run_catalog::{Held, State};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const SSHD: &str = "/usr/sbin/sshd";
const PORT: u16 = 22;
/// Nothing here takes as long: the sooner a broken test ends, the better.
const BOUND: Duration = Duration::from_secs(60);

/// A running instance, and the guest that this computer is.
struct Guest {
    listener: UnixListener,
    serves: Option<JoinHandle<()>>,
    servers: Arc<Mutex<Vec<Child>>>,
    held: Held,
    /// Last: it terminates what nobody holds any more.
    life: Life,
}

impl Guest {
    /// None: it was said what is missing. `silent` connections end at once, as where nobody listens yet.
    fn new(silent: usize) -> Option<Guest> {
        if !Path::new(SSHD).exists() {
            skip(&format!("there is no {SSHD} (openssh-server)"));
            return None;
        }
        if rustix::process::geteuid().is_root() {
            // What its service makes; sshd asks for it.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let life = Life::new();
        let held = life.running("web");
        let listener = listen(held.folder()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let of_thread = listener.try_clone().unwrap();
        let mut guest = Guest { listener, serves: None, servers: Arc::default(), held, life };
        let (server, servers) = (guest.server(), Arc::clone(&guest.servers));
        let serves = move || serve(&of_thread, silent, &server, &servers);
        guest.serves = Some(std::thread::Builder::new().spawn(serves).unwrap());
        Some(guest)
    }

    fn id(&self) -> &str {
        &self.held.record().instance_id
    }

    /// What lies in the instance's folder.
    fn path(&self, name: &str) -> PathBuf {
        self.held.folder().join(name)
    }

    /// The settings of a server that lets the instance's own key in.
    fn server(&self) -> PathBuf {
        let place = self.life.place.inputs();
        for key in [self.path("key"), place.join("host_key")] {
            let mut make = Command::new("ssh-keygen");
            make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
            assert!(make.status().unwrap().success());
        }
        fs::copy(self.path("key.pub"), place.join("authorized")).unwrap();
        let settings = format!(
            "HostKey {0}/host_key\nAuthorizedKeysFile {0}/authorized\nUsePAM no\nStrictModes no\nPidFile none\n\
             PermitRootLogin yes\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n",
            place.display()
        );
        self.life.place.write("sshd_config", settings)
    }

    /// `ami-run VERB --user ME` with these words.
    fn command(&self, verb: &str, words: &[&str]) -> Command {
        let me = Command::new("id").arg("-un").output().unwrap().stdout;
        let me = String::from_utf8(me).unwrap();
        let mut command = self.life.place.command(&[verb, "--user", me.trim()]);
        command.args(words);
        command
    }

    /// As the machine's end does.
    fn end_servers(&self) {
        for server in self.servers.lock().unwrap().iter_mut() {
            server.kill().unwrap();
            end_within(server, BOUND);
        }
    }

    fn run(&self, verb: &str, words: &[&str]) -> Ended {
        run_within(self.command(verb, words), BOUND)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both).unwrap();
        let serves = self.serves.take().unwrap().join();
        self.end_servers();
        assert!(serves.is_ok() || std::thread::panicking(), "the played process has panicked");
    }
}

/// Plays the instance's process, until nobody listens any more.
fn serve(listener: &UnixListener, silent: usize, settings: &Path, servers: &Mutex<Vec<Child>>) {
    let mut connected = 0;
    for client in listener.incoming() {
        let Ok(client) = client else { return };
        let mut line = Vec::new();
        // What is only asked whether somebody listens says nothing.
        if BufReader::with_capacity(1, &client).read_until(b'\n', &mut line).unwrap() == 0 {
            continue;
        }
        assert_eq!(parse_request(&line).unwrap(), Action::Connect { port: PORT });
        (&client).write_all(&answer_line(Outcome::Done(true)).unwrap()).unwrap();
        connected += 1;
        if connected > silent {
            servers.lock().unwrap().push(sshd(client, settings));
        }
    }
}

/// As inetd starts it.
fn sshd(client: UnixStream, settings: &Path) -> Child {
    let (input, output) = (OwnedFd::from(client.try_clone().unwrap()), OwnedFd::from(client));
    let mut server = Command::new(SSHD);
    server.args(["-i", "-f"]).arg(settings).arg("-E").arg(settings.with_file_name("sshd_log"));
    server.stdin(input).stdout(output).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn ssh_runs_a_command_there_and_ends_as_it_does() {
    let Some(guest) = Guest::new(0) else { return };
    let ended = guest.run("ssh", &["web", "--", "echo out; echo \"it's\" >&2; exit 7"]);
    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (Some(7), "out\n", "it's\n"));
    // Its host's key is kept for this instance alone.
    let mut known = Command::new("ssh-keygen");
    known.args(["-F", guest.id(), "-f"]).arg(guest.path("known_hosts"));
    let known = String::from_utf8(known.output().unwrap().stdout).unwrap();
    assert!(known.contains(" ssh-ed25519 "), "{known}");
    // Standard input goes there, to its end.
    let mut command = guest.command("ssh", &[guest.id(), "--", "tr a-z A-Z"]);
    let input = guest.life.place.write("input", "words\n".repeat(100_000));
    command.stdin(fs::File::open(input).unwrap());
    let ended = run_within(command, BOUND);
    assert_eq!((ended.code, ended.out.len()), (Some(0), 600_000), "{}", ended.err);
    assert!(ended.out.starts_with("WORDS\n"));
}

#[test]
fn ssh_refuses_another_host_under_an_instance_s_name() {
    let Some(guest) = Guest::new(0) else { return };
    let other = fs::read_to_string(guest.path("key.pub")).unwrap();
    fs::write(guest.path("known_hosts"), format!("{} {other}", guest.id())).unwrap();
    let ended = guest.run("ssh", &["web", "--", "true"]);
    assert_eq!(ended.code, Some(255), "{}", ended.err);
    assert!(ended.err.contains("IDENTIFICATION HAS CHANGED"), "{}", ended.err);
}

#[test]
fn a_server_that_comes_late_is_waited_for_and_one_that_never_comes_is_told() {
    let Some(guest) = Guest::new(2) else { return };
    let ended = guest.run("ssh", &["web", "--", "exit 3"]);
    assert_eq!(ended.code, Some(3), "{}", ended.err);
    let Some(guest) = Guest::new(usize::MAX) else { return };
    let ended = guest.run("ssh", &["web", "--timeout", "1s", "--", "true"]);
    assert_eq!(ended.code, Some(255), "{}", ended.err);
    assert!(ended.err.contains(" does not answer to SSH at its port 22 in time"), "{}", ended.err);
}

#[test]
fn ssh_ends_when_the_machine_does() {
    let Some(guest) = Guest::new(0) else { return };
    let mut command =
        guest.command("ssh", &["web", "--", "echo up; while kill -0 $PPID; do sleep 0.1; done"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    read_until(child.stdout.as_mut().unwrap(), "up");
    guest.end_servers();
    assert_eq!(end_within(&mut child, BOUND).code(), Some(255));
}

#[test]
fn the_way_to_the_guest_ends_with_the_guest_s_word_or_with_whom_it_is_for() {
    let Some(guest) = Guest::new(0) else { return };
    let start = || {
        let mut command = guest.life.place.command(&["ssh-proxy", guest.id(), "22"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    // Who says no more is still told: the server's algorithms follow its client's version.
    let mut child = start();
    child.stdin.take().unwrap().write_all(b"SSH-2.0-Nobody_1\r\n").unwrap();
    let said = rest(child.stdout.take().unwrap());
    assert!(said.starts_with("SSH-2.0-") && said.contains("curve25519-sha256"), "{said}");
    assert_eq!(end_within(&mut child, BOUND).code(), Some(0));
    // A guest that hangs keeps nobody whose caller has gone.
    let mut child = start();
    read_until(child.stdout.as_mut().unwrap(), "SSH-2.0-");
    let server = guest.servers.lock().unwrap().last().unwrap().id();
    let server = rustix::process::Pid::from_raw(server.try_into().unwrap()).unwrap();
    rustix::process::kill_process(server, rustix::process::Signal::STOP).unwrap();
    drop((child.stdin.take(), child.stdout.take()));
    assert_eq!(end_within(&mut child, BOUND).code(), Some(0));
}

#[test]
fn files_are_copied_there_and_back() {
    let Some(guest) = Guest::new(0) else { return };
    let there = guest.life.place.inputs().join("far away");
    fs::create_dir(&there).unwrap();
    guest.life.place.write("a:b", "one");
    guest.life.place.write("c", vec![b'x'; 1 << 20]);
    let to = |path: &str| format!("web:{}/{path}", there.display());
    let ended = guest.run("cp", &["./a:b", "c", &to("")]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(fs::read_to_string(there.join("a:b")).unwrap(), "one");
    assert_eq!(fs::read(there.join("c")).unwrap().len(), 1 << 20);
    let back = guest.life.place.inputs().join("back");
    let ended = guest.run("cp", &["-r", &format!("{}:{}", guest.id(), there.display()), "back"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(fs::read_to_string(back.join("a:b")).unwrap(), "one");
    let ended = guest.run("cp", &[&to("none"), "back"]);
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains("none"), "{}", ended.err);
    let ended = guest.run("cp", &["c", "back"]);
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(ended.err.contains("error: no path is an instance's\n"), "{}", ended.err);
}

#[test]
fn nobody_logs_in_to_a_machine_that_does_not_run() {
    let life = Life::new();
    let id = life.stopped("web");
    for words in [["ssh", "web"].as_slice(), &["cp", "disk.raw", "web:"]] {
        let ended = life.ended(words);
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        assert!(ended.err.contains("it is stopped. (IncorrectInstanceState)"), "{}", ended.err);
        assert!(ended.err.contains(&format!("hint: `ami-run start {id}` starts it")), "{}", ended.err);
    }
    let ended = life.ended(&["ssh", "nobody"]);
    assert_eq!(ended.code, Some(1), "{}", ended.err);
}

#[test]
fn a_computer_without_ssh_is_told_what_to_install() {
    let life = Life::new();
    let held = life.running("web");
    let listener = listen(held.folder()).unwrap();
    for (words, program) in [(["ssh", "web"].as_slice(), "ssh"), (&["cp", "disk.raw", "web:"], "scp")] {
        let mut command = life.place.command(words);
        command.env("PATH", life.place.inputs());
        let ended = run_within(command, BOUND);
        assert_eq!(ended.code, Some(3), "{}", ended.err);
        assert!(ended.err.contains(&format!("error: cannot run {program}\n")), "{}", ended.err);
        assert!(ended.err.contains("openssh-client"), "{}", ended.err);
    }
    drop(listener);
    assert_eq!(held.record().state, State::Running);
}
