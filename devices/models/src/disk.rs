//! The volume and its queues, as devices use them. In this crate's own tests they are ones whose completions a test
//! can hold back and give in any order.

#[cfg(test)]
mod held;

#[cfg(not(test))]
pub(crate) use ami_run_storage::{Queue, Volume};
#[cfg(test)]
pub(crate) use held::{Hold, Queue, Volume};
