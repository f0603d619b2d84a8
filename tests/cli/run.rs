//! Runs `ami-run` in a place of its own, and looks afterwards whether it left anything there.

use crate::guest::Guest;
use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Ends a broken test; nothing that works takes as long on the slowest machine.
pub(crate) const BOUND: Duration = Duration::from_secs(300);

/// A folder for inputs and, apart from it, all folders that a program may write to by itself.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        for name in ["in", "home", "tmp"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Place { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where inputs lie, which is also the program's current folder.
    pub(crate) fn inputs(&self) -> PathBuf {
        self.folder.path().join("in")
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.inputs().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// `ami-run` with these arguments, without a terminal or input.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ami-run"));
        self.prepare(&mut command);
        command.args(arguments);
        command
    }

    /// Gives any command this place's folders.
    pub(crate) fn prepare(&self, command: &mut Command) {
        command.current_dir(self.inputs()).stdin(Stdio::null());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", self.folder.path().join("home")).env("TMPDIR", self.folder.path().join("tmp"));
    }

    /// `ami-run --kernel` with this guest, on any KVM; its instance is gone afterwards.
    pub(crate) fn guest(&self, guest: Guest, arguments: &[&str]) -> Command {
        self.write("guest", guest.elf());
        let machine = ["--kernel", "guest", "--rm", "--force", "--cpus", "1", "--memory", "64"];
        let mut command = self.command(&machine);
        command.args(arguments);
        command
    }

    /// Every file that the program left, but for what it keeps about this host's KVM.
    pub(crate) fn leftovers(&self, inputs: &[&str]) -> Vec<PathBuf> {
        let mut left = files(&self.folder.path().join("tmp"));
        let kept = self.folder.path().join("home/.cache/ami-run/kvm");
        let state = self.folder.path().join("home/.local/share/ami-run");
        // The state folder's own, which are the same for any number of instances.
        let own = ["version", "instances/lock", "addresses/lock"].map(|name| state.join(name));
        let home = files(&self.folder.path().join("home")).into_iter();
        left.extend(home.filter(|path| *path != kept && !own.contains(path)));
        let given: Vec<_> = inputs.iter().map(|name| self.inputs().join(name)).collect();
        left.extend(files(&self.inputs()).into_iter().filter(|path| !given.contains(path)));
        left
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What a run said and how it ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// Runs it to its end.
pub(crate) fn run(command: Command) -> Ended {
    run_within(command, BOUND)
}

/// The same, and no longer. All that it says is read while it runs, however much that is.
pub(crate) fn run_within(mut command: Command, bound: Duration) -> Ended {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let out = read_aside(child.stdout.take().unwrap());
    let err = read_aside(child.stderr.take().unwrap());
    let status = end_within(&mut child, bound);
    let said = |from: Receiver<String>| from.recv_timeout(bound).unwrap();
    Ended { code: status.code(), out: said(out), err: said(err) }
}

fn read_aside(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    // Nobody waits for it any more, if this fails.
    std::thread::Builder::new().spawn(move || sender.send(rest(from))).unwrap();
    receiver
}

/// Waits for a process, but not for ever.
pub(crate) fn end(child: &mut Child) -> ExitStatus {
    end_within(child, BOUND)
}

pub(crate) fn end_within(child: &mut Child, bound: Duration) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > bound {
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(start.elapsed() <= bound, "the program does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads until the text has come; returns all that was read.
pub(crate) fn read_until(from: &mut impl Read, text: &str) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 1024];
    while !String::from_utf8_lossy(&all).contains(text) {
        let count = from.read(&mut buffer).unwrap();
        assert!(count > 0, "{text:?} did not come: {}", String::from_utf8_lossy(&all));
        all.extend(&buffer[..count]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// Everything that still comes.
pub(crate) fn rest(mut from: impl Read) -> String {
    let mut all = Vec::new();
    from.read_to_end(&mut all).unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

/// Whether guests can run here; if not, that is said past the test runner's capture.
pub(crate) fn has_kvm() -> bool {
    match fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(_) => true,
        Err(cause) => {
            skip(&format!("/dev/kvm: {cause}"));
            false
        }
    }
}

pub(crate) fn skip(why: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let mut uncaptured = std::io::stderr();
    writeln!(uncaptured, "skipped: {name}: {why}").unwrap();
}
