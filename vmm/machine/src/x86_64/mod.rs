//! The x86_64 machine: the i440FX board of Xen's and Nitro's BIOS instances, and what KVM is told of a PC.

mod absent;
mod chips;
mod cpuid;
mod first;
mod i440fx;
mod probe;
mod registers;

pub(crate) use absent::{absent_memory, absent_port};
pub(crate) use ami_run_firmware::board::Board;
pub(crate) use ami_run_models::power::PowerBlock as PowerButton;
pub(crate) use chips::{
    CpuFacts, Cpus, NEEDED, Vcpus, create_vm, equip, excuse_the_pause, line, message_route, missing_device,
    pins,
};
pub(crate) use first::{Bios, MOST_FIRMWARE, prepare_uefi, uefi_places};
pub(crate) use i440fx::{build, ram, ram_slots};
pub(crate) use probe::probe;
pub(crate) use registers::{instruction_address, set_entry};
