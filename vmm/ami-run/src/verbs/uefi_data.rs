//! `uefi-data`: the UEFI variables that an instance has kept, as EC2 gives them.

use super::{refused, run};
use crate::args::UefiDataArgs;
use crate::exit::Code;
use crate::failure::Failure;
use crate::{answer, ui};
use ami_run_catalog::{Catalog, InstanceRecord, Start, State, UEFI_VARS};
use ami_run_firmware::uefi::{AAVMF_STORE, Store, aws};
use ami_run_storage::flash::{FlashError, FlashFile};
use serde::Serialize;
use std::io::ErrorKind;
use std::path::Path;

/// Of the variables' flash: OVMF's of 2 and of 4 MiB (OvmfPkg/Include/Fdf/OvmfPkgDefines.fdf.inc), and AAVMF's. What
/// the instance's firmware is now may not be what it ran with.
const SIZES: [usize; 3] = [0x2_0000, 0x8_4000, AAVMF_STORE];

/// GetInstanceUefiData's result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct UefiData {
    instance_id: String,
    uefi_data: String,
}

pub(crate) fn uefi_data(args: &UefiDataArgs) -> Code {
    run(|catalog| {
        let id = catalog.resolve(&args.instance).map_err(refused)?;
        let record = catalog.describe(&id).map_err(refused)?;
        check(&record)?;
        let data = UefiData { uefi_data: encoded(catalog, &id)?, instance_id: id };
        Ok(answer::tell(args.output, &data.uefi_data, &data, Code::Success))
    })
}

/// Whether it can have any. EC2's words for those that cannot are not known.
fn check(record: &InstanceRecord) -> Result<(), Failure> {
    let (id, mode) = (&record.instance_id, &record.current_instance_boot_mode);
    if matches!(record.state, State::ShuttingDown | State::Terminated) {
        let why = format!("it is {}, and its UEFI variables went with it", record.state);
        return Err(refuse("IncorrectInstanceState", id, &why));
    }
    let why = match &record.own.start {
        Start::Firmware(_) if mode == "uefi" => return Ok(()),
        Start::Firmware(_) => format!("it starts by {mode}, and only uefi has such variables"),
        Start::Kernel { .. } => "it starts a kernel without firmware".to_owned(),
    };
    Err(refuse("UnsupportedOperation", id, &why))
}

fn refuse(code: &str, id: &str, why: &str) -> Failure {
    let message = format!("The instance '{id}' has no UEFI data.");
    Failure::new(Code::Refused, format!("{message} ({code})")).hint(why).ec2(code, message)
}

fn encoded(catalog: &Catalog, id: &str) -> Result<String, Failure> {
    let path = catalog.instance_folder(id).join(UEFI_VARS);
    let damaged = |cause: &dyn std::error::Error| {
        Failure::new(Code::Refused, format!("cannot tell the UEFI variables of {id}")).because(cause)
    };
    let image = match read(&path) {
        Ok(image) => image,
        Err(FlashError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Err(refuse("IncorrectInstanceState", id, "its machine has not run yet"));
        }
        Err(cause @ FlashError::Io { .. }) => {
            return Err(
                Failure::new(Code::Host, format!("cannot read the UEFI variables of {id}")).because(&cause)
            );
        }
        Err(cause) => return Err(damaged(&cause)),
    };
    let store = Store::parse(&image).map_err(|cause| damaged(&cause))?;
    if store.unreadable() > 0 {
        let count = store.unreadable();
        ui::status("warning", &format!("{count} UEFI variables are left out, whose names are no text"));
    }
    aws::encode(store.variables()).map_err(|cause| damaged(&cause))
}

/// By the one size that fits. What is behind an image of the wrong size is no log.
fn read(path: &Path) -> Result<Vec<u8>, FlashError> {
    let [first, others @ ..] = SIZES;
    others.into_iter().fold(FlashFile::read(path, first), |found, size| match found {
        Err(FlashError::WrongSize { .. }) => FlashFile::read(path, size),
        found => found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ami_run_storage::flash::Change;

    #[test]
    fn each_size_is_read_with_what_was_written_last_and_no_other_size() {
        let folder = tempfile::TempDir::new().unwrap();
        for size in SIZES {
            for last in [0, size - 3] {
                let path = folder.path().join(format!("{size:x}-{last:x}"));
                let mut image = vec![0xff; size];
                FlashFile::create(&path, &image).unwrap();
                assert!(read(&path).unwrap() == image, "{size:#x} as it was made");
                let (file, _) = FlashFile::open(&path, size).unwrap();
                file.append(u32::try_from(last).unwrap(), Change::Bytes(b"new")).unwrap();
                image[last..last + 3].copy_from_slice(b"new");
                assert!(read(&path).unwrap() == image, "{size:#x} with a change at {last:#x}");
            }
        }
        let path = folder.path().join("other");
        std::fs::write(&path, vec![0xff; AAVMF_STORE + 0x4_0000]).unwrap();
        assert!(matches!(read(&path), Err(FlashError::WrongSize { .. })));
    }
}
