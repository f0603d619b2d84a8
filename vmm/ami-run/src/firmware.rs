//! What runs first: found before anything is made; a UEFI machine's variables are made with the instance.

use crate::exit::Code;
use crate::failure::Failure;
use crate::uefi_data;
use ami_run_catalog::{Held, InstanceRecord, Start, UEFI_VARS};
use ami_run_firmware::find::Firmware;
use ami_run_firmware::{direct, find};
use ami_run_image::BootMode;
use ami_run_machine::{Boot, Uefi, Variables};
use ami_run_storage::flash::{FlashError, FlashFile};
use std::error::Error;
use std::fs::File;
use std::io;

/// What runs first, looked at.
#[derive(Debug)]
pub(crate) enum First {
    Bios(Vec<u8>),
    Uefi(find::Uefi),
    Kernel(Box<direct::Direct>),
}

/// Finds what starts in this mode.
pub(crate) fn find(start: &Start, mode: BootMode) -> Result<First, Failure> {
    let none = |cause: &dyn Error| {
        Failure::new(Code::Host, "there is no firmware to start the image with").because(cause)
    };
    match (start, mode) {
        (Start::Firmware(explicit), BootMode::LegacyBios) => {
            let firmware = find::seabios(explicit.as_deref()).map_err(|cause| none(&cause))?;
            log::info!("firmware: {}", firmware.path.display());
            Ok(First::Bios(firmware.bytes))
        }
        (Start::Firmware(explicit), BootMode::Uefi) => {
            let firmware = find::uefi(explicit.as_deref()).map_err(|cause| none(&cause))?;
            let (code, variables) = (&firmware.code, &firmware.variables.path);
            log::info!("firmware: {}, variables as in {}", code.display(), variables.display());
            Ok(First::Uefi(firmware))
        }
        (Start::Kernel { kernel, initrd, command_line }, _) => {
            let direct = direct::open(kernel, initrd.as_deref(), command_line);
            direct.map(|direct| First::Kernel(Box::new(direct))).map_err(|cause| {
                let message = format!("cannot start the kernel {}", kernel.display());
                Failure::new(Code::Refused, message).because(&cause)
            })
        }
    }
}

/// How an instance is started.
pub(crate) fn boot_mode(record: &InstanceRecord) -> BootMode {
    let uefi = BootMode::Uefi.to_string();
    if record.current_instance_boot_mode == uefi { BootMode::Uefi } else { BootMode::LegacyBios }
}

impl First {
    /// For this instance.
    pub(crate) fn boot(self, held: &Held) -> Result<Boot, Failure> {
        match self {
            First::Bios(image) => Ok(Boot::Firmware(image)),
            First::Kernel(kernel) => Ok(Boot::Kernel(kernel)),
            First::Uefi(firmware) => {
                let code = File::open(&firmware.code).map_err(|cause| {
                    let message = format!("cannot read the firmware {}", firmware.code.display());
                    Failure::new(Code::Host, message).because(&cause)
                })?;
                let code_size = usize::try_from(firmware.code_size).unwrap_or(usize::MAX);
                let variables = variables(held, &firmware.variables)?;
                Ok(Boot::Uefi(Uefi { code, code_offset: firmware.code_offset, code_size, variables }))
            }
        }
    }
}

/// The instance's own, which begin as it was given them, or else as the firmware's do.
fn variables(held: &Held, template: &Firmware) -> Result<Variables, Failure> {
    let refuse = |cause: FlashError| {
        let code = match cause {
            FlashError::Io { .. } => Code::Host,
            _ => Code::Refused,
        };
        Failure::new(code, "cannot use the instance's UEFI variables").because(&cause)
    };
    let path = held.folder().join(UEFI_VARS);
    let open = || FlashFile::open(&path, template.bytes.len());
    let (file, content) = match open() {
        Err(FlashError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let given = held.record().own.uefi_data.as_deref();
            FlashFile::create(&path, &uefi_data::first_store(given, template)?).map_err(refuse)?;
            open().map_err(refuse)?
        }
        opened => opened.map_err(refuse)?,
    };
    Ok(Variables { file, content })
}
