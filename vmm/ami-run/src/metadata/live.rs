//! The metadata service of a launched instance, as its network card's link has it.
//!
//! The link's thread holds the service for one answer at a time and never waits here: what takes time, the signatures
//! of the identity document and the role's credentials, is fetched by a thread of its own, which begins when the
//! guest first asks for anything. So a launch pays nothing for it, and a guest that never asks costs no thread. Until
//! the signatures are there, they are answered with 503, which EC2's clients retry; the document is there at once.
//!
//! EC2 also drops what a guest asks for beyond 1024 packets a second; here nobody shares the service with it, and
//! all are answered.

use super::credentials::{Lender, lend};
use super::{facts, options, plug};
use crate::failure::Failure;
use crate::state::catalog_failure;
use ami_run_catalog::control::Event;
use ami_run_catalog::{CatalogError, InstanceRecord, ids};
use ami_run_metadata::{Maintenance, MaintenanceState, Now, Service, Signer, SpotAction, SpotNotice};
use parking_lot::Mutex;
use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

/// How soon a file's new credentials are noticed; far sooner than clients ask for new ones.
const AGAIN: Duration = Duration::from_secs(5);

/// One instance's service, from its launch to its end.
#[derive(Clone)]
pub(crate) struct Live {
    core: Arc<Mutex<Service>>,
    /// Taken when the guest first asks.
    late: Arc<Mutex<Option<Late>>>,
    /// Its end is that of the thread.
    _alive: Arc<Sender<Infallible>>,
}

/// What its thread needs.
struct Late {
    core: Weak<Mutex<Service>>,
    ended: Receiver<Infallible>,
    identity: PathBuf,
    lender: Option<Lender>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl Live {
    /// `folder`: the state folder, where the key is that signs identity documents. Credentials that cannot be had now
    /// may be there later, as on EC2.
    pub(crate) fn open(record: &InstanceRecord, folder: &Path) -> Result<Live, Failure> {
        let secret = ids::random().map_err(|cause| catalog_failure(&cause))?;
        let lender = record.own.iam_credentials.as_deref().map(Lender::open).transpose()?;
        let now = Now::read();
        let facts = facts::facts(record, lender.as_ref(), now.wall);
        let service = Service::new(facts, options::of(&record.metadata_options.options), secret, None, now)
            .signed_elsewhere();
        let core = Arc::new(Mutex::new(service));
        let (alive, ended) = channel();
        let late = Late { core: Arc::downgrade(&core), ended, identity: folder.join("identity"), lender };
        Ok(Live { core, late: Arc::new(Mutex::new(Some(late))), _alive: Arc::new(alive) })
    }

    /// What the link plugs in.
    pub(crate) fn service(&self) -> Vec<ami_run_network::Service> {
        let live = self.clone();
        plug::services(&self.core, move || live.begin())
    }

    /// The record says something else now.
    pub(crate) fn changed(&self, record: &InstanceRecord) {
        let now = Now::read();
        let mut facts = facts::facts(record, None, now.wall);
        let mut core = self.core.lock();
        (facts.role, facts.events) = (core.facts().role.clone(), core.facts().events.clone());
        core.set(facts, options::of(&record.metadata_options.options), now);
    }

    /// Announces that something will happen `at` this time, or takes it back.
    pub(crate) fn inject(&self, event: &Event, at: SystemTime, cancel: bool) -> Result<(), CatalogError> {
        let id = u64::from_ne_bytes(ids::random()?);
        let now = Now::read();
        let mut core = self.core.lock();
        let (mut facts, options) = (core.facts().clone(), core.options());
        let events = &mut facts.events;
        let spot = |action| (!cancel).then_some(SpotNotice { action, time: at });
        match event {
            Event::SpotStop => events.spot = spot(SpotAction::Stop),
            Event::SpotTerminate => events.spot = spot(SpotAction::Terminate),
            Event::SpotHibernate => events.spot = spot(SpotAction::Hibernate),
            Event::Rebalance => events.rebalance = (!cancel).then_some(now.wall),
            Event::Maintenance(code) if cancel => {
                let these = events.maintenance.iter_mut().filter(|event| event.code == *code);
                these.for_each(|event| event.state = MaintenanceState::Canceled);
            }
            Event::Maintenance(code) => events.maintenance.push(maintenance(code, id, at)),
        }
        core.set(facts, options, now);
        Ok(())
    }

    /// Begins the thread, once.
    fn begin(&self) {
        let Some(late) = self.late.lock().take() else { return };
        let begun = thread::Builder::new().name("metadata".to_owned()).spawn(move || late.run());
        if let Err(cause) = begun {
            log::warn!("the metadata service has no signatures and no new credentials: {cause}");
        }
    }
}

fn maintenance(code: &str, id: u64, at: SystemTime) -> Maintenance {
    Maintenance {
        event_id: format!("instance-event-0{id:016x}"),
        code: code.to_owned(),
        description: format!("scheduled {}", code.rsplit('-').next().unwrap_or_default()),
        not_before: at,
        not_after: None,
        state: MaintenanceState::Active,
    }
}

impl Late {
    fn run(self) {
        self.lend();
        self.sign();
        let Some(lender) = &self.lender else { return };
        while self.ended.recv_timeout(lender.again(AGAIN)) == Err(RecvTimeoutError::Timeout) {
            self.lend();
        }
    }

    fn lend(&self) {
        let Some(lender) = &self.lender else { return };
        let read = lender.read(SystemTime::now());
        if let Some(core) = self.core.upgrade() {
            lend(&mut core.lock(), read, Now::read());
        }
    }

    /// What is signed never changes while the machine runs.
    fn sign(&self) {
        let Some(document) = self.core.upgrade().map(|core| core.lock().document()) else { return };
        match Signer::open(&self.identity).and_then(|signer| signer.sign_all(&document)) {
            Ok(signatures) => {
                if let Some(core) = self.core.upgrade() {
                    core.lock().signed(signatures);
                }
            }
            Err(cause) => log::warn!("identity documents have no signatures: {cause}"),
        }
    }
}

#[cfg(test)]
#[path = "live_test.rs"]
mod tests;
