//! The flash that holds UEFI firmware and its variables: chips with Intel's command set (CFI, command set 1), as
//! OVMF and AAVMF drive them. One chip holds code, and cannot be written; another holds the variables.
//!
//! Modelled: bytes and buffers programmed, blocks erased, status, identity and CFI query; as on the chip, programming
//! only clears bits, and erasing sets a block's. Left out: suspending, one-time programmable registers, and locks that
//! a guest could set: no firmware does.
//!
//! The chip does not hold the bytes: while it is an array, the guest reads them without us. What a write does to them
//! is an [`Effect`], which [`Effect::carry_out`] keeps first and then applies.

mod chip;
mod effect;
mod spec;

#[cfg(test)]
mod chip_test;
#[cfg(test)]
mod edk2_test;

pub use chip::{Flash, Reads};
pub use effect::{Effect, Piece};
pub use spec::{Geometry, Wiring};
