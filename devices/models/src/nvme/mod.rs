//! An NVMe 1.4 controller with one namespace, as EC2 shows its volumes.
//!
//! [`Nvme`] is the PCI function. Admin commands are carried out by the vCPU that rings their doorbell; each I/O
//! submission queue is served by a thread of its own that exists only while the queue does. Left out: SGLs,
//! metadata, several namespaces, compare, reservations, firmware update, format, self-test, controller memory.

mod admin;
mod completion;
mod controller;
mod events;
mod features;
mod identity;
mod interrupt;
mod io;
mod logs;
mod prp;
mod registers;
mod ring;
mod shared;
mod spec;
mod stats;
mod submission;
mod worker;

#[cfg(test)]
mod driver_test;
#[cfg(test)]
mod flight_test;
#[cfg(test)]
mod hostile_test;
#[cfg(test)]
mod init_test;
#[cfg(test)]
mod io_test;
#[cfg(test)]
mod mutation_test;

pub use controller::Nvme;
pub use identity::Identity;
