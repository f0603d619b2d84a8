//! What the thread of an I/O submission queue works on: commands are taken while there is room for them at work and
//! in their completion queue, and answered as they are finished, in any order.

use super::io::Server;
use super::submission::Submissions;
use crate::irq::Bell;
use crate::worker::Work;
use std::io;
use std::sync::Arc;

/// The most commands of a queue that are at work at once: what they need of the host's memory has a bound.
const DEPTH: u16 = 64;

pub(super) struct QueueWork {
    queue: Arc<Submissions>,
    server: Server,
    /// The next command to take.
    head: u16,
}

impl QueueWork {
    pub(super) fn new(queue: Arc<Submissions>, server: Server) -> QueueWork {
        QueueWork { queue, server, head: 0 }
    }

    /// Begins what waits in the queue, as far as there is room. Says whether there is nothing but the next doorbell
    /// to wait for, or `None` where something was begun.
    fn take(&mut self) -> Option<bool> {
        let room = DEPTH.saturating_sub(self.server.open());
        let wanted = self.queue.waiting(self.head).min(room);
        if wanted == 0 {
            return Some(room > 0);
        }
        let count = self.queue.completions.reserve(wanted, Some(&self.queue.kick));
        if count == 0 {
            return Some(false);
        }
        let (queue, head) = (&self.queue, &mut self.head);
        self.server.begin((0..count).map(|_| {
            let command = queue.command(*head);
            *head = queue.ring.next(*head);
            command.unwrap_or_default()
        }));
        None
    }
}

impl Work for QueueWork {
    fn serve(&mut self, take: bool) -> bool {
        let rests = if take { self.take() } else { Some(false) };
        let answers = self.server.reap(self.head);
        if answers.len() > 0 {
            self.queue.completions.post(answers);
            return true;
        }
        match rests {
            // Only who has nothing else to wait for asks the driver to ring.
            Some(for_the_doorbell) => for_the_doorbell && self.queue.arm(self.head),
            None => true,
        }
    }

    fn is_idle(&self) -> bool {
        self.server.is_idle()
    }

    fn wait(&mut self, bell: &Bell) -> io::Result<bool> {
        self.server.wait(bell)
    }
}
