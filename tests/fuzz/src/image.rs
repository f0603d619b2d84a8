//! What people write about images: image.json, and the shorthand of `--block-device-mappings`.

use ami_run_image::{
    Architecture, BlockDeviceMapping, Image, Request, is_snapshot_id, not_json, parse, parse_mappings, plan,
};
use std::path::PathBuf;
use std::time::SystemTime;

/// Reads the bytes as image.json, and plans its launch on both architectures.
pub fn image_json(data: &[u8]) {
    let Ok(image) = parse(data, None) else { return };
    assert_eq!(not_json(data), None, "what is JSON is not taken for something else");
    let again = serde_json::json!({ "Images": [&image] }).to_string();
    assert_eq!(parse(again.as_bytes(), None).ok().as_ref(), Some(&image), "it is read as it was written");
    for host in [Architecture::X86_64, Architecture::Arm64] {
        launch(&image, host, &[]);
    }
}

/// Reads the bytes as mappings, and lays them over an image's.
pub fn mappings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(mappings) = parse_mappings(&[text.to_owned()]) else { return };
    let image = br#"{"ImageId": "ami-1", "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": [
        {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1", "VolumeSize": 8}},
        {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}]}"#;
    let image = parse(image, None).expect("the image is good");
    launch(&image, Architecture::X86_64, &mappings);
}

/// What holds of every plan.
fn launch(image: &Image, host: Architecture, mappings: &[BlockDeviceMapping]) {
    let request = Request {
        host,
        instance_type: None,
        cpus: None,
        memory_mib: None,
        boot_mode: None,
        mappings,
        interface: None,
        account_id: Some("111122223333"),
        now: SystemTime::UNIX_EPOCH,
    };
    let mut plan = match plan(image, &request) {
        Ok(plan) => plan,
        Err(refusal) => {
            assert!(!refusal.code.is_empty() && !refusal.message.is_empty());
            return;
        }
    };
    assert_eq!(plan.volumes.iter().filter(|volume| volume.root).count(), 1);
    assert!(
        plan.volumes.first().is_some_and(|volume| volume.root && volume.device_name == plan.root_device_name)
    );
    for volume in &mut plan.volumes {
        assert!(volume.snapshot_id.as_deref().is_none_or(is_snapshot_id));
        assert!(volume.snapshot_id.is_some() || volume.size_gib.is_some());
        if volume.snapshot_id.is_some() {
            let fits = volume.found(PathBuf::from("x"), 9 << 30).is_ok();
            assert!(!fits || volume.shown_gib().is_some_and(|gib| gib >= 9));
            assert!(volume.found(PathBuf::from("x"), u64::MAX).is_err(), "EBS has no volume of this size");
        }
    }
    assert!(plan.text().starts_with("image "));
    plan.json().expect("a plan can be written");
}
