//! The verbs on instances and volumes that are kept, and what all of them do alike.
//!
//! Each is a face of the catalog's, with EC2's result of the same action as its JSON. What runs is asked by the control
//! protocol, and what does not run is changed in its record.

mod cp;
mod ls;
mod metadata;
mod modify;
mod prune;
#[cfg(test)]
pub(crate) mod samples;
mod ssh;
mod start;
mod stop;
mod uefi_data;
mod volumes;
mod wait;
mod words;

pub(crate) use cp::cp;
pub(crate) use ls::ls;
pub(crate) use metadata::{event, metadata_options};
pub(crate) use modify::modify;
pub(crate) use prune::prune;
pub(crate) use ssh::{Reach, reach, ssh};
pub(crate) use start::{reboot, start};
pub(crate) use stop::{stop, terminate};
pub(crate) use uefi_data::uefi_data;
pub(crate) use volumes::{attach, detach, list as volume_ls, remove as volume_rm, resize as volume_resize};
pub(crate) use wait::wait;

use crate::exit::Code;
use crate::failure::Failure;
use crate::{answer, state, ui};
use ami_run_catalog::control::{Action, Connection, Outcome};
use ami_run_catalog::{Catalog, CatalogError, InstanceRecord, State, Step, Transition};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// Between two looks at a record that another process is about to change.
const AGAIN: Duration = Duration::from_millis(50);
/// After this it is said what is waited for.
const SILENCE: Duration = Duration::from_secs(1);

/// Opens the catalog for a verb, and when that is done, clears up what killed runs have left.
fn run(verb: impl FnOnce(&Catalog) -> Result<Code, Failure>) -> Code {
    answer::ended(state::catalog().and_then(|catalog| {
        let ended = verb(&catalog);
        catalog.sweep();
        ended
    }))
}

/// The catalog's errors in this command's words.
#[expect(clippy::needless_pass_by_value, reason = "the shape of a map_err")]
fn refused(cause: CatalogError) -> Failure {
    state::catalog_failure(&cause)
}

/// The ids of what was named, each once. One that is not there keeps all from being done, as on EC2.
fn resolve(catalog: &Catalog, given: &[String]) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    for name in given {
        let id = catalog.resolve(name).map_err(refused)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// What came of several: one that is refused is told at once, and does not keep the others.
#[derive(Debug)]
struct Several {
    /// Of the first that was refused.
    code: Code,
}

impl Several {
    fn new() -> Several {
        Several { code: Code::Success }
    }

    fn take<T>(&mut self, one: Result<T, Failure>) -> Option<T> {
        one.map_err(|failure| {
            ui::failure(&failure);
            if self.code == Code::Success {
                self.code = failure.code;
            }
        })
        .ok()
    }
}

/// An instance that was there a moment ago. None: nothing was to be left of it when it ended.
fn describe(catalog: &Catalog, id: &str) -> Result<Option<InstanceRecord>, Failure> {
    match catalog.describe(id) {
        Ok(record) => Ok(Some(record)),
        Err(CatalogError::Refused { code: "InvalidInstanceID.NotFound", .. }) => Ok(None),
        Err(cause) => Err(refused(cause)),
    }
}

/// What became of a question to an instance's process.
enum Asked {
    Answered(Outcome),
    /// Its machine does not run, or does not any more.
    NotAlive(State),
}

/// Asks the process that runs an instance's machine, if `check` lets it. One that is just coming up or going down is
/// waited for.
fn ask(
    catalog: &Catalog,
    id: &str,
    action: &Action,
    check: fn(&InstanceRecord) -> Result<Step, CatalogError>,
) -> Result<Asked, Failure> {
    const LISTENS: Duration = Duration::from_secs(30);
    let begun = Instant::now();
    let mut told = false;
    loop {
        let Some(record) = describe(catalog, id)? else { return Ok(Asked::NotAlive(State::Terminated)) };
        check(&record).map_err(refused)?;
        if !record.state.is_alive() {
            return Ok(Asked::NotAlive(record.state));
        }
        let asked = Connection::connect(&catalog.instance_folder(id))
            .map_err(|source| CatalogError::NoAnswer { id: id.to_owned(), source })
            .and_then(|mut connection| connection.ask(action.clone()));
        match asked {
            Ok(outcome) => return Ok(Asked::Answered(outcome)),
            Err(CatalogError::NoAnswer { source, .. }) if between(&source) && begun.elapsed() < LISTENS => {}
            Err(cause) => return Err(refused(cause)),
        }
        if !told && begun.elapsed() > SILENCE {
            told = true;
            ui::status("waiting", &format!("{id} is {}", record.state));
        }
        std::thread::sleep(AGAIN);
    }
}

/// Nobody listens yet, or any more.
fn between(cause: &std::io::Error) -> bool {
    matches!(
        cause.kind(),
        ErrorKind::NotFound
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::UnexpectedEof
    )
}

/// Looks at an instance until there is something to say, and says after a second what it waits for. `look` is given
/// None where the instance is not there any more; the result is None after `end`.
fn until<T>(
    catalog: &Catalog,
    id: &str,
    end: Option<Instant>,
    waiting: &str,
    mut look: impl FnMut(Option<&InstanceRecord>) -> Option<T>,
) -> Result<Option<T>, Failure> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        let record = describe(catalog, id)?;
        if let Some(seen) = look(record.as_ref()) {
            return Ok(Some(seen));
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            return Ok(None);
        }
        if !told && begun.elapsed() > SILENCE {
            told = true;
            ui::status("waiting", waiting);
        }
        std::thread::sleep(AGAIN);
    }
}

/// For people.
fn told(change: &Transition) -> String {
    let Transition { instance_id, current_state, previous_state } = change;
    if current_state == previous_state {
        format!("{instance_id}  {current_state} already")
    } else {
        format!("{instance_id}  {previous_state} → {current_state}")
    }
}
