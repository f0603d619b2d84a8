//! The command from outside: what it refuses and how, how runs end, and what happens to the terminal.
//!
//! Guests are a few instructions each, made here; they need no packages, and run on a KVM that only emulates, too. Disk
//! files of other formats than raw are made by qemu-img, xz and zstd; where one is not there, its test says so.
#![expect(clippy::unwrap_used, reason = "a test: what cannot be done fails it")]

#[path = "cli/announced.rs"]
mod announced;
#[path = "cli/bad_input.rs"]
mod bad_input;
#[path = "cli/boot_guide.rs"]
mod boot_guide;
#[path = "cli/ci.rs"]
mod ci;
#[path = "cli/console.rs"]
mod console;
#[path = "cli/disk_files.rs"]
mod disk_files;
#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/ending.rs"]
mod ending;
#[path = "cli/full.rs"]
mod full;
#[path = "cli/guest.rs"]
mod guest;
#[path = "cli/guide.rs"]
mod guide;
#[path = "cli/hang.rs"]
mod hang;
#[path = "cli/instances.rs"]
mod instances;
#[path = "cli/killed.rs"]
mod killed;
#[path = "cli/leaks.rs"]
mod leaks;
#[path = "cli/life.rs"]
mod life;
#[path = "cli/lint.rs"]
mod lint;
#[path = "cli/metadata.rs"]
mod metadata;
#[path = "cli/namespace.rs"]
mod namespace;
#[path = "cli/output.rs"]
mod output;
#[path = "cli/plan.rs"]
mod plan;
#[path = "cli/run.rs"]
mod run;
#[path = "cli/serve.rs"]
mod serve;
#[path = "cli/ssh.rs"]
mod ssh;
#[path = "cli/stopped.rs"]
mod stopped;
#[path = "cli/terminal.rs"]
mod terminal;
#[path = "cli/uefi_data.rs"]
mod uefi_data;
#[path = "cli/volumes.rs"]
mod volumes;
