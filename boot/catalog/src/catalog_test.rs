//! Making, finding, holding and reading instances.

use super::*;
use crate::testing::{catalog, code, names, new_instance, running, stopped};
use crate::{CatalogError, StateReason};
use ami_run_image::Tag;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::thread;
use std::time::Instant;

#[test]
fn opening_and_reading_make_nothing() {
    let (_folder, catalog) = catalog();
    assert_eq!(catalog.instances().unwrap(), []);
    assert_eq!(catalog.volumes().unwrap(), []);
    assert_eq!(catalog.sweep(), crate::Swept::default());
    assert_eq!(code(catalog.describe("i-0123456789abcdef0")), "InvalidInstanceID.NotFound");
    assert!(!catalog.folder().exists());
}

#[test]
fn an_instance_is_a_folder_a_lock_an_address_and_a_record() {
    let (_folder, catalog) = catalog();
    let held = catalog.create(new_instance(&catalog)).unwrap();
    let (id, record) = (held.record().instance_id.clone(), held.record().clone());
    assert_eq!(catalog.describe(&id).unwrap(), record);
    assert_eq!(record.state, State::Pending);
    assert_eq!(names(held.folder()), ["instance.json", "lock", "reserve", "volumes"]);
    for folder in [catalog.folder(), held.folder()] {
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
    let link = catalog.folder().join("addresses").join(&record.private_ip_address);
    assert_eq!(link.canonicalize().unwrap(), held.folder().canonicalize().unwrap());
    let [interface] = record.network_interfaces.as_slice() else { panic!("one interface") };
    assert_eq!(interface.private_ip_address, record.private_ip_address);
    assert!(
        record.private_ip_address.starts_with("172.31.")
            && interface.network_interface_id.starts_with("eni-0")
    );
    let ids: Vec<_> = record.block_device_mappings.iter().map(|mapping| &mapping.ebs.volume_id).collect();
    assert!(ids.len() == 2 && record.own.volumes.keys().all(|id| ids.contains(&id)));
}

#[test]
fn members_that_nobody_knows_are_kept() {
    let (_folder, catalog) = catalog();
    let (id, _) = stopped(&catalog);
    let path = catalog.instance_folder(&id).join(files::INSTANCE);
    let text = fs::read_to_string(&path).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["SourceDestCheck"] = true.into();
    fs::write(&path, json.to_string()).unwrap();
    catalog.hold(&id).unwrap().change(|record| record.own.stop_timeout = 7).unwrap();
    let now: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!((&now["SourceDestCheck"], &now["AmiRun"]["StopTimeout"]), (&true.into(), &7.into()));
    assert_eq!((&now["State"]["Code"], &now["State"]["Name"]), (&80.into(), &"stopped".into()));
}

#[test]
fn records_from_before_there_was_a_network_have_its_defaults() {
    let (_folder, catalog) = catalog();
    let (id, _) = stopped(&catalog);
    let path = catalog.instance_folder(&id).join(files::INSTANCE);
    let mut json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let members = json.as_object_mut().unwrap();
    for name in ["KernelId", "RamdiskId", "ProductCodes", "SecurityGroups", "KeyName", "MetadataOptions"] {
        members.remove(name);
    }
    let own = members["AmiRun"].as_object_mut().unwrap();
    for name in ["Network", "UserData", "PublicKey", "KeyFile", "User", "IamCredentials"] {
        own.remove(name);
    }
    fs::write(&path, json.to_string()).unwrap();
    let read = catalog.describe(&id).unwrap();
    assert_eq!((read.metadata_options, read.own.network), Default::default());
    assert_eq!((read.key_name, read.own.user_data, read.own.iam_credentials), (None, None, None));
}

#[test]
fn a_state_folder_that_is_not_ours_to_use_is_refused() {
    let (folder, catalog) = catalog();
    drop(catalog.create(new_instance(&catalog)).unwrap());
    let version = catalog.folder().join("version");
    assert_eq!(fs::read_to_string(&version).unwrap(), "{\n  \"Version\": 1\n}\n");
    fs::write(&version, "{\"Version\": 2, \"Form\": \"another\"}").unwrap();
    let newer = Catalog::open(catalog.folder()).unwrap_err();
    assert!(matches!(newer, CatalogError::Newer { version: 2, known: 1, .. }), "{newer:?}");
    fs::write(&version, "").unwrap();
    assert!(matches!(Catalog::open(catalog.folder()).unwrap_err(), CatalogError::Damaged { .. }));
    assert!(matches!(Catalog::open(&version).unwrap_err(), CatalogError::Io { .. }));
    if !rustix::process::geteuid().is_root() {
        println!("skipped: another user's folder needs root to be made");
        return;
    }
    std::os::unix::fs::chown(folder.path(), Some(1), None).unwrap();
    assert!(matches!(Catalog::open(folder.path()).unwrap_err(), CatalogError::NotOurs { .. }));
    // Made by them after the first look.
    let late = folder.path().join("late");
    let catalog = Catalog::open(&late).unwrap();
    fs::create_dir(&late).unwrap();
    std::os::unix::fs::chown(&late, Some(1), None).unwrap();
    assert!(matches!(catalog.create(new_instance(&catalog)).unwrap_err(), CatalogError::NotOurs { .. }));
}

#[test]
fn a_record_that_cannot_be_understood_stands_in_nobody_s_way() {
    let (_folder, catalog) = catalog();
    let (good, _) = stopped(&catalog);
    let (bad, _) = stopped(&catalog);
    let path = catalog.instance_folder(&bad).join(files::INSTANCE);
    let whole = fs::read_to_string(&path).unwrap();
    let volume = catalog.describe(&bad).unwrap().block_device_mappings[0].ebs.volume_id.clone();
    for text in [
        String::new(),
        whole.get(..whole.len() / 2).unwrap().to_owned(),
        "[]".to_owned(),
        whole.replace(&bad, &good),
        whole.replace(&volume, "vol-../../../../precious"),
        whole.replace("\"Name\": \"stopped\"", "\"Name\": \"resting\""),
    ] {
        fs::write(&path, &text).unwrap();
        let told = catalog.describe(&bad).unwrap_err();
        assert!(matches!(&told, CatalogError::Damaged { path: of, .. } if *of == path), "{told:?}");
        assert!(matches!(catalog.hold(&bad), Err(CatalogError::Damaged { .. })));
        assert_eq!(catalog.instances().unwrap().len(), 1);
        catalog.sweep();
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "it is left alone");
    }
    let newer = whole.replace("\"Version\": 1", "\"Version\": 9").replace("\"Start\"", "\"Begin\"");
    fs::write(&path, newer).unwrap();
    assert!(matches!(catalog.describe(&bad), Err(CatalogError::Newer { version: 9, .. })));
}

#[test]
fn a_change_that_cannot_be_written_is_none() {
    let (_folder, catalog) = catalog();
    let (id, _) = stopped(&catalog);
    let mut held = catalog.hold(&id).unwrap();
    let before = held.record().clone();
    // What is written there meets a full disk.
    symlink("/dev/full", held.folder().join("instance.json.new")).unwrap();
    let told = held.change(|record| record.own.stop_timeout = 7).unwrap_err();
    assert!(
        matches!(&told, CatalogError::Io { source, .. } if source.kind() == ErrorKind::StorageFull),
        "{told:?}"
    );
    assert_eq!(*held.record(), before);
    assert_eq!(catalog.describe(&id).unwrap(), before);
    held.change(|record| record.own.stop_timeout = 7).unwrap();
}

/// For who may wait for longer than a command does, on a slow machine.
fn patient(catalog: &Catalog, id: &str) -> Result<(), CatalogError> {
    loop {
        match catalog.hold(id) {
            Err(CatalogError::Busy { .. }) => {}
            ended => return ended.map(drop),
        }
    }
}

#[test]
fn one_holds_an_instance_and_others_wait_a_moment() {
    let (_folder, catalog) = catalog();
    let (id, _) = stopped(&catalog);
    let held = catalog.hold(&id).unwrap();
    let asked = Instant::now();
    assert!(matches!(catalog.hold(&id), Err(CatalogError::Busy { .. })));
    assert!(asked.elapsed() >= MOMENT);
    assert!(catalog.try_hold(&id).unwrap().is_none());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| patient(&catalog, &id));
        drop(held);
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn what_was_removed_is_held_by_nobody() {
    let (_folder, catalog) = catalog();
    let (id, _) = stopped(&catalog);
    thread::scope(|scope| {
        let held = catalog.hold(&id).unwrap();
        let waiting = scope.spawn(|| patient(&catalog, &id));
        held.remove().unwrap();
        assert_eq!(code(waiting.join().unwrap()), "InvalidInstanceID.NotFound");
    });
    assert!(!catalog.instance_folder(&id).exists());
}

#[test]
fn an_instance_is_handed_on_by_its_lock() {
    let (_folder, catalog) = catalog();
    let held = running(&catalog, new_instance(&catalog));
    let id = held.record().instance_id.clone();
    let lock = held.into_lock();
    let second = lock.try_clone().unwrap();
    let held = catalog.adopt(&id, lock).unwrap();
    drop(second);
    assert_eq!(catalog.describe(&id).unwrap().state, State::Running);
    assert!(catalog.try_hold(&id).unwrap().is_none());
    drop(held);
    assert_eq!(catalog.describe(&id).unwrap().state, State::Stopped);
    // Neither another file's lock nor one that is not held is taken for it.
    let (other, _) = stopped(&catalog);
    let lock = catalog.hold(&other).unwrap().into_lock();
    assert!(catalog.adopt(&id, lock).is_err());
    let file =
        fs::File::options().read(true).write(true).open(files::lock(&catalog.instance_folder(&id))).unwrap();
    assert!(catalog.adopt(&id, file.into()).is_err());
    drop(catalog.hold(&id).unwrap());
}

#[test]
fn twenty_launches_at_once_have_nothing_in_common() {
    let (_folder, catalog) = catalog();
    let held: Vec<_> = thread::scope(|scope| {
        let one = || catalog.create(NewInstance { remove: true, ..new_instance(&catalog) }).unwrap();
        let launches: Vec<_> = (0..20).map(|_| scope.spawn(one)).collect();
        launches.into_iter().map(|launch| launch.join().unwrap()).collect()
    });
    let distinct = |of: &dyn Fn(&InstanceRecord) -> String| {
        held.iter().map(|held| of(held.record())).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(distinct(&|record| record.instance_id.clone()), 20);
    assert_eq!(distinct(&|record| record.private_ip_address.clone()), 20);
    assert_eq!(distinct(&|record| record.network_interfaces[0].mac_address.clone()), 20);
    assert_eq!(catalog.instances().unwrap().len(), 20);
}

fn named(catalog: &Catalog, name: &str) -> String {
    let tag = Tag { key: Some("Name".to_owned()), value: Some(name.to_owned()), ..Tag::default() };
    let held = running(catalog, NewInstance { tags: vec![tag], ..new_instance(catalog) });
    held.record().instance_id.clone()
}

#[test]
fn an_instance_is_meant_by_id_beginning_or_name() {
    let (_folder, catalog) = catalog();
    let (one, other) = (named(&catalog, "web"), named(&catalog, "db"));
    let same = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    for given in [one.as_str(), one.get(..=same).unwrap(), "web"] {
        assert_eq!(catalog.resolve(given).unwrap(), one, "{given}");
    }
    let Err(CatalogError::Refused { code, message, .. }) = catalog.resolve("i-0") else {
        panic!("two begin so")
    };
    assert_eq!(code, "InvalidParameterValue");
    assert!(message.contains(&one) && message.contains(&other), "{message}");
    // A name goes on to another instance when the first is terminated.
    catalog.terminate_stopped(&one).unwrap();
    assert_eq!(catalog.resolve("web").unwrap(), one);
    let third = named(&catalog, "web");
    assert_eq!(catalog.resolve("web").unwrap(), third);
}

#[test]
fn what_means_no_instance_is_refused_as_ec2_does() {
    let (_folder, catalog) = catalog();
    drop(stopped(&catalog));
    for given in ["", "i-", "web", "../lock", "lock", "i-0G", "I-0", "i-0/../lock"] {
        assert_eq!(code(catalog.resolve(given)), "InvalidInstanceID.Malformed", "{given}");
        assert_eq!(code(catalog.describe(given)), "InvalidInstanceID.Malformed", "{given}");
        assert_eq!(code(catalog.hold(given)), "InvalidInstanceID.Malformed", "{given}");
        assert_eq!(catalog.holds(given), 0);
    }
    assert_eq!(code(catalog.resolve("i-ffffffffffffffff0")), "InvalidInstanceID.NotFound");
    let words = catalog.resolve("i-ffffffffffffffff0").unwrap_err().to_string();
    assert_eq!(words, "The instance ID 'i-ffffffffffffffff0' does not exist");
    assert_eq!(catalog.resolve("web").unwrap_err().to_string(), "Invalid id: \"web\"");
}

#[test]
fn what_an_instance_holds_is_what_its_files_take() {
    let (_folder, catalog) = catalog();
    let (id, _) = stopped(&catalog);
    let empty = catalog.holds(&id);
    fs::write(catalog.instance_folder(&id).join("console.log"), vec![b'x'; 300_000]).unwrap();
    assert!((300_000..400_000).contains(&(catalog.holds(&id) - empty)));
}

#[test]
fn states_come_with_their_reasons_and_times() {
    let (_folder, catalog) = catalog();
    let (id, _) = stopped(&catalog);
    let mut held = catalog.hold(&id).unwrap();
    let record = held.record();
    assert!(record.state_transition_reason.starts_with("User initiated (20"), "{record:?}");
    assert!(record.state_transition_reason.ends_with(" GMT)"), "{record:?}");
    held.change(|record| record.launch_time = "2026-01-01T00:00:00+00:00".to_owned()).unwrap();
    held.enter(State::Pending, None).unwrap();
    assert_eq!(catalog.describe(&id).unwrap(), *held.record(), "nobody takes it for a dead one");
    assert_eq!((held.record().state_transition_reason.as_str(), &held.record().state_reason), ("", &None));
    assert!(held.record().launch_time.as_str() > "2026-01-01T00:00:00+00:00");
    held.change(|record| record.own.process = Some(1)).unwrap();
    held.enter(State::Stopping, Some(StateReason::by_instance())).unwrap();
    assert_eq!((held.record().own.process, held.record().state_transition_reason.as_str()), (Some(1), ""));
    held.enter(State::Stopped, Some(StateReason::by_instance())).unwrap();
    assert_eq!(held.record().own.process, None);
}
