//! The virtual hardware: chips, PCI, virtio.
//!
//! A chip is pure: registers in, value and effect out; it has no address, lock, clock, thread or host file. The
//! glue beside it (what implements [`bus::Device`]) adds the lock, the interrupt line and the host side. Nothing
//! here knows of KVM: interrupts and doorbells go through the two traits of [`irq`].
//!
//! Left out: everything that a stock image on EC2 does not use (IDE, USB, VGA, PS/2 keyboard, HPET, floppy).
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        reason = "every number here came from the guest"
    )
)]

pub mod bus;
pub mod clock;
pub mod cmos;
pub mod console;
mod disk;
pub mod flash;
pub mod fw_cfg;
pub mod gate;
pub mod ged;
pub mod irq;
pub mod nvme;
pub mod pci;
pub mod pl031;
pub mod ports;
pub mod power;
pub mod serial;
pub mod stages;
pub mod trace;
pub mod virtio;
mod worker;
