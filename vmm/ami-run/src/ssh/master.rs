//! An `ssh -M` that keeps a connection, and its socket in a private folder.

use super::login::Login;
use super::program::Program;
use super::wait::wait;
use crate::exit::Code;
use crate::failure::Failure;
use rustix::event::PollFlags;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A socket's path has 108 bytes at most with its end, and ssh puts 17 behind it for a moment.
const LONGEST: usize = 90;
/// Between two looks whether it is let in: it tells nobody.
const LOOK: Duration = Duration::from_millis(50);
/// How much is repeated of what it says.
const REPEATED: u64 = 2048;

#[derive(Debug)]
pub(super) struct Master {
    child: Child,
    ended: OwnedFd,
    socket: PathBuf,
    words: PathBuf,
    /// Goes when this goes.
    _folder: TempDir,
}

/// What became of an attempt to log in.
#[derive(Debug)]
pub(super) enum Ended {
    Up,
    Stopped,
    /// It has ended, and said this.
    Gone(String),
}

impl Master {
    pub(super) fn start(login: &Login) -> Result<Master, Failure> {
        let cannot = |cause: io::Error| Failure::new(Code::Host, "cannot run ssh").because(&cause);
        let folder = private_folder().map_err(cannot)?;
        let (socket, words) = (folder.path().join("s"), folder.path().join("words"));
        let said = File::create(&words).map_err(cannot)?;
        let mut command = Program::Ssh.command();
        // The user's settings are for people: a command shall run here as it runs anywhere.
        command.args(["-F", "/dev/null", "-M", "-N", "-T", "-oBatchMode=yes", "-S"]).arg(&socket);
        // The first of two values counts. cloud-init may give the server other host keys after the first attempt, and
        // nobody stands between this program and its guest.
        command.args(["-oUserKnownHostsFile=/dev/null", "-oStrictHostKeyChecking=no"]);
        command.args(login.options()).arg(&login.id);
        // The way to the guest is spelt for this one.
        command.env("SHELL", "/bin/sh");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        // Ctrl-C at the terminal is this program's to judge.
        command.process_group(0);
        let mut child = command.spawn().map_err(|cause| Program::Ssh.failure(&cause))?;
        let ended = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let ended = ended.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        match ended.and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?)) {
            Ok(ended) => Ok(Master { child, ended, socket, words, _folder: folder }),
            Err(cause) => {
                child.kill().and_then(|()| child.wait().map(drop)).unwrap_or_default();
                Err(cannot(cause))
            }
        }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Waits until it is let in, or has ended.
    pub(super) fn up(&self, stop: BorrowedFd<'_>) -> io::Result<Ended> {
        let sources = [(stop, PollFlags::IN), (self.ended.as_fd(), PollFlags::IN)];
        loop {
            // ssh gives its socket this name when it listens there, after it was let in.
            if UnixStream::connect(&self.socket).is_ok() {
                return Ok(Ended::Up);
            }
            match wait(&sources, Some(Instant::now() + LOOK))? {
                Some(0) => return Ok(Ended::Stopped),
                Some(_) => return Ok(Ended::Gone(self.words())),
                None => {}
            }
        }
    }

    /// What it said last, in one line.
    fn words(&self) -> String {
        let mut bytes = Vec::new();
        if let Err(cause) =
            File::open(&self.words).and_then(|file| file.take(REPEATED).read_to_end(&mut bytes))
        {
            log::debug!("ssh's words cannot be read: {cause}");
        }
        let text = String::from_utf8_lossy(&bytes);
        text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("ssh ended").to_owned()
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        // With the process that leads to the guest: they are the group. Neither has anything to put in order, and both
        // have this program's mask of signals, by which they would not hear a milder one. The master is not reaped yet,
        // so its number is nobody else's.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
            && let Err(cause) = kill_process_group(pid, Signal::KILL)
        {
            log::warn!("ssh cannot be ended: {cause}");
        }
        if let Err(cause) = self.child.wait() {
            log::warn!("ssh cannot be waited for: {cause}");
        }
    }
}

/// Where only this user can go, and whose path is short.
fn private_folder() -> io::Result<TempDir> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()).map(PathBuf::from);
    let places = [runtime, Some(std::env::temp_dir()), Some(PathBuf::from("/tmp"))];
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for place in places.into_iter().flatten().filter(|place| place.is_absolute()) {
        match tempfile::Builder::new().prefix("ami-run-").tempdir_in(&place) {
            Ok(folder) if folder.path().as_os_str().as_bytes().len() <= LONGEST => return Ok(folder),
            Ok(_) => {}
            Err(cause) => failed = cause,
        }
    }
    Err(failed)
}
