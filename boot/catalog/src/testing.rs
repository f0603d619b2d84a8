//! What the tests make instances of.

use ami_run_catalog::{
    Behavior, Catalog, CatalogError, DEFAULT_ZONE, Held, MetadataOptions, Network, NewInstance, NewVolume,
    Start, State, StateReason, VolumeOrigin, VolumeRecord,
};
use ami_run_storage::{Base, Volume};
use std::path::Path;
use tempfile::TempDir;

/// Of the volumes' disks.
pub(crate) const SIZE: u64 = 1 << 20;

/// In memory where there is such a place: hundreds of records are synced, and nobody cuts the power.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(crate) fn catalog() -> (TempDir, Catalog) {
    let folder = folder();
    let catalog = Catalog::open(&folder.path().join("state")).unwrap();
    (folder, catalog)
}

pub(crate) fn new_instance(catalog: &Catalog) -> NewInstance {
    NewInstance {
        name: "root.raw".to_owned(),
        image_id: None,
        reservation: catalog.new_reservation(None).unwrap(),
        ami_launch_index: 0,
        instance_type: "t3.micro".to_owned(),
        architecture: "x86_64".to_owned(),
        root_device_name: "/dev/sda1".to_owned(),
        root_device_type: "ebs".to_owned(),
        boot_mode: None,
        current_instance_boot_mode: "legacy-bios".to_owned(),
        cpus: 2,
        memory_mib: 1024,
        ena_support: true,
        kernel_id: None,
        ramdisk_id: None,
        product_codes: Vec::new(),
        availability_zone: DEFAULT_ZONE.to_owned(),
        tags: Vec::new(),
        volumes: vec![
            new_volume("/dev/sda1", true, VolumeOrigin::Store { base: None }),
            new_volume("/dev/sdb", false, VolumeOrigin::Store { base: None }),
        ],
        instance_store: Vec::new(),
        start: Start::Firmware(None),
        shutdown_behavior: Behavior::Stop,
        remove: false,
        foreground: false,
        stop_timeout: 30,
        network: Network::default(),
        metadata_options: MetadataOptions::default(),
        user_data: None,
        key: None,
        key_file: None,
        user: None,
        uefi_data: None,
        iam_credentials: None,
    }
}

pub(crate) fn new_volume(device: &str, delete_on_termination: bool, origin: VolumeOrigin) -> NewVolume {
    let volume = VolumeRecord {
        bytes: SIZE,
        volume_type: "gp3".to_owned(),
        iops: Some(3000),
        throughput: Some(125),
        encrypted: false,
        snapshot_id: None,
        create_time: "2026-11-21T21:00:00+00:00".to_owned(),
        nvme: true,
        origin,
    };
    NewVolume { device_name: device.to_owned(), delete_on_termination, volume }
}

pub(crate) fn make_volume(path: &Path) {
    Volume::create(path, Base::empty("nothing"), Some(SIZE)).unwrap();
}

/// An instance whose machine runs, as far as the catalog knows: with its volumes' files.
pub(crate) fn running(catalog: &Catalog, new: NewInstance) -> Held {
    let mut held = catalog.create(new).unwrap();
    for (id, volume) in held.record().own.volumes.clone() {
        if matches!(volume.origin, VolumeOrigin::Store { .. }) {
            make_volume(&held.volume_file(&id));
        }
    }
    held.enter(State::Running, None).unwrap();
    held
}

/// A stopped instance's id, and that of its second volume.
pub(crate) fn stopped(catalog: &Catalog) -> (String, String) {
    let mut held = running(catalog, new_instance(catalog));
    held.enter(State::Stopped, Some(StateReason::by_user())).unwrap();
    (held.record().instance_id.clone(), volume_at(&held, "/dev/sdb"))
}

pub(crate) fn volume_at(held: &Held, device: &str) -> String {
    let mappings = &held.record().block_device_mappings;
    let mapping = mappings.iter().find(|mapping| mapping.device_name == device).unwrap();
    mapping.ebs.volume_id.clone()
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// EC2's code of a refusal.
pub(crate) fn code<T: std::fmt::Debug>(ended: Result<T, CatalogError>) -> &'static str {
    match ended {
        Err(CatalogError::Refused { code, .. }) => code,
        other => panic!("not refused: {other:?}"),
    }
}
