//! From bytes to an [`Image`]: what the AWS CLI prints, or one image by itself.

use crate::describe::{Image, Snapshot};
use crate::error::ImageError;
use crate::recognise;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    images: Vec<Image>,
    /// Our own, beside EC2's list or in the image.
    snapshots: Option<Vec<Snapshot>>,
}

/// Reads one `Image` object, or `{"Images": […]}`. With `wanted`, the image of that id; otherwise there must be one.
pub fn parse(bytes: &[u8], wanted: Option<&str>) -> Result<Image, ImageError> {
    let bytes = recognise::without_mark(bytes);
    // First only the shape; the second reading, straight into the types, is what knows places.
    let members: Map<String, Value> = serde_json::from_slice(bytes)
        .map_err(|cause| recognise::of_text(bytes).unwrap_or_else(|| list_or(bytes, &cause)))?;
    let images = if members.contains_key("Images") {
        let Described { mut images, snapshots } = typed(bytes)?;
        for image in &mut images {
            if image.snapshots.is_none() {
                image.snapshots.clone_from(&snapshots);
            }
        }
        images
    } else {
        vec![one_image(bytes, &members)?]
    };
    choose(images, wanted)
}

/// The error of a file that holds no object.
fn list_or(bytes: &[u8], cause: &serde_json::Error) -> ImageError {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        let hint = "leave `--query` out of the aws command that wrote it, or let it choose one: 'Images[0]'";
        return ImageError::Other { what: "a list", hint };
    }
    of_json("", cause)
}

fn choose(mut images: Vec<Image>, wanted: Option<&str>) -> Result<Image, ImageError> {
    let id = |image: &Image| image.image_id.clone().unwrap_or_else(|| "one without an ImageId".to_owned());
    if let Some(wanted) = wanted.filter(|_| !images.is_empty()) {
        let there = images.iter().map(id).collect();
        let is_it = |image: &Image| image.image_id.as_deref() == Some(wanted);
        let found = images.into_iter().find(is_it);
        return found.ok_or(ImageError::NoSuchImage { wanted: wanted.to_owned(), there });
    }
    match (images.pop(), images.len()) {
        (None, _) => Err(ImageError::NoImages),
        (Some(image), 0) => Ok(image),
        (Some(last), _) => {
            images.push(last);
            Err(ImageError::ManyImages(images.iter().map(id).collect()))
        }
    }
}

fn one_image(bytes: &[u8], members: &Map<String, Value>) -> Result<Image, ImageError> {
    if let Some(other) = recognise::of_object(members) {
        return Err(other);
    }
    let telling = ["ImageId", "BlockDeviceMappings", "RootDeviceName"];
    if telling.iter().any(|name| members.contains_key(*name)) {
        return typed(bytes);
    }
    let names: Vec<_> = members.keys().take(4).map(|name| format!("`{name}`")).collect();
    let what = if names.is_empty() {
        "it has no members".to_owned()
    } else {
        format!("it has {}, but neither `Images` nor `ImageId`", names.join(", "))
    };
    Err(ImageError::NotAnImage(what))
}

fn typed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ImageError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut json).map_err(|cause| {
        let path = match cause.path().to_string() {
            // The whole document.
            path if path == "." => String::new(),
            path => format!("{path}: "),
        };
        of_json(&path, cause.inner())
    })
}

fn of_json(path: &str, error: &serde_json::Error) -> ImageError {
    let text = error.to_string();
    // serde_json puts the place at the end of its sentence; ours comes first.
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    // What is wanted, in words of JSON and not of Rust.
    let what = match what.rsplit_once(", expected ") {
        Some((there, "u32")) => format!("{there}, expected a whole number"),
        Some((there, "a sequence")) => format!("{there}, expected a list"),
        Some((there, wanted)) if wanted == "a map" || wanted.starts_with("struct ") => {
            format!("{there}, expected an object")
        }
        _ => what.to_owned(),
    };
    ImageError::Json { line: error.line(), column: error.column(), what: format!("{path}{what}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"ImageId": "ami-1", "Architecture": "x86_64", "EnaSupport": true, "NewIn2031": {"A": [1]},
        "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": [
        {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1", "VolumeSize": 8, "Colour": "red"}, "X": null},
        {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}]}"#;

    fn parsed(text: &str) -> Image {
        parse(text.as_bytes(), None).unwrap()
    }

    fn refused(text: &str) -> ImageError {
        parse(text.as_bytes(), None).unwrap_err()
    }

    #[test]
    fn an_image_alone_and_in_a_list_are_the_same() {
        let alone = parsed(ONE);
        assert_eq!(alone, parsed(&format!("\n {{\"Images\": [{ONE}], \"NextToken\": null}}")));
        assert_eq!(alone.image_id.as_deref(), Some("ami-1"));
        assert_eq!(alone, parsed(&format!("\u{feff}{ONE}")));
    }

    #[test]
    fn unknown_members_are_kept_at_every_level() {
        let written: Value = serde_json::to_value(parsed(ONE)).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(ONE).unwrap());
    }

    #[test]
    fn all_members_may_be_absent_or_null() {
        assert_eq!(
            parsed(r#"{"ImageId": null, "BlockDeviceMappings": null, "Tags": null}"#),
            Image::default()
        );
    }

    #[test]
    fn snapshots_may_lie_beside_the_images() {
        let files = r#""Snapshots": [{"SnapshotId": "snap-1", "File": "root.raw", "Progress": "100%"}]"#;
        let beside = parsed(&format!("{{\"Images\": [{ONE}], {files}}}"));
        let inside = parsed(&ONE.replacen('{', &format!("{{{files}, "), 1));
        assert_eq!(beside, inside);
        assert_eq!(beside.snapshots.unwrap()[0].file.as_deref(), Some("root.raw"));
    }

    #[test]
    fn json_errors_have_a_place() {
        let told = |text: &str| refused(text).to_string();
        assert_eq!(told("{\"ImageId\": \"ami-1\",\n  oops}"), "line 2, column 3: key must be a string");
        let wrong_type = "{\"Images\": [{\"ImageId\": \"ami-1\",\n\"BlockDeviceMappings\": [{\"Ebs\": {\"VolumeSize\": \"8\"}}]}]}";
        assert!(
            told(wrong_type).starts_with(
                "line 2, column 50: Images[0].BlockDeviceMappings[0].Ebs.VolumeSize: invalid type: string \"8\""
            ),
            "{}",
            told(wrong_type)
        );
        assert!(told("").starts_with("line 1, column 0: EOF"));
        let ending = |text: &str| told(text).rsplit_once(", expected ").map(|(_, wanted)| wanted.to_owned());
        for (text, wanted) in [
            (
                r#"{"ImageId": "ami-1", "BlockDeviceMappings": [{"Ebs": {"VolumeSize": -1}}]}"#,
                "a whole number",
            ),
            (r#"{"ImageId": "ami-1", "BlockDeviceMappings": [{"Ebs": {"Iops": 1e30}}]}"#, "a whole number"),
            (r#"{"ImageId": "ami-1", "BlockDeviceMappings": [null]}"#, "an object"),
            (r#"{"ImageId": "ami-1", "BlockDeviceMappings": {}}"#, "a list"),
            (r#"{"Images": [5]}"#, "an object"),
            ("42", "an object"),
        ] {
            assert_eq!(ending(text).as_deref(), Some(wanted), "{text}: {}", told(text));
        }
        assert!(told("nothing").starts_with("line 1, column 2: "), "{}", told("nothing"));
    }

    #[test]
    fn one_of_many_is_chosen_by_its_id() {
        let two = r#"{"Images": [{"ImageId": "ami-1"}, {"ImageId": "ami-2", "Name": "second"}, {}]}"#;
        assert_eq!(parse(two.as_bytes(), Some("ami-2")).unwrap().name.as_deref(), Some("second"));
        let error = refused(two);
        assert_eq!(error.to_string(), "it holds 3 images: ami-1, ami-2, one without an ImageId");
        assert!(error.hint().unwrap().contains("--image-id"));
        let error = parse(two.as_bytes(), Some("ami-3")).unwrap_err();
        assert!(error.to_string().starts_with("The image id '[ami-3]' does not exist"), "{error}");
        assert_eq!(error.code(), Some("InvalidAMIID.NotFound"));
        assert!(
            parse(ONE.as_bytes(), Some("ami-2")).is_err() && parse(ONE.as_bytes(), Some("ami-1")).is_ok()
        );
        let many = format!("{{\"Images\": [{}]}}", ["{}"; 12].join(", "));
        assert!(refused(&many).to_string().ends_with(" and 2 more"), "{}", refused(&many));
    }

    #[test]
    fn other_outputs_are_named() {
        assert_eq!(refused(r#"{"Images": []}"#), ImageError::NoImages);
        assert_eq!(parse(br#"{"Images": []}"#, Some("ami-1")), Err(ImageError::NoImages));
        assert!(refused(r#"{"Reservations": []}"#).to_string().contains("describe-instances"));
        assert!(refused("Images:\n- ImageId: ami-1\n").to_string().contains("YAML"));
        assert!(refused("[{\"ImageId\": \"ami-1\"}]").hint().unwrap().contains("--query"));
        assert!(
            refused(r#"{"a": 1}"#).to_string().contains("it has `a`, but neither `Images` nor `ImageId`")
        );
        assert!(refused("{}").to_string().contains("it has no members"));
    }
}
