//! The state folder: making, finding and holding instances.

use crate::error::CatalogError;
use crate::held::Held;
use crate::lock::{Kind, Lock};
use crate::new::{self, NewInstance};
use crate::record::{InstanceRecord, Reservation};
use crate::state::State;
use crate::{addresses, fault, files, ids, settle};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Of the state folder.
const VERSION: u64 = 1;
/// How long another command may have an instance.
const MOMENT: Duration = Duration::from_secs(2);

/// One state folder.
#[derive(Clone, Debug)]
pub struct Catalog {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version: u64,
}

impl Catalog {
    /// Makes nothing: a folder that is not there yet is an empty one.
    pub fn open(folder: &Path) -> Result<Catalog, CatalogError> {
        let fail = |source| CatalogError::io("read", folder, source);
        let folder = std::path::absolute(folder).map_err(fail)?;
        match folder.metadata() {
            Err(cause) if cause.kind() == ErrorKind::NotFound => {}
            Err(cause) => return Err(fail(cause)),
            Ok(found) if !found.is_dir() => return Err(fail(ErrorKind::NotADirectory.into())),
            Ok(found) if found.uid() != rustix::process::geteuid().as_raw() => {
                return Err(CatalogError::NotOurs { path: folder });
            }
            Ok(_) => check_version(&folder.join("version"))?,
        }
        Ok(Catalog { folder })
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn instances_folder(&self) -> PathBuf {
        self.folder.join("instances")
    }

    /// Where an instance's files are.
    #[must_use]
    pub fn instance_folder(&self, id: &str) -> PathBuf {
        self.instances_folder().join(id)
    }

    /// What is missing of the state folder.
    fn make(&self) -> Result<(), CatalogError> {
        files::make_folder(&self.instances_folder())?;
        // Where everybody may make folders, another user may have been quicker since the first look.
        Catalog::open(&self.folder)?;
        let version = self.folder.join("version");
        if files::bytes(&version)?.is_some() {
            return Ok(());
        }
        let _makers = self.makers(Kind::Exclusive)?;
        files::write(&version, &Version { version: VERSION }, true)
    }

    /// Makers of instances hold it shared until their folder's own lock is held, so that nobody takes what they make
    /// for something half-made.
    fn makers(&self, kind: Kind) -> Result<Lock, CatalogError> {
        let path = self.makers_lock();
        let fail = |source| CatalogError::io("lock", &path, source);
        Lock::wait(&path, kind, MOMENT).map_err(fail)?.ok_or_else(|| fail(ErrorKind::WouldBlock.into()))
    }

    pub(crate) fn makers_lock(&self) -> PathBuf {
        self.instances_folder().join("lock")
    }

    /// What the instances of one launch have in common.
    pub fn new_reservation(&self, owner_id: Option<&str>) -> Result<Reservation, CatalogError> {
        Reservation::new(owner_id)
    }

    /// RunInstances, of one: a pending instance with id, folder, address and record, and held by this process.
    pub fn create(&self, new: NewInstance) -> Result<Held, CatalogError> {
        self.make()?;
        let making = self.makers(Kind::Shared)?;
        let (id, folder) = self.new_folder()?;
        fault::point("create-folder");
        let made = self.furnish(new, &id, &folder, making);
        if made.is_err() {
            // Best effort: what stays is swept.
            fs::remove_dir_all(&folder).unwrap_or_default();
        }
        made
    }

    fn furnish(&self, new: NewInstance, id: &str, folder: &Path, making: Lock) -> Result<Held, CatalogError> {
        let path = files::lock(folder);
        let fail = |source| CatalogError::io("lock", &path, source);
        let lock = Lock::attempt(&path, Kind::Exclusive)
            .map_err(fail)?
            .ok_or_else(|| CatalogError::Busy { id: id.to_owned() })?;
        drop(making);
        fault::point("create-lock");
        files::make_folder(&files::volumes(folder))?;
        let address = addresses::claim(&self.folder, addresses::SUBNET, id)?;
        fault::point("create-address");
        let begun = self.begin(new, id, address, lock);
        if begun.is_err() {
            addresses::free(&self.folder, &address.to_string(), id)?;
        }
        begun
    }

    fn begin(&self, new: NewInstance, id: &str, address: Ipv4Addr, lock: Lock) -> Result<Held, CatalogError> {
        let mut held = Held::new(self, lock, new::record(new, id, address)?);
        held.begin()?;
        fault::point("create-record");
        Ok(held)
    }

    fn new_folder(&self) -> Result<(String, PathBuf), CatalogError> {
        loop {
            let id = ids::instance()?;
            let folder = self.instance_folder(&id);
            match DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok((id, folder)),
                Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {}
                Err(source) => return Err(CatalogError::io("make the folder", folder, source)),
            }
        }
    }

    /// Holds an instance whose machine does not run. Another command may have it for a moment.
    pub fn hold(&self, id: &str) -> Result<Held, CatalogError> {
        let folder = self.existing(id)?;
        let path = files::lock(&folder);
        // Whoever runs its machine has it for longer than anybody waits.
        let runs =
            || settle::truth(self, &folder).is_ok_and(|record| record.is_some_and(|it| it.state.is_alive()));
        match Lock::wait_existing(&path, MOMENT, runs) {
            Ok(Some(lock)) => self.held(lock, id)?.ok_or_else(|| CatalogError::not_found(id)),
            Ok(None) => Err(CatalogError::Busy { id: id.to_owned() }),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Err(CatalogError::not_found(id)),
            Err(source) => Err(CatalogError::io("lock", path, source)),
        }
    }

    /// The same without waiting. None: another has it, or there is no such instance any more.
    pub(crate) fn try_hold(&self, id: &str) -> Result<Option<Held>, CatalogError> {
        let path = files::lock(&self.instance_folder(id));
        match Lock::attempt_existing(&path) {
            Ok(Some(lock)) => self.held(lock, id),
            Ok(None) => Ok(None),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CatalogError::io("lock", path, source)),
        }
    }

    fn held(&self, lock: Lock, id: &str) -> Result<Option<Held>, CatalogError> {
        let Some(record) = files::instance(&self.instance_folder(id))? else { return Ok(None) };
        settle::settle(self, Held::new(self, lock, record))
    }

    /// Holds an instance by the lock that this process was started with.
    pub fn adopt(&self, id: &str, lock: OwnedFd) -> Result<Held, CatalogError> {
        let folder = self.existing(id)?;
        let path = files::lock(&folder);
        let fail = |source| CatalogError::io("lock", &path, source);
        let lock = Lock::adopt(&path, lock)
            .map_err(fail)?
            .ok_or_else(|| fail(io::Error::other("the descriptor is not that of its lock, held")))?;
        let record = files::instance(&folder)?.ok_or_else(|| CatalogError::not_found(id))?;
        Ok(Held::new(self, lock, record))
    }

    fn existing(&self, id: &str) -> Result<PathBuf, CatalogError> {
        if !ids::is_instance(id) {
            return Err(CatalogError::malformed(id));
        }
        let folder = self.instance_folder(id);
        if folder.join(files::INSTANCE).exists() { Ok(folder) } else { Err(CatalogError::not_found(id)) }
    }

    /// DescribeInstances: what is true of all that can be read, the oldest first.
    pub fn instances(&self) -> Result<Vec<InstanceRecord>, CatalogError> {
        let mut records = Vec::new();
        for id in self.ids()? {
            match settle::truth(self, &self.instance_folder(&id)) {
                Ok(record) => records.extend(record),
                Err(cause) => log::warn!("{}", crate::error::with_cause(&cause)),
            }
        }
        records.sort_by(|a, b| {
            let key = |record: &InstanceRecord| (record.launch_time.clone(), record.ami_launch_index);
            key(a).cmp(&key(b)).then_with(|| a.instance_id.cmp(&b.instance_id))
        });
        Ok(records)
    }

    /// Of every folder, whether or not it is an instance's yet.
    pub(crate) fn ids(&self) -> Result<Vec<String>, CatalogError> {
        let mut ids = files::names(&self.instances_folder())?;
        ids.retain(|id| ids::is_instance(id));
        Ok(ids)
    }

    /// What is true of one instance.
    pub fn describe(&self, id: &str) -> Result<InstanceRecord, CatalogError> {
        let folder = self.existing(id)?;
        settle::truth(self, &folder)?.ok_or_else(|| CatalogError::not_found(id))
    }

    /// The id of the instance that somebody means: by its id, the beginning of it, or the value of its tag Name.
    pub fn resolve(&self, given: &str) -> Result<String, CatalogError> {
        if ids::is_instance(given) && self.existing(given).is_ok() {
            return Ok(given.to_owned());
        }
        let records = self.instances()?;
        let of = |chosen: &dyn Fn(&InstanceRecord) -> bool| {
            let chosen = records.iter().filter(|record| chosen(record));
            chosen.map(|record| record.instance_id.clone()).collect::<Vec<_>>()
        };
        let begins =
            |record: &InstanceRecord| ids::is_instance(given) && record.instance_id.starts_with(given);
        let named = |record: &InstanceRecord| record.name() == Some(given);
        // The name of one that is terminated may be another's by now.
        let lasting = |record: &InstanceRecord| named(record) && record.state != State::Terminated;
        let found = [of(&begins), of(&lasting), of(&named)].into_iter().find(|found| !found.is_empty());
        match found.as_deref() {
            Some([id]) => Ok(id.clone()),
            Some(several) => Err(CatalogError::refused(
                "InvalidParameterValue",
                format!("'{given}' could be {}", several.join(" or ")),
            )
            .hint("give more of the id")),
            None if ids::is_instance(given) => Err(CatalogError::not_found(given)),
            None => Err(CatalogError::malformed(given)),
        }
    }

    /// Bytes that the instance's folder takes on disk.
    #[must_use]
    pub fn holds(&self, id: &str) -> u64 {
        if ids::is_instance(id) { taken(&self.instance_folder(id)) } else { 0 }
    }
}

/// By a folder and what is in it. Links are not followed.
fn taken(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.fold(0, |sum, entry| {
        let Ok(found) = entry.metadata() else { return sum };
        let own = found.blocks().saturating_mul(512);
        let below = if found.is_dir() { taken(&entry.path()) } else { 0 };
        sum.saturating_add(own).saturating_add(below)
    })
}

fn check_version(path: &Path) -> Result<(), CatalogError> {
    let Some(bytes) = files::bytes(path)? else { return Ok(()) };
    let Version { version } = files::parse(path, &bytes)?;
    if version > VERSION {
        return Err(CatalogError::Newer { path: path.to_owned(), version, known: VERSION });
    }
    Ok(())
}

#[cfg(test)]
#[path = "catalog_test.rs"]
mod tests;
