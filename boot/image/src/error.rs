//! Why a file holds no image that could be launched.

use crate::refusal::code;

/// The advice that fits most files that are not what they should be.
const HOW_TO_GET: &str =
    "`aws ec2 describe-images --image-ids ami-… --output json > image.json` writes such a file";
/// How many ids are listed.
const MAX_LISTED: usize = 10;

/// Why there is no image. The caller adds which file it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// `what` begins with the JSON path, where there is one.
    #[error("line {line}, column {column}: {what}")]
    Json { line: usize, column: usize, what: String },
    #[error("it is JSON, but not an image: {0}")]
    NotAnImage(String),
    /// Something that people give by mistake.
    #[error("it is {what}, not the description of an image")]
    Other { what: &'static str, hint: &'static str },
    #[error("its `Images` list is empty")]
    NoImages,
    #[error("it holds {} images: {}", .0.len(), list(.0))]
    ManyImages(Vec<String>),
    // EC2's own words.
    #[error("The image id '[{wanted}]' does not exist: it holds {}", list(.there))]
    NoSuchImage { wanted: String, there: Vec<String> },
}

impl ImageError {
    /// EC2's code for it, if EC2 has one.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        match self {
            ImageError::NoImages | ImageError::NoSuchImage { .. } => Some(code::INVALID_AMI_NOT_FOUND),
            _ => None,
        }
    }

    /// The next step for who sees this error, if there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            ImageError::Json { .. } | ImageError::NotAnImage(_) => Some(HOW_TO_GET.to_owned()),
            ImageError::Other { hint: "", .. } => Some(HOW_TO_GET.to_owned()),
            ImageError::Other { hint, .. } => Some((*hint).to_owned()),
            ImageError::NoImages => Some(
                "the query found nothing: check the image id, the region and the owner that it was made with"
                    .to_owned(),
            ),
            ImageError::ManyImages(_) => Some("--image-id ami-… takes one of them".to_owned()),
            ImageError::NoSuchImage { .. } => None,
        }
    }
}

/// The first few of them, for a message.
pub(crate) fn list(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(MAX_LISTED).map(String::as_str).collect();
    match names.len().saturating_sub(MAX_LISTED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
