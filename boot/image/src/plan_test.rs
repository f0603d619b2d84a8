//! Tests of the launch plan: which volume is the root, what each volume is, and what the machine gets.

use super::*;
use crate::{parse, parse_mappings};
use std::path::PathBuf;

fn request(mappings: &[BlockDeviceMapping]) -> Request<'_> {
    Request {
        host: Architecture::X86_64,
        instance_type: None,
        cpus: None,
        memory_mib: None,
        boot_mode: None,
        mappings,
        interface: None,
        account_id: None,
        now: SystemTime::UNIX_EPOCH,
    }
}

fn try_plan(json: &str) -> Result<LaunchPlan, Refusal> {
    plan(&parse(json.as_bytes(), None).unwrap(), &request(&[]))
}

/// An image with these mappings and further members.
fn image(mappings: &str, more: &str) -> String {
    format!(
        r#"{{"ImageId": "ami-1", "RootDeviceName": "/dev/xvda", "EnaSupport": true,
        "BlockDeviceMappings": [{mappings}]{more}}}"#
    )
}

const ROOT: &str = r#"{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1"}}"#;

/// The plan of an image with one root of 8 GiB and these of the caller's mappings.
fn with_option(option: &str) -> Result<LaunchPlan, Refusal> {
    let root = ROOT.replace("\"snap-1\"", "\"snap-1\", \"VolumeSize\": 8");
    let mappings = parse_mappings(&[option.to_owned()])?;
    plan(&parse(image(&root, "").as_bytes(), None).unwrap(), &request(&mappings))
}

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
    assert_eq!((plan.image_id.as_deref(), plan.root_device_name.as_str()), (Some("ami-1"), "/dev/xvda"));
}

#[test]
fn the_type_gives_the_shape_and_options_win() {
    let image = parse(image(ROOT, "").as_bytes(), None).unwrap();
    let default = plan(&image, &request(&[])).unwrap();
    assert_eq!((default.instance_type.name.as_str(), default.type_by_default), ("t3.micro", true));
    assert_eq!((default.cpus, default.memory_mib), (2, 1024));
    let large = Request { instance_type: Some("m5.large"), ..request(&[]) };
    let plan_of = |request: &Request<'_>| {
        let plan = plan(&image, request).unwrap();
        (plan.cpus, plan.memory_mib, plan.type_by_default)
    };
    assert_eq!(plan_of(&large), (2, 8192, false));
    assert_eq!(plan_of(&Request { cpus: Some(1), memory_mib: Some(512), ..large }), (1, 512, false));
    let arm = Request { host: Architecture::Arm64, ..request(&[]) };
    let of_arm = plan(&image, &arm).unwrap();
    assert_eq!((of_arm.instance_type.name.as_str(), of_arm.boot_mode), ("t4g.micro", BootMode::Uefi));
}

#[test]
fn boot_mode_follows_the_image_the_type_and_the_option() {
    let mode = |image_says: &str, request: &Request<'_>| {
        let more =
            if image_says.is_empty() { String::new() } else { format!(r#", "BootMode": "{image_says}""#) };
        let plan = plan(&parse(image(ROOT, &more).as_bytes(), None).unwrap(), request);
        plan.map(|plan| (plan.boot_mode, plan.warnings.iter().map(|w| w.code).collect::<Vec<_>>()))
    };
    let usual = request(&[]);
    assert_eq!(mode("", &usual), Ok((BootMode::LegacyBios, vec![])));
    assert_eq!(mode("uefi-preferred", &usual), Ok((BootMode::Uefi, vec![])));
    assert!(mode("bios", &usual).unwrap_err().message.contains("`bios` is not a boot mode"));
    let xen = Request { instance_type: Some("t2.micro"), ..usual };
    let off = mode("uefi-preferred", &Request { interface: None, ..xen });
    assert_eq!(off, Ok((BootMode::LegacyBios, vec!["UefiFeaturesOff"])));
    assert_eq!(mode("uefi", &xen).unwrap_err().place, "BootMode");
    let chosen = |boot_mode| Request { boot_mode: Some(boot_mode), ..request(&[]) };
    let bios = mode("uefi", &chosen(ImageBootMode::LegacyBios));
    assert_eq!(bios, Ok((BootMode::LegacyBios, vec!["BootModeOverridden", "UefiFeaturesOff"])));
    assert_eq!(mode("uefi", &chosen(ImageBootMode::Uefi)), Ok((BootMode::Uefi, vec![])));
    assert_eq!(mode("", &chosen(ImageBootMode::Uefi)), Ok((BootMode::Uefi, vec!["BootModeOverridden"])));
    let refused = mode("", &Request { instance_type: Some("t2.micro"), ..chosen(ImageBootMode::Uefi) });
    assert_eq!(refused.unwrap_err().place, "--boot-mode");
}

/// EC2 user guide, "Instance launch behavior with Amazon EC2 boot modes" and "Determine the boot mode of an EC2 instance":
/// what the image says, and what its instance is started by on a type with both modes, with BIOS only and with UEFI only.
type Row = (Option<&'static str>, [Option<&'static str>; 3]);
const TABLE: [Row; 4] = [
    (Some("legacy-bios"), [Some("legacy-bios"), Some("legacy-bios"), None]),
    (Some("uefi"), [Some("uefi"), None, Some("uefi")]),
    (Some("uefi-preferred"), [Some("uefi"), Some("legacy-bios"), Some("uefi")]),
    (None, [Some("legacy-bios"), Some("legacy-bios"), Some("uefi")]),
];

/// A type of each kind, with the architecture that EC2 has such types of.
const KINDS: [(&str, &str, Architecture); 3] = [
    ("m5.large", "x86_64", Architecture::X86_64),
    ("m4.large", "x86_64", Architecture::X86_64),
    ("m6g.large", "arm64", Architecture::Arm64),
];

/// The kinds are all there are: no type for x86_64 lacks BIOS, and none for arm64 has it.
#[test]
fn only_arm64_s_types_have_uefi_alone() {
    for name in InstanceType::names() {
        let found = InstanceType::find(&name).unwrap();
        assert_eq!(found.legacy_bios, found.architecture == Architecture::X86_64, "{name}");
    }
    let modes = KINDS.map(|(name, ..)| InstanceType::find(name).map(|it| (it.legacy_bios, it.uefi)).unwrap());
    assert_eq!(modes, [(true, true), (true, false), (false, true)]);
}

/// BootMode and CurrentInstanceBootMode as DescribeInstances would have them; None where EC2 refuses the launch, with
/// the place that is refused.
fn modes(image_says: Option<&str>, option: Option<&str>, kind: usize) -> Result<[Option<String>; 2], String> {
    let (instance_type, architecture, host) = KINDS[kind];
    let said = image_says.map(|mode| format!(r#", "BootMode": "{mode}""#)).unwrap_or_default();
    let json = image(ROOT, &format!(r#", "Architecture": "{architecture}"{said}"#));
    let chosen = option.map(|name| ImageBootMode::from_ec2(name).unwrap());
    let wanted = Request { host, instance_type: Some(instance_type), boot_mode: chosen, ..request(&[]) };
    match plan(&parse(json.as_bytes(), None).unwrap(), &wanted) {
        Ok(plan) => {
            Ok([plan.wanted_boot_mode.map(|mode| mode.to_string()), Some(plan.boot_mode.to_string())])
        }
        Err(refusal) => {
            assert_eq!(refusal.code, "InvalidParameterValue", "{refusal}");
            Err(refusal.place)
        }
    }
}

#[test]
fn every_row_of_ec2_s_table_of_boot_modes_is_planned() {
    let text = |mode: Option<&str>| mode.map(str::to_owned);
    for (image_says, expected) in TABLE {
        for (kind, expected) in expected.into_iter().enumerate() {
            let (name, ..) = KINDS[kind];
            let planned = modes(image_says, None, kind);
            let wanted = match expected {
                Some(current) => Ok([text(image_says), text(Some(current))]),
                None => Err("BootMode".to_owned()),
            };
            assert_eq!(planned, wanted, "{image_says:?} on {name}");
        }
    }
}

/// What `--boot-mode` says counts as if the image said it, whatever that says.
#[test]
fn the_option_s_row_counts_whatever_the_image_says() {
    for (image_says, _) in TABLE {
        for (option, expected) in TABLE.into_iter().filter(|(mode, _)| mode.is_some()) {
            for (kind, expected) in expected.into_iter().enumerate() {
                let planned = modes(image_says, option, kind);
                let wanted = match expected {
                    Some(current) => Ok([option.map(str::to_owned), Some(current.to_owned())]),
                    None => Err("--boot-mode".to_owned()),
                };
                assert_eq!(planned, wanted, "{image_says:?}, --boot-mode {option:?} on {}", KINDS[kind].0);
            }
        }
    }
}

#[test]
fn imds_support_demands_tokens_and_two_hops() {
    let options = |more: &str| try_plan(&image(ROOT, more)).unwrap().metadata_options;
    let usual = options("");
    assert_eq!(
        (usual.http_tokens.as_str(), usual.http_put_response_hop_limit, usual.http_endpoint.as_str()),
        ("optional", 1, "enabled")
    );
    let v2 = options(r#", "ImdsSupport": "v2.0""#);
    assert_eq!((v2.http_tokens.as_str(), v2.http_put_response_hop_limit), ("required", 2));
}

#[test]
fn disks_are_nvme_where_the_image_is_made_for_nitro() {
    let interface = |text: &str| try_plan(text).unwrap().volumes[0].interface;
    assert_eq!(interface(&image(ROOT, "")), Interface::Nvme);
    assert_eq!(interface(&image(ROOT, "").replace("true", "false")), Interface::Virtio);
    let image = parse(image(ROOT, "").as_bytes(), None).unwrap();
    let chosen = Request { interface: Some(Interface::Virtio), ..request(&[]) };
    assert_eq!(plan(&image, &chosen).unwrap().volumes[0].interface, Interface::Virtio);
}

#[test]
fn instance_store_is_the_types_not_the_images() {
    let mapped = format!(
        r#"{ROOT}, {{"DeviceName": "/dev/sdc", "VirtualName": "ephemeral1"}},
        {{"DeviceName": "/dev/sdz", "VirtualName": "ephemeral23"}}"#
    );
    let image = parse(image(&mapped, "").as_bytes(), None).unwrap();
    let store = |name: &str| {
        let plan = plan(&image, &Request { instance_type: Some(name), ..request(&[]) }).unwrap();
        let disks = plan.instance_store.into_iter();
        disks.map(|disk| (disk.virtual_name, disk.device_name, disk.size_gib)).collect::<Vec<_>>()
    };
    let name = |text: &str| Some(text.to_owned());
    assert_eq!(store("t3.micro"), []);
    // 300 GB each, mapped or not.
    assert_eq!(
        store("r5d.4xlarge"),
        [("ephemeral0".to_owned(), None, 279), ("ephemeral1".to_owned(), name("/dev/sdc"), 279)]
    );
    // Without NVMe only what is mapped is there.
    assert_eq!(store("m3.xlarge"), [("ephemeral1".to_owned(), name("/dev/sdc"), 37)]);
}

#[test]
fn delete_on_termination_is_true_for_the_root_and_inherited_else() {
    let second = r#"{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}}, {"DeviceName": "/dev/sdg", "Ebs":
        {"VolumeSize": 1, "DeleteOnTermination": true}}"#;
    let plan = try_plan(&image(&format!("{ROOT}, {second}"), "")).unwrap();
    assert_eq!(plan.volumes.iter().map(|v| v.delete_on_termination).collect::<Vec<_>>(), [true, false, true]);
    let kept = with_option("DeviceName=/dev/xvda,Ebs={DeleteOnTermination=false}").unwrap();
    assert!(!kept.volumes[0].delete_on_termination);
}

#[test]
fn encrypted_volumes_are_warned_of_and_stay_encrypted() {
    let codes = |plan: &LaunchPlan| plan.warnings.iter().map(|w| w.code).collect::<Vec<_>>();
    let added = with_option("DeviceName=/dev/xvda,Ebs={Encrypted=true}").unwrap();
    assert!(added.volumes[0].encrypted);
    assert_eq!(codes(&added), ["EncryptedSnapshotPlaintext"]);
    let encrypted = ROOT.replace("\"snap-1\"", "\"snap-1\", \"Encrypted\": true");
    let image = parse(image(&encrypted, "").as_bytes(), None).unwrap();
    let off = parse_mappings(&["DeviceName=/dev/xvda,Ebs={Encrypted=false}".to_owned()]).unwrap();
    assert!(plan(&image, &request(&off)).unwrap().volumes[0].encrypted, "encryption is never removed");
}

#[test]
fn a_disk_file_must_fit_the_volume_and_gives_its_size() {
    let gib = 1u64 << 30;
    let mut plan = try_plan(&image(ROOT, "")).unwrap();
    assert_eq!(plan.volumes[0].shown_gib(), None);
    plan.volumes[0].found(PathBuf::from("x"), 3 * gib + 1).unwrap();
    let root = &plan.volumes[0];
    assert_eq!((root.size_gib, root.shown_gib(), root.iops), (None, Some(4), Some(100)));
    let mut plan = with_option("DeviceName=/dev/xvda,Ebs={VolumeSize=15}").unwrap();
    plan.volumes[0].found(PathBuf::from("x"), 15 * gib).unwrap();
    let refused = plan.volumes[0].found(PathBuf::from("x"), 30 * gib).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "--block-device-mappings[0].Ebs.VolumeSize: Volume of size 15GB is smaller than snapshot 'snap-1', expect size \
         >= 30GB (InvalidBlockDeviceMapping)"
    );
}

#[test]
fn a_snapshot_s_record_gives_its_size_and_encryption() {
    let records = r#", "Snapshots": [{"SnapshotId": "snap-1", "VolumeSize": 9, "Encrypted": true}]"#;
    let plan = try_plan(&image(ROOT, records)).unwrap();
    assert_eq!((plan.volumes[0].shown_gib(), plan.volumes[0].encrypted), (Some(9), true));
    let small = ROOT.replace("\"snap-1\"", "\"snap-1\", \"VolumeSize\": 8");
    let refused = try_plan(&image(&small, records)).unwrap_err();
    assert!(
        refused.to_string().starts_with("BlockDeviceMappings[0].Ebs.VolumeSize: Volume of size 8GB is"),
        "{refused}"
    );
}

#[test]
fn an_image_without_its_root_is_refused() {
    let refused = |text: &str| {
        let refusal = try_plan(text).unwrap_err();
        assert_eq!(refusal.code, "InvalidBlockDeviceMapping");
        refusal.to_string()
    };
    let other = ROOT.replace("xvda", "sda1");
    assert!(
        refused(&image(&other, "")).starts_with(
            "BlockDeviceMappings: none has the root's device name /dev/xvda; there is /dev/sda1"
        )
    );
    assert!(refused(&image("", "")).contains("there is no mapping at all"));
    let ephemeral = r#"{"DeviceName": "/dev/xvda", "VirtualName": "ephemeral0"}"#;
    assert!(refused(&image(ephemeral, "")).contains("not an EBS volume with a snapshot"));
    let empty = r#"{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}"#;
    assert!(refused(&image(empty, "")).contains("not an EBS volume with a snapshot"));
    assert!(
        refused(r#"{"ImageId": "ami-1", "Name": "x"}"#).starts_with("RootDeviceName: the image does not say")
    );
    let gone = with_option("DeviceName=/dev/xvda,NoDevice=").unwrap_err();
    assert!(gone.message.contains("none has the root's device name"), "{gone}");
}

#[test]
fn snapshot_ids_that_could_leave_a_folder_are_refused() {
    for bad in ["snap-", "vol-1", "snap-../../etc", "snap-1/2"] {
        let refusal = try_plan(&image(&ROOT.replace("snap-1", bad), "")).unwrap_err();
        assert_eq!(refusal.code, "InvalidSnapshotID.Malformed", "{bad}");
        assert!(refusal.to_string().contains("is not a snapshot id"), "{refusal}");
    }
}

#[test]
fn the_plan_is_shown_to_a_person_and_a_program() {
    let mut plan =
        with_option("DeviceName=/dev/sdf,Ebs={VolumeSize=10,VolumeType=gp3,Encrypted=true}").unwrap();
    plan.volumes[0].found(PathBuf::from("a/snap-1.raw"), 1 << 33).unwrap();
    let text = plan.text();
    for line in [
        "image           ami-1 (x86_64)",
        "instance type   t3.micro (by default): 2 vCPUs, 1024 MiB",
        "boot mode       legacy-bios (the image does not say, t3.micro has legacy-bios and uefi)",
        "root volume     /dev/xvda: 8 GiB gp2, 100 IOPS, nvme, snap-1 in a/snap-1.raw, deleted on termination",
        "volume          /dev/sdf: 10 GiB gp3, 3000 IOPS, 125 MiB/s, nvme, empty, kept on termination, encrypted on EC2",
        "metadata        HttpTokens optional, HttpPutResponseHopLimit 1",
        "warning         EncryptedSnapshotPlaintext: EC2 encrypts /dev/sdf",
    ] {
        assert!(text.contains(line), "no {line:?} in:\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&plan.json().unwrap()).unwrap();
    let expected = serde_json::json!({
        "ImageId": "ami-1", "Architecture": "x86_64", "InstanceType": "t3.micro", "BootMode": "legacy-bios",
        "RootDeviceName": "/dev/xvda", "Cpus": 2, "MemoryMiB": 1024,
        "Volumes": [
            {"DeviceName": "/dev/xvda", "SnapshotId": "snap-1", "SizeGiB": 8, "VolumeType": "gp2", "Iops": 100,
             "Throughput": null, "DeleteOnTermination": true, "Encrypted": false, "Source": "a/snap-1.raw",
             "Interface": "nvme"},
            {"DeviceName": "/dev/sdf", "SnapshotId": null, "SizeGiB": 10, "VolumeType": "gp3", "Iops": 3000,
             "Throughput": 125, "DeleteOnTermination": false, "Encrypted": true, "Source": null,
             "Interface": "nvme"},
        ],
        "InstanceStore": [],
        "MetadataOptions": {"HttpTokens": "optional", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled",
                            "HttpProtocolIpv6": "disabled", "InstanceMetadataTags": "disabled"},
        "Warnings": [{"Code": "EncryptedSnapshotPlaintext", "Message": plan.warnings[0].message}],
    });
    assert_eq!(json, expected);
}
