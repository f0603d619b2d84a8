//! The thread of an I/O submission queue: it exists while the queue does, and sleeps on its doorbell.

use super::io::Server;
use super::submission::Submissions;
use crate::gate::{Gate, Pass, Recall, Turn};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

/// The most commands that are taken at once: what they need of the host's memory has a bound.
const BATCH: u16 = 64;

#[derive(Debug)]
pub(super) struct Worker {
    recall: Recall,
    queue: Arc<Submissions>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(super) fn start(
        name: &str,
        queue: Arc<Submissions>,
        server: Server,
        gate: &Arc<Gate>,
    ) -> io::Result<Worker> {
        let (name, woken, shared) = (format!("{name}-q{}", queue.id), Arc::clone(&queue), Arc::clone(&queue));
        let (pass, recall) = gate.admit(move || woken.wake());
        let thread = std::thread::Builder::new().name(name).spawn(move || run(&shared, server, &pass))?;
        Ok(Worker { recall, queue, thread: Some(thread) })
    }

    pub(super) fn queue(&self) -> &Submissions {
        &self.queue
    }
}

/// Ends the thread, after the commands that it has begun.
impl Drop for Worker {
    fn drop(&mut self) {
        self.recall.recall();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("a queue's thread ended by a bug");
        }
    }
}

fn run(queue: &Submissions, mut server: Server, pass: &Pass) {
    let mut head = 0;
    while pass.next() != Turn::End {
        if serve(queue, &mut server, &mut head) {
            continue;
        }
        if let Err(cause) = queue.kick.read() {
            log::error!("a queue's thread cannot sleep: {cause}");
            return;
        }
    }
}

/// Serves a batch. False: there is nothing to do until the kick.
fn serve(queue: &Submissions, server: &mut Server, head: &mut u16) -> bool {
    let waiting = queue.waiting(*head);
    if waiting == 0 {
        return queue.arm(*head);
    }
    let count = queue.completions.reserve(waiting.min(BATCH), Some(&queue.kick));
    if count == 0 {
        return false;
    }
    for _ in 0..count {
        let command = queue.command(*head);
        *head = queue.ring.next(*head);
        server.begin(queue.id, *head, &command.unwrap_or_default());
    }
    queue.completions.post(server.finish());
    true
}
