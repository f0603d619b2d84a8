//! Everything that can be wrong with firmware, kernel or initrd, in words for whoever named the file. The cause
//! that the operating system gave is the error's source and is not repeated in its text.

use crate::uefi::StoreError;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is {found}, not a file; name {wanted}", path.display())]
    NotAFile { path: PathBuf, found: &'static str, wanted: &'static str },
    #[error(
        "SeaBIOS is not installed: no bios-256k.bin was found. Install the package seabios (Debian, Ubuntu, Arch), \
         seabios-bin (Fedora, RHEL) or qemu-seabios (openSUSE), or name the file with --firmware FILE"
    )]
    NotInstalled,
    #[error(
        "{} is not a BIOS image: it has {size} bytes, and SeaBIOS has 131072 or 262144; name another with \
         --firmware FILE", path.display()
    )]
    BiosSize { path: PathBuf, size: u64 },
    #[error(
        "{} is not a BIOS image: its last 16 bytes do not begin with a far jump, which is what the CPU runs first; \
         name another with --firmware FILE", path.display()
    )]
    BiosEntry { path: PathBuf },
    #[error(
        "{} is UEFI firmware, and the machine is to start by legacy-bios; name a BIOS (bios-256k.bin) with --firmware \
         FILE, or start by uefi: --boot-mode uefi", path.display()
    )]
    UefiForBios { path: PathBuf },
    #[error(
        "OVMF is not installed: no OVMF_CODE_4M.fd was found, and its builds for Secure Boot would hang on this \
         machine. Install the package ovmf (Debian, Ubuntu), edk2-ovmf (Fedora, Arch) or qemu-ovmf-x86_64 (openSUSE), \
         or name the file with --firmware FILE"
    )]
    UefiNotInstalled,
    #[error(
        "AAVMF, the UEFI firmware for arm64, is not installed: no AAVMF_CODE.fd was found. Install the package \
         qemu-efi-aarch64 (Debian, Ubuntu), edk2-aarch64 (Fedora, RHEL, Arch) or qemu-uefi-aarch64 (openSUSE), or name \
         the file with --firmware FILE"
    )]
    AavmfNotInstalled,
    #[error("this computer gives no random bytes to start a kernel with")]
    Random(#[source] io::Error),
    #[error("an arm64 machine has no BIOS: arm64 images start by UEFI alone; start by it: --boot-mode uefi")]
    NoBios,
    #[error(
        "{} is a BIOS image, and the machine is to start by uefi; name OVMF's code (OVMF_CODE_4M.fd) with --firmware \
         FILE, or start by the BIOS: --boot-mode legacy-bios", path.display()
    )]
    BiosForUefi { path: PathBuf },
    #[error(
        "{} is not UEFI firmware for this machine: it is {found}; name another, such as {example}, with --firmware \
         FILE", path.display()
    )]
    NotUefi { path: PathBuf, found: String, example: &'static str },
    #[error(
        "{} is built for Secure Boot with System Management Mode, which this machine does not have: it would hang and \
         say nothing. Name a build without it, such as OVMF_CODE_4M.fd, or leave --firmware out", path.display()
    )]
    NeedsSmm { path: PathBuf },
    #[error(
        "there is no variable store for {}: no firmware description names one, and {} is not there; put a copy of the \
         package's {template} there", code.display(), wanted.display()
    )]
    NoVariables { code: PathBuf, wanted: PathBuf, template: &'static str },
    #[error(
        "{} has {size} bytes, and the variable store of {} has {needed}; take the one that was built with it",
        path.display(), code.display()
    )]
    VariablesSize { path: PathBuf, code: PathBuf, size: u64, needed: u64 },
    #[error("{} is {problem}", path.display())]
    Variables { path: PathBuf, problem: StoreError },
    #[error("{} is not a kernel: it is {found}; name {wanted}", path.display())]
    NotAKernel { path: PathBuf, found: String, wanted: &'static str },
    #[error("the kernel {} is made for {architecture}; name one that is made for {wanted}", path.display())]
    KernelArchitecture { path: PathBuf, architecture: String, wanted: &'static str },
    #[error("the kernel {} is compressed as a whole; unpack it with {tool} and name the result", path.display())]
    KernelCompressed { path: PathBuf, tool: &'static str },
    #[error("the kernel {} is damaged or cut short: {what}; copy or build it again", path.display())]
    KernelDamaged { path: PathBuf, what: String },
    #[error(
        "the {what} {} needs {needed} MiB of memory, and the machine has {given}; give it more with --memory",
        path.display()
    )]
    MemoryTooSmall { what: &'static str, path: PathBuf, needed: u64, given: u64 },
    #[error(
        "the initrd {} has {size} MiB, and the kernel can take {limit} MiB of it at most; make it smaller",
        path.display()
    )]
    InitrdTooBig { path: PathBuf, size: u64, limit: u64 },
    #[error("the initrd {} is empty; name another or none", path.display())]
    InitrdEmpty { path: PathBuf },
    #[error(
        "the kernel's command line has {length} bytes, and this kernel takes {limit} at most; shorten it"
    )]
    CommandLineTooLong { length: usize, limit: usize },
    #[error("the kernel's command line contains a NUL byte; take it out")]
    CommandLineNul,
    #[error("the machine's tables do not fit together: {0}; this is a defect of ami-run, please report it")]
    Tables(&'static str),
    #[error(
        "the machine's memory map does not match its memory; this is a defect of ami-run, please report it"
    )]
    Memory(#[from] ami_run_memory::MemoryError),
}
