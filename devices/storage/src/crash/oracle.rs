//! What each sector may hold. A value is a tag; 0 stands for zeroes.

use std::collections::BTreeMap;

pub(super) type Tag = u64;
pub(super) type Time = u64;

/// What was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Failed,
    Worked,
    Durable,
}

#[derive(Clone, Copy, Debug)]
struct Value {
    tag: Tag,
    begun: Time,
    ended: Option<Time>,
    /// It was said that it worked: what came before it is gone.
    counts: bool,
    /// And that it is on stable storage.
    durable: bool,
}

impl Value {
    /// True if this one came after `other` was over.
    fn follows(&self, other: &Value) -> bool {
        self.counts && other.ended.is_some_and(|ended| ended < self.begun)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Oracle {
    sectors: BTreeMap<u64, Vec<Value>>,
    /// When the last flush that worked was asked for.
    flushed: Time,
}

impl Oracle {
    pub(super) fn new(sectors: impl Iterator<Item = (u64, Tag)>) -> Oracle {
        let first = |tag| Value { tag, begun: 0, ended: Some(0), counts: true, durable: true };
        Oracle { sectors: sectors.map(|(sector, tag)| (sector, vec![first(tag)])).collect(), flushed: 0 }
    }

    pub(super) fn add(&mut self, sector: u64, tag: Tag) {
        let value = Value { tag, begun: 0, ended: Some(0), counts: true, durable: true };
        self.sectors.entry(sector).or_insert_with(|| vec![value]);
    }

    pub(super) fn begin(&mut self, sector: u64, tag: Tag, now: Time) {
        if let Some(values) = self.sectors.get_mut(&sector) {
            values.push(Value { tag, begun: now, ended: None, counts: false, durable: false });
        }
    }

    pub(super) fn end(&mut self, sector: u64, begun: Time, now: Time, outcome: Outcome) {
        let values = self.sectors.get_mut(&sector).into_iter().flatten();
        for value in values.filter(|value| value.begun == begun) {
            value.ended = Some(now);
            value.counts = outcome != Outcome::Failed;
            value.durable = outcome == Outcome::Durable;
        }
    }

    /// A flush that was asked for then has worked.
    pub(super) fn flush(&mut self, asked: Time) {
        self.flushed = self.flushed.max(asked);
    }

    /// What a read between these times may give.
    pub(super) fn may_read(&self, sector: u64, begun: Time, tag: Tag) -> bool {
        let Some(values) = self.sectors.get(&sector) else { return true };
        let overwritten = |value: &Value| {
            values.iter().any(|later| later.follows(value) && later.ended.is_some_and(|ended| ended < begun))
        };
        values.iter().any(|value| value.tag == tag && !overwritten(value))
    }

    /// What may be there after a crash.
    pub(super) fn may_survive(&self, sector: u64, tag: Tag) -> bool {
        let Some(values) = self.sectors.get(&sector) else { return true };
        values.iter().any(|value| value.tag == tag && !gone(value, values, self.flushed))
    }

    /// After a crash a sector is what was found, and stays it.
    pub(super) fn found(&mut self, sector: u64, tag: Tag, now: Time) {
        let value = Value { tag, begun: now, ended: Some(now), counts: true, durable: true };
        self.sectors.insert(sector, vec![value]);
    }

    pub(super) fn sectors(&self) -> Vec<u64> {
        self.sectors.keys().copied().collect()
    }

    pub(super) fn explain(&self, sector: u64) -> String {
        format!("{:?}, flushed {}", self.sectors.get(&sector), self.flushed)
    }
}

/// True if a later value is known to be on stable storage.
fn gone(value: &Value, all: &[Value], flushed: Time) -> bool {
    let kept = |later: &Value| later.durable || later.ended.is_some_and(|ended| ended < flushed);
    all.iter().any(|later| later.follows(value) && kept(later))
}
