//! What is true of an instance whose process was killed, and putting its record in order.

use crate::catalog::Catalog;
use crate::error::{CatalogError, with_cause};
use crate::held::Held;
use crate::lock::{self, Lock};
use crate::record::InstanceRecord;
use crate::state::{State, StateReason};
use crate::{files, store};
use std::io::ErrorKind;
use std::path::Path;

/// What becomes of an instance whose process was killed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Stopped(StateReason),
    Terminated(StateReason),
    /// Nobody asks for it again.
    Removed(StateReason),
}

/// None: its record is the truth as it is.
fn fate(record: &InstanceRecord) -> Option<Fate> {
    let killed = || StateReason::failure("the process that ran the machine was killed");
    let end = |reason| {
        if record.own.remove && record.own.foreground {
            Fate::Removed(reason)
        } else {
            Fate::Terminated(reason)
        }
    };
    match record.state {
        State::Terminated | State::Stopped => None,
        State::ShuttingDown => Some(end(record.state_reason.clone().unwrap_or_else(killed))),
        State::Pending if !record.own.has_run => {
            Some(end(StateReason::failure("the launch was cut short: its process was killed")))
        }
        _ if record.own.remove => Some(end(killed())),
        _ => Some(Fate::Stopped(killed())),
    }
}

/// The record as it is to be shown while it cannot be written.
fn shown(mut record: InstanceRecord) -> InstanceRecord {
    let (state, reason) = match fate(&record) {
        None => return record,
        Some(Fate::Stopped(reason)) => (State::Stopped, reason),
        Some(Fate::Terminated(reason) | Fate::Removed(reason)) => (State::Terminated, reason),
    };
    record.state = state;
    record.state_reason = Some(reason);
    record.own.process = None;
    record
}

/// Puts in order what a killed process has left of an instance that this process holds. None: the instance is gone.
pub(crate) fn settle(catalog: &Catalog, mut held: Held) -> Result<Option<Held>, CatalogError> {
    match fate(held.record()) {
        None => store::release_others(catalog, held.folder(), held.record())?,
        Some(Fate::Stopped(reason)) => {
            store::release_others(catalog, held.folder(), held.record())?;
            held.enter(State::Stopped, Some(reason))?;
        }
        Some(Fate::Terminated(reason)) => drop(held.end(reason)?),
        Some(Fate::Removed(_)) => {
            held.remove()?;
            return Ok(None);
        }
    }
    Ok(Some(held))
}

/// What is true of the instance in this folder. None: there is none.
///
/// Two files cannot be looked at in one moment, the lock and the record. The lock comes first. If it says alive, then
/// an alive state that is read afterwards is true: it was written by a process that was alive, either at the look at
/// the lock or since. A state that is not alive is true by itself. There remains a lock that says dead and a record
/// that says alive: somebody was killed, or has come alive between the two looks. Who gets the lock then knows: under
/// it nobody writes. Who does not get it looks again: a record that has not changed was that of a dead one when the
/// lock was looked at between.
pub(crate) fn truth(catalog: &Catalog, folder: &Path) -> Result<Option<InstanceRecord>, CatalogError> {
    let path = files::lock(folder);
    let mut before = None;
    loop {
        let alive = lock::is_alive(&path);
        let Some(record) = files::instance(folder)? else { return Ok(None) };
        let alive = match alive {
            // Made since, or else it is lost.
            Err(cause) if cause.kind() == ErrorKind::NotFound && before.is_none() => {
                before = Some(record);
                continue;
            }
            other => other.map_err(|source| CatalogError::io("read", &path, source))?,
        };
        if alive || !record.state.is_alive() {
            return Ok(Some(record));
        }
        if before.as_ref() == Some(&record) {
            return Ok(Some(shown(record)));
        }
        // Without permission to write, and where the folder has just gone, looking again tells.
        if let Ok(Some(lock)) = Lock::attempt_existing(&path)
            && let Some(record) = files::instance(folder)?
        {
            let was = record.clone();
            return match settle(catalog, Held::new(catalog, lock, record)) {
                Ok(held) => Ok(held.map(|held| held.record().clone())),
                Err(cause) => {
                    log::warn!("cannot put {} in order: {}", was.instance_id, with_cause(&cause));
                    Ok(Some(shown(was)))
                }
            };
        }
        before = Some(record);
    }
}

#[cfg(test)]
#[path = "settle_test.rs"]
mod tests;
