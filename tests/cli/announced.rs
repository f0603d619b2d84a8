//! What an instance is given at its launch, how its metadata are answered, and what is announced to it.

use crate::guest::Guest;
use crate::life::Life;
use crate::run::{has_kvm, run};
use serde_json::{Value, json};

fn refused(life: &Life, line: &str, code: i32, says: &str) {
    let ended = life.ended(&line.split(' ').collect::<Vec<_>>());
    assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""), "{line}: {}", ended.err);
    assert!(ended.err.contains(says), "{line}: {}", ended.err);
}

#[test]
fn a_stopped_instance_s_metadata_options_are_those_of_its_next_start() {
    let life = Life::new();
    let id = life.stopped("web");
    let line = "metadata-options web --http-tokens required --http-put-response-hop-limit 3 --output json";
    let told: Value = serde_json::from_str(&life.done(line)).unwrap();
    let options = json!({"State": "applied", "HttpTokens": "required", "HttpPutResponseHopLimit": 3,
        "HttpEndpoint": "enabled", "HttpProtocolIpv6": "disabled", "InstanceMetadataTags": "disabled"});
    assert_eq!(told, json!({"InstanceId": id, "InstanceMetadataOptions": options}));
    assert_eq!(life.instance(&id).unwrap()["MetadataOptions"], options);
    let text = life.done("metadata-options web --instance-metadata-tags enabled");
    assert!(text.contains("HttpTokens required") && text.contains("InstanceMetadataTags enabled"), "{text}");
    for line in ["--http-tokens yes", "--http-put-response-hop-limit 0", "--http-put-response-hop-limit 65"] {
        refused(&life, &format!("metadata-options web {line}"), 2, "invalid value");
    }
    refused(&life, "metadata-options web", 2, "required");
    refused(&life, "event web spot-stop", 1, "(IncorrectInstanceState)");
    life.done("terminate web");
    let line = format!("metadata-options {id} --http-tokens optional");
    refused(&life, &line, 1, "(IncorrectInstanceState)");
}

#[test]
fn events_have_the_form_that_they_need() {
    let life = Life::new();
    life.stopped("web");
    refused(&life, "event web maintenance", 2, "it has a code");
    refused(&life, "event web maintenance tea-break", 2, "instance-retirement");
    refused(&life, "event web spot-stop system-reboot", 2, "it has no code");
    refused(&life, "event web flood", 2, "spot-terminate");
    refused(&life, "event i-0123456789abcdef0 rebalance", 1, "(InvalidInstanceID.NotFound)");
}

#[test]
fn what_an_instance_is_given_stands_in_its_record_without_its_credentials() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    life.place.write("data", "#cloud-config\n");
    life.place.write("mine.pub", "ssh-ed25519 AAAAC3Nz me@here\n");
    life.place.write("keys", r#"{"AccessKeyId": "ASIA1", "SecretAccessKey": "hidden", "SessionToken": "t"}"#);
    let guest = Guest::default().wait_for_button("up");
    let options = "--user-data data --ssh-key mine.pub --tag team=a=b --region eu-west-3 --iam-credentials file:keys \
                   --metadata-options HttpTokens=required,InstanceMetadataTags=enabled";
    let id = life.launch("web", guest, &options.split_whitespace().collect::<Vec<_>>());
    let record = life.instance(&id).unwrap();
    assert_eq!(record["Placement"]["AvailabilityZone"], "eu-west-3a");
    assert_eq!(record["KeyName"], "mine");
    assert_eq!(record["AmiRun"]["PublicKey"], "ssh-ed25519 AAAAC3Nz mine");
    // EC2 does not tell it here either.
    assert_eq!(record["AmiRun"].get("UserData"), None);
    let kept = || {
        let path = life.state_folder().join("instances").join(&id).join("instance.json");
        let kept: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        kept["AmiRun"]["UserData"].clone()
    };
    assert_eq!(kept(), "I2Nsb3VkLWNvbmZpZwo=");
    let tags = json!([{"Key": "Name", "Value": "web"}, {"Key": "team", "Value": "a=b"}]);
    assert_eq!(record["Tags"], tags);
    let source = record["AmiRun"]["IamCredentials"].as_str().unwrap();
    assert!(source.starts_with("file:/") && source.ends_with("/keys"), "{source}");
    assert!(!record.to_string().contains("hidden"));
    assert_eq!(record["MetadataOptions"]["HttpTokens"], "required");
    let text = life.done("metadata-options web --http-endpoint disabled");
    assert!(text.contains("HttpEndpoint disabled"), "{text}");
    assert_eq!(life.instance(&id).unwrap()["MetadataOptions"]["HttpEndpoint"], "disabled");
    assert!(life.done("event web rebalance").contains("rebalance is recommended"));
    assert!(life.done("event web maintenance system-reboot --in 1h").contains("in 3600 s"));
    life.done("event web spot-terminate --in 1h");
    assert!(life.done("event web spot-terminate --cancel").contains("taken back"));
    assert_eq!(life.state(&id), "running");
    life.done("event web spot-stop --in 0");
    life.until(&id, "stopped");
    let reason = || life.instance(&id).unwrap()["StateReason"]["Code"].clone();
    assert_eq!(reason(), "Server.SpotInstanceShutdown");
    // What it was given is in its record; where its credentials come from is looked at again.
    std::fs::remove_file(life.place.inputs().join("data")).unwrap();
    let started = life.ended(&["start", "--force", "web"]);
    assert_eq!(started.code, Some(0), "{}", started.err);
    assert!(started.err.contains("/keys, to the guest"), "{}", started.err);
    assert_eq!(kept(), "I2Nsb3VkLWNvbmZpZwo=");
    life.done("event web spot-terminate --in 0");
    life.until(&id, "terminated");
    assert_eq!(reason(), "Server.SpotInstanceTermination");
}

#[test]
fn nothing_is_announced_to_an_instance_without_a_network() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    life.launch("web", Guest::default().wait_for_button("up"), &["--net", "none"]);
    refused(&life, "event web spot-stop", 1, "(UnsupportedOperation)");
    assert!(life.done("metadata-options web --http-tokens required").contains("HttpTokens required"));
    life.done("terminate web");
}

#[test]
fn a_detached_instance_has_the_profile_that_was_meant_where_it_was_launched() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    life.place.write("profiles", "[ci]\naws_access_key_id = ASIA1\naws_secret_access_key = s\n");
    life.place.write("guest", Guest::default().wait_for_button("up").elf());
    let with_profiles = |words: &str| {
        let mut command = life.place.command(&words.split(' ').collect::<Vec<_>>());
        command.env("AWS_SHARED_CREDENTIALS_FILE", "profiles");
        run(command)
    };
    let launched = with_profiles(
        "disk.raw --kernel guest --force --cpus 1 --memory 64 -d --name web --iam-credentials profile:ci",
    );
    assert_eq!(launched.code, Some(0), "{}", launched.err);
    life.done("stop --force web");
    refused(&life, "start --force web", 1, "was launched with --iam-credentials profile:ci");
    let started = with_profiles("start --force web");
    assert_eq!(started.code, Some(0), "{}", started.err);
    life.done("terminate web");
}

#[test]
fn a_launch_is_refused_what_ec2_would_refuse_and_makes_nothing() {
    let life = Life::new();
    life.place.write("big", "x".repeat(16385));
    life.place.write("bad", "{}");
    for (options, code, says) in [
        ("--user-data big", 1, "User data is limited to 16384 bytes"),
        ("--user-data nowhere", 2, "--user-data: cannot read nowhere"),
        ("--user-data #!/bin/sh", 2, "it looks like user data itself"),
        ("--ssh-key bad", 2, "--ssh-key bad: it holds no public key"),
        ("--tag aws:x=y", 1, "Tag keys starting with 'aws:'"),
        ("--name a --tag Name=b", 1, "Duplicate tag key 'Name'"),
        ("--metadata-options HttpPutResponseHopLimit=0", 2, "Value (0) for parameter"),
        ("--metadata-options HttpPutResponseHopLimit=65", 2, "Value (65) for parameter"),
        ("--iam-credentials file:bad", 2, "bad holds no credentials: AccessKeyId is missing"),
        ("--iam-credentials file:/dev/null", 2, "give a regular file"),
        ("--iam-credentials vault:x", 2, "it is none of file:PATH, env and profile:NAME"),
        ("--region mars", 2, "give a Region such as"),
    ] {
        for dry in ["", " --dry-run"] {
            refused(&life, &format!("disk.raw {options}{dry}"), code, says);
        }
    }
    let line = "disk.raw --dry-run --metadata-options HttpTokens=required";
    let told = life.done(line);
    assert!(told.contains("HttpTokens required"), "{told}");
    let left = life.place.leftovers(&["disk.raw", "big", "bad"]);
    assert!(left.is_empty(), "{left:?}");
}
