//! The doorbells of one device: which of them the hypervisor answers now, and where they hang.

use super::{Doorbell, Hypervisor};
use parking_lot::Mutex;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Doorbells {
    /// The device's, for the log.
    name: String,
    hypervisor: Arc<dyn Hypervisor>,
    hung: Mutex<Vec<Doorbell>>,
}

impl Doorbells {
    pub(crate) fn new(name: &str, hypervisor: Arc<dyn Hypervisor>) -> Doorbells {
        Doorbells { name: name.to_owned(), hypervisor, hung: Mutex::default() }
    }

    /// Takes down what `wanted` does not name, and hangs what it does. It is asked with the lock held, so that of
    /// two vCPUs the later one sees what the earlier one did.
    pub(crate) fn hang(&self, wanted: impl FnOnce() -> Vec<Doorbell>) {
        let mut hung = self.hung.lock();
        let wanted = wanted();
        let same = |a: &Doorbell, b: &Doorbell| a.address == b.address && Arc::ptr_eq(&a.event, &b.event);
        hung.retain(|bell| {
            let stays = wanted.iter().any(|other| same(bell, other));
            if !stays && let Err(cause) = self.hypervisor.detach_doorbell(bell) {
                log::error!("{}: a doorbell stays where it was: {cause}", self.name);
            }
            stays
        });
        for bell in wanted {
            if hung.iter().any(|other| same(other, &bell)) {
                continue;
            }
            match self.hypervisor.attach_doorbell(&bell) {
                Ok(()) => hung.push(bell),
                // Without it the write comes to the device: slower, but the same.
                Err(cause) => log::warn!("{}: no doorbell: {cause}", self.name),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Recorder;
    use super::*;
    use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

    #[test]
    fn bells_follow_what_is_wanted_and_stay_where_they_are_if_they_can() {
        let recorder = Arc::new(Recorder::default());
        let bells = Doorbells::new("device", recorder.clone());
        let [a, b] = [0, 1].map(|_| Arc::new(EventFd::new(EFD_NONBLOCK).unwrap()));
        let bell = |address, event: &Arc<EventFd>| Doorbell { address, event: Arc::clone(event) };
        bells.hang(|| vec![bell(8, &a), bell(16, &b)]);
        assert_eq!(recorder.bells(), [8, 16]);
        // The events change places: both must come down before one goes up.
        bells.hang(|| vec![bell(8, &b), bell(16, &a)]);
        assert!(recorder.ring(8));
        assert_eq!((a.read().ok(), b.read().ok()), (None, Some(1)));
        bells.hang(|| vec![bell(16, &a)]);
        assert_eq!((recorder.bells(), recorder.ring(8)), (vec![16], false));
        bells.hang(Vec::new);
        assert!(recorder.bells().is_empty());
    }
}
