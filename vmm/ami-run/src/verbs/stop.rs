//! `stop` and `terminate`: what runs is asked to end, and waited for.

use super::{Asked, Several, ask, prune::staying, refused, resolve, run, told, until};
use crate::answer;
use crate::args::{Stop, Terminate};
use crate::exit::Code;
use crate::failure::Failure;
use ami_run_catalog::control::{Action, Outcome};
use ami_run_catalog::{
    Catalog, CatalogError, InstanceRecord, State, Step, Transition, check_stop, check_terminate,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a process may take to end its machine the hard way, and to write down that it has.
const MARGIN: Duration = Duration::from_secs(60);

/// StopInstances' result.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Stopping {
    stopping_instances: Vec<Transition>,
}

/// TerminateInstances' result.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Terminating {
    terminating_instances: Vec<Transition>,
}

/// Stops instances.
pub(crate) fn stop(args: &Stop) -> Code {
    run(|catalog| {
        let timeout = args.timeout.map(|timeout| timeout.as_secs());
        let end = End { action: Action::Stop { force: args.force, timeout }, check: check_stop };
        let (changes, code) = end.all(catalog, &args.instances)?;
        let page: Vec<_> = changes.iter().map(told).collect();
        Ok(answer::tell(args.output, &page.join("\n"), &Stopping { stopping_instances: changes }, code))
    })
}

/// Terminates instances, and says what stays of them.
pub(crate) fn terminate(args: &Terminate) -> Code {
    run(|catalog| {
        let action = Action::Terminate { force: args.force, timeout: None };
        let end = End { action, check: |record| Ok(check_terminate(record)) };
        let stays = |id: String| {
            let stays = catalog.describe(&id).map(|record| staying(&record)).unwrap_or_default();
            (id, stays)
        };
        let mut before: BTreeMap<_, _> = resolve(catalog, &args.instances)?.into_iter().map(stays).collect();
        let (changes, code) = end.all(catalog, &args.instances)?;
        // Nothing is said of what could not be terminated.
        let stays = changes.iter().filter_map(|change| before.remove(&change.instance_id)).flatten();
        let page: Vec<_> = changes.iter().map(told).chain(stays).collect();
        let json = Terminating { terminating_instances: changes };
        Ok(answer::tell(args.output, &page.join("\n"), &json, code))
    })
}

/// How instances are to end.
struct End {
    action: Action,
    check: fn(&InstanceRecord) -> Result<Step, CatalogError>,
}

impl End {
    /// All are asked before any is waited for.
    fn all(&self, catalog: &Catalog, given: &[String]) -> Result<(Vec<Transition>, Code), Failure> {
        let ids = resolve(catalog, given)?;
        let mut several = Several::new();
        let asked: Vec<_> = ids.iter().filter_map(|id| several.take(self.ask(catalog, id))).collect();
        let ended = asked.into_iter().map(|(change, patience)| ended(catalog, change, patience));
        let changes = ended.filter_map(|ended| several.take(ended)).collect();
        Ok((changes, several.code))
    }

    /// What has changed already, and how long the guest may take now, if that is known.
    fn ask(&self, catalog: &Catalog, id: &str) -> Result<(Transition, Option<Duration>), Failure> {
        let previous_state = match ask(catalog, id, &self.action, self.check)? {
            Asked::Answered(Outcome::StateChange(change)) => {
                let patience = self.patience(catalog, &change).map(Duration::from_secs);
                return Ok((change, patience));
            }
            Asked::Answered(other) => {
                let words = format!("the machine of {id} gave no answer to this: {other:?}");
                return Err(Failure::new(Code::Bug, words));
            }
            Asked::NotAlive(state) => state,
        };
        let (previous_state, current_state) = match (&self.action, previous_state) {
            (Action::Terminate { .. }, State::Stopped) => {
                // Another command may have been quicker.
                let terminated = catalog.terminate_stopped(id).map_err(refused)?;
                (terminated.previous_state, State::Terminated)
            }
            _ => (previous_state, previous_state),
        };
        Ok((Transition { instance_id: id.to_owned(), current_state, previous_state }, None))
    }

    /// The guest's time in seconds. None: another command has said it before.
    fn patience(&self, catalog: &Catalog, change: &Transition) -> Option<u64> {
        let asked = match self.action {
            Action::Stop { force: true, .. } | Action::Terminate { force: true, .. } => Some(0),
            Action::Stop { timeout, .. } | Action::Terminate { timeout, .. } => timeout,
            _ => None,
        };
        let own = || catalog.describe(&change.instance_id).ok().map(|record| record.own.stop_timeout);
        match change.previous_state {
            State::Stopping | State::ShuttingDown if asked != Some(0) => None,
            _ => asked.or_else(own),
        }
    }
}

/// Waits for the end of what goes down.
fn ended(catalog: &Catalog, change: Transition, patience: Option<Duration>) -> Result<Transition, Failure> {
    if !change.current_state.is_alive() {
        return Ok(change);
    }
    let id = &change.instance_id;
    let limit = patience.map(|patience| patience.saturating_add(MARGIN));
    let then = patience.map(|patience| format!("; after {} s it is ended the hard way", patience.as_secs()));
    let waiting = format!("{id} powers off{}", then.unwrap_or_default());
    let end = limit.and_then(|limit| Instant::now().checked_add(limit));
    // Nothing is left of an instance that was to be removed at its end.
    let ended = until(catalog, id, end, &waiting, |record| {
        let state = record.map_or(State::Terminated, |record| record.state);
        (!state.is_alive()).then_some(state)
    })?;
    match ended {
        Some(current_state) => Ok(Transition { current_state, ..change }),
        None => {
            let seconds = limit.unwrap_or_default().as_secs();
            let failure = Failure::new(Code::Host, format!("{id} has not ended after {seconds} s"));
            Err(failure.hint("its process may be suspended: `kill -CONT` and its number wakes it"))
        }
    }
}
