//! Fuzz targets: what a guest can do to the virtual hardware, a disk or a disk file to who looks into it, an NBD client
//! or a verb to its server, a guest to the metadata service, the network and its firmware's variables, and what people write about
//! images, played from bytes.
//!
//! Each target is a function of one byte string that must return: no panic, no endless loop, no memory that grows
//! with what the bytes ask for. Numbers that run out end the play. `cargo test` plays the corpus and mutations of
//! it; libfuzzer/ is the same for cargo-fuzz. Left out: what no one but us writes.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a host without memory or temporary files ends the run, in words")]

mod arm;
mod chips;
mod control;
mod disk;
mod file;
mod flash;
mod fw_cfg;
mod host;
mod image;
mod input;
mod metadata;
mod msi;
mod nbd;
mod network;
mod nvme;
mod pci_config;
mod uefi;
mod virtio;
mod virtio_net;

pub use arm::{ecam, fw_cfg_mapped, pl011, pl031};
pub use chips::{cmos, power, serial};
pub use control::control;
pub use disk::{disk_ext, disk_fat, disk_tables, efi_program, initrd_archive};
pub use file::{file_gzip, file_qcow2, file_vhd, file_vmdk, file_xz, file_zstd};
pub use flash::{flash_commands, flash_log};
pub use fw_cfg::fw_cfg;
pub use image::{image_json, mappings};
pub use metadata::metadata_http;
pub use msi::msi;
pub use nbd::nbd;
pub use network::net_frames;
pub use nvme::{nvme_admin, nvme_io};
pub use pci_config::pci_config;
pub use uefi::{uefi_data, uefi_store};
pub use virtio::{virtio_block, virtio_rng};
pub use virtio_net::virtio_net;

/// A target.
pub type Target = fn(&[u8]);

/// Every target, by the name of its folder in corpus/.
pub const TARGETS: [(&str, Target); 36] = [
    ("cmos", cmos),
    ("control", control),
    ("disk_ext", disk_ext),
    ("disk_fat", disk_fat),
    ("disk_tables", disk_tables),
    ("ecam", ecam),
    ("efi_program", efi_program),
    ("file_gzip", file_gzip),
    ("file_qcow2", file_qcow2),
    ("file_vhd", file_vhd),
    ("file_vmdk", file_vmdk),
    ("file_xz", file_xz),
    ("file_zstd", file_zstd),
    ("flash_commands", flash_commands),
    ("flash_log", flash_log),
    ("fw_cfg", fw_cfg),
    ("fw_cfg_mapped", fw_cfg_mapped),
    ("image_json", image_json),
    ("initrd_archive", initrd_archive),
    ("mappings", mappings),
    ("metadata_http", metadata_http),
    ("msi", msi),
    ("nbd", nbd),
    ("net_frames", net_frames),
    ("nvme_admin", nvme_admin),
    ("nvme_io", nvme_io),
    ("pci_config", pci_config),
    ("pl011", pl011),
    ("pl031", pl031),
    ("power", power),
    ("serial", serial),
    ("uefi_data", uefi_data),
    ("uefi_store", uefi_store),
    ("virtio_block", virtio_block),
    ("virtio_net", virtio_net),
    ("virtio_rng", virtio_rng),
];
