//! SSH while a guest runs: when its server answers, and the command that is run there then.

use super::follow::Session;
use crate::failure::Failure;
use crate::run::io_failure;
use crate::ssh::{Exec, Login, Outputs, Probe, user};
use crate::ui;
use ami_run_network::Dialer;
use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// Of SSH servers.
const PORT: u16 = 22;

/// What is to be run, and what becomes of it.
#[derive(Debug, Default)]
pub(super) struct Logins {
    pub(super) probe: Option<Probe>,
    pub(super) exec: Option<Exec>,
    /// Until it is begun.
    pub(super) wanted: Option<(OsString, Outputs)>,
    /// Both when they were seen to: each keeps its descriptor until the event loop has let go of it.
    pub(super) over: (Option<Probe>, Option<Exec>),
}

impl Logins {
    /// Closes what is over. The event loop knows no descriptor of theirs any more.
    pub(super) fn reap(&mut self) {
        self.over = (None, None);
    }
}

/// A connection to the guest's server.
fn dial(dialer: &Dialer) -> io::Result<UnixStream> {
    let (ours, guests) = UnixStream::pair()?;
    dialer.dial(guests.into(), PORT)?;
    Ok(ours)
}

impl Session {
    /// Asks for the guest's SSH server, where somebody here wants to know of it.
    pub(super) fn begin_logins(&mut self) {
        let Some(dialer) = self.setup.dialer.clone() else { return };
        let has_key = self.setup.instance.record().own.public_key.is_some();
        // Who started a detached instance has gone.
        let follows = self.setup.parent.is_none() && has_key;
        if !(follows || self.logins.wanted.is_some() || self.setup.transcript.awaits_ssh()) {
            return;
        }
        match Probe::start(move || dial(&dialer)) {
            Ok(probe) => self.logins.probe = Some(probe),
            Err(cause) => log::warn!("it is not seen when SSH is ready: {cause}"),
        }
    }

    /// The server has answered.
    pub(super) fn ssh_event(&mut self, now: Instant) {
        let Some(probe) = self.logins.probe.take() else { return };
        self.stages.ssh = probe.seen();
        self.logins.over.0 = Some(probe);
        let record = self.setup.instance.record();
        let (id, user) = (record.instance_id.clone(), user::of(record));
        if self.setup.parent.is_none() && self.logins.wanted.is_none() {
            ui::status("ssh", &format!("{user} can log in: `ami-run ssh {id}`"));
        }
        let seen = self.setup.transcript.ssh_answers(now);
        self.tell_seen(&seen, now);
        if let Some((command, outputs)) = self.logins.wanted.take() {
            ui::status("ssh", &format!("the guest answers; {user} logs in to run the command"));
            match self.start_command(user, &command, outputs) {
                Ok(exec) => self.logins.exec = Some(exec),
                Err(failure) => self.executed(Err(failure), now),
            }
        }
    }

    fn start_command(&self, user: String, command: &OsString, outputs: Outputs) -> Result<Exec, Failure> {
        let held = &self.setup.instance;
        let login = Login::new(held.record(), held.folder(), user, PORT, None);
        let login = login.map_err(|cause| io_failure("run ssh", &cause))?;
        Exec::start(login, command, outputs)
    }

    /// The command has ended, or cannot be run.
    pub(super) fn exec_event(&mut self, now: Instant) {
        if let Some(outcome) = self.logins.exec.as_ref().and_then(Exec::outcome) {
            self.executed(outcome, now);
        }
    }

    /// The machine has ended, which may have been the command's last deed. What broke with it is nothing new.
    pub(super) fn exec_last(&mut self, now: Instant) {
        if let Some(status @ Ok(_)) = self.logins.exec.as_ref().and_then(Exec::outcome) {
            self.executed(status, now);
        }
    }

    fn executed(&mut self, outcome: Result<u8, Failure>, now: Instant) {
        if let Ok(status) = &outcome {
            ui::status("command", &format!("it ended with status {status}"));
        }
        self.outcome = Some(outcome);
        // Its connection goes before the guest does.
        if let Some(mut exec) = self.logins.exec.take() {
            exec.end();
            self.logins.over.1 = Some(exec);
        }
        let order = self.course.executed(now);
        self.carry_out(order);
    }

    /// How it stands with the command, if there is one that has not ended.
    pub(super) fn unfinished(&self) -> Option<String> {
        if self.logins.wanted.is_some() {
            return Some("no SSH server answers in the guest".to_owned());
        }
        self.logins.exec.as_ref().map(Exec::stands)
    }
}
