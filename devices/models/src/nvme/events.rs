//! Asynchronous events (NVMe 1.4, section 5.2): requests are parked until there is something to tell, and what has
//! been told once is not told again before its log page was read.

use super::spec::log_page;

/// AERL + 1: the most requests that are parked.
const MAX_PARKED: usize = 4;
/// Notices of changed namespaces are on, in feature 0x0b.
const NAMESPACE_NOTICES: u32 = 1 << 8;
const ERROR: u32 = 0;
const NOTICE: u32 = 2;

/// What was wrong with a doorbell (5.2, figure 147): the event's information.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BadDoorbell {
    Register = 0,
    Value = 1,
}

#[derive(Debug, Default)]
pub(super) struct Events {
    parked: Vec<u16>,
    doorbell: Option<BadDoorbell>,
    namespace_changed: bool,
    /// Kinds that were told and not yet looked at.
    errors_held: bool,
    notices_held: bool,
}

impl Events {
    /// Parks a request. False: there are too many.
    pub(super) fn park(&mut self, cid: u16) -> bool {
        let room = self.parked.len() < MAX_PARKED;
        if room {
            self.parked.push(cid);
        }
        room
    }

    pub(super) fn bad_doorbell(&mut self, what: BadDoorbell) {
        self.doorbell = Some(what);
    }

    pub(super) fn namespace_changed(&mut self) {
        self.namespace_changed = true;
    }

    /// The driver read a log page, and did not ask to keep its events.
    pub(super) fn seen(&mut self, log: u8) {
        match log {
            log_page::ERRORS => (self.errors_held, self.doorbell) = (false, None),
            log_page::CHANGED_NAMESPACES => (self.notices_held, self.namespace_changed) = (false, false),
            _ => (),
        }
    }

    pub(super) fn has_changed_namespace(&self) -> bool {
        self.namespace_changed
    }

    /// The next request to answer, and what with, if there is something to tell and somebody to tell it to.
    pub(super) fn next(&mut self, wanted: u32) -> Option<(u16, u32)> {
        if self.parked.is_empty() {
            return None;
        }
        let result = if let (Some(what), false) = (self.doorbell, self.errors_held) {
            self.errors_held = true;
            ERROR | (what as u32) << 8 | u32::from(log_page::ERRORS) << 16
        } else if self.namespace_changed && !self.notices_held && wanted & NAMESPACE_NOTICES != 0 {
            self.notices_held = true;
            NOTICE | u32::from(log_page::CHANGED_NAMESPACES) << 16
        } else {
            return None;
        };
        Some((self.parked.remove(0), result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_once_until_its_log_was_read() {
        let mut events = Events::default();
        events.namespace_changed();
        assert_eq!(events.next(NAMESPACE_NOTICES), None, "nobody asked");
        assert!((0..4).all(|cid| events.park(cid)) && !events.park(4));
        assert_eq!(events.next(0), None, "not wanted");
        assert_eq!(events.next(NAMESPACE_NOTICES), Some((0, 0x0004_0002)));
        events.namespace_changed();
        assert_eq!(events.next(NAMESPACE_NOTICES), None);
        events.seen(log_page::CHANGED_NAMESPACES);
        events.namespace_changed();
        assert_eq!(events.next(NAMESPACE_NOTICES), Some((1, 0x0004_0002)));
        for _ in 0..10 {
            events.bad_doorbell(BadDoorbell::Value);
        }
        assert_eq!(events.next(0), Some((2, 0x0001_0100)));
        assert_eq!(events.next(0), None);
        events.seen(log_page::ERRORS);
        events.bad_doorbell(BadDoorbell::Register);
        assert_eq!(events.next(0), Some((3, 0x0001_0000)));
    }
}
