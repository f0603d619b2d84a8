//! The doorbells of one device: which of them the hypervisor answers now, and where they hang.

use super::{Bell, Doorbell, Hypervisor};
use ami_run_memory::Range;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug)]
pub(crate) struct Doorbells {
    /// The device's, for the log.
    name: String,
    hypervisor: Arc<dyn Hypervisor>,
    hung: Mutex<Vec<Doorbell>>,
    /// The log knows that one could not be hung. A guest can ask as often as it likes, where another's hangs: once is
    /// enough.
    told: AtomicBool,
}

impl Doorbells {
    pub(crate) fn new(name: &str, hypervisor: Arc<dyn Hypervisor>) -> Doorbells {
        Doorbells { name: name.to_owned(), hypervisor, hung: Mutex::default(), told: false.into() }
    }

    /// Hangs the bells at their distances from where the device's BAR is decoded, if it is, and takes down every
    /// other. Both are asked with the lock held, so that of two vCPUs the later one sees what the earlier one did.
    pub(crate) fn hang(
        &self,
        bar: impl FnOnce() -> Option<Range>,
        bells: impl FnOnce() -> Vec<(u64, Arc<Bell>)>,
    ) {
        let mut hung = self.hung.lock();
        let wanted: Vec<Doorbell> = match bar() {
            Some(bar) => bells()
                .into_iter()
                .map(|(distance, bell)| Doorbell { address: bar.start.saturating_add(distance), bell })
                .collect(),
            None => Vec::new(),
        };
        let same = |a: &Doorbell, b: &Doorbell| a.address == b.address && Arc::ptr_eq(&a.bell, &b.bell);
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
                Err(cause) if !self.told.swap(true, Ordering::Relaxed) => {
                    log::warn!("{}: no doorbell: {cause}", self.name);
                }
                Err(_) => (),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Recorder;
    use super::*;

    #[test]
    fn bells_follow_what_is_wanted_and_stay_where_they_are_if_they_can() {
        let recorder = Arc::new(Recorder::default());
        let bells = Doorbells::new("device", recorder.clone());
        let [a, b] = [0, 1].map(|_| Arc::new(Bell::new().unwrap()));
        let bar = || Some(Range::new(8, 24));
        let at = |distance, bell: &Arc<Bell>| (distance, Arc::clone(bell));
        bells.hang(bar, || vec![at(0, &a), at(8, &b)]);
        assert_eq!(recorder.bells(), [8, 16]);
        // The bells change places: both must come down before one goes up.
        bells.hang(bar, || vec![at(0, &b), at(8, &a)]);
        assert!(recorder.ring(8));
        assert_eq!((a.take(), b.take(), b.take()), (false, true, false));
        bells.hang(bar, || vec![at(8, &a)]);
        assert_eq!((recorder.bells(), recorder.ring(8)), (vec![16], false));
        bells.hang(|| None, || vec![at(8, &a)]);
        assert!(recorder.bells().is_empty(), "nothing is decoded");
        bells.hang(bar, || vec![at(0, &a)]);
        bells.hang(bar, Vec::new);
        assert!(recorder.bells().is_empty());
    }
}
