//! The thread of a device's queues: it exists while they are in use, and sleeps until somebody rings for it or something
//! that it began is done.
//!
//! Before it stands at the gate, or ends, it begins nothing new and finishes what it has begun.

use crate::gate::{Gate, Pass, Recall, Turn};
use crate::irq::Bell;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

/// What such a thread works on.
pub trait Work: Send {
    /// Does what there is to do now, at most one queue's length of it, and never waits; begins something new only
    /// with `take`. True: there may be more to do at once.
    fn serve(&mut self, take: bool) -> bool;

    /// Nothing that was begun is unfinished.
    fn is_idle(&self) -> bool;

    /// Sleeps until something that was begun may be done, or the bell rings; true: it does.
    fn wait(&mut self, bell: &Bell) -> io::Result<bool>;
}

#[derive(Debug)]
pub(crate) struct Worker {
    recall: Recall,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(crate) fn start(
        name: String,
        bell: Arc<Bell>,
        work: Box<dyn Work>,
        gate: &Arc<Gate>,
    ) -> io::Result<Worker> {
        let rung = Arc::clone(&bell);
        let (pass, recall) = gate.admit(move || rung.ring());
        let thread = std::thread::Builder::new().name(name).spawn(move || run(work, &bell, &pass))?;
        Ok(Worker { recall, thread: Some(thread) })
    }

    /// Ends them all; they finish what they have begun side by side.
    pub(crate) fn end(workers: impl IntoIterator<Item = Worker>) {
        let workers: Vec<Worker> = workers.into_iter().collect();
        workers.iter().for_each(|worker| worker.recall.recall());
    }
}

/// Ends the thread, after what it has begun.
impl Drop for Worker {
    fn drop(&mut self) {
        self.recall.recall();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("a queue's thread ended by a bug");
        }
    }
}

fn run(mut work: Box<dyn Work>, bell: &Bell, pass: &Pass) {
    loop {
        let take = pass.is_good();
        if !take && work.is_idle() {
            if pass.next() == Turn::End {
                return;
            }
            // What rang meanwhile may have been heard already: the queue is looked at before the next sleep.
            continue;
        }
        if work.serve(take) || (!take && work.is_idle()) {
            continue;
        }
        match work.wait(bell) {
            Ok(true) => drop(bell.take()),
            Ok(false) => (),
            Err(cause) => {
                let name = std::thread::current().name().unwrap_or_default().to_owned();
                log::error!("{name}: a queue's thread cannot sleep, and ends: {cause}");
                return;
            }
        }
    }
}
