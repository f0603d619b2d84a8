//! Images that were published, and what becomes of each: the plan or the refusal. fixtures/README.md names sources.
#![expect(clippy::unwrap_used, reason = "a test: what cannot be read fails it")]

use ami_run_image::{Architecture, BlockDeviceMapping, Image, LaunchPlan, Refusal, Request, parse, plan};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// 21 November 2026.
const NOW: Duration = Duration::from_secs(1_795_219_200);

fn read(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read(folder.join(format!("{name}.json"))).unwrap()
}

fn request<'a>(host: Architecture, instance_type: Option<&'a str>) -> Request<'a> {
    Request {
        host,
        instance_type,
        cpus: None,
        memory_mib: None,
        boot_mode: None,
        mappings: &[],
        interface: None,
        account_id: None,
        now: SystemTime::UNIX_EPOCH.checked_add(NOW).unwrap(),
    }
}

fn launch_on(name: &str, host: Architecture, instance_type: Option<&str>) -> Result<LaunchPlan, Refusal> {
    plan(&parse(&read(name), None).unwrap(), &request(host, instance_type))
}

fn launch(name: &str) -> Result<LaunchPlan, Refusal> {
    launch_on(name, Architecture::X86_64, None)
}

/// The parts of a plan that differ between images: type, boot mode, HttpTokens, warnings.
fn brief(plan: &LaunchPlan) -> (String, String, String, Vec<&'static str>) {
    let warnings = plan.warnings.iter().map(|warning| warning.code).collect();
    (
        plan.instance_type.name.clone(),
        plan.boot_mode.to_string(),
        plan.metadata_options.http_tokens.clone(),
        warnings,
    )
}

/// Device, snapshot, GiB and interface of each volume.
fn volumes(plan: &LaunchPlan) -> Vec<(&str, &str, u32, String)> {
    let brief = |volume| {
        let volume: &ami_run_image::PlannedVolume = volume;
        let snapshot = volume.snapshot_id.as_deref().unwrap();
        (volume.device_name.as_str(), snapshot, volume.size_gib.unwrap(), volume.interface.to_string())
    };
    plan.volumes.iter().map(brief).collect()
}

fn usual(
    boot_mode: &str,
    tokens: &'static str,
    warnings: &[&'static str],
) -> (String, String, String, Vec<&'static str>) {
    ("t3.micro".to_owned(), boot_mode.to_owned(), tokens.to_owned(), warnings.to_vec())
}

fn volume(
    device: &'static str,
    snapshot: &'static str,
    gib: u32,
) -> (&'static str, &'static str, u32, String) {
    (device, snapshot, gib, "nvme".to_owned())
}

#[test]
fn amazon_linux_prefers_uefi_demands_tokens_and_is_deprecated() {
    let plan = launch("amazon-linux").unwrap();
    assert_eq!(brief(&plan), usual("uefi", "required", &["DeprecationTime"]));
    assert_eq!(volumes(&plan), [volume("/dev/xvda", "snap-0fc9d6b92707fe1b2", 8)]);
    assert_eq!((plan.volumes[0].iops, plan.volumes[0].throughput), (Some(3000), Some(125)));
    let old = launch_on("amazon-linux", Architecture::X86_64, Some("t2.micro")).unwrap();
    assert_eq!(
        brief(&old),
        (
            "t2.micro".to_owned(),
            "legacy-bios".to_owned(),
            "required".to_owned(),
            vec!["UefiFeaturesOff", "DeprecationTime"]
        )
    );
}

#[test]
fn ubuntu_maps_instance_store_that_only_some_types_have() {
    let plan = launch("ubuntu").unwrap();
    assert_eq!(brief(&plan), usual("uefi", "required", &[]));
    assert_eq!(volumes(&plan), [volume("/dev/sda1", "snap-03caf7c59107e3143", 8)]);
    assert_eq!(plan.instance_store, []);
    let with_store = launch_on("ubuntu", Architecture::X86_64, Some("c5d.large")).unwrap();
    assert_eq!(with_store.instance_store.len(), 1);
    assert_eq!(with_store.instance_store[0].device_name.as_deref(), Some("/dev/sdb"));
}

#[test]
fn rhel_says_nothing_of_its_boot_mode() {
    let plan = launch("rhel").unwrap();
    assert_eq!(brief(&plan), usual("legacy-bios", "optional", &[]));
    assert_eq!(volumes(&plan), [volume("/dev/sda1", "snap-111222333444aaabb", 10)]);
}

#[test]
fn windows_starts_by_uefi_and_misses_its_tpm() {
    let plan = launch("synthetic-windows").unwrap();
    assert_eq!(brief(&plan), usual("uefi", "required", &["TpmSupport"]));
    assert_eq!(volumes(&plan), [volume("/dev/sda1", "snap-00000000000000001", 30)]);
    let xen = launch_on("synthetic-windows", Architecture::X86_64, Some("m4.large")).unwrap_err();
    assert_eq!((xen.code, xen.place.as_str()), ("InvalidParameterValue", "BootMode"));
}

#[test]
fn a_marketplace_image_has_a_product_code() {
    let plan = launch("marketplace").unwrap();
    assert_eq!(brief(&plan), usual("legacy-bios", "optional", &["ProductCodes"]));
    assert_eq!(volumes(&plan), [volume("/dev/xvda", "snap-0dbf46be7f456191d", 8)]);
}

#[test]
fn bottlerocket_has_two_volumes_and_its_root_is_named_not_first() {
    let plan = launch("bottlerocket").unwrap();
    assert_eq!(brief(&plan), usual("legacy-bios", "optional", &[]));
    assert_eq!(
        volumes(&plan),
        [volume("/dev/xvda", "snap-086fb7e858e18cff4", 2), volume("/dev/xvdb", "snap-037dd9b80045d742b", 20)]
    );
    assert!(plan.volumes.iter().all(|volume| volume.delete_on_termination));
}

#[test]
fn a_graviton_image_runs_on_graviton() {
    let plan = launch_on("graviton", Architecture::Arm64, None).unwrap();
    let expected =
        ("t4g.micro".to_owned(), "uefi".to_owned(), "required".to_owned(), vec!["DeprecationTime"]);
    assert_eq!(brief(&plan), expected);
    assert_eq!(launch("graviton").unwrap_err().place, "Architecture");
    let intel = launch_on("graviton", Architecture::Arm64, Some("m5.large")).unwrap_err();
    assert_eq!((intel.code, intel.place.as_str()), ("InvalidParameterValue", "--instance-type"));
}

#[test]
fn what_ec2_would_not_launch_here_is_refused() {
    for (name, code, place) in [
        ("store-backed", "UnsupportedOperation", "RootDeviceType"),
        ("paravirtual", "InvalidParameterCombination", "VirtualizationType"),
        ("synthetic-disabled", "InvalidAMIID.Unavailable", "State"),
    ] {
        let refusal = launch(name).unwrap_err();
        assert_eq!((refusal.code, refusal.place.as_str()), (code, place), "{name}");
        assert!(refusal.hint.is_some(), "{name}");
    }
}

#[test]
fn every_member_is_known_and_kept() {
    let image = parse(&read("synthetic-all-members"), None).unwrap();
    let unknown: Vec<_> = image.other.keys().map(String::as_str).collect();
    // DescribeImages' model has ScanResults as a structure that nothing here looks at.
    assert_eq!(unknown, ["NotYetInvented", "ScanResults"]);
    for mapping in image.block_device_mappings.iter().flatten() {
        assert!(
            mapping.other.is_empty() && mapping.ebs.iter().all(|ebs| ebs.other.is_empty()),
            "{mapping:?}"
        );
    }
    let plan = plan(&image, &request(Architecture::X86_64, None)).unwrap();
    let codes: Vec<_> = plan.warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, ["ProductCodes", "TpmSupport", "EncryptedSnapshotPlaintext"]);
    assert!(!plan.volumes[0].delete_on_termination);
}

#[test]
fn every_fixture_is_written_back_as_it_was_read_and_has_a_source() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let sources = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(sources.contains(&format!("| {name} | ")), "{name} has no source");
        let json: serde_json::Value = serde_json::from_slice(&read(name)).unwrap();
        let image = json.get("Images").map_or(&json, |images| &images[0]);
        let written = serde_json::to_value(parse(&read(name), None).unwrap()).unwrap();
        assert_eq!(&written, image, "{name}");
        count += 1;
    }
    assert_eq!(count, 11);
}

#[test]
fn an_image_may_be_empty_but_not_launched() {
    assert!(plan(&Image::default(), &request(Architecture::X86_64, None)).is_err());
    let alone = Image {
        root_device_name: Some("/dev/xvda".to_owned()),
        block_device_mappings: Some(vec![BlockDeviceMapping::default()]),
        ..Image::default()
    };
    assert!(plan(&alone, &request(Architecture::X86_64, None)).is_err());
}
