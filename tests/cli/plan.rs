//! `--dry-run`, and what is refused or warned of before a launch: as EC2 decides, without KVM, and with nothing made.

use crate::guest::Guest;
use crate::run::{Ended, Place, has_kvm, run, skip};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

const IMAGE: &str = r#"{"Images": [{"ImageId": "ami-1", "Architecture": "x86_64", "RootDeviceName": "/dev/xvda",
    "EnaSupport": true, "OwnerId": "111122223333", "BlockDeviceMappings": [
    {"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": "snap-2", "VolumeSize": 4, "Encrypted": true}},
    {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1", "VolumeSize": 8}}]}]}"#;

/// image.json and disk files of its two snapshots.
const FILES: [&str; 3] = ["i.json", "snap-1.raw", "snap-2.raw"];

/// A place with an image.json of this text.
fn place_of(image: &str) -> Place {
    let place = Place::new();
    place.write("i.json", image);
    for name in ["snap-1.raw", "snap-2.raw"] {
        place.write(name, [0; 512]);
    }
    place
}

fn dry(place: &Place, more: &[&str]) -> Ended {
    run(place.command(&[&["i.json", "--dry-run"], more].concat()))
}

/// Exit code 1, and what is said.
fn refused(image: &str, more: &[&str], fragments: &[&str]) {
    let place = place_of(image);
    let ended = dry(&place, more);
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{more:?}: {}", ended.err);
    for fragment in fragments {
        assert!(ended.err.contains(fragment), "{more:?}: no {fragment:?} in: {}", ended.err);
    }
    assert!(place.leftovers(&FILES).is_empty());
}

#[test]
fn an_image_writes_no_lines_of_its_own() {
    let fake = IMAGE.replace("/dev/xvda", "/dev/x\\nwarning         fake: line");
    let ended = dry(&place_of(&fake), &[]);
    assert!(ended.code == Some(0) && ended.out.contains("/dev/x\\nwarning"), "{}{}", ended.out, ended.err);
    assert!(!ended.out.contains("\nwarning         fake"), "{}", ended.out);
    let place = place_of(&fake.replacen("/dev/x\\n", "/dev/y\\n", 1));
    let ended = run(place.command(&["image", "lint", "i.json"]));
    assert_eq!((ended.code, ended.out.lines().count()), (Some(1), 3), "{}{}", ended.out, ended.err);
}

#[test]
fn a_plan_that_nobody_reads_ends_like_other_programs_in_a_pipe() {
    let place = place_of(IMAGE);
    for more in [&[][..], &["--output", "json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = place.command(&[&["i.json", "--dry-run"], more].concat());
        let output = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output();
        let output = output.unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(141), Vec::new()), "{more:?}");
    }
}

#[test]
fn a_dry_run_shows_the_plan_and_makes_nothing() {
    let place = place_of(IMAGE);
    let ended = dry(&place, &["--instance-type", "r5d.xlarge", "--cpus", "1"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{}", ended.err);
    for line in [
        "image           ami-1 (x86_64)\n",
        "instance type   r5d.xlarge: 1 vCPU (--cpus; the type has 4), 32768 MiB\n",
        "boot mode       legacy-bios (the image does not say, r5d.xlarge has legacy-bios and uefi)\n",
        "root volume     /dev/xvda: 8 GiB gp2, 100 IOPS, nvme, snap-1 in ./snap-1.raw, deleted on termination\n",
        "volume          /dev/sdf: 4 GiB gp2, 100 IOPS, nvme, snap-2 in ./snap-2.raw, kept on termination, encrypted",
        "instance store  ephemeral0: 139 GiB\n",
        "metadata        HttpTokens optional, HttpPutResponseHopLimit 1\n",
        "warning         EncryptedSnapshotPlaintext: ",
    ] {
        assert!(ended.out.contains(line), "no {line:?} in:\n{}", ended.out);
    }
    assert!(place.leftovers(&FILES).is_empty());
}

#[test]
fn a_dry_run_is_json_of_exactly_these_members() {
    let place = place_of(IMAGE);
    let mappings =
        "DeviceName=/dev/xvda,Ebs={VolumeType=gp3,Iops=4000,Throughput=250,DeleteOnTermination=false}";
    let more = ["--output", "json", "--block-device-mappings", mappings, "--block-device-mappings"];
    let ended = dry(&place, &[&more[..], &["DeviceName=/dev/sdf,NoDevice="]].concat());
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{}", ended.err);
    assert_eq!(ended.out.lines().count(), 1);
    let expected = json!({
        "ImageId": "ami-1", "Architecture": "x86_64", "InstanceType": "t3.micro", "BootMode": "legacy-bios",
        "RootDeviceName": "/dev/xvda", "Cpus": 2, "MemoryMiB": 1024,
        "Volumes": [{"DeviceName": "/dev/xvda", "SnapshotId": "snap-1", "SizeGiB": 8, "VolumeType": "gp3",
                     "Iops": 4000, "Throughput": 250, "DeleteOnTermination": false, "Encrypted": false,
                     "Source": "./snap-1.raw", "Interface": "nvme"}],
        "InstanceStore": [],
        "MetadataOptions": {"HttpTokens": "optional", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled",
                            "HttpProtocolIpv6": "disabled", "InstanceMetadataTags": "disabled"},
        "Warnings": [{"Code": "NoPartitionTable", "Message":
                      "the disk: there is no partition table, and no file system that is known here"}],
    });
    assert_eq!(serde_json::from_str::<Value>(&ended.out).unwrap(), expected);
}

#[test]
fn a_dry_run_needs_no_kvm() {
    let place = place_of(IMAGE);
    let mut command = Command::new("unshare");
    place.prepare(&mut command);
    let hide = r#"mount -t tmpfs none /dev && exec "$0" "$@""#;
    command.args(["--mount", "sh", "-c", hide, env!("CARGO_BIN_EXE_ami-run"), "i.json", "--dry-run"]);
    match run(command) {
        ended if ended.err.contains("unshare") || ended.err.contains("mount") => skip(&ended.err),
        ended => assert_eq!(ended.code, Some(0), "{}", ended.err),
    }
}

#[test]
fn a_disk_and_a_kernel_have_plans_too() {
    let place = Place::new();
    place.write("d.raw", [0; 512]);
    let ended = run(place.command(&["d.raw", "--dry-run", "--output", "json"]));
    let plan: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&plan["ImageId"], &plan["Volumes"][0]["SnapshotId"]), (&Value::Null, &Value::Null));
    assert_eq!(plan["Volumes"][0]["Source"], "d.raw");
    let codes: Vec<_> = plan["Warnings"].as_array().unwrap().iter().map(|warning| &warning["Code"]).collect();
    assert_eq!(codes, ["NoPartitionTable"], "nothing of what an image would say");
    let ended = run(place.command(&["--kernel", "k", "--dry-run", "--output", "json"]));
    assert_eq!(serde_json::from_str::<Value>(&ended.out).unwrap()["Volumes"], json!([]));
}

#[test]
fn refusals_have_ec2_s_code_and_words_in_json() {
    let cases: &[(&[&str], &str, &str)] = &[
        (
            &["--instance-type", "t3.mikro"],
            "InvalidParameterValue",
            "Invalid value 't3.mikro' for InstanceType.",
        ),
        (
            &["--instance-type", "t2.micro", "--boot-mode", "uefi"],
            "InvalidParameterValue",
            "The t2.micro instance type does not support an AMI with a boot mode of UEFI.",
        ),
        (
            &["--block-device-mappings", "DeviceName=/dev/sdg,Ebs={VolumeType=gp3}"],
            "InvalidBlockDeviceMapping",
            "Either snapshot ID or volume size must be provided for: /dev/sdg",
        ),
        (&["--account-id", "1111-2222-3334"], "AuthFailure", "Not authorized for images: [ami-1]"),
        (&["--image-id", "ami-2"], "InvalidAMIID.NotFound", "The image id '[ami-2]' does not exist"),
        (
            &["--block-device-mappings", "DeviceName=/dev/sdg,Ebs={SnapshotId=snap-3}"],
            "InvalidSnapshot.NotFound",
            "The snapshot 'snap-3' does not exist.",
        ),
    ];
    for (more, code, message) in cases {
        let ended = dry(&place_of(IMAGE), &[&["--output", "json"], *more].concat());
        assert_eq!(ended.code, Some(1), "{more:?}: {}", ended.err);
        let result: Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(
            (&result["Result"], &result["Error"]["Code"]),
            (&json!("Failed"), &json!(code)),
            "{more:?}"
        );
        assert!(result["Error"]["Message"].as_str().unwrap().starts_with(message), "{result}");
    }
    let fine = dry(&place_of(IMAGE), &["--account-id", "111122223333", "--image-id", "ami-1"]);
    assert_eq!(fine.code, Some(0), "{}", fine.err);
}

#[test]
fn a_mapping_that_does_not_fit_says_where_it_was_given() {
    let place = place_of(IMAGE);
    // Two GiB of nothing, which take no room.
    fs::File::create(place.inputs().join("snap-1.raw")).unwrap().set_len(2 << 30).unwrap();
    let option = "DeviceName=/dev/xvda,Ebs={VolumeSize=1}";
    let ended = dry(&place, &["--block-device-mappings", option]);
    assert_eq!(ended.code, Some(1));
    let told = "--block-device-mappings[0].Ebs.VolumeSize: Volume of size 1GB is smaller than snapshot 'snap-1', expect \
                size >= 2GB (InvalidBlockDeviceMapping)";
    assert!(ended.err.contains(told), "{}", ended.err);
    let twice = IMAGE.replace("/dev/sdf", "xvda");
    refused(&twice, &[], &["BlockDeviceMappings[1].DeviceName: The device 'xvda' is used in more than one"]);
    let path = IMAGE.replace("snap-1", "snap-../../etc");
    refused(&path, &[], &["BlockDeviceMappings[1].Ebs.SnapshotId: `snap-../../etc` is not a snapshot id"]);
    refused(
        &IMAGE.replace("ami-1", "ami-../x"),
        &[],
        &["ImageId: Invalid id: \"ami-../x\" (InvalidAMIID.Malformed)"],
    );
}

#[test]
fn mappings_that_cannot_be_read_are_a_mistake_of_the_command_line() {
    let place = place_of(IMAGE);
    for (value, told) in [
        (
            "DeviceName=/dev/sdg,Ebs={Size=1}",
            "--block-device-mappings[0].Ebs: Unknown parameter \"Size\", must be one",
        ),
        ("DeviceName", "character 11 of `DeviceName`: `=` is missing before the end"),
        ("[{", "it is not JSON: EOF"),
        ("file://not-there", "--block-device-mappings: cannot read not-there"),
    ] {
        let ended = dry(&place, &["--block-device-mappings", value]);
        assert_eq!(ended.code, Some(2), "{value}: {}", ended.err);
        assert!(ended.err.contains(told), "{value}: {}", ended.err);
    }
    place.write("m.json", "[{\"DeviceName\": \"/dev/sdf\", \"NoDevice\": \"\"}]\n");
    let ended = dry(&place, &["--block-device-mappings", "file://m.json"]);
    assert!(ended.code == Some(0) && !ended.out.contains("/dev/sdf"), "{}{}", ended.out, ended.err);
}

#[test]
fn other_outputs_of_the_cli_are_named_whatever_the_file_is_called() {
    for (text, what) in [
        ("Images:\n- Architecture: x86_64\n", "an output of the AWS CLI as YAML"),
        ("--------------------\n|  DescribeImages  |\n", "an output of the AWS CLI as a table"),
        ("IMAGES\tx86_64\t2019-05-10\n", "an output of the AWS CLI as text"),
        ("{\"Reservations\": []}", "the output of describe-instances"),
        ("{\"ImageId\": \"ami-1\"}", "the output of create-image, copy-image or register-image"),
    ] {
        let place = Place::new();
        for name in ["described", "i.json"] {
            place.write(name, text);
            let ended = run(place.command(&[name]));
            assert_eq!(ended.code, Some(1), "{text}: {}", ended.err);
            assert!(
                ended.err.contains(&format!("it is {what}, not the description of an image")),
                "{}",
                ended.err
            );
        }
    }
}

#[test]
fn files_that_the_image_names_stay_inside_its_folder() {
    let place = Place::new();
    fs::create_dir(place.inputs().join("image")).unwrap();
    let described = |file: &str| {
        IMAGE.replacen(
            '{',
            &format!("{{\"Snapshots\": [{{\"SnapshotId\": \"snap-1\", \"File\": \"{file}\"}}], "),
            1,
        )
    };
    for name in ["out.raw", "image/in.raw", "image/snap-2.raw"] {
        place.write(name, [0; 512]);
    }
    symlink("../out.raw", place.inputs().join("image/link.raw")).unwrap();
    let plan = |file: &str, more: &[&str]| {
        place.write("image/i.json", described(file));
        run(place.command(&[&["image/i.json", "--dry-run"], more].concat()))
    };
    let inside = plan("in.raw", &[]);
    assert!(inside.out.contains("snap-1 in image/in.raw"), "{}{}", inside.out, inside.err);
    let absolute = place.inputs().join("out.raw").display().to_string();
    for file in ["../out.raw", "link.raw", absolute.as_str()] {
        let ended = plan(file, &[]);
        assert_eq!(ended.code, Some(1), "{file}: {}", ended.err);
        assert!(ended.err.contains("Snapshots: the File of snap-1, "), "{}", ended.err);
        assert!(ended.err.contains("--allow-external-files"), "{}", ended.err);
        assert_eq!(plan(file, &["--allow-external-files"]).code, Some(0), "{file}");
    }
}

#[test]
fn a_snapshot_that_is_nowhere_is_told_with_the_next_steps() {
    let place = Place::new();
    place.write("i.json", IMAGE);
    let ended = dry(&place, &[]);
    assert_eq!(ended.code, Some(1));
    for told in [
        "no disk file holds snapshot snap-1",
        "there is no ./snap-1.raw, nor one of .img, .qcow2, .vmdk, .vhd, .raw.xz, .raw.gz, .raw.zst",
        "coldsnap download snap-1 ./snap-1.raw",
        "aws ec2 copy-image --source-image-id ami-1",
        "aws ec2 create-snapshot",
    ] {
        assert!(ended.err.contains(told), "no {told:?} in: {}", ended.err);
    }
    let sold =
        IMAGE.replace("\"EnaSupport\"", "\"ProductCodes\": [{\"ProductCodeId\": \"x\"}], \"EnaSupport\"");
    place.write("i.json", sold);
    assert!(dry(&place, &[]).err.contains("from the Marketplace, whose snapshots cannot be downloaded"));
}

#[test]
fn what_only_uefi_starts_and_what_prefers_it_starts_by_uefi() {
    let uefi = IMAGE.replace("\"EnaSupport\"", "\"BootMode\": \"uefi\", \"EnaSupport\"");
    let place = place_of(&uefi);
    let planned = dry(&place, &["--output", "json"]);
    let plan: Value = serde_json::from_str(&planned.out).unwrap();
    assert_eq!((planned.code, &plan["BootMode"]), (Some(0), &json!("uefi")), "{}", planned.err);
    let preferred = dry(&place_of(&uefi.replace("\"uefi\"", "\"uefi-preferred\"")), &[]);
    assert!(preferred.out.contains("boot mode       uefi (uefi-preferred is wanted, "), "{}", preferred.out);
}

#[test]
fn a_launch_says_its_warnings_and_its_type() {
    if !has_kvm() {
        return;
    }
    let place = place_of(&IMAGE.replace("\"EnaSupport\": true", "\"EnaSupport\": false"));
    let ended = run(place.guest(Guest::default().power_off(), &["i.json", "--output", "json"]));
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    for line in [
        "assuming   instance type t3.micro: --instance-type chooses another  ",
        "warning    EnaSupport: EC2 would refuse this launch: Enhanced networking with the Elastic Network Adapter",
        "warning    EncryptedSnapshotPlaintext: EC2 encrypts /dev/sdf; ",
    ] {
        assert!(ended.err.contains(line), "no {line:?} in: {}", ended.err);
    }
    let result: Value = serde_json::from_str(&ended.out).unwrap();
    let codes: Vec<_> =
        result["Warnings"].as_array().unwrap().iter().map(|warning| &warning["Code"]).collect();
    assert_eq!(codes, ["EnaSupport", "EncryptedSnapshotPlaintext"]);
    assert_eq!(result["Error"], Value::Null);
}

#[test]
fn a_type_that_is_larger_than_this_computer_is_refused_by_name() {
    let place = place_of(IMAGE);
    let ended = run(place.command(&["i.json", "--instance-type", "u7i-6tb.112xlarge", "--cpus", "1"]));
    assert_eq!(ended.code, Some(3), "{}", ended.err);
    assert!(
        ended.err.contains("u7i-6tb.112xlarge: 6291456 MiB is more than this computer has"),
        "{}",
        ended.err
    );
    let ended = run(place.command(&["i.json", "--instance-type", "m5.24xlarge", "--memory", "64M"]));
    assert_eq!(ended.code, Some(3), "{}", ended.err);
    assert!(ended.err.contains("m5.24xlarge has 96 vCPUs, and a machine has 64 at most"), "{}", ended.err);
}
