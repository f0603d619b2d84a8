//! EC2's checks before a launch: whether this image, this caller and this instance type go together.

use crate::architecture::Architecture;
use crate::describe::{Image, LaunchPermission};
use crate::error::list;
use crate::ids;
use crate::instance_type::{Ena, InstanceType};
use crate::refusal::{Refusal, code};
use crate::warning::{Warning, warn};

/// The image's id for messages.
fn id(image: &Image) -> &str {
    image.image_id.as_deref().unwrap_or("without an id")
}

/// Everything that speaks against the image itself, whoever launches it on whatever.
pub(crate) fn image(image: &Image) -> Result<(), Refusal> {
    if let Some(id) = image.image_id.as_deref().filter(|id| !ids::is_image_id(id)) {
        let message = format!("Invalid id: \"{id}\"");
        return Err(Refusal::new(code::INVALID_AMI_MALFORMED, "ImageId", message)
            .hint("an image id is `ami-` and letters or digits"));
    }
    if let Some(kind) = image.image_type.as_deref().filter(|kind| *kind != "machine") {
        let message = format!("`{kind}` is not an image of a machine");
        return Err(Refusal::new(code::INVALID_VALUE, "ImageType", message));
    }
    match image.state.as_deref() {
        None | Some("available") => Ok(()),
        Some(state) => {
            // EC2's words: hashicorp/packer issue 12162.
            let message = format!("AMI '{}' is {state}, and cannot be run", id(image));
            let refusal = Refusal::new(code::INVALID_AMI_UNAVAILABLE, "State", message);
            let reason = image.state_reason.as_ref().and_then(|reason| reason.message.as_deref());
            Err(match (reason, state) {
                (Some(reason), _) => refusal.hint(format!("EC2 gave the reason: {reason}")),
                (None, "disabled") => refusal.hint("its owner can enable it: aws ec2 enable-image"),
                (None, "pending") => refusal.hint("describe it again when it is available"),
                (None, _) => refusal,
            })
        }
    }
}

/// Whether `account` may launch it: its owner, everybody if it is public, and who has been given permission.
pub(crate) fn permission(image: &Image, account: &str, warnings: &mut Vec<Warning>) -> Result<(), Refusal> {
    let permissions = image.launch_permissions.as_deref().unwrap_or_default();
    let names = |permission: &LaunchPermission| {
        permission.group.as_deref() == Some("all") || permission.user_id.as_deref() == Some(account)
    };
    let owner = image.owner_id.as_deref() == Some(account);
    if owner || image.public == Some(true) || permissions.iter().any(names) {
        return Ok(());
    }
    let of_organization = |permission: &LaunchPermission| {
        permission.organization_arn.is_some() || permission.organizational_unit_arn.is_some()
    };
    if permissions.iter().any(of_organization) {
        let message =
            format!("whether {account} belongs to an organization that may launch it is not known here");
        warnings.push(warn("LaunchPermission", message));
        return Ok(());
    }
    // Who says nothing about owner and permissions says nothing against the caller.
    if image.owner_id.is_none() && image.public.is_none() && image.launch_permissions.is_none() {
        return Ok(());
    }
    // EC2's words: aws-quickstart/quickstart-microsoft-activedirectory issue 11.
    let message = format!("Not authorized for images: [{}]", id(image));
    Err(Refusal::new(code::AUTH_FAILURE, "--account-id", message)
        .hint("its owner gives permission: aws ec2 modify-image-attribute --launch-permission"))
}

/// The architecture of the instance, where image, type and this computer agree. What the image is for is looked at
/// first: nobody is sent to another type by an image that cannot be launched here at all.
pub(crate) fn architecture(
    image: &Image,
    instance_type: &InstanceType,
    host: Architecture,
) -> Result<Architecture, Refusal> {
    let refuse_image = |name: &str, hint: String| {
        let message = format!("the image is for {name}, and this computer is {host}");
        Refusal::new(code::UNSUPPORTED, "Architecture", message).hint(hint)
    };
    let of_type = instance_type.architecture;
    let Some(name) = image.architecture.as_deref() else {
        return if of_type == host { Ok(host) } else { Err(type_of_another(instance_type, host)) };
    };
    let build = format!("take the image's {host} build");
    let Some(of_image) = Architecture::from_ec2(name) else { return Err(refuse_image(name, build)) };
    if of_image != host {
        let hint = format!(
            "launch it on a computer that is {of_image} and has KVM, or {build}; no option helps: a guest runs on this \
             computer's own CPUs, and no others are emulated"
        );
        return Err(refuse_image(name, hint));
    }
    if of_image != of_type {
        // EC2's words: skypilot-org/skypilot issue 6315.
        let message = format!(
            "The architecture '{of_type}' of the specified instance type does not match the architecture \
             '{of_image}' of the specified AMI. Specify an instance type and an AMI that have matching \
             architectures, and try again."
        );
        let default = InstanceType::default_for(of_image);
        return Err(Refusal::new(code::INVALID_VALUE, "--instance-type", message)
            .hint(format!("{default} is an instance type for {of_image}")));
    }
    Ok(of_image)
}

/// Of an image that does not say what it is for.
fn type_of_another(InstanceType { name, architecture, .. }: &InstanceType, host: Architecture) -> Refusal {
    let message = format!("{name} is an instance type for {architecture}, and this computer is {host}");
    Refusal::new(code::UNSUPPORTED, "--instance-type", message).hint(format!(
        "leave it out, or name one for {host}, such as {}; an image for {architecture} is launched on a computer of \
         that architecture",
        InstanceType::default_for(host)
    ))
}

/// Whether the type runs such images.
pub(crate) fn instance_type(image: &Image, instance_type: &InstanceType) -> Result<(), Refusal> {
    let name = &instance_type.name;
    if image.virtualization_type.as_deref() == Some("paravirtual") {
        // EC2's words: voxpupuli/puppet-cassandra issue 334.
        let message = format!(
            "Virtualization type 'hvm' is required for instances of type '{name}'. Ensure that you are using an AMI \
             with virtualization type 'hvm'."
        );
        return Err(Refusal::new(code::INVALID_COMBINATION, "VirtualizationType", message).hint(
            "paravirtual images have a kernel for Xen and no boot loader: take the image's hvm build",
        ));
    }
    if image.root_device_type.as_deref() == Some("instance-store") {
        // EC2's words: thelastpickle/tlp-cluster issue 150.
        let message = format!(
            "AMI '{}' with an instance-store root device is not supported for the instance type '{name}'.",
            id(image)
        );
        return Err(Refusal::new(code::UNSUPPORTED_OPERATION, "RootDeviceType", message)
            .hint("take the image's EBS build, or make one: an instance-store image has no snapshot"));
    }
    let Some(specification) = &image.instance_type_specification else { return Ok(()) };
    let place = "InstanceTypeSpecification";
    let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
    let refuse = |member: &str, message: String| {
        Refusal::new(code::UNSUPPORTED, format!("{place}.{member}"), message)
            .hint("--instance-type chooses another")
    };
    if specification.unsupported_instance_types.as_deref().is_some_and(any) {
        return Err(refuse(
            "UnsupportedInstanceTypes",
            format!("the image does not support the type {name}"),
        ));
    }
    match specification.supported_instance_types.as_deref() {
        Some(supported) if !supported.is_empty() && !any(supported) => {
            let message = format!("the image supports {}, and not {name}", list(supported));
            Err(refuse("SupportedInstanceTypes", message))
        }
        _ => Ok(()),
    }
}

/// Whether a name fits a pattern in which `*` stands for any letters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(before) else { return false };
    // Each part at its first place: if any choice fits, this one does; the last must stand at the end.
    let mut parts: Vec<_> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match name.split_once(part) {
            Some((_, after)) => name = after,
            None => return false,
        }
    }
    name.ends_with(last)
}

/// Whether the image's drivers are those that the type needs. EC2 refuses an image without ENA on a type that needs
/// it; here virtio is there for it.
pub(crate) fn drivers(image: &Image, instance_type: &InstanceType, warnings: &mut Vec<Warning>) {
    if image.ena_support == Some(true) {
        return;
    }
    if instance_type.ena == Ena::Required {
        // EC2's words behind the colon: rancher/os issue 2160.
        let message = format!(
            "EC2 would refuse this launch: Enhanced networking with the Elastic Network Adapter (ENA) is required for \
             the '{}' instance type. Ensure that you are using an AMI that is enabled for ENA.",
            instance_type.name
        );
        warnings.push(warn("EnaSupport", message));
    }
    if let Some(value) = &image.sriov_net_support {
        let message = format!(
            "SriovNetSupport is `{value}`, the enhanced networking of older Xen types, and EnaSupport is not there: \
             here the network is virtio"
        );
        warnings.push(warn("SriovNetSupport", message));
    }
}

#[cfg(test)]
#[path = "checks_test.rs"]
mod tests;
