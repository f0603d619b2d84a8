//! Tests with guests that boot. They need what `tests/guests/lib.sh` makes, and skip where it is not there.
#![expect(clippy::panic, clippy::unwrap_used, clippy::string_slice, reason = "helpers of tests")]

#[cfg(target_arch = "aarch64")]
mod arm64;
mod ci;
mod debian;
mod expect;
mod fast;
mod foreign;
mod network;
#[path = "../volumes/powercut/mod.rs"]
mod powercut;
mod small;
mod uefi;
