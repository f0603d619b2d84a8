//! Who logs in to an image by SSH: what its cloud-init says on the disk, or what images of this name are known for.

use crate::bases::Bases;
use crate::inspect;
use ami_run_catalog::{InstanceRecord, VolumeOrigin};
use std::path::{Path, PathBuf};

/// Most of EC2's images have it.
const MOST: &str = "ec2-user";

/// What stands in an image's name or description, and who logs in to it then. The first that is found counts: others'
/// images are made from Debian and Ubuntu, and say so.
const BY_NAME: [(&str, &str); 15] = [
    ("bitnami", "bitnami"),
    ("flatcar", "core"),
    ("coreos", "core"),
    ("bottlerocket", MOST),
    ("nixos", "root"),
    ("alpine", "alpine"),
    ("kali", "kali"),
    ("centos-stream", MOST),
    ("centos stream", MOST),
    ("centos", "centos"),
    ("rocky", "rocky"),
    ("fedora", "fedora"),
    ("ubuntu", "ubuntu"),
    ("debian", "admin"),
    ("arch-linux", "arch"),
];

/// Who logs in to an image of this name or description.
pub(crate) fn by_name(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    BY_NAME.iter().find(|(part, _)| text.contains(part)).map(|(_, user)| *user)
}

/// Who logs in to this instance, if nobody says another.
pub(crate) fn of(record: &InstanceRecord) -> String {
    let base = root_base(record);
    let of_disk = || base.as_deref().and_then(on_disk);
    let of_name = || {
        let file = base.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        [Some(record.own.name.clone()), file].into_iter().flatten().find_map(|name| by_name(&name))
    };
    let user = record.own.user.clone().or_else(of_disk);
    user.unwrap_or_else(|| of_name().unwrap_or(MOST).to_owned())
}

/// The disk file that the root volume stands on: what an instance has changed is not looked at.
fn root_base(record: &InstanceRecord) -> Option<PathBuf> {
    let root =
        record.block_device_mappings.iter().find(|mapping| mapping.device_name == record.root_device_name)?;
    match &record.own.volumes.get(&root.ebs.volume_id)?.origin {
        VolumeOrigin::Store { base } | VolumeOrigin::Private { base } => base.clone(),
        VolumeOrigin::File { .. } => None,
    }
}

fn on_disk(file: &Path) -> Option<String> {
    let found = inspect::open(&mut Bases::default(), file).and_then(|disk| inspect::login_user(&disk));
    found.unwrap_or_else(|failure| {
        log::info!("who logs in is not known by the disk: {}", failure.line());
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_known_by_their_names() {
        let cases = [
            ("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20240423", Some("ubuntu")),
            ("debian-12-amd64-20240429-1732", Some("admin")),
            ("bitnami-wordpress-6.5-r1-linux-debian-12-x86_64-hvm-ebs", Some("bitnami")),
            ("Fedora-Cloud-Base-AmazonEC2.x86_64-41", Some("fedora")),
            ("Rocky-9-EC2-Base-9.4", Some("rocky")),
            ("CentOS Stream 9 x86_64 20240101", Some(MOST)),
            ("al2023-ami-2023.4.20240416.0-kernel-6.1-x86_64", None),
        ];
        for (name, user) in cases {
            assert_eq!(by_name(name), user, "{name}");
        }
    }
}
