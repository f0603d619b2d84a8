//! What the parts of a controller share: doorbells reach it without waiting for an admin command.

use super::completion::Completions;
use super::events::BadDoorbell;
use super::identity::Identity;
use super::interrupt::Interrupts;
use super::registers::Registers;
use super::spec::Status;
use super::stats::Counters;
use super::submission::Submissions;
use crate::disk::Volume;
use crate::gate::Gate;
use crate::stages::Stages;
use ami_run_memory::Memory;
use ami_run_storage::SECTOR;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) memory: Memory,
    /// What the threads of queues pass.
    pub(super) gate: Arc<Gate>,
    pub(super) volume: Volume,
    pub(super) identity: Identity,
    pub(super) registers: Mutex<Registers>,
    pub(super) interrupts: Arc<Interrupts>,
    pub(super) counters: Arc<Counters>,
    pub(super) queues: Mutex<Queues>,
    /// The doorbell of the admin submission queue.
    pub(super) admin_tail: AtomicU16,
    /// The driver turned the write cache off.
    pub(super) write_through: Arc<AtomicBool>,
    // What is to be told to the driver:
    pub(super) bad_doorbell: Mutex<Option<BadDoorbell>>,
    pub(super) changed: AtomicBool,
    /// Of the boot disk: where its use is told.
    pub(super) stages: Option<Arc<Stages>>,
}

/// The queues that there are, for their doorbells. Locked for look-ups and changes only.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// Entries of the admin submission queue; 0 while the controller is off.
    pub(super) admin_size: u16,
    pub(super) submissions: BTreeMap<u16, Arc<Submissions>>,
    /// The admin queue's, too.
    pub(super) completions: BTreeMap<u16, Arc<Completions>>,
    /// Doorbells of I/O queues are in guest memory.
    pub(super) shadows: bool,
}

impl Shared {
    pub(super) fn sectors(&self) -> u64 {
        self.volume.size() / SECTOR
    }

    pub(super) fn entry_sizes_are_set(&self) -> bool {
        self.registers.lock().entry_sizes_are_set()
    }

    /// The host can't make what a queue needs.
    pub(super) fn failed(&self, what: &str, cause: &std::io::Error) -> Status {
        log::error!("{}: no {what} for a queue: {cause}", self.name);
        Status::INTERNAL
    }
}
