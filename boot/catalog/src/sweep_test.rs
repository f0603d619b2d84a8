//! What goes, and what is left alone.

use super::*;
use crate::testing::{catalog, make_volume, names, new_instance, running, stopped};
use crate::{NewInstance, StateReason};
use std::fs;

#[test]
fn what_is_over_for_an_hour_goes() {
    let (_folder, catalog) = catalog();
    let (id, data) = stopped(&catalog);
    catalog.terminate_stopped(&id).unwrap();
    let mut held = catalog.hold(&id).unwrap();
    let at = held.record().own.terminated_at.unwrap();
    held.change(|record| record.own.terminated_at = Some(at - LISTED + 600)).unwrap();
    drop(held);
    assert_eq!(catalog.sweep(), Swept::default());
    catalog.hold(&id).unwrap().change(|record| record.own.terminated_at = Some(at - LISTED)).unwrap();
    assert_eq!(catalog.sweep(), Swept { instances: 1, ..Swept::default() });
    assert_eq!(catalog.instances().unwrap(), []);
    assert_eq!(names(&catalog.instances_folder()), ["lock"]);
    assert_eq!(catalog.volumes().unwrap()[0].volume_id, data, "what was kept stays");
}

#[test]
fn a_record_that_a_power_cut_has_emptied_is_none() {
    let (_folder, catalog) = catalog();
    let mut new = new_instance(&catalog);
    (new.remove, new.volumes) = (true, Vec::new());
    let id = running(&catalog, new).record().instance_id.clone();
    fs::write(catalog.instance_folder(&id).join(files::INSTANCE), "").unwrap();
    assert_eq!(catalog.instances().unwrap(), []);
    assert_eq!(catalog.sweep(), Swept { instances: 1, addresses: 1, ..Swept::default() });
    assert_eq!(names(&catalog.instances_folder()), ["lock"]);
}

#[test]
fn what_is_half_made_goes_unless_somebody_is_making_it() {
    let (_folder, catalog) = catalog();
    drop(running(&catalog, new_instance(&catalog)));
    let folder = catalog.instance_folder("i-0123456789abcdef0");
    fs::create_dir_all(files::volumes(&folder)).unwrap();
    // A folder has been made, and its lock is about to be.
    let making = Lock::attempt(&catalog.makers_lock(), Kind::Shared).unwrap().unwrap();
    assert_eq!(catalog.sweep(), Swept::default());
    // Its lock is held, and its record is about to be written.
    let lock = Lock::attempt(&files::lock(&folder), Kind::Exclusive).unwrap().unwrap();
    drop(making);
    assert_eq!(catalog.sweep(), Swept::default());
    drop(lock);
    // No volume is ever lost, however it came there.
    make_volume(&files::volumes(&folder).join("vol-0123456789abcdef0"));
    assert_eq!(catalog.sweep(), Swept { instances: 1, ..Swept::default() });
    assert!(!folder.exists());
    assert_eq!(catalog.volumes().unwrap().last().unwrap().volume_id, "vol-0123456789abcdef0");
    assert_eq!(catalog.instances().unwrap().len(), 1);
}

#[test]
fn what_is_alive_or_not_ours_is_left_alone() {
    let (_folder, catalog) = catalog();
    let held = running(&catalog, NewInstance { remove: true, foreground: true, ..new_instance(&catalog) });
    let (other, _) = stopped(&catalog);
    let busy = catalog.hold(&other).unwrap();
    fs::create_dir(catalog.instances_folder().join("notes")).unwrap();
    fs::write(catalog.folder().join("addresses/notes"), "").unwrap();
    assert_eq!(catalog.sweep(), Swept::default());
    assert_eq!(names(&catalog.instances_folder()).len(), 4);
    drop(busy);
    // Killed: gone without a trace, but for the volume that is kept.
    drop(held);
    catalog.sweep();
    assert_eq!(names(&catalog.instances_folder()).len(), 3);
    assert_eq!(names(&catalog.folder().join("addresses")).len(), 3, "the lock, the notes and the other's");
}

#[test]
fn descriptions_without_their_volumes_and_stale_addresses_go() {
    let (_folder, catalog) = catalog();
    let (id, data) = stopped(&catalog);
    catalog.detach_volume(&data).unwrap();
    let volumes = store::folder(&catalog);
    for name in ["vol-01.json", "vol-02.json.new"] {
        fs::write(volumes.join(name), "{}").unwrap();
    }
    fs::write(volumes.join("notes.json"), "{}").unwrap();
    std::os::unix::fs::symlink("../instances/i-0f", catalog.folder().join("addresses/172.31.17.1")).unwrap();
    assert_eq!(catalog.sweep(), Swept { instances: 0, addresses: 1, descriptions: 2 });
    assert_eq!(
        names(&volumes),
        ["lock".to_owned(), "notes.json".to_owned(), data.clone(), format!("{data}.json")]
    );
    assert_eq!(catalog.describe(&id).unwrap().state_reason, Some(StateReason::by_user()));
}

#[test]
fn a_volume_on_its_way_back_keeps_its_description() {
    let (_folder, catalog) = catalog();
    let (id, data) = stopped(&catalog);
    catalog.detach_volume(&data).unwrap();
    // An attachment was cut short, and another command is on the instance.
    let at = files::volumes(&catalog.instance_folder(&id)).join(&data);
    fs::rename(store::file(&catalog, &data), &at).unwrap();
    let busy = Lock::attempt_existing(&files::lock(&catalog.instance_folder(&id))).unwrap().unwrap();
    assert_eq!(catalog.sweep(), Swept::default());
    drop(busy);
    assert_eq!(catalog.volumes().unwrap().last().unwrap().volume_type, "gp3");
    assert!(!at.exists());
}
