//! The verbs on volumes: what they do, and what they refuse.

use super::*;
use crate::record::{InstanceStoreDisk, Start};
use crate::testing::{
    SIZE, catalog, code, make_volume, names, new_instance, new_volume, running, stopped, volume_at,
};
use crate::{NewInstance, State, StateReason, check_start};
use ami_run_storage::Volume;
use std::fs;

/// Each with its state and the device that it is attached to.
fn listed(catalog: &Catalog) -> Vec<(String, String, Option<String>)> {
    let volumes = catalog.volumes().unwrap().into_iter();
    let listed = volumes.map(|volume| {
        let attachment = volume.attachments.first().map(|attachment| attachment.device.clone());
        (volume.volume_id, volume.state, attachment)
    });
    listed.collect()
}

#[test]
fn a_volume_goes_from_one_instance_to_another_with_what_it_holds() {
    let (_folder, catalog) = catalog();
    let (from, id) = stopped(&catalog);
    let (to, _) = stopped(&catalog);
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
    let before = inode(&catalog.instance_folder(&from).join("volumes").join(&id));
    let detached = catalog.detach_volume(&id).unwrap();
    assert_eq!(
        (detached.state.as_str(), detached.device.as_str(), detached.instance_id),
        ("detached", "/dev/sdb", from.clone())
    );
    assert!(listed(&catalog).contains(&(id.clone(), "available".to_owned(), None)));
    assert_eq!(names(&store::folder(&catalog)), ["lock".to_owned(), id.clone(), format!("{id}.json")]);
    assert_eq!(catalog.describe(&from).unwrap().block_device_mappings.len(), 1);
    let attached = catalog.attach_volume(&id, &to, "/dev/sdf").unwrap();
    assert_eq!(
        (attached.state.as_str(), attached.device.as_str(), &attached.instance_id),
        ("attached", "/dev/sdf", &to)
    );
    assert!(!attached.delete_on_termination, "as EC2 has it");
    let record = catalog.describe(&to).unwrap();
    let last = record.block_device_mappings.last().unwrap();
    assert_eq!((last.device_name.as_str(), &last.ebs.volume_id), ("/dev/sdf", &id));
    let volume = &record.own.volumes[&id];
    assert_eq!((volume.volume_type.as_str(), volume.iops, volume.bytes), ("gp3", Some(3000), SIZE));
    assert_eq!(names(&store::folder(&catalog)), ["lock"]);
    assert_eq!(inode(&catalog.instance_folder(&to).join("volumes").join(&id)), before);
}

#[test]
fn a_volume_in_a_file_of_its_own_stays_where_it_is() {
    let (folder, catalog) = catalog();
    let (instance, _) = stopped(&catalog);
    let (other, _) = stopped(&catalog);
    let file = folder.path().join("data.vol");
    make_volume(&file);
    let given = file.to_str().unwrap();
    let attached = catalog.attach_volume(given, &instance, "/dev/sdf").unwrap();
    assert_eq!(code(catalog.attach_volume(given, &other, "/dev/sdf")), "VolumeInUse");
    assert_eq!(
        catalog
            .volumes()
            .unwrap()
            .iter()
            .find(|one| one.volume_id == attached.volume_id)
            .unwrap()
            .own
            .file
            .as_deref(),
        Some(file.as_path())
    );
    assert_eq!(catalog.resize_volume(given, 1).unwrap().volume_id, attached.volume_id);
    assert_eq!(catalog.describe(&instance).unwrap().own.volumes[&attached.volume_id].bytes, GIB);
    assert_eq!(catalog.detach_volume(given).unwrap().volume_id, attached.volume_id);
    assert_eq!(catalog.resize_volume(given, 2).unwrap().volume_id, given);
    assert_eq!(Volume::look(&file).unwrap(), (2 * GIB, None));
    assert_eq!(code(catalog.delete_volume(given)), "InvalidParameterValue");
    // It is the user's: terminating only names it.
    let attached = catalog.attach_volume(given, &instance, "/dev/sdf").unwrap();
    catalog
        .modify(
            &instance,
            &crate::Change {
                delete_on_termination: vec![("/dev/sdf".to_owned(), true)],
                ..crate::Change::default()
            },
        )
        .unwrap();
    let kept = catalog.terminate_stopped(&instance).unwrap().kept;
    assert!(kept.contains(&(attached.volume_id, file.clone())) && file.exists(), "{kept:?}");
}

#[test]
fn what_is_no_volume_is_not_attached() {
    let (folder, catalog) = catalog();
    let (instance, _) = stopped(&catalog);
    let file = folder.path().join("notes.txt");
    fs::write(&file, "buy milk").unwrap();
    let told = catalog.attach_volume(file.to_str().unwrap(), &instance, "/dev/sdf").unwrap_err();
    assert!(matches!(told, CatalogError::Volume(_)), "{told:?}");
    for given in ["./nowhere.vol", "nowhere", "vol-", "vol-../x", ""] {
        assert_eq!(
            code(catalog.attach_volume(given, &instance, "/dev/sdf")),
            "InvalidParameterValue",
            "{given}"
        );
    }
    assert_eq!(catalog.describe(&instance).unwrap().block_device_mappings.len(), 2);
}

#[test]
fn every_wrong_attachment_is_refused_as_ec2_does() {
    let (_folder, catalog) = catalog();
    let (instance, attached) = stopped(&catalog);
    let (other, _) = stopped(&catalog);
    let free = catalog.detach_volume(&attached).unwrap().volume_id;
    let root = volume_at(&catalog.hold(&instance).unwrap(), "/dev/sda1");
    let disk = InstanceStoreDisk {
        virtual_name: "ephemeral0".to_owned(),
        device_name: Some("/dev/sdc".to_owned()),
        size_gib: 1,
        nvme: true,
    };
    catalog.hold(&instance).unwrap().change(|record| record.own.instance_store.push(disk)).unwrap();
    for (volume, instance, device, expected) in [
        (free.as_str(), instance.as_str(), "/dev/sda1", "InvalidParameterValue"),
        (&free, &instance, "sda1", "InvalidParameterValue"),
        (&free, &instance, "/dev/sdc", "InvalidParameterValue"),
        (&free, &instance, "/dev/sdk1", "InvalidParameterValue"),
        (&free, &instance, "", "InvalidParameterValue"),
        (&free, "i-0123456789abcdef0", "/dev/sdf", "InvalidInstanceID.NotFound"),
        (&root, &other, "/dev/sdf", "VolumeInUse"),
        ("vol-0123456789abcdef0", &instance, "/dev/sdf", "InvalidVolume.NotFound"),
    ] {
        assert_eq!(code(catalog.attach_volume(volume, instance, device)), expected, "{volume} {device}");
    }
    assert_eq!(
        catalog.attach_volume(&free, &instance, "/dev/sda1").unwrap_err().to_string(),
        "Invalid value '/dev/sda1' for unixDevice. Attachment point /dev/sda1 is already in use"
    );
    assert_eq!(code(catalog.detach_volume(&free)), "IncorrectState");
    assert_eq!(code(catalog.detach_volume("vol-0123456789abcdef0")), "InvalidVolume.NotFound");
    assert_eq!(code(catalog.delete_volume(&root)), "VolumeInUse");
    assert_eq!(code(catalog.delete_volume("vol-0123456789abcdef0")), "InvalidVolume.NotFound");
    assert_eq!(code(catalog.resize_volume("vol-0123456789abcdef0", 9)), "InvalidVolume.NotFound");
    catalog.delete_volume(&free).unwrap();
    assert_eq!(names(&store::folder(&catalog)), ["lock"]);
}

#[test]
fn the_volumes_of_a_machine_that_runs_stay_as_they_are() {
    let (_folder, catalog) = catalog();
    let (_, data) = stopped(&catalog);
    let free = catalog.detach_volume(&data).unwrap().volume_id;
    let held = running(&catalog, new_instance(&catalog));
    let (instance, root, data) =
        (held.record().instance_id.clone(), volume_at(&held, "/dev/sda1"), volume_at(&held, "/dev/sdb"));
    assert_eq!(code(catalog.attach_volume(&free, &instance, "/dev/sdf")), "IncorrectState");
    assert_eq!(code(catalog.detach_volume(&data)), "IncorrectState");
    assert_eq!(code(catalog.detach_volume(&root)), "OperationNotPermitted");
    assert_eq!(code(catalog.resize_volume(&data, 9)), "IncorrectState");
    assert_eq!(code(catalog.delete_volume(&data)), "VolumeInUse");
    let terminated = held.terminate(StateReason::by_user()).unwrap().id;
    assert_eq!(code(catalog.attach_volume(&free, &terminated, "/dev/sdf")), "IncorrectState");
}

#[test]
fn the_root_of_a_stopped_instance_can_be_detached_and_come_back() {
    let (_folder, catalog) = catalog();
    let (instance, _) = stopped(&catalog);
    let root = volume_at(&catalog.hold(&instance).unwrap(), "/dev/sda1");
    catalog.detach_volume(&root).unwrap();
    assert_eq!(code(check_start(&catalog.describe(&instance).unwrap())), "IncorrectInstanceState");
    catalog.attach_volume(&root, &instance, "/dev/sda1").unwrap();
    let record = catalog.describe(&instance).unwrap();
    assert_eq!(record.block_device_mappings[0].ebs.volume_id, root, "the root is the first");
    check_start(&record).unwrap();
    // A kernel of its own needs none.
    catalog.detach_volume(&root).unwrap();
    let start = Start::Kernel { kernel: "/vmlinuz".into(), initrd: None, command_line: String::new() };
    catalog.hold(&instance).unwrap().change(|record| record.own.start = start).unwrap();
    check_start(&catalog.describe(&instance).unwrap()).unwrap();
}

#[test]
fn the_only_volume_comes_back_as_the_disk_that_it_was() {
    let (_folder, catalog) = catalog();
    for nvme in [true, false] {
        let mut new = new_instance(&catalog);
        new.ena_support = nvme;
        new.volumes.truncate(1);
        new.volumes[0].volume.nvme = nvme;
        let mut held = running(&catalog, new);
        held.enter(State::Stopped, Some(StateReason::by_user())).unwrap();
        let (instance, root) = (held.record().instance_id.clone(), volume_at(&held, "/dev/sda1"));
        drop(held);
        catalog.detach_volume(&root).unwrap();
        catalog.attach_volume(&root, &instance, "/dev/sda1").unwrap();
        assert_eq!(catalog.describe(&instance).unwrap().own.volumes[&root].nvme, nvme);
    }
}

#[test]
fn a_volume_only_grows() {
    let (_folder, catalog) = catalog();
    let (instance, id) = stopped(&catalog);
    let modified = catalog.resize_volume(&id, 2).unwrap();
    assert_eq!((modified.original_size, modified.target_size), (1, 2));
    assert_eq!(catalog.describe(&instance).unwrap().own.volumes[&id].bytes, 2 * GIB);
    let file = catalog.instance_folder(&instance).join("volumes").join(&id);
    assert_eq!(Volume::look(&file).unwrap(), (2 * GIB, None));
    catalog.resize_volume(&id, 2).unwrap();
    let told = catalog.resize_volume(&id, 1).unwrap_err();
    assert_eq!(told.to_string(), "New size cannot be smaller than existing size");
    assert_eq!(code(catalog.resize_volume(&id, 65_537)), "InvalidParameterValue");
    catalog.detach_volume(&id).unwrap();
    catalog.resize_volume(&id, 3).unwrap();
    // One that was killed had made it larger than it could record.
    Volume::enlarge(&store::file(&catalog, &id), 5 * GIB).unwrap();
    assert_eq!(code(catalog.resize_volume(&id, 4)), "InvalidParameterValue");
    let available = catalog.volumes().unwrap().into_iter().find(|volume| volume.volume_id == id).unwrap();
    assert_eq!((available.size, available.own.bytes), (3, 3 * GIB));
}

#[test]
fn what_a_volume_is_deleted_with_is_what_its_mapping_says() {
    let (folder, catalog) = catalog();
    let file = folder.path().join("data.vol");
    make_volume(&file);
    let mut new = new_instance(&catalog);
    new.volumes.push(new_volume("/dev/sdc", true, VolumeOrigin::Private { base: None }));
    new.volumes.push(new_volume("/dev/sdd", false, VolumeOrigin::File { file: file.clone() }));
    let held = running(&catalog, new);
    let [kept, own] = ["/dev/sdb", "/dev/sdd"].map(|device| volume_at(&held, device));
    fs::write(held.folder().join("console.log"), "login:").unwrap();
    fs::write(held.folder().join("control.sock"), "").unwrap();
    let id = held.record().instance_id.clone();
    let terminated = held.terminate(StateReason::by_user()).unwrap();
    let stays = catalog.folder().join("volumes").join(&kept);
    assert_eq!(terminated.kept, [(kept.clone(), stays.clone()), (own, file.clone())]);
    assert!(stays.exists() && file.exists());
    assert_eq!(listed(&catalog), [(kept, "available".to_owned(), None)]);
    assert_eq!(names(&catalog.instance_folder(&id)), ["console.log", "instance.json", "lock", "volumes"]);
    assert_eq!(names(&catalog.instance_folder(&id).join("volumes")), [""; 0]);
    let record = catalog.describe(&id).unwrap();
    assert_eq!((record.state, record.private_ip_address.as_str()), (State::Terminated, ""));
    assert!(record.block_device_mappings.is_empty() && record.network_interfaces.is_empty());
    assert!(record.state_transition_reason.starts_with("User initiated ("), "{record:?}");
    assert_eq!(names(&catalog.folder().join("addresses")), [""; 0]);
}

#[test]
fn a_launch_with_rm_and_its_volumes_leave_nothing() {
    let (_folder, catalog) = catalog();
    let mut new = NewInstance { remove: true, foreground: true, ..new_instance(&catalog) };
    new.volumes = vec![new_volume("/dev/sda1", true, VolumeOrigin::Private { base: None })];
    let held = running(&catalog, new);
    assert_eq!(catalog.volumes().unwrap()[0].own.file, None);
    // Whatever has put another's volume there: it is not lost.
    make_volume(&held.volume_file("vol-01"));
    assert_eq!(held.remove().unwrap().kept, []);
    assert_eq!(names(&catalog.instances_folder()), ["lock"]);
    assert_eq!(names(&catalog.folder().join("addresses")), [""; 0]);
    assert_eq!(listed(&catalog), [("vol-01".to_owned(), "available".to_owned(), None)]);
}

#[test]
fn a_volume_whose_description_is_lost_or_damaged_is_still_there() {
    let (_folder, catalog) = catalog();
    let (instance, id) = stopped(&catalog);
    catalog.detach_volume(&id).unwrap();
    let description = store::description(&catalog, &id);
    fs::write(&description, "{").unwrap();
    assert_eq!(catalog.volumes().unwrap().last().unwrap().own.bytes, SIZE);
    fs::remove_file(&description).unwrap();
    assert_eq!(catalog.volumes().unwrap().last().unwrap().own.bytes, SIZE);
    catalog.sweep();
    catalog.attach_volume(&id, &instance, "/dev/sdf").unwrap();
    assert_eq!(catalog.describe(&instance).unwrap().own.volumes[&id].bytes, SIZE);
}
