//! What people give by mistake instead of an image's description, told by how it begins or by its members.

use crate::error::ImageError;
use serde_json::{Map, Value};

const AS_JSON: &str = "add `--output json` to the aws command that wrote it";
const AS_UTF_8: &str =
    "write it as UTF-8; in PowerShell: `aws … --output json | Out-File -Encoding utf8 image.json`";
const UTF_16: &str = "text in UTF-16, as PowerShell's `>` writes it";
/// How much of a file is looked at.
const HEAD: usize = 4096;
/// What programs on Windows put before text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

pub(crate) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)
}

/// Whether a file that begins like this is a description, or something that is given for one by mistake.
#[must_use]
pub fn is_description(head: &[u8]) -> bool {
    without_mark(head).trim_ascii_start().first() == Some(&b'{') || not_json(head).is_some()
}

/// A byte order mark, and ASCII behind it: a disk with boot code begins otherwise.
fn is_utf_16(bytes: &[u8]) -> bool {
    let ascii = |byte: u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    match bytes {
        [0xff, 0xfe, byte, 0, ..] | [0xfe, 0xff, 0, byte, ..] => ascii(*byte),
        _ => false,
    }
}

/// What text that is not JSON is, if it is an output of the AWS CLI or of the EC2 API.
#[must_use]
pub fn not_json(bytes: &[u8]) -> Option<&'static str> {
    if is_utf_16(bytes) {
        return Some(UTF_16);
    }
    let bytes = without_mark(bytes);
    let head = bytes.get(..HEAD).unwrap_or(bytes).trim_ascii_start();
    let text = String::from_utf8_lossy(head);
    let first = text.lines().next().unwrap_or_default();
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| first.starts_with(prefix));
    if starts(&["<?xml", "<DescribeImagesResponse", "<Response"]) {
        Some("XML, an answer of the EC2 API itself")
    } else if starts(&["IMAGES\t", "BLOCKDEVICEMAPPINGS\t", "ami-"]) {
        Some("an output of the AWS CLI as text")
    } else if first.len() > 8 && first.bytes().all(|byte| matches!(byte, b'-' | b'+')) {
        Some("an output of the AWS CLI as a table")
    } else if starts(&["Images:", "- Architecture:", "- BlockDeviceMappings:", "Architecture:", "ImageId:"]) {
        Some("an output of the AWS CLI as YAML")
    } else if first.trim_end() == "---" {
        Some("YAML")
    } else {
        None
    }
}

pub(crate) fn of_text(bytes: &[u8]) -> Option<ImageError> {
    not_json(bytes)
        .map(|what| ImageError::Other { what, hint: if what == UTF_16 { AS_UTF_8 } else { AS_JSON } })
}

/// Members by which a JSON object that describes no image is known, what it is, and the next step if it is not the
/// usual one.
const OBJECTS: &[(&str, &str, &str)] = &[
    ("Reservations", "the output of describe-instances", ""),
    ("Instances", "the output of run-instances", ""),
    ("Snapshots", "the output of describe-snapshots", ""),
    ("Volumes", "the output of describe-volumes", ""),
    ("InstanceTypes", "the output of describe-instance-types", ""),
    ("LaunchTemplateVersions", "the output of describe-launch-template-versions", ""),
    ("ImportImageTasks", "the output of describe-import-image-tasks", ""),
    ("Parameter", "the output of ssm get-parameter", ""),
    ("Parameters", "the output of ssm get-parameters", ""),
    ("builds", "a manifest of Packer", ""),
    ("imageId", "an image with the EC2 API's own names of members", "its members must be called ImageId, …"),
];

/// What a JSON object without `Images` is.
pub(crate) fn of_object(members: &Map<String, Value>) -> Option<ImageError> {
    let only = |names: &[&str]| members.keys().all(|name| names.contains(&name.as_str()));
    if ["InstanceId", "InstanceType"].iter().all(|name| members.contains_key(*name)) {
        return Some(ImageError::Other { what: "an instance of describe-instances' output", hint: "" });
    }
    if members.contains_key("ImageId") {
        // What create-image, copy-image, register-image and describe-image-attribute print has the id, too.
        return if only(&["ImageId"]) {
            let what = "the output of create-image, copy-image or register-image";
            Some(ImageError::Other { what, hint: "" })
        } else if only(&[
            "ImageId",
            "LaunchPermissions",
            "ProductCodes",
            "Description",
            "BootMode",
            "UefiData",
        ]) {
            Some(ImageError::Other { what: "the output of describe-image-attribute", hint: "" })
        } else {
            None
        };
    }
    if ["BlockDeviceMappings", "RootDeviceName"].iter().any(|name| members.contains_key(*name)) {
        return None;
    }
    let known = OBJECTS.iter().find(|(member, ..)| members.contains_key(*member));
    known.map(|(_, what, hint)| ImageError::Other { what, hint })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_that_are_not_json_are_named() {
        let cases = [
            ("Images:\n- Architecture: x86_64\n", "YAML"),
            ("- Architecture: x86_64\n  BlockDeviceMappings:\n", "YAML"),
            ("---\nImages: []\n", "YAML"),
            ("--------------------\n|  DescribeImages  |\n", "table"),
            ("IMAGES\tx86_64\t2019-05-10T13:17:12.000Z\n", "text"),
            ("ami-1234567890EXAMPLE\nami-0abcdef1234567890\n", "text"),
            ("\u{feff}Images:\r\n- Architecture: x86_64\r\n", "YAML"),
            ("<?xml version=\"1.0\"?>\n<DescribeImagesResponse>", "XML"),
        ];
        for (text, what) in cases {
            assert!(not_json(text.as_bytes()).is_some_and(|told| told.contains(what)), "{text}");
        }
        for other in ["", "{\"Images\": []}", "hello", "\u{eb}\u{3c}\0", "-- a comment"] {
            assert_eq!(not_json(other.as_bytes()), None, "{other}");
        }
        assert_eq!(not_json(&[0; 8192]), None);
        assert!(is_description("\u{feff} {}".as_bytes()));
        for disk in [&b"\xff\xfe\x90\x90"[..], b"\xff\xfe", b"[", &[0; 512]] {
            assert!(!is_description(disk), "{disk:?}");
        }
    }

    #[test]
    fn what_windows_writes_is_told_by_its_bytes() {
        let image = "{\"Images\": []}\r\n";
        let words = |swap: bool| {
            let units = std::iter::once(0xfeff).chain(image.encode_utf16());
            units
                .flat_map(|unit| if swap { unit.to_be_bytes() } else { unit.to_le_bytes() })
                .collect::<Vec<_>>()
        };
        for swap in [false, true] {
            let told = crate::parse(&words(swap), None).unwrap_err();
            assert!(told.to_string().contains("UTF-16"), "{told}");
            assert!(told.hint().unwrap().contains("-Encoding utf8"), "{told}");
            assert!(is_description(&words(swap)));
        }
    }

    #[test]
    fn objects_that_describe_no_image_are_named() {
        let told =
            |text: &str| of_object(&serde_json::from_str(text).unwrap()).map(|other| other.to_string());
        for (text, what) in [
            (r#"{"Reservations": [], "NextToken": null}"#, "describe-instances"),
            (r#"{"Snapshots": []}"#, "describe-snapshots"),
            (r#"{"ImageId": "ami-1"}"#, "create-image"),
            (r#"{"ImageId": "ami-1", "LaunchPermissions": []}"#, "describe-image-attribute"),
            (
                r#"{"InstanceId": "i-1", "InstanceType": "t3.micro", "ImageId": "ami-1"}"#,
                "describe-instances",
            ),
            (r#"{"builds": []}"#, "Packer"),
        ] {
            assert!(told(text).is_some_and(|told| told.contains(what)), "{text}");
        }
        for image in
            [r#"{"ImageId": "ami-1", "State": "available"}"#, r#"{"RootDeviceName": "x", "Snapshots": []}"#]
        {
            assert_eq!(told(image), None, "{image}");
        }
    }
}
