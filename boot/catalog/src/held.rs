//! An instance that this process holds: it alone writes its record.

use crate::catalog::Catalog;
use crate::error::CatalogError;
use crate::lock::Lock;
use crate::record::{InstanceRecord, VolumeOrigin};
use crate::state::{State, StateReason};
use crate::{addresses, control, fault, files, store, time};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Room for a record beside the one that it replaces, and for what is said of a volume that stays.
const RESERVE: usize = 16 << 10;

/// Let go when it is dropped, or when the process ends.
#[derive(Debug)]
pub struct Held {
    catalog: Catalog,
    folder: PathBuf,
    lock: Lock,
    record: InstanceRecord,
}

/// An instance that is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminated {
    pub id: String,
    /// What it was before.
    pub previous_state: State,
    /// The volumes that stay: their ids, and where they are.
    pub kept: Vec<(String, PathBuf)>,
}

impl Held {
    /// Of an instance whose lock was just taken, and what its record says.
    pub(crate) fn new(catalog: &Catalog, lock: Lock, record: InstanceRecord) -> Held {
        let folder = catalog.instance_folder(&record.instance_id);
        Held { catalog: catalog.clone(), folder, lock, record }
    }

    #[must_use]
    pub fn record(&self) -> &InstanceRecord {
        &self.record
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a volume of the store is while it is attached here.
    #[must_use]
    pub fn volume_file(&self, volume_id: &str) -> PathBuf {
        files::volumes(&self.folder).join(volume_id)
    }

    /// Bytes that its folder takes on disk.
    #[must_use]
    pub fn holds(&self) -> u64 {
        self.catalog.holds(&self.record.instance_id)
    }

    /// Changes the record, here and on disk; if that fails, neither.
    pub fn change(&mut self, change: impl FnOnce(&mut InstanceRecord)) -> Result<(), CatalogError> {
        let mut record = self.record.clone();
        change(&mut record);
        let (first, durable) = (!self.record.own.has_run && record.own.has_run, !record.own.remove);
        files::write(&self.folder.join(files::INSTANCE), &record, durable)?;
        self.record = record;
        if first && durable {
            files::sync(&self.catalog.instances_folder())?;
            files::sync(&addresses::folder(self.catalog.folder()))?;
        }
        Ok(())
    }

    /// Goes on to another state.
    pub fn enter(&mut self, state: State, reason: Option<StateReason>) -> Result<(), CatalogError> {
        self.enter_with(state, reason, |_| ())
    }

    fn enter_with(
        &mut self,
        state: State,
        reason: Option<StateReason>,
        change: impl FnOnce(&mut InstanceRecord),
    ) -> Result<(), CatalogError> {
        // The record says that it is alive only while the lock says so, too.
        if state.is_alive() {
            self.come_alive()?;
        }
        // Where a disk is full, this is the room for what follows.
        files::remove(&self.reserve())?;
        let changed = self.change(|record| {
            let now = time::now();
            if state == State::Pending {
                record.launch_time = time::iso(now);
            }
            record.own.has_run |= matches!(state, State::Running | State::Stopped);
            match state {
                State::Running => record.own.process = Some(std::process::id()),
                State::Stopped | State::Terminated => record.own.process = None,
                _ => {}
            }
            if state == State::Terminated {
                record.own.terminated_at = Some(now);
            }
            record.state_transition_reason = match &reason {
                Some(reason) if *reason == StateReason::by_user() => {
                    format!("User initiated ({})", time::gmt(now))
                }
                _ => String::new(),
            };
            record.state = state;
            record.state_reason = reason;
            change(record);
        });
        if !matches!(self.record.state, State::ShuttingDown | State::Terminated) {
            // Best effort: what is written already counts.
            files::reserve(&self.reserve(), RESERVE).unwrap_or_default();
        }
        changed?;
        if matches!(state, State::Stopped | State::Terminated) {
            // Nobody listens there any more. Best effort: the next start replaces it.
            files::remove(&self.folder.join(control::SOCKET)).unwrap_or_default();
        }
        Ok(())
    }

    /// Writes the first record, of a pending instance. It need not outlive this computer's end: nothing is on its
    /// volumes before it runs, and when it does, the record and all names are made durable.
    pub(crate) fn begin(&mut self) -> Result<(), CatalogError> {
        self.come_alive()?;
        files::reserve(&self.reserve(), RESERVE)?;
        files::write(&self.folder.join(files::INSTANCE), &self.record, false)
    }

    /// Takes room on the disk, so that an instance can be ended on one that is full.
    fn reserve(&self) -> PathBuf {
        self.folder.join("reserve")
    }

    fn come_alive(&self) -> Result<(), CatalogError> {
        let fail = |source| CatalogError::io("lock", files::lock(&self.folder), source);
        self.lock.come_alive().map_err(fail)
    }

    /// TerminateInstances, of a machine that runs no more: volumes go with it as their DeleteOnTermination says, its
    /// UEFI variables go, and the record and the console's log stay for an hour.
    pub fn terminate(mut self, reason: StateReason) -> Result<Terminated, CatalogError> {
        self.end(reason)
    }

    /// The same, and nothing stays that could tell of it.
    pub fn remove(mut self) -> Result<Terminated, CatalogError> {
        let terminated = self.end(StateReason::by_user())?;
        self.remove_folder()?;
        Ok(terminated)
    }

    /// Each step can be done again, by who finds it shutting down and dead.
    pub(crate) fn end(&mut self, reason: StateReason) -> Result<Terminated, CatalogError> {
        let previous_state = self.record.state;
        if previous_state != State::ShuttingDown {
            self.enter(State::ShuttingDown, Some(reason))?;
        }
        fault::point("terminate-begun");
        let kept = self.dispose_of_volumes()?;
        fault::point("terminate-volumes");
        files::remove(&self.folder.join(files::UEFI_VARS))?;
        let id = self.record.instance_id.clone();
        addresses::free(self.catalog.folder(), &self.record.private_ip_address, &id)?;
        fault::point("terminate-address");
        // What EC2 says of a terminated one, too.
        let (reason, transition) =
            (self.record.state_reason.clone(), self.record.state_transition_reason.clone());
        self.enter_with(State::Terminated, reason, |record| {
            record.state_transition_reason = transition;
            record.block_device_mappings.clear();
            record.own.volumes.clear();
            record.network_interfaces.clear();
            record.private_ip_address.clear();
            record.private_dns_name.clear();
        })?;
        Ok(Terminated { id, previous_state, kept })
    }

    fn dispose_of_volumes(&self) -> Result<Vec<(String, PathBuf)>, CatalogError> {
        // Nothing has been written to the volumes of a launch that was cut short.
        let unused = !self.record.own.has_run;
        let mut kept = Vec::new();
        for mapping in &self.record.block_device_mappings {
            let id = &mapping.ebs.volume_id;
            let Some(volume) = self.record.own.volumes.get(id) else { continue };
            let file = self.volume_file(id);
            match &volume.origin {
                VolumeOrigin::File { file } => kept.push((id.clone(), file.clone())),
                VolumeOrigin::Store { .. } if !mapping.ebs.delete_on_termination && !unused => {
                    kept.extend(store::release(&self.catalog, &file, id, volume)?.map(|to| (id.clone(), to)));
                }
                _ => files::remove(&file)?,
            }
            fault::point("terminate-volume");
        }
        // Whatever else is there is not this instance's to delete.
        store::release_others(&self.catalog, &self.folder, &self.record)?;
        Ok(kept)
    }

    /// Of a terminated instance. The record goes first: without it there is no instance.
    pub(crate) fn remove_folder(&self) -> Result<(), CatalogError> {
        fault::point("remove-begun");
        files::remove(&self.folder.join(files::INSTANCE))?;
        fault::point("remove-record");
        files::remove_folder(&self.folder)
    }

    /// Hands the instance on: whoever has this descriptor, and calls [`Catalog::adopt`], holds it.
    #[must_use]
    pub fn into_lock(self) -> OwnedFd {
        self.lock.into_descriptor()
    }
}
