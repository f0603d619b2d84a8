//! How a disk file without an image wants to be started. Everything here can be overridden, so it is said with its
//! reason.

use crate::contents::Contents;
use crate::loader::Machine;
use crate::start;
use ami_run_image::{Architecture, BootMode};

/// What to assume, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guess {
    pub architecture: Architecture,
    pub boot_mode: BootMode,
    /// Half a sentence that can stand behind "because".
    pub why: &'static str,
}

/// The name that most of EC2's images have their root under.
pub const ROOT_DEVICE_NAME: &str = "/dev/xvda";

/// BIOS where the disk has code for it: that is how EC2 starts an image that says nothing, so a disk that can do both
/// is started here as it would be there. What fits both architectures or neither is taken for `here`, the one that it
/// is looked at on.
#[must_use]
pub fn guess(contents: &Contents, here: Architecture) -> Guess {
    use Architecture::{Arm64, X86_64};
    let bios = start::bios(contents).is_ok();
    let [x86_64, arm64] = [X86_64, Arm64].map(|architecture| start::uefi(contents, architecture).is_ok());
    let kernel_for = |machine| contents.system.kernels.values().any(|kernel| kernel.machine == Some(machine));
    // None: kernels for both, or for neither.
    let kernel = match (kernel_for(Machine::X86_64), kernel_for(Machine::Arm64)) {
        (true, false) => Some(X86_64),
        (false, true) => Some(Arm64),
        (true, true) | (false, false) => None,
    };
    let (architecture, boot_mode, why) = match (bios, x86_64, arm64) {
        (true, _, true) | (_, true, true) if kernel == Some(Arm64) => {
            (Arm64, BootMode::Uefi, "it has loaders for x86_64 and arm64, and a kernel for arm64")
        }
        (true, _, true) | (_, true, true) if kernel.is_none() && here == Arm64 => {
            (Arm64, BootMode::Uefi, "it has loaders for x86_64 and arm64, and this computer is arm64")
        }
        (true, true, _) => (
            X86_64,
            BootMode::LegacyBios,
            "it starts by BIOS and by UEFI, and EC2 starts an image without BootMode by BIOS",
        ),
        (true, false, _) => (X86_64, BootMode::LegacyBios, "its first sector holds BIOS boot code"),
        (false, true, _) => {
            (X86_64, BootMode::Uefi, "it has the EFI loader BOOTX64.EFI and no BIOS boot code")
        }
        (false, false, true) => (Arm64, BootMode::Uefi, "it has the EFI loader BOOTAA64.EFI"),
        (false, false, false) => nothing(kernel, here),
    };
    Guess { architecture, boot_mode, why }
}

/// Of a disk that neither firmware would start.
fn nothing(kernel: Option<Architecture>, here: Architecture) -> (Architecture, BootMode, &'static str) {
    use Architecture::{Arm64, X86_64};
    match (kernel, here) {
        (Some(Arm64), _) => {
            (Arm64, BootMode::Uefi, "its kernel is for arm64, though nothing on it would start that")
        }
        (Some(X86_64), Arm64) => {
            (X86_64, BootMode::LegacyBios, "its kernel is for x86_64, though nothing on it would start that")
        }
        (None, Arm64) => {
            (Arm64, BootMode::Uefi, "nothing on it tells how it starts, and arm64 has UEFI only")
        }
        (_, X86_64) => {
            (X86_64, BootMode::LegacyBios, "nothing on it tells how it starts, and that is EC2's default")
        }
    }
}
