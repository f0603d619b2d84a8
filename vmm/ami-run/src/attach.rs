//! `console`: a running instance's console here, for as long as both are there.

use crate::args::Console;
use crate::console::{Command, Input, Screen, terminal};
use crate::exit::Code;
use crate::failure::Failure;
use crate::session::{Signals, signal_name};
use crate::state::{self, catalog_failure};
use crate::ui;
use ami_run_catalog::control::{Action, Connection, Outcome};
use ami_run_catalog::{Catalog, CatalogError, State};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a reader of the console is waited for at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why the console is left.
#[derive(Clone, Copy, Debug)]
enum End {
    Detached,
    Machine,
    Signal(i32),
    OutputClosed,
}

pub(crate) fn run(args: &Console) -> Code {
    attach(args).unwrap_or_else(|failure| {
        ui::failure(&failure);
        failure.code
    })
}

fn attach(args: &Console) -> Result<Code, Failure> {
    let cannot =
        |what: &str, cause: &io::Error| Failure::new(Code::Host, format!("cannot {what}")).because(cause);
    let catalog = state::catalog()?;
    let id = catalog.resolve(&args.instance).map_err(|cause| catalog_failure(&cause))?;
    let mut console = connect(&catalog, &id)?;
    console.ask(Action::Console).map_err(|cause| catalog_failure(&cause))?;
    let stream = console.into_stream();
    stream.set_nonblocking(true).map_err(|cause| cannot("use the console", &cause))?;
    // From here on the end comes by signal only through the loop, which gives the terminal back.
    let signals = Signals::block().map_err(|cause| cannot("take over signals", &cause))?;
    let screen = Screen::new(io::stdout().as_fd()).map_err(|cause| cannot("use standard output", &cause))?;
    let input = Input::open(args.escape, true).map_err(|cause| cannot("use the terminal", &cause))?;
    if let Some(keys) = input.way_out() {
        ui::status("console", &format!("{id}: {keys}"));
    }
    let mut attached = Attached { folder: catalog.instance_folder(&id), stream, signals, input, screen };
    let end = attached.follow().map_err(|cause| cannot("follow the console", &cause))?;
    attached.screen.finish(LAST_WORDS);
    // Gives the terminal back.
    drop(attached);
    Ok(tell(&catalog, &id, end))
}

/// To the process of an instance that runs.
fn connect(catalog: &Catalog, id: &str) -> Result<Connection, Failure> {
    let nobody = match Connection::connect(&catalog.instance_folder(id)) {
        Ok(connection) => return Ok(connection),
        Err(cause) => cause,
    };
    if !matches!(nobody.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) {
        return Err(Failure::new(Code::Host, format!("the machine of {id} does not answer")).because(&nobody));
    }
    let state = catalog.describe(id).map_err(|cause| catalog_failure(&cause))?.state;
    let message = format!("The instance '{id}' is not in a state in which it has a console: it is {state}.");
    let hint = match state {
        State::Stopped => format!("`ami-run logs {id}` tells what it said, `ami-run start {id}` starts it"),
        State::Pending => "try again in a moment".to_owned(),
        _ => format!("`ami-run logs {id}` tells what it said"),
    };
    let code = "IncorrectInstanceState";
    Err(Failure::new(Code::Refused, format!("{message} ({code})")).hint(hint).ec2(code, message))
}

/// Says how it stands with the machine; the exit code.
fn tell(catalog: &Catalog, id: &str, end: End) -> Code {
    match end {
        End::Detached => {
            ui::status("detached", &format!("{id} runs on: `ami-run console {id}` comes back"));
            Code::Success
        }
        End::Machine => {
            let became = match catalog.describe(id) {
                Ok(record) => {
                    let why =
                        record.state_reason.map(|why| format!(" ({})", why.message)).unwrap_or_default();
                    format!("{id} is {}{why}", record.state)
                }
                Err(_) => format!("{id} is no more"),
            };
            ui::status("ended", &became);
            Code::Success
        }
        End::Signal(signal) => {
            ui::status("signal", &format!("{}: {id} runs on", signal_name(signal)));
            Code::Signal(u8::try_from(signal).unwrap_or_default())
        }
        End::OutputClosed => Code::Signal(u8::try_from(libc::SIGPIPE).unwrap_or_default()),
    }
}

struct Attached {
    /// The instance's.
    folder: PathBuf,
    stream: UnixStream,
    signals: Signals,
    input: Input,
    screen: Screen,
}

impl Attached {
    fn follow(&mut self) -> io::Result<End> {
        loop {
            let commands = self.input.tick(&|typed| send(&self.stream, typed));
            if let Some(end) = self.obey(&commands) {
                return Ok(end);
            }
            let [signal, said, typed, shown] = self.wait()?;
            if signal && let Some(end) = self.signal() {
                return Ok(end);
            }
            if typed {
                let commands = self.input.read(&|typed| send(&self.stream, typed));
                if let Some(end) = self.obey(&commands) {
                    return Ok(end);
                }
            }
            if said && self.take()? {
                return Ok(End::Machine);
            }
            if (said || shown) && self.screen.write().is_err() {
                return Ok(End::OutputClosed);
            }
        }
    }

    /// Waits for signals, the machine, what is typed, and whoever reads what is shown; which of them there is.
    fn wait(&self) -> io::Result<[bool; 4]> {
        let full = self.screen.wants_event();
        // Who does not read is not read for: what is too much for the connection then, the machine drops and marks.
        let sources: [(BorrowedFd<'_>, PollFlags, bool); 4] = [
            (self.signals.as_fd(), PollFlags::IN, true),
            (self.stream.as_fd(), PollFlags::IN, !full),
            (rustix::stdio::stdin(), PollFlags::IN, self.input.wants_event()),
            (self.screen.as_fd(), PollFlags::OUT, full),
        ];
        let wanted = sources.iter().filter(|(_, _, wanted)| *wanted);
        let mut polled: Vec<_> = wanted.map(|(fd, flags, _)| PollFd::new(fd, *flags)).collect();
        let now = Instant::now();
        let wait = self.input.due(now).map(|due| due.saturating_duration_since(now));
        match poll(&mut polled, wait.and_then(|wait| Timespec::try_from(wait).ok()).as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(cause) => return Err(cause.into()),
        }
        let mut found = polled.iter().map(|polled| !polled.revents().is_empty());
        Ok(sources.map(|(_, _, wanted)| wanted && found.next().unwrap_or(false)))
    }

    /// Takes what the machine says; whether it has ended.
    fn take(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => Ok(true),
            Ok(count) => {
                self.screen.show(bytes.get(..count).unwrap_or_default());
                Ok(false)
            }
            Err(cause) => match cause.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(false),
                // It has not read all that was typed.
                ErrorKind::ConnectionReset => Ok(true),
                _ => Err(cause),
            },
        }
    }

    fn signal(&mut self) -> Option<End> {
        while let Some(signal) = self.signals.next() {
            match signal {
                libc::SIGTSTP => {
                    terminal::restore();
                    let me = rustix::process::getpid();
                    if let Err(cause) = rustix::process::kill_process(me, rustix::process::Signal::STOP) {
                        log::warn!("cannot stop: {cause}");
                    }
                    self.input.resume();
                }
                libc::SIGCONT => self.input.resume(),
                _ => return Some(End::Signal(signal)),
            }
        }
        None
    }

    fn obey(&self, commands: &[Command]) -> Option<End> {
        for command in commands {
            match command {
                Command::Detach => return Some(End::Detached),
                Command::Help => ui::note(&self.input.help().unwrap_or_default()),
                Command::End => self.ask(Action::Stop { force: true, timeout: None }),
                Command::PowerButton => self.ask(Action::PowerButton),
            }
        }
        None
    }

    /// Asks by a connection of its own: this one is the console's.
    fn ask(&self, action: Action) {
        let answer = Connection::connect(&self.folder).map(|mut machine| machine.ask(action));
        match answer {
            Ok(Ok(Outcome::StateChange(change))) => {
                ui::status("stopping", &format!("{} is {}", change.instance_id, change.current_state));
            }
            Ok(Ok(Outcome::Done(true))) => ui::status("stopping", "the power button is pressed"),
            Ok(Ok(_)) => ui::status("stopping", "the guest does not listen to its power button"),
            Ok(Err(cause)) => refused(&cause),
            Err(cause) => log::warn!("the machine does not answer: {cause}"),
        }
    }
}

fn refused(cause: &CatalogError) {
    ui::note(&format!("error: {}", catalog_failure(cause).line()));
}

/// Sends what was typed; how much of it is done with.
fn send(mut stream: &UnixStream, typed: &[u8]) -> usize {
    match stream.write(typed) {
        Ok(sent) => sent,
        Err(cause) if matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
        // The machine has ended, which is seen where it is read from.
        Err(_) => typed.len(),
    }
}
