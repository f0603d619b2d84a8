//! ModifyInstanceAttribute, and TerminateInstances of what does not run.

use crate::catalog::Catalog;
use crate::error::CatalogError;
use crate::held::{Held, Terminated};
use crate::record::{Behavior, InstanceRecord, InstanceStoreDisk};
use crate::state::{State, StateReason};
use ami_run_image::InstanceType;

/// What is to be another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub instance_type: Option<String>,
    pub cpus: Option<u32>,
    pub memory_mib: Option<u64>,
    pub shutdown_behavior: Option<Behavior>,
    /// By device name.
    pub delete_on_termination: Vec<(String, bool)>,
}

impl Catalog {
    /// ModifyInstanceAttribute, of a stopped instance.
    pub fn modify(&self, id: &str, change: &Change) -> Result<InstanceRecord, CatalogError> {
        stopped(&self.describe(id)?)?;
        let mut held = self.hold(id)?;
        stopped(held.record())?;
        let mut record = held.record().clone();
        apply(&mut record, change)?;
        held.change(|to| to.clone_from(&record))?;
        Ok(record)
    }

    /// TerminateInstances, of an instance whose machine does not run.
    pub fn terminate_stopped(&self, id: &str) -> Result<Terminated, CatalogError> {
        let done =
            |id: &str| Terminated { id: id.to_owned(), previous_state: State::Terminated, kept: Vec::new() };
        match self.describe(id)?.state {
            State::Terminated => return Ok(done(id)),
            State::Stopped => {}
            _ => return Err(CatalogError::Busy { id: id.to_owned() }),
        }
        let held: Held = self.hold(id)?;
        if held.record().state == State::Terminated {
            return Ok(done(id));
        }
        held.terminate(StateReason::by_user())
    }
}

fn stopped(record: &InstanceRecord) -> Result<(), CatalogError> {
    match record.state {
        State::Stopped => Ok(()),
        // EC2's words: output of the AWS CLI, for ModifyInstanceAttribute.
        state => Err(CatalogError::refused(
            "IncorrectInstanceState",
            format!("The instance '{}' is not in the 'stopped' state.", record.instance_id),
        )
        .hint(format!("it is {state}: `ami-run stop` it first"))),
    }
}

fn apply(record: &mut InstanceRecord, change: &Change) -> Result<(), CatalogError> {
    if let Some(name) = &change.instance_type {
        let kind = InstanceType::find(name).ok_or_else(|| {
            // EC2's words: getmoto/moto issue 1695.
            let message = format!("Invalid value '{name}' for InstanceType.");
            CatalogError::refused("InvalidParameterValue", message)
        })?;
        fits(record, &kind)?;
        record.instance_type.clone_from(name);
        record.cpu_options.core_count = kind.vcpus;
        record.own.memory_mib = kind.memory_mib;
        record.own.instance_store = instance_store(record, &kind);
    }
    if let Some(cpus) = change.cpus {
        record.cpu_options.core_count = cpus;
    }
    if let Some(memory) = change.memory_mib {
        record.own.memory_mib = memory;
    }
    if let Some(behavior) = change.shutdown_behavior {
        record.own.shutdown_behavior = behavior;
    }
    for (device, delete) in &change.delete_on_termination {
        let mapping = record.block_device_mappings.iter_mut().find(|mapping| mapping.device_name == *device);
        let Some(mapping) = mapping else {
            let message = format!("Instance does not have a volume attached at {device}");
            return Err(CatalogError::refused("InvalidInstanceAttributeValue", message));
        };
        mapping.ebs.delete_on_termination = *delete;
    }
    Ok(())
}

/// What the type has: NVMe disks whether they were mapped or not, others only if they were.
fn instance_store(record: &InstanceRecord, kind: &InstanceType) -> Vec<InstanceStoreDisk> {
    let Some(store) = kind.store else { return Vec::new() };
    let known = &record.own.instance_store;
    let disk = |number: u32| {
        let virtual_name = format!("ephemeral{number}");
        let mapped = known.iter().find(|disk| disk.virtual_name == virtual_name);
        let device_name = mapped.and_then(|disk| disk.device_name.clone());
        InstanceStoreDisk { virtual_name, device_name, size_gib: store.gib(), nvme: record.ena_support }
    };
    (0..store.count).map(disk).filter(|disk| kind.nvme || disk.device_name.is_some()).collect()
}

/// Whether an instance can be of this type.
fn fits(record: &InstanceRecord, kind: &InstanceType) -> Result<(), CatalogError> {
    let (name, architecture) = (&kind.name, kind.architecture.to_string());
    if architecture != record.architecture {
        let message = format!(
            "The architecture '{architecture}' of the specified instance type does not match the architecture \
             '{}' of the instance.",
            record.architecture
        );
        return Err(CatalogError::refused("InvalidParameterValue", message));
    }
    let mode = &record.current_instance_boot_mode;
    let starts = if mode == "uefi" { kind.uefi } else { kind.legacy_bios };
    if !starts {
        let message =
            format!("The {name} instance type does not support the boot mode {mode} of the instance.");
        return Err(CatalogError::refused("InvalidParameterValue", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{catalog, code, new_instance, running, stopped};

    fn kind(name: &str) -> Change {
        Change { instance_type: Some(name.to_owned()), ..Change::default() }
    }

    #[test]
    fn a_type_brings_its_processors_memory_and_instance_store() {
        let (_folder, catalog) = catalog();
        let (id, _) = stopped(&catalog);
        let record = catalog.modify(&id, &kind("m5d.xlarge")).unwrap();
        assert_eq!((record.cpu_options.core_count, record.own.memory_mib), (4, 16384));
        let [disk] = record.own.instance_store.as_slice() else { panic!("one disk") };
        assert_eq!((disk.virtual_name.as_str(), disk.size_gib, disk.nvme), ("ephemeral0", 139, true));
        let own = Change { cpus: Some(1), memory_mib: Some(512), ..kind("t3.micro") };
        assert_eq!(catalog.modify(&id, &own).unwrap().own.instance_store, []);
        let record = catalog.describe(&id).unwrap();
        assert_eq!((record.instance_type.as_str(), record.cpu_options.core_count), ("t3.micro", 1));
        assert_eq!(record.own.memory_mib, 512);
    }

    #[test]
    fn what_happens_at_the_end_can_be_changed() {
        let (_folder, catalog) = catalog();
        let (id, data) = stopped(&catalog);
        let change = Change {
            shutdown_behavior: Some(Behavior::Terminate),
            delete_on_termination: vec![("/dev/sdb".to_owned(), true)],
            ..Change::default()
        };
        let record = catalog.modify(&id, &change).unwrap();
        assert_eq!(record.own.shutdown_behavior, Behavior::Terminate);
        assert!(record.block_device_mappings.iter().all(|mapping| mapping.ebs.delete_on_termination));
        assert_eq!(catalog.terminate_stopped(&id).unwrap().kept, []);
        assert_eq!(code(catalog.resize_volume(&data, 1)), "InvalidVolume.NotFound");
        assert_eq!(catalog.terminate_stopped(&id).unwrap().kept, [], "again is no error");
        assert_eq!(catalog.terminate_stopped(&id).unwrap().previous_state, State::Terminated);
    }

    #[test]
    fn what_cannot_be_is_refused_and_nothing_changes() {
        let (_folder, catalog) = catalog();
        let (id, _) = stopped(&catalog);
        let before = catalog.describe(&id).unwrap();
        let nowhere = vec![("/dev/sdz".to_owned(), true)];
        let both = Change { delete_on_termination: nowhere, ..kind("m5.large") };
        for (change, expected) in [
            (kind("t3.giant"), "InvalidParameterValue"),
            (kind("t4g.micro"), "InvalidParameterValue"),
            (both, "InvalidInstanceAttributeValue"),
        ] {
            assert_eq!(code(catalog.modify(&id, &change)), expected, "{change:?}");
            assert_eq!(catalog.describe(&id).unwrap(), before);
        }
        catalog
            .hold(&id)
            .unwrap()
            .change(|record| record.current_instance_boot_mode = "uefi".to_owned())
            .unwrap();
        assert_eq!(code(catalog.modify(&id, &kind("t2.micro"))), "InvalidParameterValue");
        let held = running(&catalog, new_instance(&catalog));
        let id = &held.record().instance_id;
        assert_eq!(code(catalog.modify(id, &kind("m5.large"))), "IncorrectInstanceState");
        assert!(matches!(catalog.terminate_stopped(id), Err(CatalogError::Busy { .. })));
    }
}
