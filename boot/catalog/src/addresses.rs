//! Private addresses, each of one instance of the store: a link named like the address, to the instance's folder.
//! A link is made or it is there already, so nobody looks at other instances to find an address that is free.

use crate::error::CatalogError;
use crate::{files, ids, lock};
use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long others may take who look for stale links.
const RECLAIMING: Duration = Duration::from_secs(10);

/// 172.31.16.0/20, a default VPC's first subnet.
pub(crate) const SUBNET: Subnet = Subnet { first: Ipv4Addr::new(172, 31, 16, 0), size: 4096 };

#[derive(Clone, Copy, Debug)]
pub(crate) struct Subnet {
    pub(crate) first: Ipv4Addr,
    pub(crate) size: u32,
}

/// EC2 keeps the first four addresses of a subnet, and the last.
const KEPT: u32 = 5;

impl Subnet {
    fn count(self) -> u32 {
        self.size.saturating_sub(KEPT)
    }

    pub(crate) fn address(self, number: u32) -> Ipv4Addr {
        let offset = number.checked_rem(self.count()).unwrap_or_default().saturating_add(4);
        Ipv4Addr::from(u32::from(self.first).saturating_add(offset))
    }
}

pub(crate) fn folder(state: &Path) -> PathBuf {
    state.join("addresses")
}

/// Takes an address for the instance.
pub(crate) fn claim(state: &Path, subnet: Subnet, id: &str) -> Result<Ipv4Addr, CatalogError> {
    let folder = folder(state);
    files::make_folder(&folder)?;
    if let Some(address) = first_free(&folder, subnet, id)? {
        return Ok(address);
    }
    reclaim(state)?;
    // EC2's words: aws/amazon-vpc-cni-k8s pull request 1773.
    first_free(&folder, subnet, id)?.ok_or_else(|| {
        CatalogError::refused(
            "InsufficientFreeAddressesInSubnet",
            "The specified subnet does not have enough free addresses to satisfy the request.",
        )
        .hint("terminate instances that nobody needs: `ami-run prune`")
    })
}

fn first_free(folder: &Path, subnet: Subnet, id: &str) -> Result<Option<Ipv4Addr>, CatalogError> {
    let start = u32::from_ne_bytes(ids::random()?);
    for step in 0..subnet.count() {
        // Wrapping around 2^32 skips some and repeats others, once in a million; the number of tries is bounded.
        let address = subnet.address((start >> 1).saturating_add(step));
        let link = folder.join(address.to_string());
        match symlink(target(id), &link) {
            Ok(()) => return Ok(Some(address)),
            Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {}
            Err(cause) => return Err(CatalogError::io("make", link, cause)),
        }
    }
    Ok(None)
}

fn target(id: &str) -> PathBuf {
    Path::new("../instances").join(id)
}

/// Gives back an instance's address, if it has it still. Only who holds the instance does, so that between look and
/// removal it becomes nobody else's.
pub(crate) fn free(state: &Path, address: &str, id: &str) -> Result<(), CatalogError> {
    let Ok(address) = address.parse::<Ipv4Addr>() else { return Ok(()) };
    let link = folder(state).join(address.to_string());
    if fs::read_link(&link).is_ok_and(|to| to == target(id)) { files::remove(&link) } else { Ok(()) }
}

/// Removes links to instances that are gone; how many it were. An instance frees its address while its folder is
/// there, and others of its name do not come again: what is stale stays so until it is removed, here and by one.
pub(crate) fn reclaim(state: &Path) -> Result<usize, CatalogError> {
    let folder = folder(state);
    let names = files::names(&folder)?;
    if names.is_empty() {
        return Ok(0);
    }
    let path = folder.join("lock");
    let fail = |source| CatalogError::io("lock", &path, source);
    let Some(_lock) = lock::Lock::wait(&path, lock::Kind::Exclusive, RECLAIMING).map_err(fail)? else {
        return Ok(0);
    };
    let mut count = 0_usize;
    for name in names {
        let link = folder.join(&name);
        let stale = name.parse::<Ipv4Addr>().is_ok()
            && fs::read_link(&link).is_ok()
            && link.metadata().is_err_and(|cause| cause.kind() == ErrorKind::NotFound);
        if stale {
            files::remove(&link)?;
            count = count.saturating_add(1);
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, code, names};

    /// Three addresses: .4 to .6.
    const TINY: Subnet = Subnet { first: Ipv4Addr::new(172, 31, 16, 0), size: 8 };

    #[test]
    fn every_address_but_ec2_s_own_is_given_once() {
        let state = testing::folder();
        let ids = ["i-01", "i-02", "i-03"];
        for id in ids {
            fs::create_dir_all(state.path().join("instances").join(id)).unwrap();
        }
        let mut given: Vec<_> = ids.iter().map(|id| claim(state.path(), TINY, id).unwrap()).collect();
        given.sort();
        assert_eq!(given, [4, 5, 6].map(|last| Ipv4Addr::new(172, 31, 16, last)));
        assert_eq!(code(claim(state.path(), TINY, "i-04")), "InsufficientFreeAddressesInSubnet");
        // One that is freed is there again, and so is one whose instance is gone.
        let target =
            |last: u8| fs::read_link(folder(state.path()).join(format!("172.31.16.{last}"))).unwrap();
        let owner = target(5).file_name().unwrap().to_str().unwrap().to_owned();
        free(state.path(), "172.31.16.5", &owner).unwrap();
        assert_eq!(claim(state.path(), TINY, "i-04").unwrap(), given[1]);
        let gone = target(6).file_name().unwrap().to_owned();
        fs::remove_dir(state.path().join("instances").join(gone)).unwrap();
        fs::create_dir(state.path().join("instances/i-04")).unwrap();
        assert_eq!(claim(state.path(), TINY, "i-05").unwrap(), given[2]);
    }

    #[test]
    fn nobody_frees_another_s_address() {
        let state = testing::folder();
        fs::create_dir_all(state.path().join("instances/i-01")).unwrap();
        let address = claim(state.path(), SUBNET, "i-01").unwrap().to_string();
        free(state.path(), &address, "i-02").unwrap();
        for odd in ["", "lock", "../instances/i-01", "10.0.0.1"] {
            free(state.path(), odd, "i-01").unwrap();
        }
        assert_eq!(reclaim(state.path()).unwrap(), 0);
        assert_eq!(names(&folder(state.path())), [address.as_str(), "lock"]);
        free(state.path(), &address, "i-01").unwrap();
        assert_eq!(names(&folder(state.path())), ["lock"]);
    }

    #[test]
    fn the_subnet_s_last_address_is_before_its_broadcast() {
        let [first, last] = [0, SUBNET.count() - 1].map(|number| SUBNET.address(number));
        assert_eq!((first, last), (Ipv4Addr::new(172, 31, 16, 4), Ipv4Addr::new(172, 31, 31, 254)));
    }
}
