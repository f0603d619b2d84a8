//! A queue whose chains are requests: each is given to its device's [`Handler`], and goes back when it is finished.

use super::{Broken, Chain, Handler, LiveQueue, Used};
use crate::irq::Bell;
use crate::worker::Work;
use std::io;

/// What the thread of such a queue works on.
#[derive(Debug)]
pub struct Requests {
    queue: LiveQueue,
    handler: Box<dyn Handler>,
    chains: Vec<Chain>,
    used: Vec<Used>,
    is_broken: bool,
}

impl Requests {
    #[must_use]
    pub fn new(queue: LiveQueue, handler: Box<dyn Handler>) -> Requests {
        Requests { queue, handler, chains: Vec::new(), used: Vec::new(), is_broken: false }
    }

    fn work(&mut self, take: bool) -> Result<bool, Broken> {
        let room = if take { self.queue.ring.room() } else { 0 };
        let taken = self.queue.ring.take(room, &mut self.chains)? != 0;
        if taken {
            self.handler.handle(&mut self.chains, &mut self.used)?;
        }
        self.handler.reap(&mut self.used)?;
        let answered = !self.used.is_empty();
        self.queue.give(&mut self.used)?;
        // The driver is asked to ring only when there is nothing else to do, and what it has offered before it could
        // see that is seen here. Without room its ring would be for nothing: an answer comes first.
        let idle = !taken && !answered;
        if idle && room > 0 { self.queue.ring.listen() } else { Ok(!idle) }
    }
}

impl Work for Requests {
    /// Gives back what is finished and, with `take`, begins what is available, as far as there is room. If there is
    /// nothing more to do at once, and there is room, the driver will ring its doorbell for the next chain.
    ///
    /// Once broken, it only lets what was begun end, and tells nobody.
    fn serve(&mut self, take: bool) -> bool {
        if self.is_broken {
            self.handler.reap(&mut self.used).unwrap_or_default();
            self.used.clear();
            return false;
        }
        let worked = self.work(take);
        self.queue.told(worked).unwrap_or_else(|| {
            self.is_broken = true;
            false
        })
    }

    fn is_idle(&self) -> bool {
        self.handler.is_idle()
    }

    fn wait(&mut self, bell: &Bell) -> io::Result<bool> {
        self.handler.wait(bell)
    }
}
