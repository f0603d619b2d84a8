//! `start` and `reboot`.

use super::{Asked, Several, ask, refused, resolve, run, told, until};
use crate::args::{Reboot, Start};
use crate::exit::Code;
use crate::failure::Failure;
use crate::{answer, host, instance, metadata};
use ami_run_catalog::control::Action;
use ami_run_catalog::{
    Catalog, CatalogError, Held, InstanceRecord, State, Step, Transition, check_reboot, check_start,
};
use ami_run_image::Architecture;
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
    let mut first = None;
    let previous_state = loop {
        let (state, held) = hold(catalog, id).map_err(refused)?;
        let previous_state = *first.get_or_insert(state);
        if let Some(mut held) = held {
            check_machine(held.record())?;
            if let Some(source) = &held.record().own.iam_credentials {
                metadata::tell_lending(source).map_err(|failure| {
                    let hint =
                        format!("{id} was launched with --iam-credentials {source}: have it here, too");
                    Failure { code: Code::Refused, ..failure }.hint(hint)
                })?;
            }
            held.enter(State::Pending, None).map_err(refused)?;
            let options: &[OsString] = if force { &["--force".into()] } else { &[] };
            instance::spawn(catalog, held, options)?.running()?;
            break previous_state;
        }
        if state != State::Pending {
            break previous_state;
        }
        // By another command.
        let waiting = format!("{id} is pending");
        until(catalog, id, None, &waiting, |record| {
            record.is_none_or(|record| record.state != State::Pending).then_some(())
        })?;
    };
    Ok(Transition { instance_id: id.to_owned(), current_state: State::Running, previous_state })
}

/// Refuses what no machine of this computer's can be, however the instance came here.
fn check_machine(record: &InstanceRecord) -> Result<(), Failure> {
    let (id, here) = (&record.instance_id, host::this_computer()?);
    host::check_architecture(id, &record.architecture, here)?;
    match record.own.start {
        ami_run_catalog::Start::Firmware(_) if here == Architecture::Arm64 => {
            host::check_uefi_memory(record.own.memory_mib, id)
        }
        _ => Ok(()),
    }
}

/// The state of an instance that may be started; and the instance, if that is still to be done.
fn hold(catalog: &Catalog, id: &str) -> Result<(State, Option<Held>), CatalogError> {
    let record = catalog.describe(id)?;
    if check_start(&record)? == Step::Done {
        return Ok((record.state, None));
    }
    match catalog.hold(id) {
        Ok(held) => {
            let step = check_start(held.record())?;
            Ok((held.record().state, Some(held).filter(|_| step == Step::Do)))
        }
        // Another command was quicker.
        Err(CatalogError::Busy { .. }) if check_start(&catalog.describe(id)?)? == Step::Done => {
            Ok((catalog.describe(id)?.state, None))
        }
        Err(cause) => Err(cause),
    }
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
