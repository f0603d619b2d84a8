//! A descriptor chain, taken out of guest memory once: what the device reads, and what it writes.

use ami_run_memory::{Buffers, Gpa, Memory, Ram};
use virtio_queue::DescriptorChain;

#[derive(Debug)]
pub struct Chain {
    pub head: u16,
    pub readable: Buffers,
    pub writable: Buffers,
    /// Every descriptor lay in guest memory, and none that is readable came after a writable one (2.7.4.2).
    pub sound: bool,
}

impl Chain {
    /// Walks the chain. virtio-queue bounds the walk by the size of the table, so a loop ends.
    pub(crate) fn take(memory: &Memory, descriptors: DescriptorChain<&Ram>) -> Chain {
        let head = descriptors.head_index();
        let mut chain = Chain { head, readable: memory.buffers(), writable: memory.buffers(), sound: true };
        for descriptor in descriptors {
            let (gpa, len) = (Gpa(descriptor.addr().0), u64::from(descriptor.len()));
            let side = if descriptor.is_write_only() {
                &mut chain.writable
            } else {
                chain.sound &= chain.writable.is_empty();
                &mut chain.readable
            };
            chain.sound &= side.push(gpa, len).is_ok();
        }
        chain
    }
}
