//! The main thread while a guest runs: signals, keys, console and time, in one loop.

mod announced;
mod course;
mod follow;
mod hang;
mod logins;
mod panic_line;
mod requests;
mod server;
mod signals;
mod silence;
mod words;

pub(crate) use course::Cause;
pub(crate) use hang::{Suspect, Watch};
pub(crate) use signals::{Sender, Signals, name as signal_name};

use crate::console::{ConsoleLog, Input, Screen, Transcript};
use crate::explain::Progress;
use crate::failure::Failure;
use crate::metadata::Live;
use crate::parent::Parent;
use crate::ssh::Outputs;
use ami_run_catalog::Held;
use ami_run_machine::{Exit, Machine, MachineError};
use ami_run_network::Dialer;
use ami_run_storage::Volume;
use follow::Session;
use server::Server;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// How long a reader of the console is waited for when the guest has ended, and when somebody wants us to be gone.
const LAST_WORDS: Duration = Duration::from_secs(2);
const LAST_WORDS_ON_SIGNAL: Duration = Duration::from_millis(500);

/// What a session is made of.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) signals: Signals,
    pub(crate) input: Input,
    /// None: the console goes to the log only.
    pub(crate) screen: Option<Screen>,
    pub(crate) log: Option<File>,
    pub(crate) transcript: Transcript,
    pub(crate) timeout: Option<Instant>,
    pub(crate) stop_timeout: Duration,
    /// What runs: pending, and running as soon as it does.
    pub(crate) instance: Held,
    /// Where verbs ask.
    pub(crate) control: UnixListener,
    /// Into the guest's network, if it has one.
    pub(crate) dialer: Option<Dialer>,
    pub(crate) console_log: ConsoleLog,
    /// Volumes in files without names.
    pub(crate) holds: Vec<Volume>,
    /// What is to be run in the guest, and where its outputs go.
    pub(crate) exec: Option<(OsString, Outputs)>,
    /// Of a detached instance: who waits for what is waited for. The machine runs on then.
    pub(crate) parent: Option<Parent>,
    /// What the guest is told of itself. None: it has no network card to be told by.
    pub(crate) metadata: Option<Live>,
    /// Over its silence.
    pub(crate) watch: Watch,
}

/// What a verb asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Stop,
    Terminate,
}

/// How the machine itself ended.
#[derive(Debug)]
pub(crate) enum Last {
    Exit(Exit),
    Failed(MachineError),
    Panicked,
    /// It was told to stop and has not.
    Stuck,
}

/// When each stage of a run was reached, if it was.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stages {
    /// The vCPUs have begun.
    pub(crate) running: Option<Instant>,
    /// The console said something.
    pub(crate) output: Option<Instant>,
    /// An SSH server answered.
    pub(crate) ssh: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) last: Last,
    /// Why this program ended it, if it did.
    pub(crate) cause: Option<Cause>,
    /// What a verb wants to become of the instance, if one asked.
    pub(crate) asked: Option<Asked>,
    pub(crate) started: Instant,
    pub(crate) seconds: f64,
    pub(crate) stages: Stages,
    pub(crate) transcript: Transcript,
    /// What became of the command that was to be run, and how it stood when it had not ended.
    pub(crate) executed: Option<Result<u8, Failure>>,
    pub(crate) unfinished: Option<String>,
    /// By what words the guest's kernel gave up, if it did.
    pub(crate) panic: Option<String>,
    /// How far it came.
    pub(crate) progress: Progress,
    /// Clients' connections: they learn of the end when these are closed, and then its record must say it.
    _server: Server,
}

/// Runs the machine to its end; gives the instance back as the verbs have left it.
pub(crate) fn run(machine: Machine, setup: Setup) -> io::Result<(Ended, Held)> {
    let started = Instant::now();
    let event = || EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).map(Arc::new);
    let (runs, ended) = (event()?, event()?);
    let server = Server::new(setup.control.try_clone()?, setup.dialer.clone());
    let session = Session::new(machine.handle(), [Arc::clone(&runs), Arc::clone(&ended)], setup, server);
    let thread = start(machine, runs, ended)?;
    let mut session = session.follow().map_err(|cause| io::Error::other(cause.to_string()))?;
    let seconds = started.elapsed().as_secs_f64();
    session.last_words();
    let cause = session.cause();
    let signalled = matches!(cause, Some(Cause::Signal(_)));
    let within = if signalled { LAST_WORDS_ON_SIGNAL } else { LAST_WORDS };
    if let Some(screen) = &mut session.setup.screen {
        screen.finish(within);
    }
    session.server.finish(within);
    let last = if session.is_ended() { join(thread) } else { Last::Stuck };
    let (panic, unfinished) = (session.panic(), session.unfinished());
    let progress = session.progress();
    let Session { setup, server, asked, stages, outcome: executed, .. } = session;
    let ended = Ended {
        last,
        cause,
        asked,
        started,
        seconds,
        stages,
        transcript: setup.transcript,
        executed,
        unfinished,
        panic,
        progress,
        _server: server,
    };
    Ok((ended, setup.instance))
}

/// Tells the main thread something when it is dropped: that the machine's thread is at its end, also when it panics.
struct Tell(Arc<EventFd>);

impl Drop for Tell {
    fn drop(&mut self) {
        if let Err(cause) = self.0.write(1) {
            log::error!("the main thread cannot be told: {cause}");
        }
    }
}

fn start(
    machine: Machine,
    runs: Arc<EventFd>,
    ended: Arc<EventFd>,
) -> io::Result<JoinHandle<Result<Exit, MachineError>>> {
    thread::Builder::new().name("machine".to_owned()).spawn(move || {
        let _tell = Tell(ended);
        machine.run(|| drop(Tell(runs)))
    })
}

fn join(thread: JoinHandle<Result<Exit, MachineError>>) -> Last {
    match thread.join() {
        Ok(Ok(exit)) => Last::Exit(exit),
        Ok(Err(cause)) => Last::Failed(cause),
        Err(_) => Last::Panicked,
    }
}
