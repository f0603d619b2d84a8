//! Where disks stand on the board, and what they are there, as on EC2: the root volume in slot 4, further volumes
//! from 6 up, instance store from 31 down; 5 is the network's.

use crate::{Disk, Interface};
use ami_run_firmware::board::PciKind;
use ami_run_models::nvme::{self, Nvme};
use ami_run_models::pci::{Address, Function, Wiring};
use ami_run_models::virtio::{Block, Transport};
use std::io;
use std::sync::Arc;

const ROOT: u8 = 4;
const FURTHER: std::ops::RangeInclusive<u8> = 6..=30;
const LAST: u8 = 31;
/// How many volumes there is room for.
pub const MAX_VOLUMES: usize = 26;
/// And with instance store.
const MAX_DISKS: usize = 27;

/// The slot of each disk; none if there are more than there is room for.
pub(crate) fn slots(disks: &[Disk]) -> Option<Vec<u8>> {
    let mut up = std::iter::once(ROOT).chain(FURTHER);
    let mut down = std::iter::once(LAST).chain(FURTHER.rev());
    let slots: Option<Vec<u8>> = disks
        .iter()
        .map(|disk| match disk.interface {
            Interface::InstanceStore { .. } => down.next(),
            _ => up.next(),
        })
        .collect();
    slots.filter(|_| disks.len() <= MAX_DISKS)
}

/// Makes a disk.
pub(crate) fn function(
    number: usize,
    place: Address,
    disk: &Disk,
    wiring: Wiring,
) -> io::Result<(PciKind, Arc<dyn Function>)> {
    let (name, volume) = (format!("disk{number}"), disk.volume.clone());
    let nvme = |identity, volume, wiring| Nvme::new(&name, place, volume, identity, wiring);
    Ok(match &disk.interface {
        Interface::Virtio { serial } => {
            let kind = Box::new(Block::new(volume, serial).watched(wiring.stages.clone()));
            (PciKind::VirtioBlock, Transport::new(&name, place, kind, wiring)?)
        }
        Interface::Nvme { volume_id, mapping } => {
            (PciKind::Nvme, nvme(nvme::Identity::ebs(volume_id, mapping), volume, wiring)?)
        }
        Interface::InstanceStore { serial, mapping } => {
            (PciKind::Other, nvme(nvme::Identity::instance_store(serial, mapping), volume, wiring)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ami_run_storage::{Base, Volume};

    fn disks(volumes: usize, stores: usize) -> Vec<Disk> {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base");
        std::fs::write(&base, [0; 4096]).unwrap();
        let volume = Volume::temporary(Base::open(&base).unwrap(), None, folder.path()).unwrap();
        let disk = |interface| Disk { volume: volume.clone(), interface };
        let ebs = |_| disk(Interface::Virtio { serial: String::new() });
        let store = |_| disk(Interface::InstanceStore { serial: String::new(), mapping: String::new() });
        (0..volumes).map(ebs).chain((0..stores).map(store)).collect()
    }

    #[test]
    fn volumes_go_up_and_instance_store_down() {
        assert_eq!(slots(&disks(4, 3)).unwrap(), [4, 6, 7, 8, 31, 30, 29]);
        let full = slots(&disks(20, 7)).unwrap();
        assert_eq!((full[19], full[26]), (24, 25), "they meet and do not overlap");
    }

    #[test]
    fn there_are_26_places_for_volumes_and_27_for_all() {
        assert_eq!(slots(&disks(26, 1)).unwrap().len(), MAX_DISKS);
        assert!(slots(&disks(27, 0)).is_none() && slots(&disks(26, 2)).is_none());
    }
}
