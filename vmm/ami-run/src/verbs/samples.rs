//! Records of instances for tests.

use ami_run_catalog::{InstanceRecord, State};
use serde_json::json;

/// A stopped instance with a root volume that goes with it, one that stays, and a file of the user's own.
pub(crate) fn stopped(id: &str) -> InstanceRecord {
    let mapping = |device: &str, volume: &str, goes: bool| {
        json!({"DeviceName": device, "Ebs": {"VolumeId": volume, "AttachTime": "2026-11-21T21:00:00+00:00",
            "DeleteOnTermination": goes, "Status": "attached"}})
    };
    let volume = |origin: serde_json::Value| {
        json!({"Bytes": 1 << 30, "VolumeType": "gp3", "CreateTime": "2026-11-21T21:00:00+00:00", "Nvme": true,
            "Origin": origin})
    };
    let record = json!({
        "InstanceId": id, "ImageId": "ami-1", "InstanceType": "t3.micro", "AmiLaunchIndex": 0,
        "LaunchTime": "2026-11-21T21:00:00+00:00", "State": {"Code": 80, "Name": "stopped"},
        "Architecture": "x86_64", "RootDeviceName": "/dev/xvda", "RootDeviceType": "ebs",
        "BlockDeviceMappings": [mapping("/dev/xvda", "vol-0a", true), mapping("/dev/sdf", "vol-0b", false),
            mapping("/dev/sdg", "vol-0c", true)],
        "PrivateIpAddress": "172.31.16.4", "PrivateDnsName": "ip-172-31-16-4.ec2.internal",
        "NetworkInterfaces": [], "SubnetId": "subnet-1", "VpcId": "vpc-1",
        "CpuOptions": {"CoreCount": 2, "ThreadsPerCore": 1},
        "Placement": {"AvailabilityZone": "us-east-1a", "GroupName": "", "Tenancy": "default"},
        "EnaSupport": true, "VirtualizationType": "hvm", "Hypervisor": "xen",
        "CurrentInstanceBootMode": "legacy-bios", "Tags": [{"Key": "Name", "Value": "web"}],
        "AmiRun": {
            "Version": 1, "Name": "ami-1",
            "Reservation": {"ReservationId": "r-1", "OwnerId": "000000000000"},
            "MemoryMiB": 1024, "Uuid": "ec2", "Start": {"Firmware": null},
            "Volumes": {
                "vol-0a": volume(json!({"Store": {"base": null}})),
                "vol-0b": volume(json!({"Store": {"base": null}})),
                "vol-0c": volume(json!({"File": {"file": "/data/my.vol"}})),
            },
            "InstanceStore": [], "ShutdownBehavior": "stop", "Remove": false, "Foreground": false,
            "HasRun": true, "StopTimeout": 30,
        },
    });
    serde_json::from_value(record).unwrap()
}

pub(crate) fn in_state(id: &str, state: State) -> InstanceRecord {
    InstanceRecord { state, ..stopped(id) }
}
