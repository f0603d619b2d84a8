//! What a verb makes of each state: to do, done already, or refused with EC2's error.

use crate::error::CatalogError;
use crate::record::{InstanceRecord, Start};
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
        State::Stopped => check_root(record).map(|()| Step::Do),
        State::Pending | State::Running => Ok(Step::Done),
        State::ShuttingDown | State::Terminated | State::Stopping => refuse(record, "started"),
    }
}

/// Whether there is something that it could start from.
fn check_root(record: &InstanceRecord) -> Result<(), CatalogError> {
    let root = &record.root_device_name;
    let has_root = record.block_device_mappings.iter().any(|mapping| mapping.device_name == *root);
    if has_root || matches!(record.own.start, Start::Kernel { .. }) {
        return Ok(());
    }
    // EC2's words: VM Import/Export's user guide, "Troubleshooting".
    let id = &record.instance_id;
    let message = format!(
        "Invalid value '{id}' for instanceId. Instance does not have a volume attached at root ({root})"
    );
    Err(CatalogError::refused("IncorrectInstanceState", message)
        .hint(format!("`ami-run attach-volume {id} VOLUME --device {root}`")))
}

/// StopInstances.
pub fn check_stop(record: &InstanceRecord) -> Result<Step, CatalogError> {
    if record.root_device_type == "instance-store" {
        // EC2's words: mitchellh/vagrant-aws issue 193.
        let id = &record.instance_id;
        let message =
            format!("The instance '{id}' does not have an 'ebs' root device type and cannot be stopped.");
        return Err(CatalogError::refused("UnsupportedOperation", message));
    }
    match record.state {
        State::Running => Ok(Step::Do),
        State::Stopping | State::Stopped => Ok(Step::Done),
        State::Pending => {
            // EC2's words: flatcar/mantle pull request 315.
            let id = &record.instance_id;
            let message =
                format!("Instance '{id}' cannot be stopped as it has never reached the 'running' state.");
            Err(CatalogError::refused("IncorrectInstanceState", message)
                .hint("wait until it runs, or `ami-run terminate` it"))
        }
        State::ShuttingDown | State::Terminated => refuse(record, "stopped"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{catalog, code, new_instance};

    const WRONG: Option<Step> = None;
    const DO: Option<Step> = Some(Step::Do);
    const DONE: Option<Step> = Some(Step::Done);

    #[test]
    fn every_verb_in_every_state_is_as_on_ec2() {
        let (_folder, catalog) = catalog();
        let mut record = catalog.create(new_instance(&catalog)).unwrap().record().clone();
        // Start, stop, reboot, terminate.
        let table = [
            (State::Pending, [DONE, WRONG, WRONG, DO]),
            (State::Running, [DONE, DO, DO, DO]),
            (State::ShuttingDown, [WRONG, WRONG, WRONG, DONE]),
            (State::Terminated, [WRONG, WRONG, WRONG, DONE]),
            (State::Stopping, [WRONG, DONE, WRONG, DO]),
            (State::Stopped, [DO, DONE, WRONG, DO]),
        ];
        assert!(State::ALL.iter().all(|state| table.iter().any(|(known, _)| known == state)));
        for (state, expected) in table {
            record.state = state;
            let reboot = check_reboot(&record).map(|()| Step::Do);
            let told = [check_start(&record), check_stop(&record), reboot, Ok(check_terminate(&record))];
            for (told, expected) in told.into_iter().zip(expected) {
                match expected {
                    Some(step) => assert_eq!(told.unwrap(), step, "{state}"),
                    None => assert_eq!(code(told), "IncorrectInstanceState", "{state}"),
                }
            }
        }
    }

    #[test]
    fn what_an_instance_store_holds_cannot_be_stopped() {
        let (_folder, catalog) = catalog();
        let mut record = catalog.create(new_instance(&catalog)).unwrap().record().clone();
        record.root_device_type = "instance-store".to_owned();
        for state in State::ALL {
            record.state = state;
            assert_eq!(code(check_stop(&record)), "UnsupportedOperation");
        }
        let id = &record.instance_id;
        let words =
            format!("The instance '{id}' does not have an 'ebs' root device type and cannot be stopped.");
        assert_eq!(check_stop(&record).unwrap_err().to_string(), words);
    }
}
