//! What is refused before a launch, with EC2's code, and what is only warned of.

use super::*;
use crate::code;
use crate::plan::{LaunchPlan, Request, plan};
use std::time::{Duration, SystemTime};

/// 14 July 2024.
const NOW: u64 = 1_720_915_200;

fn request() -> Request<'static> {
    Request {
        host: Architecture::X86_64,
        instance_type: None,
        cpus: None,
        memory_mib: None,
        boot_mode: None,
        mappings: &[],
        interface: None,
        account_id: None,
        now: SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(NOW)).unwrap(),
    }
}

/// An image for Nitro with these further members.
fn image_with(more: &str) -> Image {
    let text = format!(
        r#"{{"ImageId": "ami-1", "RootDeviceName": "/dev/xvda",
        "BlockDeviceMappings": [{{"DeviceName": "/dev/xvda", "Ebs": {{"SnapshotId": "snap-1", "VolumeSize": 8}}}}],
        {more}}}"#
    );
    crate::parse(text.as_bytes(), None).unwrap_or_else(|cause| panic!("{text}: {cause}"))
}

fn planned(more: &str) -> LaunchPlan {
    plan(&image_with(more), &request()).unwrap()
}

/// Code and text of a refusal.
fn refused(more: &str, request: &Request<'_>) -> (&'static str, String) {
    let refusal = plan(&image_with(more), request).unwrap_err();
    (refusal.code, refusal.to_string())
}

fn warned(more: &str) -> Vec<&'static str> {
    planned(more).warnings.iter().map(|warning| warning.code).collect()
}

#[test]
fn only_an_available_image_runs() {
    assert!(planned(r#""State": "available", "EnaSupport": true"#).warnings.is_empty());
    for state in ["pending", "invalid", "deregistered", "transient", "failed", "error", "disabled"] {
        let (code, text) = refused(&format!(r#""State": "{state}""#), &request());
        assert_eq!(code, code::INVALID_AMI_UNAVAILABLE);
        assert!(text.starts_with(&format!("State: AMI 'ami-1' is {state}, and cannot be run")), "{text}");
    }
    let reason =
        r#""State": "failed", "StateReason": {"Code": "Server.InternalError", "Message": "no luck"}"#;
    let refusal = plan(&image_with(reason), &request()).unwrap_err();
    assert_eq!(refusal.hint.as_deref(), Some("EC2 gave the reason: no luck"));
}

#[test]
fn ids_that_could_leave_a_folder_are_refused() {
    for id in ["../x", "ami-../../etc", "ami-1/2", "ami-", "i-1", ""] {
        let image = Image { image_id: Some(id.to_owned()), ..image_with(r#""Name": "x""#) };
        let refusal = plan(&image, &request()).unwrap_err();
        assert_eq!((refusal.code, refusal.place.as_str()), (code::INVALID_AMI_MALFORMED, "ImageId"), "{id}");
    }
}

#[test]
fn kernels_and_ramdisks_are_no_machines() {
    assert_eq!(refused(r#""ImageType": "kernel""#, &request()).0, code::INVALID_VALUE);
    planned(r#""ImageType": "machine""#);
}

#[test]
fn paravirtual_and_instance_store_images_are_refused_in_ec2_s_words() {
    let (code, text) = refused(r#""VirtualizationType": "paravirtual""#, &request());
    assert_eq!(code, code::INVALID_COMBINATION);
    assert!(
        text.contains("Virtualization type 'hvm' is required for instances of type 't3.micro'."),
        "{text}"
    );
    let (code, text) = refused(r#""RootDeviceType": "instance-store""#, &request());
    assert_eq!(code, code::UNSUPPORTED_OPERATION);
    assert!(
        text.contains(
            "AMI 'ami-1' with an instance-store root device is not supported for the instance type"
        ),
        "{text}"
    );
}

#[test]
fn other_architectures_are_refused_with_advice() {
    assert_eq!(planned(r#""Architecture": "x86_64""#).architecture, Architecture::X86_64);
    let refuse = |name: &str, host: Architecture| {
        let more = format!(r#""Architecture": "{name}""#);
        plan(&image_with(&more), &Request { host, ..request() }).unwrap_err()
    };
    let arm = refuse("arm64", Architecture::X86_64);
    assert_eq!(
        arm.to_string(),
        "Architecture: the image is for arm64, and this computer is x86_64 (Unsupported)"
    );
    let hint = arm.hint.unwrap();
    for part in ["computer that is arm64 and has KVM", "the image's x86_64 build", "no option helps"] {
        assert!(hint.contains(part), "{hint}");
    }
    let x86 = refuse("x86_64", Architecture::Arm64);
    assert!(x86.message.contains("for x86_64, and this computer is arm64"), "{x86}");
    assert!(x86.hint.unwrap().contains("the image's arm64 build"));
    for (name, host) in
        [("x86_64_mac", "x86_64"), ("arm64_mac", "x86_64"), ("i386", "x86_64"), ("vax", "x86_64")]
    {
        let refusal = refuse(name, Architecture::X86_64);
        assert!(refusal.message.contains(name), "{refusal}");
        assert_eq!(refusal.hint.unwrap(), format!("take the image's {host} build"));
    }
}

/// Such an image is for neither, so it is the type that does not fit.
#[test]
fn an_image_that_does_not_say_what_it_is_for_is_for_this_computer() {
    let of = |host, instance_type| {
        plan(&image_with(r#""Name": "x""#), &Request { host, instance_type, ..request() })
    };
    for (host, own, other) in
        [(Architecture::X86_64, "t3.micro", "t4g.micro"), (Architecture::Arm64, "t4g.micro", "t3.micro")]
    {
        let launch = of(host, None).unwrap();
        assert_eq!((launch.architecture, launch.instance_type.name.as_str()), (host, own));
        assert_eq!(of(host, Some(own)).unwrap().architecture, host);
        let refusal = of(host, Some(other)).unwrap_err();
        assert_eq!((refusal.code, refusal.place.as_str()), (code::UNSUPPORTED, "--instance-type"));
        assert!(refusal.message.contains(&format!("and this computer is {host}")), "{refusal}");
        assert!(refusal.hint.unwrap().contains(&format!("such as {own};")));
    }
}

/// What no type can mend is told first.
#[test]
fn an_image_for_another_architecture_is_refused_whatever_type_is_named() {
    for instance_type in [None, Some("t3.micro"), Some("c7g.large")] {
        let (code, text) = refused(r#""Architecture": "arm64""#, &Request { instance_type, ..request() });
        assert_eq!(code, code::UNSUPPORTED);
        assert!(text.starts_with("Architecture: the image is for arm64"), "{text}");
    }
}

#[test]
fn a_type_of_another_architecture_is_refused_in_ec2_s_words() {
    let request = Request { instance_type: Some("c7g.large"), ..request() };
    let (code, text) = refused(r#""Architecture": "x86_64""#, &request);
    assert_eq!(code, code::INVALID_VALUE);
    assert!(
        text.starts_with(
            "--instance-type: The architecture 'arm64' of the specified instance type does not match the architecture \
             'x86_64' of the specified AMI. Specify"
        ),
        "{text}"
    );
    let (code, text) = refused(r#""Name": "x""#, &Request { instance_type: Some("t9.micro"), ..request });
    assert_eq!(code, code::INVALID_VALUE);
    assert!(text.contains("Invalid value 't9.micro' for InstanceType."), "{text}");
}

#[test]
fn the_image_may_name_the_types_that_it_runs_on() {
    let refuse = |more: &str| refused(&format!(r#""InstanceTypeSpecification": {{{more}}}"#), &request());
    let (code, text) = refuse(r#""SupportedInstanceTypes": ["m5.large", "c5.*"]"#);
    assert_eq!(code, code::UNSUPPORTED);
    assert!(text.contains("the image supports m5.large, c5.*, and not t3.micro"), "{text}");
    assert_eq!(refuse(r#""UnsupportedInstanceTypes": ["t3.*"]"#).0, code::UNSUPPORTED);
    for more in [r#""SupportedInstanceTypes": ["m5.large"]"#, r#""UnsupportedInstanceTypes": ["t3.*"]"#] {
        let image = image_with(&format!(r#""InstanceTypeSpecification": {{{more}}}"#));
        let hint = plan(&image, &request()).unwrap_err().hint;
        assert!(hint.is_some_and(|hint| hint.contains("--instance-type")), "{more}");
    }
    for fine in [
        r#""SupportedInstanceTypes": ["t*.micro"]"#,
        r#""SupportedInstanceTypes": []"#,
        r#""UnsupportedInstanceTypes": ["t2.*", "t3.mic"]"#,
    ] {
        planned(&format!(r#""InstanceTypeSpecification": {{{fine}}}"#));
    }
}

#[test]
fn patterns_match_as_in_a_shell() {
    for (pattern, name) in [
        ("t3.micro", "t3.micro"),
        ("*", ""),
        ("t3.*", "t3."),
        ("*.micro", "t3.micro"),
        ("a*b*c", "aXbYbc"),
        ("a**c", "ac"),
    ] {
        assert!(matches(pattern, name), "{pattern} {name}");
    }
    for (pattern, name) in [("", "a"), ("t3.*", "t3a.micro"), ("a*b*c", "acb"), ("ab*b", "ab"), ("a*a", "a")]
    {
        assert!(!matches(pattern, name), "{pattern} {name}");
    }
}

#[test]
fn launch_permission_is_looked_at_where_an_account_is_given() {
    let request = Request { account_id: Some("111122223333"), ..request() };
    let allowed = |more: &str| plan(&image_with(more), &request);
    let other = r#""OwnerId": "999999999999""#;
    for fine in [
        r#""Name": "says nothing""#.to_owned(),
        r#""OwnerId": "111122223333", "Public": false"#.to_owned(),
        format!(r#"{other}, "Public": true"#),
        format!(r#"{other}, "LaunchPermissions": [{{"UserId": "111122223333"}}]"#),
        format!(r#"{other}, "LaunchPermissions": [{{"Group": "all"}}]"#),
    ] {
        assert!(allowed(&fine).is_ok(), "{fine}");
    }
    for bad in [
        other.to_owned(),
        r#""Public": false"#.to_owned(),
        format!(r#"{other}, "Public": false, "LaunchPermissions": [{{"UserId": "111122223334"}}]"#),
        r#""LaunchPermissions": []"#.to_owned(),
    ] {
        let refusal = allowed(&bad).unwrap_err();
        assert_eq!(refusal.code, code::AUTH_FAILURE, "{bad}");
        assert!(refusal.message.contains("Not authorized for images: [ami-1]"), "{refusal}");
    }
    let organization = format!(r#"{other}, "LaunchPermissions": [{{"OrganizationArn": "arn:aws:x"}}]"#);
    assert!(
        allowed(&organization).unwrap().warnings.iter().any(|warning| warning.code == "LaunchPermission")
    );
    planned(other);
}

#[test]
fn what_ec2_or_the_owner_should_know_is_warned_of() {
    let ena = r#""EnaSupport": true"#;
    for (more, codes) in [
        (
            r#""ProductCodes": [{"ProductCodeId": "abc", "ProductCodeType": "marketplace"}]"#,
            vec!["ProductCodes"],
        ),
        (r#""ProductCodes": []"#, vec![]),
        (r#""DeprecationTime": "2024-07-13T23:59:00.000Z""#, vec!["DeprecationTime"]),
        (r#""DeprecationTime": "2024-07-14T00:01:00.000Z""#, vec![]),
        (r#""DeprecationTime": "some day""#, vec![]),
        (r#""TpmSupport": "v2.0", "BootMode": "uefi""#, vec!["TpmSupport"]),
        (r#""SriovNetSupport": "simple""#, vec![]),
    ] {
        assert_eq!(warned(&format!("{ena}, {more}")), codes, "{more}");
    }
    assert_eq!(warned(r#""SriovNetSupport": "simple""#), ["EnaSupport", "SriovNetSupport"]);
    assert_eq!(warned(r#""EnaSupport": false"#), ["EnaSupport"]);
}

#[test]
fn a_type_without_ena_asks_for_none() {
    let request = Request { instance_type: Some("t2.micro"), ..request() };
    assert_eq!(plan(&image_with(r#""Name": "x""#), &request).unwrap().warnings, []);
}
