//! resources/image.schema.json is made from the types: an image, or the list of images that the AWS CLI
//! prints. With AMI_RUN_WRITE_SCHEMA set it is written, else it is compared, so that it cannot grow stale.

use crate::describe::Image;
use schemars::{JsonSchema, generate::SchemaSettings};
use std::path::Path;

/// ami-run's image.json: the output of `aws ec2 describe-images --output json`, or one image of it.
#[derive(JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[expect(dead_code, reason = "only its schema is wanted")]
struct ImageFile {
    /// The images to choose from.
    images: Option<Vec<Image>>,
    /// Without `Images`, the image itself; `Snapshots` may stand beside `Images`, too.
    #[serde(flatten)]
    image: Image,
}

#[test]
fn the_committed_schema_is_that_of_the_types() {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<ImageFile>();
    let made = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../resources/image.schema.json");
    if std::env::var_os("AMI_RUN_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "resources/image.schema.json is not what the types give: write it again, by \
         AMI_RUN_WRITE_SCHEMA=1 cargo test -p ami-run-image schema"
    );
    for member in
        ["\"BlockDeviceMappings\"", "\"RootDeviceName\"", "\"File\"", "\"VolumeSize\"", "\"Images\""]
    {
        assert!(made.contains(member), "{member}");
    }
}
