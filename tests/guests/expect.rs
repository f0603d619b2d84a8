//! Starts `ami-run` with pipes and talks to the guest on its console, as a person would: wait for this, type that.
//!
//! Every wait has a bound that only ends a broken test: what is slow here is the machine, never the guest's fault.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const BOUND: Duration = Duration::from_secs(900);

/// A running launch, or a command that shows a console.
pub(crate) struct Launch {
    child: Child,
    /// What it keeps goes with it.
    _state: Arc<TempDir>,
    console: Arc<Mutex<Vec<u8>>>,
    status: Arc<Mutex<Vec<u8>>>,
    /// How much of the console earlier waits have used up.
    seen: usize,
}

/// How it ended.
pub(crate) struct End {
    pub(crate) code: Option<i32>,
    pub(crate) console: String,
    pub(crate) status: String,
}

impl Launch {
    pub(crate) fn start<A: AsRef<str>>(arguments: &[A]) -> Launch {
        Launch::start_in(&state(), arguments)
    }

    /// With a state folder that others know, too.
    pub(crate) fn start_in<A: AsRef<str>>(state: &Arc<TempDir>, arguments: &[A]) -> Launch {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ami-run"));
        command.env("AMI_RUN_STATE_DIR", state.path());
        command.args(arguments.iter().map(AsRef::as_ref));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let console = collect(child.stdout.take().unwrap());
        let status = collect(child.stderr.take().unwrap());
        Launch { child, _state: Arc::clone(state), console, status, seen: 0 }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the console shows `text` after what was waited for before; returns what came until then.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let start = Instant::now();
        loop {
            let ended = self.child.try_wait().unwrap();
            let all = lossy(&self.console);
            let new = &all[self.seen.min(all.len())..];
            if let Some(at) = new.find(text) {
                let until = at + text.len();
                let shown = new[..until].to_owned();
                self.seen += until;
                return shown;
            }
            let late = start.elapsed() > BOUND;
            if late || ended.is_some() {
                let why = if late { "not seen in time" } else { "not seen before the end" };
                let status = lossy(&self.status);
                self.kill();
                panic!("{text:?} {why} ({ended:?}).\n--- console\n{new}\n--- status\n{status}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(text.as_bytes()).unwrap();
        input.flush().unwrap();
    }

    /// Types a shell command and returns what it printed. The markers are written so that the echo of the command
    /// is not taken for its output.
    pub(crate) fn shell(&mut self, command: &str) -> String {
        self.type_in(&format!("echo '<''<'; {command}; echo '>''>'\n"));
        self.wait_for("<<");
        let output = self.wait_for(">>");
        output.trim_end_matches(">>").replace('\r', "").trim().to_owned()
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> End {
        let start = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if start.elapsed() > BOUND {
                self.kill();
                panic!("no end in time.\n--- console\n{}", lossy(&self.console));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let code = self.child.wait().unwrap().code();
        // The readers end with the pipes; one moment for the last bytes to arrive.
        while Arc::strong_count(&self.console) > 1 || Arc::strong_count(&self.status) > 1 {
            std::thread::sleep(Duration::from_millis(5));
        }
        End { code, console: lossy(&self.console), status: lossy(&self.status) }
    }

    fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A state folder of a test's own.
pub(crate) fn state() -> Arc<TempDir> {
    Arc::new(tempfile::tempdir_in("/var/tmp").unwrap())
}

/// Runs a command to its end, which must be a good one; what it said on standard output.
pub(crate) fn done(state: &Arc<TempDir>, arguments: &[&str]) -> String {
    let end = Launch::start_in(state, arguments).end();
    assert_eq!(end.code, Some(0), "{arguments:?}\n{}\n{}", end.console, end.status);
    end.console
}

/// A test that fails must not leave its guest behind.
impl Drop for Launch {
    fn drop(&mut self) {
        self.kill();
    }
}

fn lossy(bytes: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&bytes.lock().unwrap()).into_owned()
}

fn collect(mut from: impl Read + Send + 'static) -> Arc<Mutex<Vec<u8>>> {
    let all = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&all);
    std::thread::Builder::new()
        .spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        })
        .unwrap();
    all
}

/// The folder of a guest that the test scripts made, or `None`, said past the test runner's capture.
pub(crate) fn guest(variable: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map(PathBuf::from);
    if folder.is_none() {
        let mut uncaptured = std::io::stderr();
        writeln!(uncaptured, "skipped: guest test: {variable} is not set: run the scripts beside this test")
            .unwrap();
    }
    folder
}

pub(crate) fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}
