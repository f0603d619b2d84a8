//! From bytes to an [`Image`]: what the AWS CLI prints, or one image by itself.

use crate::describe::Image;
use crate::error::ImageError;
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    images: Vec<Image>,
}

/// Reads one `Image` object, or `{"Images": […]}` that holds exactly one.
pub fn parse(bytes: &[u8]) -> Result<Image, ImageError> {
    // First only the shape; the second reading, straight into the types, is what knows lines and columns.
    let members: Map<String, Value> = serde_json::from_slice(bytes).map_err(of_json)?;
    if !members.contains_key("Images") {
        return one_image(bytes, &members);
    }
    let Described { mut images } = serde_json::from_slice(bytes).map_err(of_json)?;
    match (images.pop(), images.len()) {
        (None, _) => Err(ImageError::NoImages),
        (Some(image), 0) => Ok(image),
        (Some(last), _) => {
            images.push(last);
            let name = |image: Image| image.image_id.unwrap_or_else(|| "one without an ImageId".to_owned());
            Err(ImageError::ManyImages(images.into_iter().map(name).collect()))
        }
    }
}

fn one_image(bytes: &[u8], members: &Map<String, Value>) -> Result<Image, ImageError> {
    let telling = ["ImageId", "BlockDeviceMappings", "RootDeviceName"];
    if telling.iter().any(|name| members.contains_key(*name)) {
        return serde_json::from_slice(bytes).map_err(of_json);
    }
    let names: Vec<_> = members.keys().take(4).map(|name| format!("`{name}`")).collect();
    let what = if names.is_empty() {
        "it has no members".to_owned()
    } else {
        format!("it has {}, but neither `Images` nor `ImageId`", names.join(", "))
    };
    Err(ImageError::NotAnImage(what))
}

// By value, because that is what `map_err` gives.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn of_json(error: serde_json::Error) -> ImageError {
    let text = error.to_string();
    // serde_json puts the place at the end of its sentence; ours comes first.
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    ImageError::Json { line: error.line(), column: error.column(), what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"ImageId": "ami-1", "Architecture": "x86_64", "EnaSupport": true,
        "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": [
        {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1", "VolumeSize": 8, "VolumeType": "gp3"}},
        {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}]}"#;

    #[test]
    fn an_image_alone_and_in_a_list_are_the_same() {
        let alone = parse(ONE.as_bytes()).unwrap();
        let listed = parse(format!("\n {{\"Images\": [{ONE}], \"NextToken\": null}}").as_bytes()).unwrap();
        assert_eq!(alone, listed);
        assert_eq!(alone.image_id.as_deref(), Some("ami-1"));
    }

    #[test]
    fn unknown_members_are_kept_at_every_level() {
        let image = parse(ONE.as_bytes()).unwrap();
        let written: Value = serde_json::to_value(&image).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(ONE).unwrap());
    }

    #[test]
    fn all_members_may_be_absent_or_null() {
        let image = parse(br#"{"ImageId": null, "BlockDeviceMappings": null}"#).unwrap();
        assert_eq!(image, Image::default());
    }

    #[test]
    fn json_errors_have_a_place() {
        let refused = |text: &str| parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(refused("{\"ImageId\": \"ami-1\",\n  oops}"), "line 2, column 3: key must be a string");
        let wrong_type =
            "{\"ImageId\": \"ami-1\",\n\"BlockDeviceMappings\": [{\"Ebs\": {\"VolumeSize\": \"8\"}}]}";
        let told = refused(wrong_type);
        assert!(told.starts_with("line 2, column 50: invalid type: string \"8\""), "{told}");
        assert!(refused("").starts_with("line 1, column 0: EOF"));
        assert!(refused("[1]").contains("expected a map"), "{}", refused("[1]"));
    }

    #[test]
    fn other_outputs_of_the_cli_are_named() {
        let refused = |text: &str| parse(text.as_bytes()).unwrap_err();
        assert_eq!(refused(r#"{"Images": []}"#), ImageError::NoImages);
        let two = refused(r#"{"Images": [{"ImageId": "ami-1"}, {}]}"#);
        assert_eq!(two.to_string(), "it holds 2 images: ami-1, one without an ImageId");
        let instances = refused(r#"{"Reservations": []}"#).to_string();
        assert!(
            instances.contains("it has `Reservations`, but neither `Images` nor `ImageId`"),
            "{instances}"
        );
    }
}
