//! Devices that a DSDT of either architecture describes alike: CPUs, and the slots of PCI's bus 0.

use super::Encoded;
use crate::board::{PciAddress, PciFunction, PciKind};
use acpi_tables::Aml;
use acpi_tables::aml::{Device, Name};

/// The network's slots, with their numbers: systemd calls a network card after its slot, `ens5` as on EC2.
pub(crate) fn slots(functions: &[PciFunction]) -> Encoded {
    let slots: Vec<Encoded> = functions.iter().filter(|one| one.kind == PciKind::Network).map(slot).collect();
    Encoded::new(&slots.iter().map(|slot| slot as &dyn Aml).collect::<Vec<_>>())
}

fn slot(function: &PciFunction) -> Encoded {
    let PciAddress { slot, function } = function.address;
    let address = u32::from(slot) << 16 | u32::from(function);
    Encoded::new(&[&Device::new(
        format!("SL{slot:02X}").as_str().into(),
        vec![&Name::new("_ADR".into(), &address), &Name::new("_SUN".into(), &slot)],
    )])
}

/// A CPU's _UID is its place in the list, as in the MADT.
pub(crate) fn cpus(count: usize) -> Encoded {
    let mut aml = Vec::new();
    for uid in 0..count {
        let name = format!("C{:03X}", uid & 0xfff);
        Device::new(
            name.as_str().into(),
            vec![&Name::new("_HID".into(), &"ACPI0007"), &Name::new("_UID".into(), &uid)],
        )
        .to_aml_bytes(&mut aml);
    }
    Encoded(aml)
}
