//! `--block-device-mappings`: the AWS CLI's JSON and shorthand, into the same types as the image's own mapping.
//!
//! Stricter than image.json: a member that EC2 does not know is a mistake of the caller's.

use crate::describe::BlockDeviceMapping;
use crate::mappings::merge::OPTION;
use crate::mappings::shorthand;
use crate::refusal::{Refusal, code};
use serde_json::{Map, Value};

/// What a member holds.
enum Kind {
    Text,
    Number,
    Truth,
    Members(&'static [(&'static str, Kind)]),
}

const MAPPING: &[(&str, Kind)] = &[
    ("DeviceName", Kind::Text),
    ("VirtualName", Kind::Text),
    ("NoDevice", Kind::Text),
    ("Ebs", Kind::Members(EBS)),
];

const EBS: &[(&str, Kind)] = &[
    ("SnapshotId", Kind::Text),
    ("VolumeSize", Kind::Number),
    ("VolumeType", Kind::Text),
    ("Iops", Kind::Number),
    ("Throughput", Kind::Number),
    ("DeleteOnTermination", Kind::Truth),
    ("Encrypted", Kind::Truth),
    ("KmsKeyId", Kind::Text),
    ("OutpostArn", Kind::Text),
    ("AvailabilityZone", Kind::Text),
    ("AvailabilityZoneId", Kind::Text),
    ("VolumeInitializationRate", Kind::Number),
    ("EbsCardIndex", Kind::Number),
];

/// Reads the option's values, each JSON (a mapping, or a list of them) or shorthand (one mapping or several).
pub fn parse_mappings(values: &[String]) -> Result<Vec<BlockDeviceMapping>, Refusal> {
    let mut mappings = Vec::new();
    for value in values {
        let text = value.trim();
        match text.chars().next() {
            None => {
                return Err(refuse(
                    OPTION,
                    "it is empty: give DeviceName=/dev/sda1,Ebs={VolumeSize=20} or JSON",
                ));
            }
            Some('{' | '[') => of_json(text, &mut mappings)?,
            Some(_) => of_shorthand(text, &mut mappings)?,
        }
    }
    Ok(mappings)
}

fn of_json(text: &str, mappings: &mut Vec<BlockDeviceMapping>) -> Result<(), Refusal> {
    // Several objects may follow each other, as the shell joins them.
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let value = value.map_err(|cause| refuse(OPTION, format!("it is not JSON: {cause}")))?;
        let list = match value {
            Value::Array(list) => list,
            one => vec![one],
        };
        for mut value in list {
            push(&mut value, false, mappings)?;
        }
    }
    Ok(())
}

fn of_shorthand(text: &str, mappings: &mut Vec<BlockDeviceMapping>) -> Result<(), Refusal> {
    for part in shorthand::split(text) {
        let members = shorthand::parse(&part).map_err(|cause| {
            let at = cause.at.saturating_add(1);
            let refusal = refuse(
                &format!("{OPTION}[{}]", mappings.len()),
                format!("character {at} of `{part}`: {}", cause.what),
            );
            if part.contains('=') {
                refusal
            } else {
                refusal.hint("file://PATH stands for what a file holds")
            }
        })?;
        push(&mut Value::Object(members), true, mappings)?;
    }
    Ok(())
}

fn push(value: &mut Value, shorthand: bool, mappings: &mut Vec<BlockDeviceMapping>) -> Result<(), Refusal> {
    let place = format!("{OPTION}[{}]", mappings.len());
    // A member may be null, and then it is not there; a mapping may not.
    if value.is_null() {
        return Err(refuse(&place, "members in braces are wanted here, not null"));
    }
    check(value, &Kind::Members(MAPPING), shorthand, &place)?;
    let mapping = serde_json::from_value(value.take()).map_err(|cause| refuse(&place, cause.to_string()))?;
    mappings.push(mapping);
    Ok(())
}

/// Compares with what the member should hold. Shorthand has only text: numbers and truths are made of it.
fn check(value: &mut Value, kind: &Kind, shorthand: bool, place: &str) -> Result<(), Refusal> {
    if value.is_null() {
        return Ok(());
    }
    if shorthand
        && let Value::String(text) = &value
        && let Some(meant) = meant(text, kind)
    {
        *value = meant;
    }
    match (kind, value) {
        (Kind::Text, Value::String(_)) | (Kind::Truth, Value::Bool(_)) => Ok(()),
        (Kind::Number, Value::Number(number))
            if number.as_u64().is_some_and(|n| u32::try_from(n).is_ok()) =>
        {
            Ok(())
        }
        (Kind::Members(known), Value::Object(members)) => check_members(members, known, shorthand, place),
        (Kind::Text, other) => Err(refuse(place, format!("a string is wanted here, not {other}"))),
        (Kind::Truth, other) => Err(refuse(place, format!("true or false is wanted here, not {other}"))),
        (Kind::Number, other) => Err(refuse(place, format!("a whole number is wanted here, not {other}"))),
        (Kind::Members(_), other) => {
            Err(refuse(place, format!("members in braces are wanted here, not {other}")))
        }
    }
}

fn check_members(
    members: &mut Map<String, Value>,
    known: &[(&str, Kind)],
    shorthand: bool,
    place: &str,
) -> Result<(), Refusal> {
    for (name, value) in members {
        let Some((_, kind)) = known.iter().find(|(other, _)| other == name) else {
            let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
            let message = format!("Unknown parameter \"{name}\", must be one of: {}", names.join(", "));
            return Err(Refusal::new(code::UNKNOWN_PARAMETER, place, message));
        };
        check(value, kind, shorthand, &format!("{place}.{name}"))?;
    }
    Ok(())
}

fn meant(text: &str, kind: &Kind) -> Option<Value> {
    match kind {
        Kind::Number => text.parse::<i64>().ok().map(Value::from),
        Kind::Truth => text.to_ascii_lowercase().parse::<bool>().ok().map(Value::from),
        Kind::Text | Kind::Members(_) => None,
    }
}

fn refuse(place: &str, message: impl Into<String>) -> Refusal {
    Refusal::new(code::INVALID_VALUE, place, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(values: &[&str]) -> Value {
        let values: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
        serde_json::to_value(parse_mappings(&values).unwrap()).unwrap()
    }

    fn refused(value: &str) -> String {
        parse_mappings(&[value.to_owned()]).unwrap_err().to_string()
    }

    const TWO: &str = r#"[{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 20, "DeleteOnTermination": false}},
        {"DeviceName": "/dev/sdb", "NoDevice": ""}]"#;

    #[test]
    fn json_shorthand_and_repetition_mean_the_same() {
        let expected: Value = serde_json::from_str(TWO).unwrap();
        let first = "DeviceName=/dev/sda1,Ebs={VolumeSize=20,DeleteOnTermination=False}";
        let second = "DeviceName=/dev/sdb,NoDevice=";
        assert_eq!(parsed(&[TWO]), expected);
        assert_eq!(parsed(&[first, second]), expected);
        assert_eq!(parsed(&[&format!("{first} {second}")]), expected);
        assert_eq!(parsed(&[first, r#" {"DeviceName": "/dev/sdb", "NoDevice": "", "Ebs": null}"#]), expected);
        let objects = TWO.trim_matches(['[', ']']).replace("}},", "}}");
        assert_eq!(parsed(&[&objects]), expected);
        assert_eq!(parsed(&["[]"]), Value::Array(Vec::new()));
    }

    #[test]
    fn a_file_s_name_is_no_shorthand() {
        for (value, hinted) in [("mappings.json", true), ("DeviceName=", false)] {
            let refusal = parse_mappings(&[value.to_owned()]);
            let hint = refusal.err().and_then(|refusal| refusal.hint);
            assert_eq!(hint.is_some_and(|hint| hint.contains("file://PATH")), hinted, "{value}");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (value, told) in [
            ("", "--block-device-mappings: it is empty"),
            ("[1]", "--block-device-mappings[0]: members in braces are wanted here, not 1"),
            ("[null]", "--block-device-mappings[0]: members in braces are wanted here, not null"),
            ("[{]", "--block-device-mappings: it is not JSON: "),
            (
                r#"{"Ebs": {"VolumeSize": "8"}}"#,
                "[0].Ebs.VolumeSize: a whole number is wanted here, not \"8\"",
            ),
            ("Ebs={VolumeSize=-1}", "[0].Ebs.VolumeSize: a whole number is wanted here, not -1"),
            ("Ebs={VolumeSize=4294967296}", "a whole number is wanted here, not 4294967296"),
            ("Ebs={VolumeSize=8G}", "a whole number is wanted here, not \"8G\""),
            ("Ebs={Encrypted=yes}", "[0].Ebs.Encrypted: true or false is wanted here, not \"yes\""),
            ("Ebs=8", "[0].Ebs: members in braces are wanted here, not \"8\""),
            ("DeviceName=a,b", "[0].DeviceName: a string is wanted here, not [\"a\",\"b\"]"),
            (
                "DeviceName=x,Ebs={Size=8}",
                "[0].Ebs: Unknown parameter \"Size\", must be one of: SnapshotId, VolumeSize",
            ),
            ("DeviceName=a NoDevice", "[1]: character 9 of `NoDevice`: `=` is missing before the end"),
        ] {
            assert!(refused(value).contains(told), "{value}: {}", refused(value));
        }
    }
}
