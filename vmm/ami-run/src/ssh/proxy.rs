//! `ssh-proxy`: standard input and output as a connection to a guest's port, by the instance's control socket. `ssh`
//! and `scp` start it; a guest whose server does not answer yet is waited for here, on the one connection that they
//! then use.

use super::pass::pass;
use super::ready::{AGAIN, Greeting, PATIENCE, listen};
use super::wait::wait;
use crate::args::Proxy;
use crate::exit::Code;
use crate::failure::Failure;
use crate::run::io_failure;
use crate::state::{self, catalog_failure};
use crate::ui;
use crate::verbs::{Reach, reach};
use ami_run_catalog::Catalog;
use ami_run_catalog::control::{Action, Outcome};
use rustix::event::PollFlags;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// After this it is said what is waited for.
const SILENCE: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &Proxy) -> Code {
    match connect(args) {
        Ok(()) => Code::Success,
        Err(failure) => {
            ui::failure(&failure);
            failure.code
        }
    }
}

fn connect(args: &Proxy) -> Result<(), Failure> {
    let catalog = state::catalog()?;
    let begun = Instant::now();
    let end = args.timeout.and_then(|timeout| begun.checked_add(timeout));
    let mut told = false;
    // Whoever has started this reads what it says, and is gone when nobody does.
    let output = io::stdout();
    let caller = (output.as_fd(), PollFlags::empty());
    loop {
        let now = Instant::now();
        let until = end.map_or(now + PATIENCE, |end| end.min(now + PATIENCE));
        if let Some(stream) = dial(&catalog, args)? {
            match listen(&stream, caller, until).map_err(|cause| io_failure("reach the guest", &cause))? {
                Greeting::Heard(heard) => {
                    return carry(&stream, &heard)
                        .map_err(|cause| io_failure("pass on a connection", &cause));
                }
                Greeting::Stopped => return Ok(()),
                Greeting::Nothing => {}
            }
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            return Err(late(args));
        }
        if !told && begun.elapsed() > SILENCE {
            told = true;
            ui::status("waiting", &format!("{} does not answer to SSH yet", args.id));
        }
        let paused = wait(&[caller], Some(Instant::now() + AGAIN));
        if paused.map_err(|cause| io_failure("wait for the guest", &cause))?.is_some() {
            return Ok(());
        }
    }
}

fn late(args: &Proxy) -> Failure {
    let Proxy { id, port, .. } = args;
    let message = format!("{id} does not answer to SSH at its port {port} in time");
    Failure::new(Code::Timeout, message)
        .hint(format!("`ami-run logs {id}` tells how far it has come; --timeout waits longer"))
}

/// A connection to the guest's port. None: its process does not answer right now.
fn dial(catalog: &Catalog, args: &Proxy) -> Result<Option<UnixStream>, Failure> {
    let Reach::Running(mut machine) = reach(catalog, &args.id)? else { return Ok(None) };
    match machine.ask(Action::Connect { port: args.port }) {
        Ok(Outcome::Done(true)) => Ok(Some(machine.into_stream())),
        Ok(_) => Err(Failure::new(Code::Host, format!("the machine of {} connects nobody", args.id))),
        Err(cause) => Err(catalog_failure(&cause)),
    }
}

/// Passes bytes on, both ways, until the guest has ended the connection.
fn carry(stream: &UnixStream, heard: &[u8]) -> io::Result<()> {
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    output.write_all(heard)?;
    let to_guest = stream.try_clone()?;
    // It ends with this process: nobody waits for more input when the guest has ended the connection.
    std::thread::Builder::new().name("ssh-input".to_owned()).spawn(move || {
        let passed = pass(&input, &to_guest).and_then(|()| to_guest.shutdown(Shutdown::Write));
        if let Err(cause) = passed {
            log::debug!("no more input for the guest: {cause}");
        }
    })?;
    // A guest that hangs keeps nobody who is not heard any more.
    let (caller, gone) = (output.try_clone()?, stream.try_clone()?);
    std::thread::Builder::new().name("ssh-caller".to_owned()).spawn(move || {
        let left = wait(&[(caller.as_fd(), PollFlags::empty())], None);
        if let Err(cause) = left.and_then(|_| gone.shutdown(Shutdown::Both)) {
            log::debug!("the connection has ended already: {cause}");
        }
    })?;
    match pass(stream, &output) {
        // Either side may end it any time.
        Err(cause) if !matches!(cause.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            Err(cause)
        }
        _ => Ok(()),
    }
}
