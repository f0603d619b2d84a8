//! The verbs on what does not run: stopped instances, their volumes, and those that no instance has. No guest is needed.

use crate::life::Life;
use crate::run::Ended;
use ami_run_storage::Volume;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;

fn refused(life: &Life, line: &str, code: i32, says: &str) {
    let ended = life.ended(&line.split(' ').collect::<Vec<_>>());
    assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""), "{line}: {}", ended.err);
    assert!(ended.err.contains(says), "{line}: {}", ended.err);
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn where_nothing_is_nothing_is_listed_or_made() {
    let life = Life::new();
    for line in ["ls", "ls -q"] {
        let Ended { code, out, err } = life.ended(&line.split(' ').collect::<Vec<_>>());
        assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "", "no instances\n"), "{line}");
    }
    assert_eq!(parsed(&life.done("ls --output json")), json!({"Reservations": []}));
    assert_eq!(parsed(&life.done("volume ls --output json")), json!({"Volumes": []}));
    life.done("volume ls");
    life.done("prune");
    for verb in ["stop", "start", "reboot", "terminate"] {
        refused(&life, &format!("{verb} i-0123456789abcdef0"), 1, "(InvalidInstanceID.NotFound)");
        refused(&life, &format!("{verb} web"), 1, "Invalid id: \"web\" (InvalidInstanceID.Malformed)");
    }
    refused(&life, "wait i-0123456789abcdef0 terminated", 1, "(InvalidInstanceID.NotFound)");
    refused(&life, "modify i-0123456789abcdef0 --cpus 1", 1, "(InvalidInstanceID.NotFound)");
    refused(
        &life,
        "volume rm vol-0123456789abcdef0",
        1,
        "The volume 'vol-0123456789abcdef0' does not exist.",
    );
    refused(&life, "detach-volume vol-0123456789abcdef0", 1, "(InvalidVolume.NotFound)");
    refused(&life, "volume resize vol-0123456789abcdef0 --size 9", 1, "(InvalidVolume.NotFound)");
    assert!(life.place.leftovers(&["disk.raw"]).is_empty(), "{:?}", life.place.leftovers(&["disk.raw"]));
}

#[test]
fn one_that_is_unknown_keeps_all_of_a_line_from_being_done() {
    let life = Life::new();
    let (web, db) = (life.stopped("web"), life.stopped("db"));
    refused(&life, "terminate web i-0123456789abcdef0 db", 1, "(InvalidInstanceID.NotFound)");
    assert_eq!((life.state(&web), life.state(&db)), ("stopped".to_owned(), "stopped".to_owned()));
    // One instance under two names is one.
    let ended = parsed(&life.done(&format!("terminate web {web} --output json")));
    let wanted = json!({"InstanceId": web, "PreviousState": {"Code": 80, "Name": "stopped"},
        "CurrentState": {"Code": 48, "Name": "terminated"}});
    assert_eq!(ended, json!({"TerminatingInstances": [wanted]}));
    // One that is refused does not keep the others.
    let line = ["stop", &web, &db, "--output", "json"];
    let ended = life.ended(&line);
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains("(IncorrectInstanceState)"), "{}", ended.err);
    let stopped = json!({"Code": 80, "Name": "stopped"});
    let wanted = json!({"InstanceId": db, "PreviousState": stopped, "CurrentState": stopped});
    assert_eq!(parsed(&ended.out), json!({"StoppingInstances": [wanted]}));
}

#[test]
fn an_instance_is_found_by_the_beginning_of_its_id_or_its_name_if_that_is_one_s_alone() {
    let life = Life::new();
    let ids = [life.stopped("web"), life.stopped("web")];
    let refused = life.ended(&["terminate", "web"]);
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{}", refused.err);
    let [one, other] = &ids;
    assert!(refused.err.contains(one) && refused.err.contains(other), "{}", refused.err);
    let same = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    assert_eq!(life.ended(&["terminate", one.split_at(same).0]).code, Some(1));
    life.done(&format!("terminate {}", one.split_at(same + 1).0));
    assert_eq!((life.state(one), life.state(other)), ("terminated".to_owned(), "stopped".to_owned()));
    // The name is the living one's.
    life.done("terminate web");
    assert_eq!(life.state(other), "terminated");
}

#[test]
fn a_damaged_record_keeps_nobody_else_and_a_newer_state_folder_is_left_alone() {
    let life = Life::new();
    let (web, db) = (life.stopped("web"), life.stopped("db"));
    let state = life.state_folder();
    fs::write(state.join("instances").join(&web).join("instance.json"), "{").unwrap();
    let listed = life.ended(&["ls", "-q"]);
    assert_eq!((listed.code, listed.out), (Some(0), format!("{db}\n")), "{}", listed.err);
    assert!(listed.err.contains(&web) && listed.err.contains("damaged"), "{}", listed.err);
    refused(&life, &format!("terminate {web}"), 3, "is damaged");
    life.done("terminate db");
    fs::write(state.join("version"), "{\"Version\":2}").unwrap();
    refused(&life, "ls", 3, "is of version 2");
    fs::write(state.join("version"), "{\"Version\":1}").unwrap();
    fs::remove_dir_all(state.join("instances").join(&web)).unwrap();
}

#[test]
fn the_table_is_for_people_and_q_for_programs() {
    let life = Life::new();
    let (web, db) = (life.stopped("web"), life.stopped("db"));
    let table = life.done("ls");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let head = words(table.lines().next().unwrap());
    assert_eq!(head, ["ID", "NAME", "STATE", "TYPE", "IMAGE", "ADDRESS", "LAUNCHED", "HOLDS"], "{table}");
    let line = words(table.lines().find(|line| line.starts_with(&web)).unwrap());
    assert_eq!(line[1..5], ["web", "stopped", "t3.micro", "disk.raw"], "{table}");
    let ids: BTreeSet<_> = life.done("ls -q").lines().map(str::to_owned).collect();
    assert_eq!(ids, BTreeSet::from([web.clone(), db]));
    assert!(life.instance(&web).unwrap()["PrivateIpAddress"].as_str().unwrap().starts_with("172.31."));
}

#[test]
fn volumes_go_from_one_stopped_instance_to_another() {
    let life = Life::new();
    let (web, db) = (life.stopped("web"), life.stopped("db"));
    let (root, data) = (life.volume(&web, "/dev/xvda"), life.volume(&web, "/dev/sdf"));
    refused(&life, &format!("attach-volume db {data} --device /dev/sdg"), 1, "(VolumeInUse)");
    refused(&life, &format!("volume rm {data}"), 1, "(VolumeInUse)");
    let detached = parsed(&life.done(&format!("detach-volume {data} --output json")));
    assert_eq!((&detached["VolumeId"], &detached["State"]), (&json!(data), &json!("detached")), "{detached}");
    refused(&life, &format!("detach-volume {data}"), 1, "(IncorrectState)");
    let listed = life.done("volume ls");
    let line = listed.lines().find(|line| line.starts_with(&data)).unwrap();
    assert!(line.contains("available") && line.contains("1 GiB"), "{listed}");
    refused(&life, &format!("attach-volume db {data} --device /dev/xvda"), 1, "is already in use");
    let grown = parsed(&life.done(&format!("volume resize {data} --size 3 --output json")));
    let modification = &grown["VolumeModification"];
    assert_eq!(
        (&modification["OriginalSize"], &modification["TargetSize"]),
        (&json!(1), &json!(3)),
        "{grown}"
    );
    refused(&life, &format!("volume resize {data} --size 2"), 1, "smaller");
    let attached = parsed(&life.done(&format!("attach-volume db {data} --device /dev/sdg --output json")));
    let wanted = json!({"InstanceId": db, "VolumeId": data, "Device": "/dev/sdg", "State": "attached"});
    for (member, value) in wanted.as_object().unwrap() {
        assert_eq!(attached[member], *value, "{attached}");
    }
    assert_eq!(life.volume(&db, "/dev/sdg"), data);
    // Without its root nothing starts.
    life.done(&format!("detach-volume {root}"));
    refused(&life, "start web", 1, "Instance does not have a volume attached at root (/dev/xvda)");
    life.done(&format!("attach-volume web {root} --device /dev/xvda"));
    // What stays of an instance is said, and can be deleted.
    let said = life.done("terminate db");
    assert!(said.contains(&format!("{data}  stays (/dev/sdg of {db})")), "{said}");
    let other = life.done("volume ls");
    assert!(other.contains(&format!("{data}  3 GiB  available")), "{other}");
    assert_eq!(life.done(&format!("volume rm {data}")), format!("{data}  deleted\n"));
    assert!(!life.done("volume ls").contains(&data));
}

#[test]
fn a_volume_in_a_file_of_its_own_stays_where_it_is() {
    let life = Life::new();
    let web = life.stopped("web");
    life.done("volume create my.volume --size 1");
    life.done("attach-volume web my.volume --device /dev/sdg");
    refused(&life, "attach-volume web ./my.volume --device /dev/sdh", 1, "(VolumeInUse)");
    refused(&life, "attach-volume web ./disk.raw --device /dev/sdh", 1, "disk.raw is not a volume");
    life.done("volume resize my.volume --size 2");
    let file = life.place.inputs().join("my.volume");
    let said = life.done("terminate web");
    assert!(said.contains("my.volume  stays, where it is"), "{said}");
    assert_eq!(life.state(&web), "terminated");
    assert_eq!(Volume::open(&file, true, ami_run_storage::Base::open).unwrap().size(), 2 << 30);
}

#[test]
fn a_stopped_instance_is_modified() {
    let life = Life::new();
    let web = life.stopped("web");
    let line = "modify web --instance-type m5.large --memory 3G --delete-on-termination /dev/sdf=true \
        --instance-initiated-shutdown-behavior terminate";
    let said = life.done(&line.split_whitespace().collect::<Vec<_>>().join(" "));
    assert!(said.starts_with(&format!("{web}  m5.large, 2 vCPUs, 3072 MiB; terminate when")), "{said}");
    let record = life.instance(&web).unwrap();
    assert_eq!((&record["InstanceType"], &record["AmiRun"]["MemoryMiB"]), (&json!("m5.large"), &json!(3072)));
    assert_eq!(record["BlockDeviceMappings"][1]["Ebs"]["DeleteOnTermination"], true, "{record}");
    refused(&life, "modify web --instance-type t3.mikro", 1, "Invalid value 't3.mikro' for InstanceType.");
    refused(&life, "modify web --instance-type m6g.large", 1, "(InvalidParameterValue)");
    refused(&life, "modify web --delete-on-termination /dev/sdz=true", 1, "/dev/sdz");
    refused(&life, "modify web", 2, "required");
    life.done("terminate web");
    assert!(!life.done("volume ls --output json").contains("vol-"), "DeleteOnTermination was set");
}

#[test]
fn prune_says_what_goes_and_what_stays_and_does_it() {
    let life = Life::new();
    let (web, db, cache) = (life.stopped("web"), life.stopped("db"), life.stopped("cache"));
    let (kept, loose) = (life.volume(&db, "/dev/sdf"), life.volume(&cache, "/dev/sdf"));
    life.done(&format!("detach-volume {loose}"));
    life.done("terminate web");
    let would = life.done("prune --dry-run");
    assert!(would.contains("\nwould prune 3 instances: "), "{would}");
    assert_eq!(life.done("ls -q").lines().count(), 3);
    let pending = life.pending("pending");
    let did = life.done("prune");
    for of in [&web, &db, &cache] {
        assert!(did.contains(&format!("{of}  ")), "{did}");
    }
    for stays in [&kept, &loose] {
        assert!(did.contains(&format!("{stays}  stays (")), "{did}");
    }
    assert_eq!(did.replace("\npruned ", "\nwould prune "), would);
    assert_eq!(life.done("ls -q"), format!("{}\n", pending.record().instance_id), "what is alive stays");
    let folder = life.place.folder().join("home/.local/share/ami-run/instances").join(&web);
    assert!(fs::symlink_metadata(folder).is_err());
}

#[test]
fn a_wait_ends_by_the_state_the_clock_or_never_coming() {
    let life = Life::new();
    let web = life.stopped("web");
    life.done("wait web stopped");
    refused(&life, "wait web running --timeout 0", 5, "is stopped and not running after 0 s (--timeout)");
    refused(&life, "wait web pending", 2, "running, stopped or terminated");
    life.done("terminate web");
    life.done(&format!("wait {web} terminated"));
    let line = format!("wait {web} running");
    refused(&life, &line, 1, "will not be running: it is terminated");
    refused(&life, &line, 1, "Client.UserInitiatedShutdown");
}

#[test]
fn a_pending_instance_is_somebody_elses() {
    let life = Life::new();
    let held = life.pending("web");
    let id = held.record().instance_id.clone();
    refused(&life, "stop web", 1, "(IncorrectInstanceState)");
    refused(&life, "reboot web", 1, "(IncorrectInstanceState)");
    refused(&life, "modify web --cpus 1", 1, "(IncorrectInstanceState)");
    let root = life.volume(&id, "/dev/sdf");
    refused(&life, &format!("detach-volume {root}"), 1, "(IncorrectState)");
    refused(&life, "wait web running --timeout 0", 5, "is pending and not running");
    // Its process is gone before it has run: nothing is left of the launch but why.
    drop(held);
    assert_eq!(life.state(&id), "terminated");
    assert!(life.done("ls").contains("WHY"), "{}", life.done("ls"));
}
