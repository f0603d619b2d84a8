//! A process is killed at every fault point of every verb. Whoever comes next sees the truth, can do the same again,
//! and nothing is lost or left over.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what goes wrong here is a test's failure")]

#[path = "../src/testing.rs"]
#[expect(dead_code, reason = "the crate's own tests use more of it")]
mod testing;

use ami_run_catalog::fault::POINTS;
use ami_run_catalog::{
    Catalog, CatalogError, Change, DescribedVolume, NewInstance, State, StateReason, VolumeOrigin, time,
};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use testing::{catalog, names, new_instance, new_volume, running, stopped};

const VERB: &str = "AMI_RUN_TEST_VERB";
const STATE: &str = "AMI_RUN_TEST_STATE";
const DEVICE: &str = "/dev/sdf";

/// One verb that changes what is on disk.
struct Verb {
    name: &'static str,
    /// Done before, by nobody who is killed.
    prepare: fn(&Catalog),
    /// Done by the process that is killed, and then again by one that is not.
    act: fn(&Catalog) -> Result<(), CatalogError>,
    /// How many volumes there are before it and after it.
    volumes: (usize, usize),
}

const VERBS: [Verb; 11] = [
    Verb { name: "create", prepare: |_| (), act: create, volumes: (0, 0) },
    Verb { name: "start", prepare: a_stopped_one, act: start, volumes: (2, 2) },
    Verb { name: "terminate", prepare: a_stopped_one, act: terminate, volumes: (2, 1) },
    Verb { name: "remove", prepare: |_| (), act: remove, volumes: (0, 0) },
    Verb { name: "attach", prepare: an_available_volume, act: attach, volumes: (2, 2) },
    Verb { name: "detach", prepare: a_stopped_one, act: detach, volumes: (2, 2) },
    Verb { name: "resize", prepare: a_stopped_one, act: resize, volumes: (2, 2) },
    Verb { name: "resize available", prepare: an_available_volume, act: resize, volumes: (2, 2) },
    Verb { name: "delete", prepare: an_available_volume, act: delete, volumes: (2, 1) },
    Verb { name: "sweep", prepare: leftovers, act: sweep, volumes: (1, 1) },
    Verb { name: "modify", prepare: a_stopped_one, act: modify, volumes: (2, 2) },
];

fn a_stopped_one(catalog: &Catalog) {
    stopped(catalog);
}

fn an_available_volume(catalog: &Catalog) {
    let (_, data) = stopped(catalog);
    catalog.detach_volume(&data).unwrap();
}

/// Something for every kind of sweeping.
fn leftovers(catalog: &Catalog) {
    let (id, _) = stopped(catalog);
    catalog.terminate_stopped(&id).unwrap();
    age(catalog);
    let half_made = catalog.instance_folder("i-0123456789abcdef0");
    fs::create_dir(half_made).unwrap();
    fs::write(catalog.folder().join("volumes").join("vol-01.json"), "{}").unwrap();
}

fn the_instance(catalog: &Catalog) -> String {
    let records = catalog.instances().unwrap();
    records.into_iter().find(|record| record.state == State::Stopped).unwrap().instance_id
}

/// The one that is not the root.
fn the_volume(catalog: &Catalog) -> String {
    let root = |volume: &DescribedVolume| volume.attachments.iter().any(|one| one.device == "/dev/sda1");
    catalog.volumes().unwrap().into_iter().find(|volume| !root(volume)).unwrap().volume_id
}

fn create(catalog: &Catalog) -> Result<(), CatalogError> {
    let held = catalog.create(new_instance(catalog))?;
    held.terminate(StateReason::by_user()).map(drop)
}

fn start(catalog: &Catalog) -> Result<(), CatalogError> {
    let mut held = catalog.hold(&the_instance(catalog))?;
    held.enter(State::Pending, None)?;
    held.enter(State::Running, None)?;
    held.enter(State::Stopping, Some(StateReason::by_user()))?;
    held.enter(State::Stopped, Some(StateReason::by_user()))
}

fn terminate(catalog: &Catalog) -> Result<(), CatalogError> {
    // It may have gone as far as that already.
    match catalog.instances()?.first() {
        Some(record) => catalog.terminate_stopped(&record.instance_id).map(drop),
        None => Ok(()),
    }
}

/// A foreground run with --rm, to its end.
fn remove(catalog: &Catalog) -> Result<(), CatalogError> {
    let mut new = NewInstance { remove: true, foreground: true, ..new_instance(catalog) };
    new.volumes = vec![new_volume("/dev/sda1", true, VolumeOrigin::Private { base: None })];
    let held = running(catalog, new);
    held.remove().map(drop)
}

fn attach(catalog: &Catalog) -> Result<(), CatalogError> {
    let ended = catalog.attach_volume(&the_volume(catalog), &the_instance(catalog), DEVICE);
    done_already(ended.map(drop), "VolumeInUse")
}

fn detach(catalog: &Catalog) -> Result<(), CatalogError> {
    done_already(catalog.detach_volume(&the_volume(catalog)).map(drop), "IncorrectState")
}

fn resize(catalog: &Catalog) -> Result<(), CatalogError> {
    catalog.resize_volume(&the_volume(catalog), 1).map(drop)
}

fn delete(catalog: &Catalog) -> Result<(), CatalogError> {
    let volumes = catalog.volumes()?;
    match volumes.into_iter().find(|volume| volume.attachments.is_empty()) {
        Some(volume) => catalog.delete_volume(&volume.volume_id),
        None => Ok(()),
    }
}

fn sweep(catalog: &Catalog) -> Result<(), CatalogError> {
    catalog.sweep();
    Ok(())
}

fn modify(catalog: &Catalog) -> Result<(), CatalogError> {
    let change = Change { memory_mib: Some(512), ..Change::default() };
    catalog.modify(&the_instance(catalog), &change).map(drop)
}

/// Who was killed may have done it all, or all but its last step.
fn done_already(ended: Result<(), CatalogError>, code: &str) -> Result<(), CatalogError> {
    match ended {
        Err(CatalogError::Refused { code: told, .. }) if told == code => Ok(()),
        other => other,
    }
}

/// Not a test of its own: the process that [`every_verb_can_be_cut_short_anywhere`] starts, and kills.
#[test]
fn a_verb_for_another_test() {
    let (Ok(name), Ok(state)) = (std::env::var(VERB), std::env::var(STATE)) else { return };
    let verb = VERBS.iter().find(|verb| verb.name == name).unwrap();
    (verb.act)(&Catalog::open(Path::new(&state)).unwrap()).unwrap();
}

fn run(verb: &Verb, catalog: &Catalog, point: &str) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_verb_for_another_test", "--quiet"])
        .env(VERB, verb.name)
        .env(STATE, catalog.folder())
        .env("AMI_RUN_FAULT", point)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap()
}

#[test]
fn every_verb_can_be_cut_short_anywhere() {
    let mut reached = BTreeSet::new();
    for verb in &VERBS {
        for point in POINTS {
            let (_folder, catalog) = catalog();
            (verb.prepare)(&catalog);
            let status = run(verb, &catalog, point);
            if status.signal() != Some(9) {
                assert!(status.success(), "{} without {point}: {status}", verb.name);
                continue;
            }
            reached.insert(*point);
            what_is_told_is_true(verb, &catalog, point);
            (verb.act)(&catalog).unwrap_or_else(|cause| panic!("{} after {point}: {cause}", verb.name));
            let count = catalog.volumes().unwrap().len();
            assert_eq!(count, verb.volumes.1, "volumes after {} after {point}", verb.name);
            nothing_is_left(verb, &catalog, point);
        }
    }
    let own = named_in("src");
    let reached: BTreeSet<_> = reached.into_iter().map(str::to_owned).collect();
    assert_eq!(reached, own, "a point that no verb comes by");
}

/// The points that the sources in a folder have.
fn named_in(folder: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(path).unwrap();
                let calls = text.split(concat!("fault::", "point(\"")).skip(1);
                found.extend(calls.filter_map(|call| call.split_once('"')).map(|(name, _)| name.to_owned()));
            }
        }
    }
    found
}

#[test]
fn every_point_is_listed() {
    let mut named = named_in("src");
    named.extend(named_in("../../vmm/ami-run/src"));
    assert_eq!(named, POINTS.iter().map(|point| (*point).to_owned()).collect());
}

fn what_is_told_is_true(verb: &Verb, catalog: &Catalog, point: &str) {
    let what = format!("{} killed at {point}", verb.name);
    for record in catalog.instances().unwrap() {
        assert!(!record.state.is_alive(), "{what}: {}", record.state);
        // Each address is that of its instance.
        let address = &record.private_ip_address;
        let link = catalog.folder().join("addresses").join(address);
        assert!(address.is_empty() || link.exists(), "{what}: {address}");
    }
    let volumes = catalog.volumes().unwrap();
    let (before, after) = verb.volumes;
    assert!((after.min(before)..=after.max(before)).contains(&volumes.len()), "{what}: {volumes:?}");
    let ids: BTreeSet<_> = volumes.iter().map(|volume| &volume.volume_id).collect();
    assert_eq!(ids.len(), volumes.len(), "{what}: twice in the list");
    for volume in &volumes {
        let file = volume.own.file.clone().unwrap();
        let (bytes, _) = ami_run_storage::Volume::look(&file).unwrap();
        assert!(volume.own.bytes <= bytes, "{what}: {volume:?}");
        assert_eq!(volume.volume_type, "gp3", "{what}: its description is kept");
    }
}

/// Everything that can be ended is, and then there is nothing.
fn nothing_is_left(verb: &Verb, catalog: &Catalog, point: &str) {
    for record in catalog.instances().unwrap() {
        catalog.terminate_stopped(&record.instance_id).unwrap();
    }
    for volume in catalog.volumes().unwrap() {
        catalog.delete_volume(&volume.volume_id).unwrap();
    }
    age(catalog);
    catalog.sweep();
    let left = ["instances", "addresses", "volumes"].map(|folder| names(&catalog.folder().join(folder)));
    let locks = left.iter().flatten().all(|name| name == "lock");
    assert!(locks, "{} killed at {point} leaves {left:?}", verb.name);
    let state = names(catalog.folder());
    let known = ["instances", "addresses", "volumes", "version"];
    assert!(state.iter().all(|name| known.contains(&name.as_str())), "{} at {point}: {state:?}", verb.name);
}

/// An hour passes.
fn age(catalog: &Catalog) {
    for record in catalog.instances().unwrap() {
        let Some(at) = record.own.terminated_at else { continue };
        assert!(at <= time::now());
        let mut held = catalog.hold(&record.instance_id).unwrap();
        held.change(|record| record.own.terminated_at = Some(at.saturating_sub(3600))).unwrap();
    }
}
