//! What a verb makes of each state: to do, done already, or refused with EC2's error.

use crate::error::CatalogError;
use crate::record::InstanceRecord;
use crate::state::State;

/// What is left of a verb that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Do,
    /// It is as it was asked for, or on its way there: EC2 answers with success, and nothing changes.
    Done,
}

/// StartInstances.
pub fn check_start(record: &InstanceRecord) -> Result<Step, CatalogError> {
    match record.state {
        State::Stopped => Ok(Step::Do),
        State::Pending | State::Running => Ok(Step::Done),
        State::ShuttingDown | State::Terminated | State::Stopping => refuse(record, "started"),
    }
}

/// StopInstances.
pub fn check_stop(record: &InstanceRecord) -> Result<Step, CatalogError> {
    if record.root_device_type == "instance-store" {
        let id = &record.instance_id;
        let message =
            format!("The instance '{id}' does not have an 'ebs' root device type and cannot be stopped.");
        return Err(CatalogError::refused("UnsupportedOperation", message));
    }
    match record.state {
        State::Running => Ok(Step::Do),
        State::Stopping | State::Stopped => Ok(Step::Done),
        State::Pending | State::ShuttingDown | State::Terminated => refuse(record, "stopped"),
    }
}

/// RebootInstances.
pub fn check_reboot(record: &InstanceRecord) -> Result<(), CatalogError> {
    match record.state {
        State::Running => Ok(()),
        _ => refuse(record, "rebooted"),
    }
}

/// TerminateInstances, which nothing is refused.
#[must_use]
pub fn check_terminate(record: &InstanceRecord) -> Step {
    match record.state {
        State::ShuttingDown | State::Terminated => Step::Done,
        State::Pending | State::Running | State::Stopping | State::Stopped => Step::Do,
    }
}

fn refuse<T>(record: &InstanceRecord, verb: &str) -> Result<T, CatalogError> {
    Err(CatalogError::incorrect_state(&record.instance_id, record.state, verb))
}
