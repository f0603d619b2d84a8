//! `prune`, and what stays of an instance that is terminated.

use super::{Several, refused, run};
use crate::args::Prune;
use crate::exit::Code;
use crate::failure::Failure;
use crate::{answer, ui};
use ami_run_catalog::{Catalog, Held, InstanceMapping, InstanceRecord, State, VolumeOrigin};

/// Removes what does not run.
pub(crate) fn prune(args: &Prune) -> Code {
    run(|catalog| {
        let mut several = Several::new();
        let (mut page, mut stays, mut sum) = (Vec::new(), available(catalog)?, 0_u64);
        for record in catalog.instances().map_err(refused)?.iter().filter(|record| !record.state.is_alive()) {
            let id = &record.instance_id;
            let (holds, staying) = (catalog.holds(id), staying(record));
            if !args.dry_run && several.take(remove(catalog, id)).is_none() {
                continue;
            }
            page.push(format!("{id}  {}  {}", record.state, ui::size(holds)));
            sum = sum.saturating_add(holds);
            stays.extend(staying);
        }
        let count = page.len();
        let verb = if args.dry_run { "would prune" } else { "pruned" };
        let instances = if count == 1 { "instance" } else { "instances" };
        page.extend(stays);
        page.push(format!("{verb} {count} {instances}: {}", ui::size(sum)));
        Ok(answer::page(&page.join("\n"), several.code))
    })
}

/// The record and all else of it.
fn remove(catalog: &Catalog, id: &str) -> Result<(), Failure> {
    let gone = catalog.hold(id).and_then(Held::remove);
    gone.map(drop).map_err(refused)
}

/// The volumes that no instance has, for people.
fn available(catalog: &Catalog) -> Result<Vec<String>, Failure> {
    let volumes = catalog.volumes().map_err(refused)?;
    let available = volumes.iter().filter(|volume| volume.attachments.is_empty());
    Ok(available.map(|volume| stays(&volume.volume_id, &format!("{} GiB", volume.size))).collect())
}

/// What stays of an instance when it is terminated, for people.
pub(super) fn staying(record: &InstanceRecord) -> Vec<String> {
    let kept = record.block_device_mappings.iter().filter_map(|InstanceMapping { device_name, ebs }| {
        let id = &ebs.volume_id;
        match &record.own.volumes.get(id)?.origin {
            VolumeOrigin::File { file } => Some(format!("{}  stays, where it is", file.display())),
            VolumeOrigin::Store { .. } if !ebs.delete_on_termination => {
                Some(stays(id, &format!("{device_name} of {}", record.instance_id)))
            }
            VolumeOrigin::Store { .. } | VolumeOrigin::Private { .. } => None,
        }
    });
    if record.state == State::Terminated { Vec::new() } else { kept.collect() }
}

fn stays(id: &str, what: &str) -> String {
    format!(
        "{id}  stays ({what}): `ami-run attach-volume INSTANCE {id} --device NAME`, or `ami-run volume rm {id}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::samples::{in_state, stopped};

    #[test]
    fn what_stays_of_an_instance_is_named_with_the_next_step() {
        let told = staying(&stopped("i-01"));
        let wanted = [
            "vol-0b  stays (/dev/sdf of i-01): `ami-run attach-volume INSTANCE vol-0b --device NAME`, or `ami-run volume rm vol-0b`",
            "/data/my.vol  stays, where it is",
        ];
        assert_eq!(told, wanted);
        assert!(staying(&in_state("i-01", State::Terminated)).is_empty());
    }
}
