//! A launch plan as a new instance: what its record will hold.

use crate::args::Launch;
use crate::metadata::Inputs;
use crate::plan::Plan;
use ami_run_catalog::{
    Behavior, InstanceStoreDisk, Network, NewInstance, NewVolume, Reservation, Start, VolumeOrigin,
    VolumeRecord, time,
};
use ami_run_image::{Interface, LaunchPlan, PlannedVolume};
use std::path::{PathBuf, absolute};

/// The `index`th instance of this launch.
pub(crate) fn instance(args: &Launch, plan: &Plan, reservation: &Reservation, index: u32) -> NewInstance {
    NewInstance {
        name: plan.name.clone(),
        ami_launch_index: index,
        start: start(&plan.start),
        shutdown_behavior: args.instance_initiated_shutdown_behavior,
        remove: args.removes(),
        foreground: !args.detach,
        stop_timeout: args.stop_timeout.as_secs(),
        network: network(args),
        key_file: args.given.ssh_key.as_ref().map(full),
        user: args.user.clone(),
        uefi_data: plan.uefi_data.clone(),
        ..described(&plan.launch, &plan.inputs, reservation, |planned| origin(args, planned))
    }
}

/// What is an instance's whoever launches it, and also if nobody does. `origin`: where a volume's bytes are.
pub(crate) fn described(
    launch: &LaunchPlan,
    inputs: &Inputs,
    reservation: &Reservation,
    origin: impl Fn(&PlannedVolume) -> VolumeOrigin,
) -> NewInstance {
    let nvme = launch.volumes.first().is_none_or(|root| root.interface == Interface::Nvme);
    let stores = launch.instance_store.iter().map(|store| InstanceStoreDisk {
        virtual_name: store.virtual_name.clone(),
        device_name: store.device_name.clone(),
        size_gib: store.size_gib,
        nvme,
    });
    NewInstance {
        name: String::new(),
        image_id: launch.image_id.clone(),
        reservation: reservation.clone(),
        ami_launch_index: 0,
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
        kernel_id: launch.kernel_id.clone(),
        ramdisk_id: launch.ramdisk_id.clone(),
        product_codes: launch.product_codes.clone(),
        availability_zone: inputs.availability_zone.clone(),
        tags: inputs.tags.clone(),
        volumes: launch.volumes.iter().map(|planned| volume(planned, origin(planned))).collect(),
        instance_store: stores.collect(),
        start: Start::Firmware(None),
        shutdown_behavior: Behavior::default(),
        remove: false,
        foreground: false,
        stop_timeout: 0,
        network: Network::default(),
        metadata_options: inputs.metadata_options.clone().into(),
        user_data: inputs.user_data.clone(),
        key: inputs.key.as_ref().map(|key| (key.name.clone(), key.openssh.clone())),
        key_file: None,
        user: None,
        uefi_data: None,
        iam_credentials: inputs.iam_credentials.clone(),
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

fn origin(args: &Launch, planned: &PlannedVolume) -> VolumeOrigin {
    match planned.source.as_ref().map(full) {
        // By one name, by which it is found again whatever it is called then.
        Some(file) if planned.kept => VolumeOrigin::File { file: file.canonicalize().unwrap_or(file) },
        // Nothing is to stay, whatever DeleteOnTermination says.
        base if args.removes() => VolumeOrigin::Private { base },
        base => VolumeOrigin::Store { base },
    }
}

fn volume(planned: &PlannedVolume, origin: VolumeOrigin) -> NewVolume {
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
