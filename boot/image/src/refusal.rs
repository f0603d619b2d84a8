//! Why EC2 would refuse a launch: its code, and its words where they have been seen in the wild.
//!
//! Words that come from a capture of EC2 name it beside them; the others are ours.

use std::fmt;

/// EC2's error codes that a launch can end in.
pub mod code {
    pub const AUTH_FAILURE: &str = "AuthFailure";
    pub const INVALID_AMI_MALFORMED: &str = "InvalidAMIID.Malformed";
    pub const INVALID_AMI_NOT_FOUND: &str = "InvalidAMIID.NotFound";
    pub const INVALID_AMI_UNAVAILABLE: &str = "InvalidAMIID.Unavailable";
    pub const INVALID_MAPPING: &str = "InvalidBlockDeviceMapping";
    pub const INVALID_COMBINATION: &str = "InvalidParameterCombination";
    pub const INVALID_DEPENDENCY: &str = "InvalidParameterDependency";
    pub const INVALID_VALUE: &str = "InvalidParameterValue";
    pub const INVALID_SNAPSHOT_MALFORMED: &str = "InvalidSnapshotID.Malformed";
    pub const INVALID_SNAPSHOT_NOT_FOUND: &str = "InvalidSnapshot.NotFound";
    pub const UNKNOWN_PARAMETER: &str = "UnknownParameter";
    pub const UNSUPPORTED: &str = "Unsupported";
    pub const UNSUPPORTED_OPERATION: &str = "UnsupportedOperation";
}

/// A launch that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// One of [`code`].
    pub code: &'static str,
    /// The JSON path of image.json, or the option.
    pub place: String,
    pub message: String,
    /// The next step for who sees this, if there is one.
    pub hint: Option<String>,
}

impl Refusal {
    pub(crate) fn new(code: &'static str, place: impl Into<String>, message: impl Into<String>) -> Refusal {
        Refusal { code, place: place.into(), message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Refusal {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(to, "{}: ", self.place)?;
        }
        write!(to, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Refusal {}
