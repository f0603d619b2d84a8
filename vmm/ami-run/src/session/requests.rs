//! What verbs ask of a running instance by the control protocol, and what is done about it.

use super::Asked;
use super::follow::Session;
use ami_run_catalog::control::{Action, Outcome};
use ami_run_catalog::{CatalogError, State, StateReason, Transition, check_reboot, check_stop};
use std::time::{Duration, Instant};

/// On whose account an instance ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Verb,
    /// The Spot Instance is interrupted, as was announced.
    Spot,
}

impl Session {
    /// Does what is asked, or begins it; the answer never waits for the guest.
    pub(super) fn serve(&mut self, action: &Action, now: Instant) -> Outcome {
        match action {
            Action::Describe => Outcome::Description { state: self.state(), holds: self.holds() },
            Action::Stop { force, timeout } => self.end(Asked::Stop, Why::Verb, *force, *timeout, now),
            Action::Terminate { force, timeout } => {
                self.end(Asked::Terminate, Why::Verb, *force, *timeout, now)
            }
            Action::Reboot => self.reboot(now),
            Action::PowerButton => Outcome::Done(self.press_button("stopping")),
            Action::ModifyMetadata { change } => self.modify_metadata(change),
            Action::Event { event, within, cancel } => self.announce(event, *within, *cancel, now),
            // The server's own affair.
            Action::Console | Action::Connect { .. } => Outcome::Done(true),
        }
    }

    fn state(&self) -> State {
        self.setup.instance.record().state
    }

    /// Bytes in files without names. One that cannot be asked holds nothing that could be told.
    fn holds(&self) -> u64 {
        self.setup.holds.iter().filter_map(|volume| volume.held().ok()).sum()
    }

    fn reboot(&mut self, now: Instant) -> Outcome {
        if let Err(refusal) = check_reboot(self.setup.instance.record()) {
            return refused(&refusal);
        }
        // What ends it anyway was not asked for by a verb, so that the state does not say it.
        if self.course.cause().is_some() {
            let id = &self.setup.instance.record().instance_id;
            let message = format!("The instance '{id}' is not in a state from which it can be rebooted.");
            return Outcome::error("IncorrectInstanceState", message);
        }
        match self.course.reboot(now) {
            // It was asked to before, and is at it.
            None => Outcome::Done(true),
            order => Outcome::Done(self.carry_out(order)),
        }
    }

    pub(super) fn end(
        &mut self,
        asked: Asked,
        why: Why,
        force: bool,
        timeout: Option<u64>,
        now: Instant,
    ) -> Outcome {
        let record = self.setup.instance.record();
        if asked == Asked::Stop
            && let Err(refusal) = check_stop(record)
        {
            return refused(&refusal);
        }
        let previous = record.state;
        // What is removed when it ends is never stopped.
        let goes = asked == Asked::Terminate || record.own.remove;
        let current = if goes { State::ShuttingDown } else { State::Stopping };
        let reason = match why {
            Why::Verb => StateReason::by_user(),
            Why::Spot => StateReason::by_spot(goes),
        };
        if current != previous
            && let Err(cause) = self.setup.instance.enter(current, Some(reason))
        {
            log::warn!("the record does not say that the instance is {current}: {cause}");
        }
        if self.asked != Some(Asked::Terminate) {
            self.asked = Some(asked);
        }
        let patience = timeout.map(Duration::from_secs);
        let order = self.course.asked(patience, force, now);
        self.carry_out(order);
        let instance_id = self.setup.instance.record().instance_id.clone();
        Outcome::StateChange(Transition { instance_id, current_state: current, previous_state: previous })
    }
}

/// As the protocol tells it.
pub(super) fn refused(refusal: &CatalogError) -> Outcome {
    match refusal {
        CatalogError::Refused { code, message, .. } => Outcome::error(code, message),
        other => Outcome::error("InternalError", other.to_string()),
    }
}
