//! The real-time clock and its CMOS memory (Motorola MC146818; ports 0x70 and 0x71, interrupt 8).
//!
//! Modelled: time of day in UTC, BCD or binary, 12 or 24 hours, with century; setting it shifts the guest's clock
//! only; the battery-backed bytes that firmware reads; the update flag; periodic, alarm and update-ended interrupts.
//! Left out: alarms by day and month (the FADT names none), daylight saving, the square wave, other crystals than
//! 32,768 Hz and stopping that one: the guest's seconds begin when the host's do.

mod calendar;
mod chip;
mod clock;
mod events;

#[cfg(test)]
mod interrupt_test;

pub use chip::Cmos;
pub use clock::Clock;
