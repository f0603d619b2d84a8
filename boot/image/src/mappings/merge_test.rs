//! The rules of the merge and of EBS's limits, one test a rule (facts of RunInstances and EbsBlockDevice).

use super::limits;
use super::merge::{Device, Mapping, merge};
use super::option::parse_mappings;
use crate::describe::{BlockDeviceMapping, EbsBlockDevice};
use crate::refusal::Refusal;
use crate::{Image, LaunchPlan, Request};

const ROOT: &str = "/dev/xvda";
const IMAGE: &str = r#"[
    {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1", "VolumeSize": 8, "VolumeType": "gp3", "Iops": 4000,
     "Throughput": 200, "DeleteOnTermination": true, "Encrypted": false}},
    {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
    {"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": "snap-2", "VolumeSize": 20, "VolumeType": "gp2"}},
    {"DeviceName": "/dev/sdg", "NoDevice": "", "Ebs": {"VolumeSize": 1}}]"#;

fn of_image() -> Vec<BlockDeviceMapping> {
    serde_json::from_str(IMAGE).unwrap()
}

fn merged(option: &str) -> Result<Vec<Mapping>, Refusal> {
    merge(&of_image(), &parse_mappings(&[option.to_owned()]).unwrap(), ROOT)
}

fn names(merged: &[Mapping]) -> Vec<&str> {
    merged.iter().map(|mapping| mapping.device_name.as_str()).collect()
}

fn ebs(merged: &[Mapping], name: &str) -> EbsBlockDevice {
    match &merged.iter().find(|mapping| mapping.device_name == name).unwrap().device {
        Device::Ebs(ebs) => (**ebs).clone(),
        Device::Ephemeral(number) => panic!("{name} is ephemeral{number}"),
    }
}

/// Code, place and message.
fn refused(option: &str) -> (&'static str, String, String) {
    let refusal = merged(option).unwrap_err();
    (refusal.code, refusal.place, refusal.message)
}

/// The plan of the image with these of the caller's mappings.
fn planned(option: &str) -> Result<LaunchPlan, Refusal> {
    let image = Image {
        root_device_name: Some(ROOT.to_owned()),
        block_device_mappings: Some(of_image()),
        ..Image::default()
    };
    let mappings = parse_mappings(&[option.to_owned()]).unwrap();
    let request = Request {
        host: crate::Architecture::X86_64,
        instance_type: None,
        cpus: None,
        memory_mib: None,
        boot_mode: None,
        mappings: &mappings,
        interface: None,
        account_id: None,
        now: std::time::SystemTime::UNIX_EPOCH,
    };
    crate::plan(&image, &request)
}

/// A new volume /dev/sdh of these members: its refusal.
fn limit(members: &str) -> (&'static str, String, String) {
    let refusal = planned(&format!("DeviceName=/dev/sdh,Ebs={{{members}}}")).unwrap_err();
    (refusal.code, refusal.place, refusal.message)
}

/// Iops and throughput of a new volume of these members.
fn performance(members: &str) -> (Option<u32>, Option<u32>) {
    let plan = planned(&format!("DeviceName=/dev/sdh,Ebs={{{members}}}"))
        .unwrap_or_else(|r| panic!("{members}: {r}"));
    let volume = plan.volumes.iter().find(|volume| volume.device_name == "/dev/sdh").unwrap();
    (volume.iops, volume.throughput)
}

#[test]
fn devices_are_merged_by_name_and_new_ones_added_at_the_end() {
    let merged =
        merged("DeviceName=/dev/sdh,Ebs={VolumeSize=1} DeviceName=/dev/xvda,Ebs={VolumeSize=30}").unwrap();
    assert_eq!(names(&merged), ["/dev/xvda", "/dev/sdb", "/dev/sdf", "/dev/sdh"]);
    let root = ebs(&merged, "/dev/xvda");
    assert_eq!(
        (root.snapshot_id.as_deref(), root.volume_size, root.iops),
        (Some("snap-1"), Some(30), Some(4000))
    );
}

#[test]
fn the_device_name_is_enough_and_changes_nothing() {
    assert_eq!(
        ebs(&merged("DeviceName=/dev/xvda").unwrap(), "/dev/xvda"),
        ebs(&merged("[]").unwrap(), "/dev/xvda")
    );
}

#[test]
fn no_device_takes_a_device_away_whatever_its_value_and_whatever_else_is_given() {
    for option in [
        "DeviceName=/dev/sdf,NoDevice=",
        r#"{"DeviceName": "/dev/sdf", "NoDevice": ""}"#,
        "DeviceName=/dev/sdf,NoDevice=anything",
        "DeviceName=/dev/sdf,NoDevice=,Ebs={VolumeSize=1}",
    ] {
        assert_eq!(names(&merged(option).unwrap()), ["/dev/xvda", "/dev/sdb"], "{option}");
    }
    assert_eq!(merged("DeviceName=/dev/sdz,NoDevice=").unwrap().len(), 3, "one that is not there");
}

#[test]
fn the_images_own_no_device_is_honoured() {
    assert!(!names(&merged("[]").unwrap()).contains(&"/dev/sdg"));
}

#[test]
fn a_changed_type_or_snapshot_leaves_what_belonged_to_the_old_one() {
    let root = ebs(&merged("DeviceName=/dev/xvda,Ebs={VolumeType=gp2}").unwrap(), "/dev/xvda");
    assert_eq!((root.iops, root.throughput, root.volume_size), (None, None, Some(8)));
    let same = ebs(&merged("DeviceName=/dev/xvda,Ebs={VolumeType=gp3}").unwrap(), "/dev/xvda");
    assert_eq!((same.iops, same.throughput), (Some(4000), Some(200)));
    let other = ebs(&merged("DeviceName=/dev/sdf,Ebs={SnapshotId=snap-3}").unwrap(), "/dev/sdf");
    assert_eq!((other.snapshot_id.as_deref(), other.volume_size), (Some("snap-3"), None));
}

#[test]
fn the_roots_snapshot_cannot_be_changed() {
    let (code, place, message) = refused("DeviceName=/dev/xvda,Ebs={SnapshotId=snap-9}");
    assert_eq!(code, "InvalidBlockDeviceMapping");
    assert_eq!(place, "--block-device-mappings[0].Ebs.SnapshotId");
    assert_eq!(message, "snapshotId cannot be modified on root device");
    assert!(merged("DeviceName=/dev/xvda,Ebs={SnapshotId=snap-1}").is_ok());
    let (code, _, message) = refused("DeviceName=/dev/xvda,VirtualName=ephemeral0");
    assert_eq!(code, "InvalidBlockDeviceMapping");
    assert!(message.contains("cannot become instance store"));
}

#[test]
fn instance_store_can_become_an_empty_volume_but_not_one_of_a_snapshot() {
    let volume = ebs(&merged("DeviceName=/dev/sdb,Ebs={VolumeSize=3}").unwrap(), "/dev/sdb");
    assert_eq!(volume.volume_size, Some(3));
    let (code, _, message) = refused("DeviceName=/dev/sdb,Ebs={SnapshotId=snap-3}");
    assert_eq!(
        (code, message.as_str()),
        ("InvalidBlockDeviceMapping", "snapshotId can only be modified on EBS devices")
    );
    let back = merged("DeviceName=/dev/sdf,VirtualName=ephemeral1").unwrap();
    assert_eq!(back[2].device, Device::Ephemeral(1));
}

/// Amazon's Windows images map one name for each letter from xvdca to xvdcz: captures of DescribeImages for
/// Windows_Server-2012-R2_RTM-English-64Bit-Base-2017.10.13 and later ones.
#[test]
fn an_image_may_map_as_many_virtual_names_as_windows_images_do() {
    let mapping = |letter: char, number: u8| BlockDeviceMapping {
        device_name: Some(format!("xvdc{letter}")),
        virtual_name: Some(format!("ephemeral{number}")),
        ..BlockDeviceMapping::default()
    };
    let image: Vec<_> = ('a'..='z').zip(0..).map(|(letter, number)| mapping(letter, number)).collect();
    let merged = merge(&image, &[], "/dev/sda1").unwrap();
    assert_eq!((merged.len(), &merged[25].device), (26, &Device::Ephemeral(25)));
    let refusal = merge(&[mapping('a', 26)], &[], "/dev/sda1").unwrap_err();
    assert_eq!(refusal.place, "BlockDeviceMappings[0].VirtualName");
    assert!(refusal.message.ends_with("ephemeral0 to ephemeral25"), "{refusal}");
}

#[test]
fn virtual_names_are_ephemeral0_to_ephemeral23() {
    for (name, good) in [
        ("ephemeral0", true),
        ("ephemeral23", true),
        ("ephemeral24", false),
        ("ephemeral", false),
        ("ephemeral01", false),
        ("ephemeral+1", false),
        ("ami", false),
    ] {
        let option = format!("DeviceName=/dev/sdc,VirtualName={name}");
        assert_eq!(merged(&option).is_ok(), good, "{name}");
    }
    let (code, place, _) = refused("DeviceName=/dev/sdc,VirtualName=root");
    assert_eq!(
        (code, place.as_str()),
        ("InvalidBlockDeviceMapping", "--block-device-mappings[0].VirtualName")
    );
}

#[test]
fn a_device_is_named_once() {
    let (code, place, message) =
        refused("DeviceName=/dev/sdh,Ebs={VolumeSize=1} DeviceName=/dev/sdh,Ebs={VolumeSize=2}");
    assert_eq!(
        (code, place.as_str()),
        ("InvalidBlockDeviceMapping", "--block-device-mappings[1].DeviceName")
    );
    assert_eq!(message, "The device 'sdh' is used in more than one block-device mapping");
    // Other names of the same device are not merged, but are the same device.
    assert!(refused("DeviceName=xvda,Ebs={VolumeSize=30}").2.contains("'xvda' is used in more than one"));
    assert!(
        refused("DeviceName=sdh,Ebs={VolumeSize=1} DeviceName=/dev/sdh,NoDevice=")
            .2
            .contains("'sdh' is used")
    );
    let twice = [of_image(), of_image()].concat();
    assert_eq!(merge(&twice, &[], ROOT).unwrap_err().place, "BlockDeviceMappings[4].DeviceName");
}

#[test]
fn there_are_not_endlessly_many() {
    let many = vec![BlockDeviceMapping::default(); 257];
    assert_eq!(merge(&many, &[], ROOT).unwrap_err().place, "BlockDeviceMappings");
    assert_eq!(merge(&[], &many, ROOT).unwrap_err().place, "--block-device-mappings");
}

#[test]
fn a_mapping_needs_a_name_and_something_to_map() {
    assert_eq!(refused("Ebs={VolumeSize=1}").2, "Missing device name");
    assert_eq!(refused("DeviceName=,Ebs={VolumeSize=1}").2, "Missing device name");
    for nothing in
        ["DeviceName=/dev/sdh", "DeviceName=/dev/sdh,Ebs={}", "DeviceName=/dev/sdh,Ebs={VolumeType=gp3}"]
    {
        let refusal = planned(nothing).unwrap_err();
        assert_eq!(refusal.code, "InvalidBlockDeviceMapping");
        assert_eq!(refusal.message, "Either snapshot ID or volume size must be provided for: /dev/sdh");
    }
    assert!(
        refused("DeviceName=/dev/sdh,VirtualName=ephemeral1,Ebs={VolumeSize=1}").2.contains("give Ebs or")
    );
}

#[test]
fn device_names_are_those_of_hvm_instances() {
    for good in
        ["/dev/sda1", "/dev/sda2", "/dev/sdp", "/dev/sdz", "/dev/xvdb", "/dev/xvdba", "/dev/xvddz", "xvdf"]
    {
        assert!(merged(&format!("DeviceName={good},Ebs={{VolumeSize=1}}")).is_ok(), "{good}");
    }
    for bad in [
        "/dev/sde1",
        "sdf1",
        "/dev/hda",
        "/dev/xvdaa",
        "/dev/xvdea",
        "/dev/nvme1n1",
        "sd",
        "/dev/sdé",
        "C:/dev/sda1",
    ] {
        let (code, _, message) = refused(&format!("DeviceName={bad},Ebs={{VolumeSize=1}}"));
        assert_eq!(
            (code, message),
            ("InvalidBlockDeviceMapping", format!("Invalid device name {bad}")),
            "{bad}"
        );
    }
    let odd: Vec<BlockDeviceMapping> =
        serde_json::from_str(r#"[{"DeviceName": "/dev/nvme0n1", "Ebs": {"SnapshotId": "snap-1"}}]"#).unwrap();
    assert!(merge(&odd, &[], "/dev/nvme0n1").is_ok(), "the image's root may have any name");
    assert!(merge(&odd, &[], ROOT).is_err());
}

#[test]
fn places_name_who_said_it() {
    let place = |option: &str, member: &str| merged(option).unwrap()[0].place(member);
    let size = "DeviceName=/dev/xvda,Ebs={VolumeSize=9}";
    assert_eq!(place(size, "VolumeSize"), "--block-device-mappings[0].Ebs.VolumeSize");
    assert_eq!(place(size, "Iops"), "BlockDeviceMappings[0].Ebs.Iops");
}

#[test]
fn sizes_are_bounded_by_the_volume_type() {
    for (name, least, most) in [
        ("gp2", 1, 16384),
        ("gp3", 1, 65536),
        ("io1,Iops=100", 4, 16384),
        ("io2,Iops=100", 4, 65536),
        ("st1", 125, 16384),
        ("sc1", 125, 16384),
        ("standard", 1, 1024),
    ] {
        for size in [least, most] {
            performance(&format!("VolumeSize={size},VolumeType={name}"));
        }
        for size in [least - 1, most + 1] {
            let (code, place, message) = limit(&format!("VolumeSize={size},VolumeType={name}"));
            assert_eq!(
                (code, place.as_str()),
                ("InvalidParameterValue", "--block-device-mappings[0].Ebs.VolumeSize")
            );
            assert!(message.contains(&format!("{least} to {most} GiB, not {size}")), "{message}");
        }
    }
    assert_eq!(limit("VolumeSize=1,VolumeType=gp9").0, "InvalidParameterValue");
}

#[test]
fn the_default_type_is_gp2() {
    assert_eq!(limits::type_name(&EbsBlockDevice::default()), "gp2");
    // gp2's IOPS come from its size, 3 a GiB.
    assert_eq!(performance("VolumeSize=10"), (Some(100), None));
    assert_eq!(performance("VolumeSize=1000"), (Some(3000), None));
    assert_eq!(performance("VolumeSize=16384"), (Some(16_000), None));
}

#[test]
fn iops_are_given_where_they_must_and_may_be() {
    for name in ["gp2", "st1", "sc1", "standard"] {
        let (code, place, message) = limit(&format!("VolumeSize=500,VolumeType={name},Iops=3000"));
        assert_eq!(
            (code, place.as_str()),
            ("InvalidParameterCombination", "--block-device-mappings[0].Ebs.Iops")
        );
        assert_eq!(message, format!("The parameter iops is not supported for {name} volumes."));
    }
    for name in ["io1", "io2"] {
        let (code, _, message) = limit(&format!("VolumeSize=500,VolumeType={name}"));
        assert_eq!(code, "InvalidParameterCombination");
        assert_eq!(message, format!("The parameter iops must be specified for {name} volumes."));
    }
    for (name, least, most) in [("gp3", 3000, 80_000), ("io1", 100, 64_000), ("io2", 100, 256_000)] {
        for iops in [least, most] {
            assert_eq!(performance(&format!("VolumeSize=16000,VolumeType={name},Iops={iops}")).0, Some(iops));
        }
        for iops in [least - 1, most + 1] {
            assert_eq!(
                limit(&format!("VolumeSize=16000,VolumeType={name},Iops={iops}")).0,
                "InvalidParameterValue"
            );
        }
    }
    assert_eq!(performance("VolumeSize=1,VolumeType=gp3"), (Some(3000), Some(125)));
}

#[test]
fn iops_are_bounded_by_the_size() {
    let (code, place, message) = limit("VolumeSize=20,VolumeType=gp3,Iops=15000");
    assert_eq!((code, place.as_str()), ("InvalidParameterValue", "--block-device-mappings[0].Ebs.Iops"));
    assert_eq!(message, "Iops to volume size ratio of 750.000000 is too high; maximum is 500");
    for (fits, not) in [
        ("VolumeSize=30,VolumeType=gp3,Iops=15000", "VolumeSize=30,VolumeType=gp3,Iops=15001"),
        ("VolumeSize=10,VolumeType=io1,Iops=500", "VolumeSize=10,VolumeType=io1,Iops=501"),
        ("VolumeSize=10,VolumeType=io2,Iops=10000", "VolumeSize=10,VolumeType=io2,Iops=10001"),
    ] {
        performance(fits);
        assert!(limit(not).2.starts_with("Iops to volume size ratio of "), "{not}");
    }
    performance("VolumeSize=1,VolumeType=gp3,Iops=3000");
    // Who makes the image's volume smaller than its IOPS need learns whose they are.
    let small = planned("DeviceName=/dev/xvda,Ebs={VolumeSize=7}").unwrap_err();
    assert_eq!(small.place, "BlockDeviceMappings[0].Ebs.Iops");
}

#[test]
fn throughput_is_gp3_s_and_bounded_by_the_iops() {
    for name in ["gp2", "io1,Iops=100", "io2,Iops=100", "st1", "sc1", "standard"] {
        let (code, _, message) = limit(&format!("VolumeSize=500,VolumeType={name},Throughput=125"));
        assert_eq!(code, "InvalidParameterCombination");
        assert_eq!(message, "throughput can only be specified for volumeType gp3.");
    }
    let gp3 = "VolumeSize=500,VolumeType=gp3";
    assert_eq!(performance(&format!("{gp3},Throughput=750")).1, Some(750));
    assert_eq!(performance(&format!("{gp3},Iops=8000,Throughput=2000")).1, Some(2000));
    let (code, place, message) = limit(&format!("{gp3},Throughput=1000"));
    assert_eq!(
        (code, place.as_str()),
        ("InvalidParameterValue", "--block-device-mappings[0].Ebs.Throughput")
    );
    assert_eq!(
        message,
        "Throughput (MiBps) to iops ratio of 0.333333 is too high; maximum is 0.250000 MiBps per iops"
    );
    for throughput in [124, 2001] {
        assert_eq!(limit(&format!("{gp3},Iops=80000,Throughput={throughput}")).0, "InvalidParameterValue");
    }
}

#[test]
fn hard_disks_cannot_be_the_root() {
    for name in ["st1", "sc1"] {
        let option = format!("DeviceName=/dev/xvda,Ebs={{VolumeType={name},VolumeSize=125}}");
        assert_eq!(planned(&option).unwrap_err().code, "InvalidParameterCombination", "{name}");
    }
    for name in ["gp2", "gp3", "standard"] {
        let option = format!("DeviceName=/dev/xvda,Ebs={{VolumeType={name},VolumeSize=125}}");
        assert_eq!(planned(&option).unwrap().volumes[0].volume_type, name);
    }
}

#[test]
fn keys_need_encryption_and_rates_have_bounds() {
    assert_eq!(limit("VolumeSize=1,KmsKeyId=alias/x").0, "InvalidParameterDependency");
    performance("VolumeSize=1,KmsKeyId=alias/x,Encrypted=true");
    for rate in [99, 301] {
        assert_eq!(
            limit(&format!("SnapshotId=snap-5,VolumeInitializationRate={rate}")).0,
            "InvalidParameterValue"
        );
    }
    performance("SnapshotId=snap-5,VolumeSize=1,VolumeInitializationRate=300");
}
