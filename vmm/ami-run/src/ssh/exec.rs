//! `--exec`: one command in the guest, by SSH, as soon as somebody can log in there; its output is ours, and its
//! status is told out of band.
//!
//! A thread starts an `ssh -M`, again and again until it is let in: a server answers before its host lets anybody log
//! in, and before the key has come there. Then it asks for a session by the master's own socket.

use super::login::{Login, quoted};
use super::master::{Ended, Master};
use super::mux::{End, Mux};
use super::relay::Relay;
use super::wait::{Event, wait};
use crate::exit::Code;
use crate::failure::Failure;
use parking_lot::Mutex;
use rustix::event::PollFlags;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two attempts to log in. Servers since OpenSSH 9.8 keep out who fails too often: 15 points at most, 5 for a
/// refused key, one of which goes each second (sshd_config(5), PerSourcePenalties).
const AGAIN: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(5)];
/// How long a server may refuse the key: cloud-init brings it there, and may come after the server.
const REFUSED_FOR: Duration = Duration::from_secs(300);

/// A command that is being run, or waits until it can be.
#[derive(Debug)]
pub(crate) struct Exec {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: Event,
    done: Event,
    outcome: OnceLock<Result<u8, Failure>>,
    stands: Mutex<String>,
}

/// Where the command's output goes.
#[derive(Debug)]
pub(crate) struct Outputs {
    pub(crate) output: File,
    pub(crate) error: File,
}

impl Outputs {
    /// This program's own, or both on standard error.
    pub(crate) fn ours(both_on_error: bool) -> io::Result<Outputs> {
        let ours = |stream: BorrowedFd<'_>| stream.try_clone_to_owned().map(File::from);
        let error = ours(io::stderr().as_fd())?;
        let output = if both_on_error { error.try_clone()? } else { ours(io::stdout().as_fd())? };
        Ok(Outputs { output, error })
    }
}

impl Exec {
    /// Runs `command` by the login shell, its standard input empty. It is ready to be read when there is an outcome.
    pub(crate) fn start(login: Login, command: &OsStr, outputs: Outputs) -> Result<Exec, Failure> {
        let cannot = |cause: io::Error| Failure::new(Code::Host, "cannot run ssh").because(&cause);
        let shared = Shared {
            stop: Event::new().map_err(cannot)?,
            done: Event::new().map_err(cannot)?,
            outcome: OnceLock::new(),
            stands: Mutex::new("SSH does not answer yet".to_owned()),
        };
        let (shared, command) = (Arc::new(shared), by_login_shell(command));
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("exec".to_owned()).spawn(move || {
            if let Some(outcome) = of_thread.run(&login, &command, outputs) {
                of_thread.outcome.get_or_init(|| outcome);
                of_thread.done.happen();
            }
        });
        Ok(Exec { shared, thread: Some(thread.map_err(cannot)?) })
    }

    /// The command's status, or why there is none. None: it is not over.
    pub(crate) fn outcome(&self) -> Option<Result<u8, Failure>> {
        self.shared.outcome.get().cloned()
    }

    /// Ends the connection, if there is one. Its descriptor stays.
    pub(crate) fn end(&mut self) {
        self.shared.stop.happen();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that runs a command has panicked");
        }
    }

    /// How it stands, for who has no more time to wait.
    pub(crate) fn stands(&self) -> String {
        self.shared.stands.lock().clone()
    }
}

impl AsFd for Exec {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.done.as_fd()
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        self.end();
    }
}

/// For the login shell, whichever it is: a POSIX shell stays and sees how the command's shell ends, so that a signal
/// that killed it is a status (128 and its number), too. sshd sets SHELL.
fn by_login_shell(command: &OsStr) -> OsString {
    let mut line = OsString::from(r#"exec /bin/sh -c '"$SHELL" -c "$1"; exit $?' sh "#);
    line.push(quoted(command));
    line
}

impl Shared {
    /// None: it was stopped.
    fn run(&self, login: &Login, command: &OsStr, outputs: Outputs) -> Option<Result<u8, Failure>> {
        let master = match self.log_in(login)? {
            Ok(master) => master,
            Err(failure) => return Some(Err(failure)),
        };
        self.says("the command runs");
        self.session(&master, command, outputs).unwrap_or_else(|cause| {
            Some(Err(Failure::new(Code::Host, "cannot run the command by ssh").because(&cause)))
        })
    }

    fn says(&self, stands: &str) {
        stands.clone_into(&mut self.stands.lock());
    }

    /// Tries until it is let in.
    fn log_in(&self, login: &Login) -> Option<Result<Master, Failure>> {
        let mut again = AGAIN.iter();
        let mut pause = Duration::ZERO;
        let mut refused: Option<Instant> = None;
        loop {
            let master = match Master::start(login) {
                Ok(master) => master,
                Err(failure) => return Some(Err(failure)),
            };
            let words = match master.up(self.stop.as_fd()) {
                Ok(Ended::Up) => return Some(Ok(master)),
                Ok(Ended::Stopped) => return None,
                Ok(Ended::Gone(words)) => words,
                Err(cause) => return Some(Err(Failure::new(Code::Host, "cannot run ssh").because(&cause))),
            };
            self.says(&format!("{} is not let in: {words}", login.user));
            if words.contains("Permission denied") {
                let since = *refused.get_or_insert_with(Instant::now);
                if since.elapsed() >= REFUSED_FOR {
                    return Some(Err(not_let_in(login, &words)));
                }
            } else {
                refused = None;
            }
            pause = again.next().copied().unwrap_or(pause);
            match wait(&[(self.stop.as_fd(), PollFlags::IN)], Some(Instant::now() + pause)) {
                Ok(None) => {}
                Ok(Some(_)) => return None,
                Err(cause) => return Some(Err(Failure::new(Code::Host, "cannot wait").because(&cause))),
            }
        }
    }

    /// Over a connection that stands.
    fn session(
        &self,
        master: &Master,
        command: &OsStr,
        outputs: Outputs,
    ) -> io::Result<Option<Result<u8, Failure>>> {
        let stop = self.stop.as_fd();
        let mut mux = Mux::connect(master.socket(), stop)?;
        let nothing = File::open("/dev/null")?;
        let (output, error) = (Relay::start(outputs.output)?, Relay::start(outputs.error)?);
        let end = mux.run(command, [nothing.as_fd(), output.input(), error.input()])?;
        if end == End::Stopped {
            return Ok(None);
        }
        if !(output.finish(stop)? && error.finish(stop)?) {
            return Ok(None);
        }
        let failed = |message: &str| Failure::new(Code::Guest, message.to_owned());
        Ok(Some(match end {
            End::Exited(status) => Ok(u8::try_from(status).unwrap_or(u8::MAX)),
            End::Refused(reason) => {
                let mut failure = failed("the guest does not run the command");
                failure.causes.push(reason);
                Err(failure)
            }
            // That the master is still there tells that the connection is, too.
            End::Closed | End::Stopped => Err(if alive(master, stop) {
                failed("the command's shell was ended by a signal")
            } else {
                failed("the connection broke before the command's end")
            }),
        }))
    }
}

fn alive(master: &Master, stop: BorrowedFd<'_>) -> bool {
    Mux::connect(master.socket(), stop).and_then(|mut mux| mux.is_alive()).unwrap_or(false)
}

fn not_let_in(login: &Login, words: &str) -> Failure {
    let mut failure = Failure::new(Code::Guest, format!("{} refuses to let {} log in", login.id, login.user));
    failure.causes.push(words.to_owned());
    failure.hint("cloud-init in the guest sets up the key: `ami-run logs` tells what became of it")
}

#[cfg(test)]
#[path = "exec_test.rs"]
mod tests;
