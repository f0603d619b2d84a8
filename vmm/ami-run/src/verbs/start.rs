//! `start` and `reboot`.

use super::{Asked, Several, ask, refused, resolve, run, told, until};
use crate::args::{Reboot, Start};
use crate::exit::Code;
use crate::failure::Failure;
use crate::{answer, instance};
use ami_run_catalog::control::Action;
use ami_run_catalog::{Catalog, InstanceRecord, State, Step, Transition, check_reboot, check_start};
use serde::Serialize;
use std::ffi::OsString;

/// StartInstances' result.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Starting {
    starting_instances: Vec<Transition>,
}

/// Starts stopped instances.
pub(crate) fn start(args: &Start) -> Code {
    run(|catalog| {
        let ids = resolve(catalog, &args.instances)?;
        let mut several = Several::new();
        let changes: Vec<_> =
            ids.iter().filter_map(|id| several.take(start_one(catalog, id, args.force))).collect();
        let page: Vec<_> = changes.iter().map(told).collect();
        let json = Starting { starting_instances: changes };
        Ok(answer::tell(args.output, &page.join("\n"), &json, several.code))
    })
}

/// Until its machine runs.
fn start_one(catalog: &Catalog, id: &str, force: bool) -> Result<Transition, Failure> {
    let mut record = catalog.describe(id).map_err(refused)?;
    let instance_id = id.to_owned();
    let previous_state = record.state;
    if previous_state == State::Pending {
        // By another command.
        let waiting = format!("{id} is pending");
        until(catalog, id, None, &waiting, |record| {
            record.is_none_or(|record| record.state != State::Pending).then_some(())
        })?;
        record = catalog.describe(id).map_err(refused)?;
    }
    if check_start(&record).map_err(refused)? == Step::Do {
        let mut held = catalog.hold(id).map_err(refused)?;
        // Another command may have been quicker.
        check_start(held.record()).map_err(refused)?;
        held.enter(State::Pending, None).map_err(refused)?;
        let options: &[OsString] = if force { &["--force".into()] } else { &[] };
        instance::spawn(catalog, held, options)?.running()?;
    }
    Ok(Transition { instance_id, current_state: State::Running, previous_state })
}

/// Reboots running instances.
pub(crate) fn reboot(args: &Reboot) -> Code {
    run(|catalog| {
        let ids = resolve(catalog, &args.instances)?;
        let mut several = Several::new();
        let reboot = |id: &String| {
            let check = |record: &InstanceRecord| check_reboot(record).map(|()| Step::Do);
            match ask(catalog, id, &Action::Reboot, check)? {
                Asked::Answered(_) => Ok(format!("{id}  rebooting")),
                Asked::NotAlive(state) => Err(Failure::new(Code::Refused, format!("{id} is {state} by now"))),
            }
        };
        let page: Vec<_> = ids.iter().filter_map(|id| several.take(reboot(id))).collect();
        Ok(answer::page(&page.join("\n"), several.code))
    })
}
