//! What is told of instances whose process was killed, and what becomes of them.

use super::*;
use crate::testing::{catalog, names, new_instance, running};
use crate::{Catalog, NewInstance, sweep::Swept};
use std::thread;

/// A killed process lets go of the lock, and does nothing else: as dropping does.
fn killed(catalog: &Catalog, state: State, has_run: bool, new: NewInstance) -> String {
    let mut held = running(catalog, new);
    held.change(|record| record.own.has_run = has_run).unwrap();
    if state == State::Pending {
        held.enter(state, None).unwrap();
    } else if state != State::Running {
        held.enter(state, Some(StateReason::by_user())).unwrap();
    }
    held.record().instance_id.clone()
}

const KILLED: &str = "Server.InternalError: the process that ran the machine was killed";
const CUT_SHORT: &str = "Server.InternalError: the launch was cut short: its process was killed";
const BY_USER: &str = "Client.UserInitiatedShutdown: User initiated shutdown";

#[test]
fn every_state_that_a_killed_process_leaves_becomes_a_true_one() {
    // State, has run, --rm; what is told, why, and how many of its two volumes stay: the second is kept on
    // termination.
    let table = [
        (State::Pending, false, false, State::Terminated, CUT_SHORT, 0),
        (State::Pending, true, false, State::Stopped, KILLED, 2),
        (State::Running, true, false, State::Stopped, KILLED, 2),
        (State::Stopping, true, false, State::Stopped, KILLED, 2),
        (State::ShuttingDown, true, false, State::Terminated, BY_USER, 1),
        (State::Pending, false, true, State::Terminated, CUT_SHORT, 0),
        (State::Running, true, true, State::Terminated, KILLED, 1),
        (State::Stopping, true, true, State::Terminated, KILLED, 1),
        (State::ShuttingDown, true, true, State::Terminated, BY_USER, 1),
    ];
    for (state, has_run, remove, expected, reason, stay) in table {
        let (_folder, catalog) = catalog();
        let id = killed(&catalog, state, has_run, NewInstance { remove, ..new_instance(&catalog) });
        let record = catalog.describe(&id).unwrap();
        let told = (record.state, record.state_reason.clone().unwrap().message);
        assert_eq!(told, (expected, reason.to_owned()), "{state} {has_run} {remove}");
        assert_eq!(catalog.volumes().unwrap().len(), stay, "{state} {has_run} {remove}");
        // It is on disk, once and for all.
        assert_eq!(files::instance(&catalog.instance_folder(&id)).unwrap().unwrap(), record);
        let freed = record.state == State::Terminated;
        assert_eq!(
            names(&catalog.folder().join("addresses")).is_empty(),
            freed,
            "{state} {has_run} {remove}"
        );
    }
}

#[test]
fn a_foreground_run_with_rm_that_was_killed_is_gone() {
    for state in [State::Pending, State::Running, State::Stopping, State::ShuttingDown] {
        let (_folder, catalog) = catalog();
        let new = NewInstance { remove: true, foreground: true, ..new_instance(&catalog) };
        let id = killed(&catalog, state, true, new);
        assert_eq!(catalog.instances().unwrap(), [], "{state}");
        assert!(!catalog.instance_folder(&id).exists());
        assert_eq!(catalog.volumes().unwrap().len(), 1, "the one that is kept on termination");
    }
}

#[test]
fn what_is_not_alive_is_left_as_it_is() {
    let (_folder, catalog) = catalog();
    let id = killed(&catalog, State::Stopped, true, new_instance(&catalog));
    let before = files::instance(&catalog.instance_folder(&id)).unwrap().unwrap();
    assert_eq!(catalog.describe(&id).unwrap(), before);
    assert_eq!(catalog.sweep(), Swept::default());
}

#[test]
fn the_truth_is_shown_where_it_cannot_be_written() {
    let (_folder, catalog) = catalog();
    let id = killed(&catalog, State::Running, true, new_instance(&catalog));
    let folder = catalog.instance_folder(&id);
    std::os::unix::fs::symlink("/dev/full", folder.join("instance.json.new")).unwrap();
    assert_eq!(catalog.describe(&id).unwrap().state, State::Stopped);
    assert_eq!(files::instance(&folder).unwrap().unwrap().state, State::Running);
    // And while somebody else is on it.
    let lock = Lock::attempt_existing(&files::lock(&folder)).unwrap().unwrap();
    assert_eq!(catalog.describe(&id).unwrap().state, State::Stopped);
    assert_eq!(files::instance(&folder).unwrap().unwrap().state, State::Running);
    drop(lock);
    assert_eq!(catalog.describe(&id).unwrap().state, State::Stopped);
    assert_eq!(files::instance(&folder).unwrap().unwrap().state, State::Stopped);
}

#[test]
fn who_looks_while_it_starts_and_stops_never_sees_a_killed_one() {
    let (_folder, catalog) = catalog();
    // Not durable, so that there are many rounds.
    let held = running(&catalog, NewInstance { remove: true, ..new_instance(&catalog) });
    let id = held.record().instance_id.clone();
    thread::scope(|scope| {
        let looking = scope.spawn(|| while catalog.describe(&id).unwrap().state != State::Terminated {});
        let mut held = held;
        for _ in 0..500 {
            held.enter(State::Stopping, Some(StateReason::by_user())).unwrap();
            held.enter(State::Stopped, Some(StateReason::by_user())).unwrap();
            drop(held);
            held = catalog.hold(&id).unwrap();
            assert_eq!(held.record().state_reason, Some(StateReason::by_user()));
            held.enter(State::Pending, None).unwrap();
            held.enter(State::Running, None).unwrap();
        }
        held.terminate(StateReason::by_user()).unwrap();
        looking.join().unwrap();
        assert_eq!(catalog.describe(&id).unwrap().state_reason, Some(StateReason::by_user()));
    });
}
