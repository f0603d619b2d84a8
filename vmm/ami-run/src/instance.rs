//! A detached instance: a process of its own that runs its machine, and how a command starts it.
//!
//! The process is this program again, started with the instance's lock as its standard input, a pipe to the command
//! as its standard output, and the instance's `log` as its standard error; so the lock is never free in between. It
//! leaves the command's session and holds nothing else of it.

use crate::bases::Bases;
use crate::console::Input;
use crate::exit::Code;
use crate::failure::Failure;
use crate::firmware::{self, First};
use crate::parent::{Child, Message, Parent};
use crate::report::Report;
use crate::run::{self, Face, io_failure};
use crate::session::Signals;
use crate::state::catalog_failure;
use crate::{args, disks, host, inherited, metadata, outputs, state, ui};
use ami_run_catalog::control::{Action, Connection};
use ami_run_catalog::{Catalog, Held, fault};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};

/// What the instance's process writes on its standard error: warnings, bugs.
const LOG: &str = "log";
/// How much of that is repeated when the process has ended without a word.
const REPEATED: u64 = 2048;

/// A process that was started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) id: String,
    folder: PathBuf,
    process: std::process::Child,
    words: Child<ChildStdout>,
}

/// Starts the process of a pending instance. `options` are those of [`args::Process`].
pub(crate) fn spawn(catalog: &Catalog, held: Held, options: &[OsString]) -> Result<Started, Failure> {
    let (id, folder) = (held.record().instance_id.clone(), held.folder().to_owned());
    match command(catalog, &id, &folder, options) {
        Ok(mut command) => {
            inherited::keep_to_ourselves();
            fault::point("spawn-begun");
            command.stdin(Stdio::from(held.into_lock()));
            let failed = |cause: io::Error| io_failure(&format!("start the process of {id}"), &cause);
            let mut process = command.spawn().map_err(failed)?;
            fault::point("spawn-done");
            let pipe = process.stdout.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
            Ok(Started { id, folder, process, words: Child::new(pipe) })
        }
        Err(cause) => Err(run::give_up(held, io_failure(&format!("start the process of {id}"), &cause))),
    }
}

fn command(catalog: &Catalog, id: &str, folder: &Path, options: &[OsString]) -> io::Result<Command> {
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(folder.join(LOG))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("ami-run");
    command.arg("--state-dir").arg(catalog.folder()).args([args::PROCESS, id]).args(options);
    // It has another current folder.
    command.env("TMPDIR", disks::top_folder());
    command.envs(metadata::lasting_environment());
    command.stdout(Stdio::piped()).stderr(log);
    Ok(command)
}

impl Started {
    /// Waits until the machine runs.
    pub(crate) fn running(&mut self) -> Result<(), Failure> {
        self.until(|message| matches!(message, Message::Running))
    }

    /// Waits until all was seen that the process waits for.
    pub(crate) fn all_seen(mut self) -> Result<(), Failure> {
        let seen = self.until(|message| matches!(message, Message::AllSeen));
        let id = &self.id;
        seen.map_err(|failure| match failure.hint {
            None => failure
                .hint(format!("`ami-run ls` tells what became of {id}, `ami-run logs {id}` what it said")),
            Some(_) => failure,
        })
    }

    fn until(&mut self, is_it: impl Fn(&Message) -> bool) -> Result<(), Failure> {
        loop {
            let message = self.words.next().map_err(|cause| io_failure("hear of the instance", &cause))?;
            match message {
                Some(message) if is_it(&message) => return Ok(()),
                Some(Message::Running | Message::AllSeen) => {}
                Some(Message::Seen(pattern)) => ui::status("seen", &pattern),
                Some(Message::Silent(lines)) => ui::silent(&lines),
                Some(Message::Ended { failure, last_lines }) => {
                    if let Some(lines) = last_lines {
                        ui::last_lines(&lines);
                    }
                    return Err(failure);
                }
                None => return Err(self.died()),
            }
        }
    }

    /// The process is gone without a word.
    fn died(&mut self) -> Failure {
        let how = self.process.wait().map_or_else(|cause| cause.to_string(), |status| status.to_string());
        let mut failure = Failure::new(Code::Bug, format!("the process of {} has ended by itself", self.id));
        failure.causes.push(how);
        failure.causes.extend(last_words(&self.folder.join(LOG)));
        failure
    }
}

/// Terminates those of a launch that cannot be had whole.
pub(crate) fn undo(catalog: &Catalog, ids: &[String]) {
    for id in ids {
        let folder = catalog.instance_folder(id);
        let gone = Connection::connect(&folder)
            .and_then(|mut machine| {
                let asked = machine.ask(Action::Terminate { force: true, timeout: None });
                asked.map(|_| machine.wait_for_end(None)).map_err(io::Error::other)
            })
            .map(drop);
        if let Err(cause) = gone {
            log::info!("{id} has ended by itself: {cause}");
        }
    }
}

fn last_words(log: &Path) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let size = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(REPEATED))).ok()?;
    let mut bytes = Vec::new();
    file.take(REPEATED).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    Some(text).filter(|text| !text.is_empty())
}

/// The process itself.
pub(crate) fn process(args: &args::Process) -> Code {
    let (lock, parent) = match take_over() {
        Ok(taken) => taken,
        Err(cause) => {
            ui::failure(&io_failure("run an instance: a command starts this by itself", &cause));
            return Code::CommandLine;
        }
    };
    let (told, last_lines) = match run_instance(args, lock, &parent) {
        Ok(report) => (report.outcome, report.last_lines),
        Err(failure) => (Err(failure), None),
    };
    match told {
        Ok(_) => Code::Success,
        Err(failure) => {
            ui::failure(&failure);
            let code = failure.code;
            parent.tell(&Message::Ended { failure, last_lines });
            code
        }
    }
}

/// Takes the lock and the pipe from where the command has put them, and leaves its session.
fn take_over() -> io::Result<(OwnedFd, Parent)> {
    let lock = io::stdin().as_fd().try_clone_to_owned()?;
    let pipe = io::stdout().as_fd().try_clone_to_owned()?;
    let nothing = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    // Refused to who leads one already.
    if let Err(cause) = rustix::process::setsid() {
        log::debug!("no session of its own: {cause}");
    }
    std::env::set_current_dir("/")?;
    Ok((lock, Parent::new(File::from(pipe))))
}

fn run_instance(args: &args::Process, lock: OwnedFd, parent: &Parent) -> Result<Report, Failure> {
    let catalog = state::catalog()?;
    let held = catalog.adopt(&args.id, lock).map_err(|cause| catalog_failure(&cause))?;
    let prepared = prepare(args, &held, parent);
    let (first, face) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => return Err(run::give_up(held, failure)),
    };
    let (ended, after) = run::run(held, first, &mut Bases::default(), face)?;
    let report = Report::ended(&args.wanted(), None, &ended, after);
    if !report.silence().is_empty() {
        ui::silent(report.silence());
        parent.tell(&Message::Silent(report.silence().to_vec()));
    }
    Ok(report)
}

/// What the host must have, and what the process shows and waits for.
fn prepare(args: &args::Process, held: &Held, parent: &Parent) -> Result<(First, Face), Failure> {
    let record = held.record();
    host::check_memory(record.own.memory_mib, &record.instance_type)?;
    let first = firmware::find(&record.own.start, firmware::boot_mode(record))?;
    host::check_kvm(args.force)?;
    let face = Face {
        signals: Signals::block().map_err(|cause| io_failure("take over signals", &cause))?,
        input: Input::none(),
        screen: None,
        log: outputs::open_log("console log", args.console_log.as_deref())?,
        firmware_log: outputs::open_log("firmware log", args.firmware_log.as_deref())?,
        trace: outputs::open_trace(args.trace.as_ref())?,
        wait_for: args.wait_for.clone(),
        exec: None,
        timeout: args.timeout.map(|limit| ui::start() + limit),
        hang_after: args.hang_after,
        parent: Some(parent.clone()),
    };
    Ok((first, face))
}
