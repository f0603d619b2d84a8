//! `wait`: until instances are in a state, or cannot come to it any more.

use super::{resolve, run, until};
use crate::args::Wait;
use crate::exit::Code;
use crate::failure::Failure;
use ami_run_catalog::{Catalog, InstanceRecord, State};
use std::time::Instant;

/// Waits for all of them.
pub(crate) fn wait(args: &Wait) -> Code {
    run(|catalog| {
        let end = args.timeout.map(|timeout| Instant::now() + timeout);
        let ids = resolve(catalog, &args.instances)?;
        ids.iter().try_for_each(|id| wait_for(catalog, id, args, end))?;
        Ok(Code::Success)
    })
}

fn wait_for(catalog: &Catalog, id: &str, args: &Wait, end: Option<Instant>) -> Result<(), Failure> {
    let mut last = State::Terminated;
    let waiting = format!("{id} is to be {}", args.state);
    let seen = until(catalog, id, end, &waiting, |record| {
        last = record.map_or(State::Terminated, |record| record.state);
        verdict(id, record, args.state)
    })?;
    seen.unwrap_or_else(|| {
        let limit = args.timeout.unwrap_or_default().as_secs();
        let message = format!("{id} is {last} and not {} after {limit} s (--timeout)", args.state);
        Err(Failure::new(Code::Timeout, message))
    })
}

/// None: it may still come. An instance that is not there any more was there when this began.
fn verdict(id: &str, record: Option<&InstanceRecord>, wanted: State) -> Option<Result<(), Failure>> {
    let state = record.map_or(State::Terminated, |record| record.state);
    if state == wanted {
        return Some(Ok(()));
    }
    // What is terminated stays so.
    if !matches!(state, State::Terminated | State::ShuttingDown) || wanted == State::Terminated {
        return None;
    }
    let mut failure = Failure::new(Code::Refused, format!("{id} will not be {wanted}: it is {state}"));
    let reason = record.and_then(|record| record.state_reason.as_ref());
    failure.causes.extend(reason.map(|reason| reason.message.clone()));
    Some(Err(failure))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::samples::in_state;
    use ami_run_catalog::StateReason;

    #[test]
    fn a_wait_ends_when_the_state_is_there_or_cannot_come() {
        let ends = |state: State, wanted: State| {
            verdict("i-01", Some(&in_state("i-01", state)), wanted).map(|verdict| verdict.is_ok())
        };
        for state in State::ALL {
            for wanted in [State::Running, State::Stopped, State::Terminated] {
                let gone = matches!(state, State::ShuttingDown | State::Terminated);
                let expected = match wanted {
                    _ if state == wanted => Some(true),
                    State::Terminated => None,
                    _ if gone => Some(false),
                    _ => None,
                };
                assert_eq!(ends(state, wanted), expected, "{state} while waiting for {wanted}");
            }
        }
    }

    #[test]
    fn what_is_not_there_any_more_was_terminated() {
        assert!(verdict("i-01", None, State::Terminated).unwrap().is_ok());
        assert!(verdict("i-01", None, State::Running).unwrap().is_err());
        let mut record = in_state("i-01", State::Terminated);
        record.state_reason = Some(StateReason::by_user());
        let failure = verdict("i-01", Some(&record), State::Running).unwrap().unwrap_err();
        let wanted = "i-01 will not be running: it is terminated: Client.UserInitiatedShutdown: User initiated shutdown";
        assert_eq!((failure.code, failure.line().as_str()), (Code::Refused, wanted));
    }
}
