//! Clearing up: what killed commands have left half-made, and what is over for long enough.

use crate::catalog::Catalog;
use crate::error::{CatalogError, with_cause};
use crate::lock::{Kind, Lock};
use crate::state::State;
use crate::{addresses, fault, files, ids, settle, store, time};
use std::io::ErrorKind;
use std::path::Path;

/// How long a terminated instance is listed.
const LISTED: u64 = 3600;

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Folders of instances, half-made or over.
    pub instances: usize,
    pub addresses: usize,
    /// Descriptions of volumes that are not there.
    pub descriptions: usize,
}

impl Catalog {
    /// Removes what nobody needs. What is alive or held is left alone; what cannot be done is logged.
    pub fn sweep(&self) -> Swept {
        let told = |ended: Result<usize, CatalogError>| {
            ended.unwrap_or_else(|cause| {
                log::warn!("cannot clear up: {}", with_cause(&cause));
                0
            })
        };
        Swept {
            instances: told(self.sweep_instances()),
            addresses: told(addresses::reclaim(self.folder())),
            descriptions: told(self.sweep_descriptions()),
        }
    }

    fn sweep_instances(&self) -> Result<usize, CatalogError> {
        let mut count = 0_usize;
        for id in self.ids()? {
            let folder = self.instance_folder(&id);
            let gone = match settle::truth(self, &folder) {
                Ok(Some(record)) if record.state == State::Terminated => self.sweep_terminated(&id),
                Ok(Some(_)) => Ok(false),
                Ok(None) => self.sweep_half_made(&folder),
                Err(cause) => Err(cause),
            };
            match gone {
                Ok(gone) => count = count.saturating_add(gone.into()),
                Err(cause) => log::warn!("{}", with_cause(&cause)),
            }
        }
        Ok(count)
    }

    fn sweep_terminated(&self, id: &str) -> Result<bool, CatalogError> {
        let Some(held) = self.try_hold(id)? else { return Ok(false) };
        let own = &held.record().own;
        let over = own.terminated_at.is_none_or(|at| time::now().saturating_sub(at) >= LISTED);
        if !(over || own.remove && own.foreground) {
            return Ok(false);
        }
        held.remove_folder()?;
        Ok(true)
    }

    /// A folder without a record, unless somebody is about to write it.
    fn sweep_half_made(&self, folder: &Path) -> Result<bool, CatalogError> {
        let makers = self.makers_lock();
        let fail = |source| CatalogError::io("lock", &makers, source);
        let Some(_makers) = Lock::attempt(&makers, Kind::Exclusive).map_err(fail)? else { return Ok(false) };
        let path = files::lock(folder);
        let fail = |source| CatalogError::io("lock", &path, source);
        // One without a lock is no maker's: those keep us away until they have it.
        let _lock = match Lock::attempt_existing(&path) {
            Ok(Some(lock)) => Some(lock),
            Ok(None) => return Ok(false),
            Err(cause) if cause.kind() == ErrorKind::NotFound => None,
            Err(cause) => return Err(fail(cause)),
        };
        if files::instance(folder)?.is_some() {
            return Ok(false);
        }
        for id in store::others(folder, &std::collections::BTreeSet::new())? {
            store::rescue(self, folder, &id)?;
        }
        files::remove_folder(folder)?;
        fault::point("sweep-instance");
        Ok(true)
    }

    fn sweep_descriptions(&self) -> Result<usize, CatalogError> {
        let folder = store::folder(self);
        let names = files::names(&folder)?;
        let lost = |name: &String| {
            let id = name.strip_suffix(".json").or_else(|| name.strip_suffix(".json.new"));
            id.is_some_and(|id| ids::is_volume(id) && !store::there(&folder.join(id)))
        };
        if !names.iter().any(lost) {
            return Ok(0);
        }
        // A volume that is on its way back needs its description.
        store::recover(self, &self.instances()?);
        let _lock = store::lock(self)?;
        if store::is_any_on_its_way(self)? {
            return Ok(0);
        }
        let mut count = 0_usize;
        for name in names.iter().filter(|name| lost(name)) {
            files::remove(&folder.join(name))?;
            count = count.saturating_add(1);
            fault::point("sweep-volume");
        }
        Ok(count)
    }
}

#[cfg(test)]
#[path = "sweep_test.rs"]
mod tests;
