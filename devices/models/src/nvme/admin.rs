//! Admin commands (NVMe 1.4, section 5), and the state of a controller that is enabled.

use super::completion::Completions;
use super::events::Events;
use super::features::{Features, MAX_QUEUES, VECTORS};
use super::io::Server;
use super::logs::{self, Wanted};
use super::registers::{AdminQueues, MAX_ENTRIES};
use super::ring::{Ring, ShadowPages, Side};
use super::shared::Shared;
use super::spec::{ALL_NAMESPACES, Answer, CQE, NAMESPACE, SQE, Sqe, Status, admin, halves};
use super::submission::Submissions;
use super::worker::QueueWork;
use super::{identity, prp};
use crate::irq::Bell;
use crate::worker::Worker;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A feature is to be kept over a reset, in dword 10.
const SAVE: u32 = 1 << 31;
/// Bits of dword 11 of Create I/O Completion Queue and Create I/O Submission Queue.
const CONTIGUOUS: u32 = 1;
const INTERRUPTS_ON: u32 = 2;

/// What exists while the controller is enabled. Its end ends the threads.
#[derive(Debug)]
pub(super) struct Live {
    ring: Ring,
    head: u16,
    completions: Arc<Completions>,
    features: Features,
    events: Events,
    shadows: Option<ShadowPages>,
    /// Of the I/O submission queues that there are.
    workers: BTreeMap<u16, Worker>,
    /// Since the last look, I/O queues or their doorbells have come or gone.
    pub(super) doorbells_moved: bool,
}

/// What a command comes to, beside an error.
enum Outcome {
    Done(u32),
    /// It is answered when there is something to tell.
    Parked,
}

const DONE: Outcome = Outcome::Done(0);

impl Live {
    /// Enables the controller, if its admin queues are in guest memory.
    pub(super) fn new(shared: &Shared, queues: AdminQueues) -> Result<Live, Status> {
        let ring = |(base, size), entry| Ring::new(&shared.memory, base, size, entry);
        let completions = ring(queues.completions, CQE)?;
        let ring = ring(queues.submissions, SQE)?;
        let (memory, interrupts) = (shared.memory.clone(), Arc::clone(&shared.interrupts));
        let completions = Arc::new(Completions::new(0, completions, Some(0), memory, interrupts));
        Ok(Live {
            ring,
            head: 0,
            completions,
            features: Features::default(),
            events: Events::default(),
            shadows: None,
            workers: BTreeMap::new(),
            doorbells_moved: false,
        })
    }

    pub(super) fn completions(&self) -> Arc<Completions> {
        Arc::clone(&self.completions)
    }

    /// Ends its threads, after the commands that they have begun.
    pub(super) fn end(self) {
        Worker::end(self.workers.into_values());
    }

    pub(super) fn size(&self) -> u16 {
        self.ring.size()
    }

    /// Serves what lies in the admin queue now; at most one queue's length.
    pub(super) fn serve(&mut self, shared: &Shared) {
        self.collect_events(shared);
        // A doorbell that was overtaken by a reset may be of a larger queue than this.
        let tail = shared.admin_tail.load(Ordering::Acquire);
        let tail = if tail < self.ring.size() { tail } else { self.head };
        while self.head != tail && self.completions.reserve(1, None) == 1 {
            let command: Sqe = shared.memory.read_record(self.ring.at(self.head)).unwrap_or_default();
            self.head = self.ring.next(self.head);
            let (status, result) = match self.execute(shared, &command) {
                Ok(Outcome::Done(result)) => (Status::SUCCESS, result),
                Ok(Outcome::Parked) => {
                    self.completions.release();
                    continue;
                }
                Err(status) => (status, 0),
            };
            self.answer(command.cid.get(), status, result);
        }
        self.tell_events();
    }

    fn answer(&self, cid: u16, status: Status, result: u32) {
        self.completions.post([Answer { cid, sq_id: 0, sq_head: self.head, status, result }]);
    }

    fn collect_events(&mut self, shared: &Shared) {
        if let Some(what) = shared.bad_doorbell.lock().take() {
            self.events.bad_doorbell(what);
        }
        if shared.changed.swap(false, Ordering::SeqCst) {
            self.events.namespace_changed();
        }
    }

    fn tell_events(&mut self) {
        while self.completions.reserve(1, None) == 1 {
            let Some((cid, result)) = self.events.next(self.features.events) else {
                self.completions.release();
                return;
            };
            self.answer(cid, Status::SUCCESS, result);
        }
    }

    fn execute(&mut self, shared: &Shared, command: &Sqe) -> Result<Outcome, Status> {
        if command.flags != 0 {
            return Err(Status::INVALID_FIELD);
        }
        match command.opcode {
            admin::CREATE_CQ => self.create_completions(shared, command),
            admin::DELETE_CQ => self.delete_completions(shared, command),
            admin::CREATE_SQ => self.create_submissions(shared, command),
            admin::DELETE_SQ => self.delete_submissions(shared, command),
            admin::GET_LOG_PAGE => self.log_page(shared, command),
            admin::IDENTIFY => identify(shared, command),
            // Nothing is ever aborted: bit 0 says so.
            admin::ABORT => Ok(Outcome::Done(1)),
            admin::SET_FEATURES => {
                if command.cdw10.get() & SAVE != 0 {
                    return Err(Status::NOT_SAVEABLE);
                }
                let [id, ..] = command.cdw10.get().to_le_bytes();
                let result = self.features.set(id, command.cdw11.get())?;
                shared.write_through.store(self.features.write_through(), Ordering::Relaxed);
                Ok(Outcome::Done(result))
            }
            admin::GET_FEATURES => {
                let [id, ..] = command.cdw10.get().to_le_bytes();
                self.features.get(id, command.cdw11.get()).map(Outcome::Done)
            }
            admin::ASYNC_EVENT if self.events.park(command.cid.get()) => Ok(Outcome::Parked),
            admin::ASYNC_EVENT => Err(Status::TOO_MANY_EVENT_REQUESTS),
            admin::DOORBELL_BUFFER => self.share_doorbells(shared, command),
            _ => Err(Status::INVALID_OPCODE),
        }
    }

    fn create_completions(&mut self, shared: &Shared, command: &Sqe) -> Result<Outcome, Status> {
        let id = command.queue().0;
        let mut queues = shared.queues.lock();
        if !is_io_queue(id) || queues.completions.contains_key(&id) {
            return Err(Status::INVALID_QUEUE_ID);
        }
        let ring = self.new_ring(shared, command, CQE)?;
        let flags = command.cdw11.get();
        let (_, vector) = halves(flags);
        let vector = (flags & INTERRUPTS_ON != 0).then_some(vector);
        if vector.is_some_and(|vector| vector >= VECTORS) {
            return Err(Status::INVALID_VECTOR);
        }
        let (memory, interrupts) = (shared.memory.clone(), Arc::clone(&shared.interrupts));
        let made = Completions::new(id, ring, vector, memory, interrupts);
        if let Some(pages) = self.shadows {
            made.share(pages.of(id, Side::Head));
        }
        queues.completions.insert(id, Arc::new(made));
        Ok(DONE)
    }

    /// The ring that a create command describes.
    fn new_ring(&self, shared: &Shared, command: &Sqe, entry: u64) -> Result<Ring, Status> {
        let (_, last) = command.queue();
        if last == 0 || last >= MAX_ENTRIES || !shared.entry_sizes_are_set() {
            return Err(Status::INVALID_QUEUE_SIZE);
        }
        if command.cdw11.get() & CONTIGUOUS == 0 {
            return Err(Status::INVALID_FIELD);
        }
        Ring::new(&shared.memory, command.prp1.get(), last.saturating_add(1), entry)
    }

    fn create_submissions(&mut self, shared: &Shared, command: &Sqe) -> Result<Outcome, Status> {
        let id = command.queue().0;
        let (_, completions_id) = halves(command.cdw11.get());
        if !is_io_queue(id) || self.workers.contains_key(&id) || !is_io_queue(completions_id) {
            return Err(Status::INVALID_QUEUE_ID);
        }
        let completions = shared.queues.lock().completions.get(&completions_id).map(Arc::clone);
        let completions = completions.ok_or(Status::COMPLETION_QUEUE_INVALID)?;
        let ring = self.new_ring(shared, command, SQE)?;
        let kick = Bell::new().map_err(|cause| shared.failed("doorbell", &cause))?;
        let queue = Arc::new(Submissions {
            ring,
            memory: shared.memory.clone(),
            completions,
            completions_id,
            kick: Arc::new(kick),
            tail: 0.into(),
            shadow: None.into(),
        });
        if let Some(pages) = self.shadows {
            queue.share(pages.of(id, Side::Tail));
        }
        let Shared { memory, volume, counters, write_through, stages, .. } = shared;
        let (counters, write_through) = (Arc::clone(counters), Arc::clone(write_through));
        let server =
            Server::new(id, memory.clone(), volume.clone(), counters, write_through).watched(stages.clone());
        let (name, kick) = (format!("{}-q{id}", shared.name), Arc::clone(&queue.kick));
        let work = Box::new(QueueWork::new(Arc::clone(&queue), server));
        let worker = Worker::start(name, kick, work, &shared.gate);
        let worker = worker.map_err(|cause| shared.failed("thread", &cause))?;
        self.workers.insert(id, worker);
        shared.queues.lock().submissions.insert(id, queue);
        self.doorbells_moved = true;
        Ok(DONE)
    }

    fn delete_submissions(&mut self, shared: &Shared, command: &Sqe) -> Result<Outcome, Status> {
        let worker = self.workers.remove(&command.queue().0).ok_or(Status::INVALID_QUEUE_ID)?;
        shared.queues.lock().submissions.remove(&command.queue().0);
        // Ends the thread when the commands that it has begun are answered.
        drop(worker);
        self.doorbells_moved = true;
        Ok(DONE)
    }

    fn delete_completions(&mut self, shared: &Shared, command: &Sqe) -> Result<Outcome, Status> {
        let id = command.queue().0;
        let mut queues = shared.queues.lock();
        if !is_io_queue(id) || !queues.completions.contains_key(&id) {
            return Err(Status::INVALID_QUEUE_ID);
        }
        if queues.submissions.values().any(|queue| queue.completions_id == id) {
            return Err(Status::INVALID_QUEUE_DELETION);
        }
        queues.completions.remove(&id);
        shared.interrupts.set_waiting(id, false);
        drop(queues);
        shared.interrupts.settle();
        Ok(DONE)
    }

    fn log_page(&mut self, shared: &Shared, command: &Sqe) -> Result<Outcome, Status> {
        let wanted = Wanted::of(command);
        let changed = self.events.has_changed_namespace();
        let page = logs::page(wanted.id, &shared.identity, &shared.counters, changed);
        let page = page.ok_or(Status::INVALID_LOG_PAGE)?;
        send(shared, command, wanted.cut(&page).ok_or(Status::INVALID_FIELD)?)?;
        if !wanted.retain {
            self.events.seen(wanted.id);
        }
        Ok(DONE)
    }

    /// Doorbell Buffer Config (5.7): also for queues that exist already, and never for the admin queues.
    fn share_doorbells(&mut self, shared: &Shared, command: &Sqe) -> Result<Outcome, Status> {
        let pages = ShadowPages::new(&shared.memory, command.prp1.get(), command.prp2.get())?;
        self.shadows = Some(pages);
        let mut queues = shared.queues.lock();
        queues.shadows = true;
        for (id, queue) in queues.completions.iter().filter(|(id, _)| is_io_queue(**id)) {
            queue.share(pages.of(*id, Side::Head));
        }
        let submissions = queues.submissions.clone();
        drop(queues);
        for (id, queue) in submissions {
            queue.share(pages.of(id, Side::Tail));
        }
        self.doorbells_moved = true;
        Ok(DONE)
    }
}

fn is_io_queue(id: u16) -> bool {
    (1..=MAX_QUEUES).contains(&id)
}

/// Identify (5.15).
fn identify(shared: &Shared, command: &Sqe) -> Result<Outcome, Status> {
    let nsid = command.nsid.get();
    let ours = if nsid == NAMESPACE { Ok(()) } else { Err(Status::INVALID_NAMESPACE) };
    let [cns, ..] = command.cdw10.get().to_le_bytes();
    let page = match cns {
        0 => {
            ours?;
            identity::namespace(shared.sectors())
        }
        1 => shared.identity.controller(),
        2 if nsid >= ALL_NAMESPACES.saturating_sub(1) => return Err(Status::INVALID_NAMESPACE),
        2 => identity::namespaces(nsid),
        // EBS volumes have no identifiers beside their serial number: the list is empty.
        3 => {
            ours?;
            vec![0; 4096]
        }
        _ => return Err(Status::INVALID_FIELD),
    };
    send(shared, command, &page)?;
    Ok(DONE)
}

/// Copies data to where the command points.
fn send(shared: &Shared, command: &Sqe, bytes: &[u8]) -> Result<(), Status> {
    let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let buffers = prp::buffers(&shared.memory, command.prp1.get(), command.prp2.get(), len)?;
    buffers.put(0, bytes).map_err(|_| Status::DATA_TRANSFER)
}
