//! The rules that keep what was flushed. Tests break them one at a time, to see that the crash tests notice.

use super::Engine;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    /// Data is on stable storage before the map on disk says so.
    DataBeforeMap,
    /// What is written of the map is what it said before the data sync.
    CopiedWords,
    /// Who brings a granule into the top holds it meanwhile.
    MergesHold,
    /// What is punched is zero on disk, and held.
    PunchAfterMap,
    /// After a failed sync no flush succeeds.
    FailureStays,
    /// A flush covers what other queues have written.
    FlushOfAllQueues,
}

impl Engine {
    #[cfg(test)]
    pub(super) fn breaks(&self, rule: Rule) -> bool {
        self.broken == Some(rule)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "the signature of the tests' form")]
    pub(super) const fn breaks(&self, _: Rule) -> bool {
        false
    }
}
