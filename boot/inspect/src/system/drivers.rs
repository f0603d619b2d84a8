//! Which drivers a machine of EC2's or ours needs, and by which names Linux knows them.

use crate::contents::{Driver, Found};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

struct Known {
    driver: Driver,
    module: &'static str,
    option: &'static str,
    name: &'static str,
}

const KNOWN: [Known; 5] = [
    Known { driver: Driver::Nvme, module: "nvme", option: "CONFIG_BLK_DEV_NVME", name: "NVMe" },
    Known { driver: Driver::Ena, module: "ena", option: "CONFIG_ENA_ETHERNET", name: "ENA" },
    Known {
        driver: Driver::VirtioPci,
        module: "virtio_pci",
        option: "CONFIG_VIRTIO_PCI",
        name: "virtio-pci",
    },
    Known {
        driver: Driver::VirtioBlk,
        module: "virtio_blk",
        option: "CONFIG_VIRTIO_BLK",
        name: "virtio-blk",
    },
    Known {
        driver: Driver::VirtioNet,
        module: "virtio_net",
        option: "CONFIG_VIRTIO_NET",
        name: "virtio-net",
    },
];

impl Driver {
    pub const ALL: [Driver; 5] =
        [Driver::Nvme, Driver::Ena, Driver::VirtioPci, Driver::VirtioBlk, Driver::VirtioNet];

    /// True if the root file system cannot be reached without it.
    #[must_use]
    pub fn leads_to_the_root(self) -> bool {
        matches!(self, Driver::Nvme | Driver::VirtioPci | Driver::VirtioBlk)
    }

    /// The kernel's own option for it.
    #[must_use]
    pub fn option(self) -> &'static str {
        KNOWN.iter().find(|known| known.driver == self).map_or("", |known| known.option)
    }

    #[must_use]
    pub fn module(self) -> &'static str {
        KNOWN.iter().find(|known| known.driver == self).map_or("", |known| known.module)
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(KNOWN.iter().find(|known| known.driver == *self).map_or("", |known| known.name))
    }
}

/// The driver whose module this path is, packed or not. Linux takes `-` and `_` for the same.
pub(crate) fn of_module(path: &str) -> Option<Driver> {
    let file = path.rsplit('/').next().unwrap_or(path);
    let (name, ending) = file.split_once(".ko")?;
    if !matches!(ending, "" | ".xz" | ".zst" | ".gz") {
        return None;
    }
    let name = name.replace('-', "_");
    KNOWN.iter().find(|known| known.module == name).map(|known| known.driver)
}

/// What is known of a kernel's drivers, source by source. None: the source was not seen.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// From modules.builtin or the configuration: built in.
    pub(crate) built_in: Option<BTreeSet<Driver>>,
    /// The configuration says that they are not made at all.
    pub(crate) left_out: BTreeSet<Driver>,
    /// From modules.dep: modules on the root file system.
    pub(crate) on_root: Option<BTreeSet<Driver>>,
    /// From initrds, as far as they were seen.
    pub(crate) in_initrd: BTreeSet<Driver>,
    /// All there is to see of initrds was seen.
    pub(crate) initrd_seen: bool,
}

impl Evidence {
    pub(crate) fn drivers(&self) -> BTreeMap<Driver, Found> {
        Driver::ALL.into_iter().map(|driver| (driver, self.find(driver))).collect()
    }

    fn find(&self, driver: Driver) -> Found {
        let built_in = self.built_in.as_ref().map(|seen| seen.contains(&driver));
        let on_root = self.on_root.as_ref().map(|seen| seen.contains(&driver));
        match (built_in, on_root) {
            (Some(true), _) => Found::Kernel,
            _ if self.in_initrd.contains(&driver) => Found::Initrd,
            // The root's modules are no help on the way to the root.
            (_, Some(true)) if !driver.leads_to_the_root() => Found::Root,
            (Some(false), Some(true)) if self.initrd_seen => Found::Root,
            (Some(false), Some(false)) if self.initrd_seen => Found::Nowhere,
            (_, None | Some(false)) if self.left_out.contains(&driver) => Found::Nowhere,
            _ => Found::Unknown,
        }
    }
}

/// What a kernel's configuration says: built in, and left out.
pub(crate) fn of_configuration(text: &str) -> (BTreeSet<Driver>, BTreeSet<Driver>) {
    let (mut built_in, mut left_out) = (BTreeSet::new(), BTreeSet::new());
    for known in &KNOWN {
        let value = text.lines().find_map(|line| line.strip_prefix(known.option)?.strip_prefix('='));
        match value.map(str::trim) {
            Some("y") => built_in.insert(known.driver),
            Some(_) => false,
            None => left_out.insert(known.driver),
        };
    }
    (built_in, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_told_by_their_file_names() {
        assert_eq!(of_module("kernel/drivers/nvme/host/nvme.ko.xz"), Some(Driver::Nvme));
        assert_eq!(of_module("kernel/drivers/nvme/host/nvme-core.ko"), None);
        assert_eq!(of_module("virtio-blk.ko.zst"), Some(Driver::VirtioBlk));
        assert_eq!(of_module("ena.ko.orig"), None);
        assert_eq!(of_module("ena"), None);
    }

    #[test]
    fn a_configuration_says_built_in_module_or_nothing() {
        let text = "CONFIG_BLK_DEV_NVME=y\nCONFIG_VIRTIO_BLK=m\n# CONFIG_ENA_ETHERNET is not set\n";
        let (built_in, left_out) = of_configuration(text);
        assert_eq!(built_in, [Driver::Nvme].into());
        assert_eq!(left_out, [Driver::Ena, Driver::VirtioPci, Driver::VirtioNet].into());
    }

    #[test]
    fn where_a_driver_is_follows_from_what_was_seen() {
        let set = |drivers: &[Driver]| Some(drivers.iter().copied().collect::<BTreeSet<_>>());
        let all = || set(&Driver::ALL);
        let cases = [
            (set(&[Driver::Nvme]), set(&[]), set(&[]), true, Found::Kernel),
            (set(&[]), set(&[Driver::Nvme]), None, false, Found::Initrd),
            (set(&[]), set(&[]), all(), true, Found::Root),
            (set(&[]), set(&[]), set(&[]), true, Found::Nowhere),
            // An initrd that could not be read may have it.
            (set(&[]), set(&[]), all(), false, Found::Unknown),
            (set(&[]), set(&[]), None, true, Found::Unknown),
            (None, set(&[]), set(&[]), true, Found::Unknown),
        ];
        for (built_in, in_initrd, on_root, initrd_seen, expected) in cases {
            let in_initrd = in_initrd.unwrap_or_default();
            let evidence = Evidence { built_in, in_initrd, on_root, initrd_seen, ..Evidence::default() };
            assert_eq!(evidence.find(Driver::Nvme), expected, "{evidence:?}");
        }
        // A network driver on the root is loaded from there, whatever the initrd holds.
        let evidence = Evidence { on_root: set(&[Driver::Ena]), ..Evidence::default() };
        assert_eq!(evidence.find(Driver::Ena), Found::Root);
        // What the configuration leaves out may still be a module from elsewhere.
        let left_out: BTreeSet<Driver> = [Driver::Ena].into();
        let evidence = Evidence { left_out: left_out.clone(), ..Evidence::default() };
        assert_eq!(evidence.find(Driver::Ena), Found::Nowhere);
        let evidence = Evidence { left_out, on_root: all(), ..Evidence::default() };
        assert_eq!(evidence.find(Driver::Ena), Found::Root);
    }
}
