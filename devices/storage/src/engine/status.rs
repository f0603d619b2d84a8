//! What a volume can say of a range without reading it.

use super::Engine;
use crate::map::State;
use std::ops::Range;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Anything.
    Data,
    /// Nothing is stored there, and it reads as zeroes.
    Zeroes,
}

impl Engine {
    /// What the first byte of a range is, and where in the range that ends.
    pub(crate) fn status(&self, bytes: Range<u64>) -> (Status, u64) {
        // A page that nobody has read yet may say anything.
        if bytes.is_empty() || self.map.unread_page(&super::granules(&bytes)).is_some() {
            return (Status::Data, bytes.end);
        }
        match self.state(bytes.clone()) {
            (State::Zero, end) => (Status::Zeroes, end),
            (State::Base, end) if bytes.start >= self.base => (Status::Zeroes, end),
            (State::Base, end) => (Status::Data, end.min(self.base)),
            (_, end) => (Status::Data, end),
        }
    }
}
