//! A descriptor chain, taken out of guest memory once: what the device reads, and what it writes.

use super::Broken;
use ami_run_memory::{Buffers, Gpa, Memory, Ram};
use virtio_queue::DescriptorChain;

/// The most descriptors that a chain may have. A chain in an indirect table may be longer than its queue, as
/// Linux makes them; this is as many pieces as the host's kernel takes at once.
const MAX_DESCRIPTORS: usize = 1024;

/// A whole chain: it ends, and every buffer of it lies in guest memory.
#[derive(Debug)]
pub struct Chain {
    pub head: u16,
    pub readable: Buffers,
    pub writable: Buffers,
}

impl Chain {
    /// Walks the chain. virtio-queue bounds the walk by the size of the table, but ends without a word where a
    /// chain goes on to nowhere: then the last descriptor that it gave still names a next one.
    pub(super) fn take(memory: &Memory, descriptors: DescriptorChain<&Ram>) -> Result<Chain, Broken> {
        let head = descriptors.head_index();
        let mut chain = Chain { head, readable: memory.buffers(), writable: memory.buffers() };
        let mut ends = false;
        for descriptor in descriptors.take(MAX_DESCRIPTORS) {
            ends = !descriptor.has_next();
            let side = if descriptor.is_write_only() {
                &mut chain.writable
            } else if chain.writable.is_empty() {
                &mut chain.readable
            } else {
                return Err(Broken::Order(head));
            };
            let (gpa, len) = (Gpa(descriptor.addr().0), u64::from(descriptor.len()));
            side.push(gpa, len).map_err(|_| Broken::Outside(head))?;
        }
        if ends { Ok(chain) } else { Err(Broken::Endless(head)) }
    }
}
