//! `ls`: the instances, as a table, as ids, or in DescribeInstances' shape.

use super::{refused, run, words};
use crate::args::{Ls, Output};
use crate::exit::Code;
use crate::failure::Failure;
use crate::{answer, ui};
use ami_run_catalog::control::{Action, Connection, Outcome};
use ami_run_catalog::{Catalog, InstanceRecord, time};
use serde::Serialize;
use std::thread;
use std::time::Duration;

/// How long a machine may take to say what its files without names hold.
const ANSWER: Duration = Duration::from_secs(1);

/// DescribeInstances' result.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Described<'a> {
    reservations: Vec<Reservation<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Reservation<'a> {
    reservation_id: &'a str,
    owner_id: &'a str,
    groups: [(); 0],
    instances: Vec<&'a InstanceRecord>,
}

/// Lists them.
pub(crate) fn ls(args: &Ls) -> Code {
    run(|catalog| list(catalog, args))
}

fn list(catalog: &Catalog, args: &Ls) -> Result<Code, Failure> {
    let instances = catalog.instances().map_err(refused)?;
    if args.output == Output::Json {
        let shown: Vec<_> = instances.into_iter().map(InstanceRecord::without_user_data).collect();
        return Ok(answer::tell(args.output, "", &described(&shown), Code::Success));
    }
    if instances.is_empty() {
        ui::note("no instances");
        return Ok(Code::Success);
    }
    let page = if args.quiet {
        instances.iter().map(|record| record.instance_id.as_str()).collect::<Vec<_>>().join("\n")
    } else {
        table(&instances, &holds(catalog, &instances), time::now())
    };
    Ok(answer::page(&page, Code::Success))
}

fn described(instances: &[InstanceRecord]) -> Described<'_> {
    let mut reservations: Vec<Reservation<'_>> = Vec::new();
    for record in instances {
        let of = &record.own.reservation;
        match reservations.iter_mut().find(|one| one.reservation_id == of.reservation_id) {
            Some(one) => one.instances.push(record),
            None => reservations.push(Reservation {
                reservation_id: &of.reservation_id,
                owner_id: &of.owner_id,
                groups: [],
                instances: vec![record],
            }),
        }
    }
    Described { reservations }
}

/// What each holds. The machines are asked side by side: one that does not answer keeps nobody else waiting.
fn holds(catalog: &Catalog, instances: &[InstanceRecord]) -> Vec<String> {
    thread::scope(|scope| {
        let asked: Vec<_> = instances
            .iter()
            .map(|record| {
                let alive = record.state.is_alive();
                let ask = move || nameless(catalog, &record.instance_id);
                alive.then(|| thread::Builder::new().name("ls".to_owned()).spawn_scoped(scope, ask))
            })
            .collect();
        let told = instances.iter().zip(asked).map(|(record, asked)| {
            let named = catalog.holds(&record.instance_id);
            let nameless = match asked {
                None => Some(0),
                Some(thread) => thread.ok().and_then(|thread| thread.join().ok()).flatten(),
            };
            nameless.map_or_else(|| "?".to_owned(), |nameless| ui::size(named.saturating_add(nameless)))
        });
        told.collect()
    })
}

/// The bytes in files without a name, as the machine's process tells them.
fn nameless(catalog: &Catalog, id: &str) -> Option<u64> {
    let mut connection = Connection::connect(&catalog.instance_folder(id)).ok()?;
    match connection.ask_within(Action::Describe, ANSWER) {
        Ok(Outcome::Description { holds, .. }) => Some(holds),
        _ => None,
    }
}

/// WHY is there only if one has failed.
fn table(instances: &[InstanceRecord], holds: &[String], now: u64) -> String {
    let row = |(record, holds): (&InstanceRecord, &String)| {
        let launched = time::parse(&record.launch_time).unwrap_or(now);
        vec![
            record.instance_id.clone(),
            record.name().unwrap_or_default().to_owned(),
            record.state.to_string(),
            record.instance_type.clone(),
            record.own.name.clone(),
            record.private_ip_address.clone(),
            words::ago(now.saturating_sub(launched)),
            holds.clone(),
            failure(record).unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = instances.iter().zip(holds).map(row).collect();
    let head = ["ID", "NAME", "STATE", "TYPE", "IMAGE", "ADDRESS", "LAUNCHED", "HOLDS", "WHY"];
    let columns = if instances.iter().any(|record| failure(record).is_some()) { 9 } else { 8 };
    words::table(head.get(..columns).unwrap_or_default(), &rows)
}

/// Why it does not run, if that is not what somebody wanted. EC2's words repeat the code.
fn failure(record: &InstanceRecord) -> Option<String> {
    let reason = record.state_reason.as_ref().filter(|_| !record.state.is_alive())?;
    let words = reason.message.strip_prefix(&reason.code).and_then(|rest| rest.strip_prefix(": "));
    reason.code.starts_with("Server.").then(|| words.unwrap_or(&reason.message).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::samples::{in_state, stopped};
    use ami_run_catalog::{State, StateReason};
    use serde_json::json;

    const NOW: u64 = 1_795_294_800 + 200;

    #[test]
    fn the_table_says_why_only_if_one_has_failed() {
        let mut records = [in_state("i-01", State::Running), stopped("i-02")];
        records[1].tags.clear();
        records[1].state_reason = Some(StateReason::by_user());
        let holds = ["1.5 GiB".to_owned(), "?".to_owned()];
        let wanted = "\
ID    NAME  STATE    TYPE      IMAGE  ADDRESS      LAUNCHED   HOLDS
i-01  web   running  t3.micro  ami-1  172.31.16.4  3 min ago  1.5 GiB
i-02  -     stopped  t3.micro  ami-1  172.31.16.4  3 min ago  ?";
        assert_eq!(table(&records, &holds, NOW), wanted);
        records[1].state_reason = Some(StateReason::failure("the process was killed"));
        let failed = table(&records, &holds, NOW);
        let ends: Vec<_> = failed.lines().map(|line| line.rsplit("  ").next().unwrap().trim()).collect();
        assert_eq!(ends, ["WHY", "-", "the process was killed"], "{failed}");
        records[1].state = State::Running;
        assert!(!table(&records, &holds, NOW).contains("WHY"), "it runs again");
    }

    #[test]
    fn json_has_describe_instances_shape() {
        let mut records = [stopped("i-01"), stopped("i-02"), stopped("i-03")];
        records[1].own.reservation.reservation_id = "r-2".to_owned();
        let json = serde_json::to_value(described(&records)).unwrap();
        let ids = |of: usize| {
            let one = &json["Reservations"][of];
            assert_eq!((&one["OwnerId"], &one["Groups"]), (&json!("000000000000"), &json!([])), "{one}");
            let ids =
                one["Instances"].as_array().unwrap().iter().map(|it| it["InstanceId"].as_str().unwrap());
            (one["ReservationId"].as_str().unwrap(), ids.collect::<Vec<_>>())
        };
        assert_eq!((ids(0), ids(1)), (("r-1", vec!["i-01", "i-03"]), ("r-2", vec!["i-02"])));
        assert_eq!(json["Reservations"][0]["Instances"][0]["State"], json!({"Code": 80, "Name": "stopped"}));
        assert_eq!(serde_json::to_value(described(&[])).unwrap(), json!({"Reservations": []}));
    }
}
