//! A launch plan as a new instance: what its record will hold.

use crate::args::Launch;
use crate::plan::Plan;
use ami_run_catalog::{
    DEFAULT_ZONE, InstanceStoreDisk, MetadataOptions, Network, NewInstance, NewVolume, Reservation, Start,
    VolumeOrigin, VolumeRecord, time,
};
use ami_run_image::{Interface, PlannedVolume, Tag};
use std::path::{PathBuf, absolute};

/// The `index`th instance of this launch.
pub(crate) fn instance(args: &Launch, plan: &Plan, reservation: &Reservation, index: u32) -> NewInstance {
    let launch = &plan.launch;
    let tag =
        |name: &String| Tag { key: Some("Name".to_owned()), value: Some(name.clone()), ..Tag::default() };
    let nvme = launch.volumes.first().is_none_or(|root| root.interface == Interface::Nvme);
    let stores = launch.instance_store.iter().map(|store| InstanceStoreDisk {
        virtual_name: store.virtual_name.clone(),
        device_name: store.device_name.clone(),
        size_gib: store.size_gib,
        nvme,
    });
    NewInstance {
        name: plan.name.clone(),
        image_id: launch.image_id.clone(),
        reservation: reservation.clone(),
        ami_launch_index: index,
        instance_type: launch.instance_type.name.clone(),
        architecture: launch.architecture.to_string(),
        root_device_name: launch.root_device_name.clone(),
        // Images with a root on instance store are not launched.
        root_device_type: "ebs".to_owned(),
        boot_mode: launch.wanted_boot_mode.map(|mode| mode.to_string()),
        current_instance_boot_mode: launch.boot_mode.to_string(),
        cpus: launch.cpus,
        memory_mib: launch.memory_mib,
        ena_support: nvme,
        availability_zone: DEFAULT_ZONE.to_owned(),
        tags: args.name.iter().map(tag).collect(),
        volumes: launch.volumes.iter().map(|planned| volume(args, planned)).collect(),
        instance_store: stores.collect(),
        start: start(&plan.start),
        shutdown_behavior: args.instance_initiated_shutdown_behavior,
        remove: args.removes(),
        foreground: !args.detach,
        stop_timeout: args.stop_timeout.as_secs(),
        network: network(args),
        metadata_options: MetadataOptions::default(),
        user_data: None,
        key: None,
        key_file: None,
        user: None,
        iam_credentials: None,
    }
}

fn network(args: &Launch) -> Network {
    match &args.net {
        Network::User { .. } => Network::User {
            forwards: args.forwards.iter().map(ToString::to_string).collect(),
            host_loopback: args.host_loopback,
        },
        other => other.clone(),
    }
}

/// A later start has another current folder.
fn full(path: &PathBuf) -> PathBuf {
    absolute(path).unwrap_or_else(|_| path.clone())
}

fn start(start: &Start) -> Start {
    match start {
        Start::Firmware(file) => Start::Firmware(file.as_ref().map(full)),
        Start::Kernel { kernel, initrd, command_line } => Start::Kernel {
            kernel: full(kernel),
            initrd: initrd.as_ref().map(full),
            command_line: command_line.clone(),
        },
    }
}

fn volume(args: &Launch, planned: &PlannedVolume) -> NewVolume {
    let origin = match planned.source.as_ref().map(full) {
        // By one name, by which it is found again whatever it is called then.
        Some(file) if planned.kept => VolumeOrigin::File { file: file.canonicalize().unwrap_or(file) },
        // Nothing is to stay, whatever DeleteOnTermination says.
        base if args.removes() => VolumeOrigin::Private { base },
        base => VolumeOrigin::Store { base },
    };
    let volume = VolumeRecord {
        bytes: planned.bytes(),
        volume_type: planned.volume_type.to_owned(),
        iops: planned.iops,
        throughput: planned.throughput,
        encrypted: planned.encrypted,
        snapshot_id: planned.snapshot_id.clone(),
        create_time: time::iso(time::now()),
        nvme: planned.interface == Interface::Nvme,
        origin,
    };
    let delete_on_termination = planned.delete_on_termination;
    NewVolume { device_name: planned.device_name.clone(), delete_on_termination, volume }
}
