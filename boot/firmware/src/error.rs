//! Everything that can be wrong with firmware, kernel or initrd, in words for whoever named the file. The cause
//! that the operating system gave is the error's source and is not repeated in its text.

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
    #[error("{} is not a kernel: it is {found}; name a bzImage (vmlinuz) or an ELF file (vmlinux)", path.display())]
    NotAKernel { path: PathBuf, found: String },
    #[error("the kernel {} is made for {architecture}; name one that is made for x86_64", path.display())]
    KernelArchitecture { path: PathBuf, architecture: String },
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
