//! Tests of the launch plan: which volume is the root, and which images are refused.

use super::*;
use crate::parse;

const SHAPE: Shape = Shape { cpus: 2, memory_mib: 1024, interface: None };

fn try_plan(json: &str) -> Result<LaunchPlan, ImageError> {
    plan(&parse(json.as_bytes()).unwrap(), Architecture::X86_64, SHAPE)
}

/// An image with these mappings and further members.
fn image(mappings: &str, more: &str) -> String {
    format!(
        r#"{{"ImageId": "ami-1", "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": [{mappings}]{more}}}"#
    )
}

const ROOT: &str = r#"{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1"}}"#;

#[test]
fn the_root_is_found_by_name_and_comes_first() {
    let others = r#"{"DeviceName": "/dev/sdg", "Ebs": {"SnapshotId": "snap-2", "VolumeSize": 9}},
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}}, {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
        {"DeviceName": "/dev/sdc", "NoDevice": ""}"#;
    let plan = try_plan(&image(&format!("{others}, {ROOT}"), "")).unwrap();
    let volumes: Vec<_> = plan
        .volumes
        .iter()
        .map(|v| (v.device_name.as_str(), v.snapshot_id.as_deref(), v.size_gib, v.root))
        .collect();
    assert_eq!(
        volumes,
        [
            ("/dev/xvda", Some("snap-1"), None, true),
            ("/dev/sdg", Some("snap-2"), Some(9), false),
            ("/dev/sdf", None, Some(1), false),
        ]
    );
    assert_eq!((plan.cpus, plan.memory_mib, plan.image_id.as_deref()), (2, 1024, Some("ami-1")));
}

#[test]
fn boot_modes_that_a_bios_can_start() {
    for more in ["", r#", "BootMode": "legacy-bios""#, r#", "BootMode": "uefi-preferred""#] {
        assert_eq!(try_plan(&image(ROOT, more)).unwrap().boot_mode, BootMode::LegacyBios);
    }
    let refused = try_plan(&image(ROOT, r#", "BootMode": "uefi""#)).unwrap_err();
    assert!(refused.to_string().contains("`uefi`"), "{refused}");
}

#[test]
fn other_architectures_are_refused_with_advice() {
    assert_eq!(
        try_plan(&image(ROOT, r#", "Architecture": "x86_64""#)).unwrap().architecture,
        Architecture::X86_64
    );
    let arm = try_plan(&image(ROOT, r#", "Architecture": "arm64""#)).unwrap_err();
    assert_eq!(arm.to_string(), "Architecture: the image is for arm64, and this computer is x86_64");
    assert!(arm.hint().unwrap().contains("launch it on a computer of that architecture"));
    let mac = try_plan(&image(ROOT, r#", "Architecture": "x86_64_mac""#)).unwrap_err();
    assert_eq!(mac.hint().unwrap(), "take the image's x86_64 build");
}

#[test]
fn a_mapping_that_cannot_be_launched_says_which_and_why() {
    let refused = |mappings: &str| try_plan(&image(mappings, "")).unwrap_err().to_string();
    let other = ROOT.replace("xvda", "sda1");
    assert_eq!(
        refused(&other),
        "BlockDeviceMappings: none has the root's device name /dev/xvda; there is /dev/sda1"
    );
    assert!(refused("").ends_with("there is no mapping at all"));
    assert!(refused(r#"{"Ebs": {}}"#).starts_with("BlockDeviceMappings[0]: it has no DeviceName"));
    assert!(
        refused(r#"{"DeviceName": "/dev/xvda", "VirtualName": "ephemeral0"}"#).contains("not an EBS volume")
    );
    assert!(
        refused(r#"{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}"#).contains("not an EBS volume")
    );
    let empty = format!(r#"{ROOT}, {{"DeviceName": "/dev/sdf", "Ebs": {{}}}}"#);
    assert!(refused(&empty).ends_with("Either snapshot ID or volume size must be provided for: /dev/sdf"));
    for bad in ["snap-", "vol-1", "snap-../../etc", "snap-1/2"] {
        let told = refused(&ROOT.replace("snap-1", bad));
        assert!(told.contains("is not a snapshot id"), "{told}");
    }
    let large = r#"{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1", "VolumeSize": 65537}}"#;
    assert!(refused(large).contains("65537 GiB is outside 1 to 65536"));
    let no_root = plan(&parse(br#"{"ImageId": "ami-1"}"#).unwrap(), Architecture::X86_64, SHAPE);
    assert_eq!(no_root.unwrap_err(), ImageError::NoRootDeviceName);
}
