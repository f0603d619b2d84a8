//! Commands that are killed in the middle of their work: what is left is told as it is, and the next one goes on.

use crate::life::Life;
use crate::run::{Ended, run};

/// What a verb says that was killed after its work was done, and is asked again.
const DONE_ALREADY: [&str; 5] = [
    "is already in use",
    "is in the 'available' state",
    "is already attached to an instance",
    "does not exist",
    "New size cannot be smaller",
];

/// One life of two stopped instances and their volumes, each verb of which is killed where it passes this point.
/// How many were.
fn live(point: &str) -> usize {
    let life = Life::new();
    let (web, db) = (life.stopped("web"), life.stopped("db"));
    let data = life.volume(&web, "/dev/sdf");
    let lines = [
        format!("detach-volume {data}"),
        format!("volume resize {data} --size 3"),
        format!("attach-volume {db} {data} --device /dev/sdg"),
        format!("modify {db} --cpus 1"),
        format!("terminate {web}"),
        format!("terminate {db}"),
        format!("volume rm {data}"),
        "prune".to_owned(),
    ];
    let mut killed = 0;
    for line in &lines {
        let words: Vec<_> = line.split(' ').collect();
        let mut command = life.place.command(&words);
        command.env("AMI_RUN_FAULT", point);
        let Ended { code, err, .. } = run(command);
        if code.is_some() {
            assert_eq!(code, Some(0), "{line}: {err}");
            continue;
        }
        killed += 1;
        life.done("ls");
        life.done("volume ls");
        let Ended { code, err, .. } = life.ended(&words);
        let done = DONE_ALREADY.iter().any(|said| err.contains(said));
        assert!(code == Some(0) || done, "{line} after a kill at {point}: {code:?}: {err}");
    }
    life.done("prune");
    for volume in life.done("volume ls").lines().filter(|line| line.starts_with("vol-")) {
        let id = volume.split(' ').next().unwrap();
        assert!(volume.contains("available"), "{point}: {volume}");
        life.done(&format!("volume rm {id}"));
    }
    let left = life.left();
    let leak = left.iter().find(|path| ["i-", "vol-", "172"].iter().any(|of| path.contains(of)));
    assert_eq!(leak, None, "after a kill at {point}: {left:?}");
    killed
}

/// One in the middle of each verb; boot/catalog's own tests kill at each there is.
const POINTS: [&str; 6] = [
    "detach-recorded",
    "resize-grown",
    "attach-moved",
    "record-written",
    "terminate-volume",
    "remove-record",
];

#[test]
fn a_command_that_is_killed_leaves_what_the_next_can_go_on_with() {
    for point in POINTS {
        assert!(live(point) > 0, "no verb passes {point}");
    }
}
