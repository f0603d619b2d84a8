//! Why an image cannot be launched, in words, and what to do about it.

use crate::plan::Architecture;

/// The advice that fits most files that are not what they should be.
const HOW_TO_GET: &str =
    "`aws ec2 describe-images --image-ids ami-… --output json > image.json` writes such a file";

/// Why an image is refused. The caller adds which file it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error("line {line}, column {column}: {what}")]
    Json { line: usize, column: usize, what: String },
    #[error("it is JSON, but not an image: {0}")]
    NotAnImage(String),
    #[error("its `Images` list is empty")]
    NoImages,
    #[error("it holds {} images: {}", .0.len(), .0.join(", "))]
    ManyImages(Vec<String>),
    #[error("Architecture: the image is for {image}, and this computer is {host}")]
    OtherArchitecture { image: String, host: Architecture },
    #[error("BootMode: the image says `{0}`, and this version starts images by legacy-bios only")]
    BootMode(String),
    #[error("RootDeviceName: the image does not say which device is its root")]
    NoRootDeviceName,
    #[error("BlockDeviceMappings: none has the root's device name {root}; there is {}", list(.names))]
    RootNotMapped { root: String, names: Vec<String> },
    #[error("BlockDeviceMappings[{0}]: it has no DeviceName")]
    NoDeviceName(usize),
    #[error("BlockDeviceMappings: the root device {0} is not an EBS volume with a snapshot")]
    RootWithoutSnapshot(String),
    // EC2's own words.
    #[error("BlockDeviceMappings: Either snapshot ID or volume size must be provided for: {0}")]
    NeitherSnapshotNorSize(String),
    #[error("BlockDeviceMappings: {device}: `{id}` is not a snapshot id (`snap-` and letters or digits)")]
    SnapshotId { device: String, id: String },
    #[error("BlockDeviceMappings: {device}: a VolumeSize of {size} GiB is outside 1 to 65536")]
    VolumeSize { device: String, size: u32 },
}

impl ImageError {
    /// The next step for who sees this error, if there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            ImageError::Json { .. } | ImageError::NotAnImage(_) => Some(HOW_TO_GET.to_owned()),
            ImageError::NoImages => Some(
                "the query found nothing: check the image id, the region and the owner that it was made with"
                    .to_owned(),
            ),
            ImageError::ManyImages(_) => Some(
                "keep one of them: `jq '.Images[] | select(.ImageId == \"ami-…\")'` takes it out".to_owned(),
            ),
            ImageError::OtherArchitecture { image, host } if is_known(image) => Some(format!(
                "launch it on a computer of that architecture, or take the image's {host} build"
            )),
            ImageError::OtherArchitecture { host, .. } => Some(format!("take the image's {host} build")),
            ImageError::BootMode(_) => {
                Some("an image of BootMode legacy-bios or uefi-preferred can be launched".to_owned())
            }
            ImageError::NoRootDeviceName => {
                Some("add RootDeviceName, usually \"/dev/xvda\" or \"/dev/sda1\"".to_owned())
            }
            ImageError::RootNotMapped { .. }
            | ImageError::NoDeviceName(_)
            | ImageError::RootWithoutSnapshot(_)
            | ImageError::NeitherSnapshotNorSize(_)
            | ImageError::SnapshotId { .. }
            | ImageError::VolumeSize { .. } => None,
        }
    }
}

fn is_known(architecture: &str) -> bool {
    Architecture::from_ec2(architecture).is_some()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "no mapping at all".to_owned() } else { names.join(", ") }
}
