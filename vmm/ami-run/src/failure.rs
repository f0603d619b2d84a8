//! A failed run in words: what is wrong, why, and what to do about it.

use crate::exit::Code;
use serde::{Deserialize, Serialize};
use std::error::Error;

/// What ends a run, and how it is told: `error: …`, `caused by: …`, `hint: …`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// From the outermost to the innermost; none repeats the one before it.
    pub(crate) causes: Vec<String>,
    pub(crate) hint: Option<String>,
    /// Where EC2 would refuse the launch, too: its error.
    pub(crate) ec2: Option<Box<Ec2Error>>,
}

/// An error in EC2's shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Ec2Error {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), causes: Vec::new(), hint: None, ec2: None }
    }

    /// Adds an error and all that it says of its own causes.
    pub(crate) fn because(mut self, error: &dyn Error) -> Failure {
        let mut next = Some(error);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn ec2(mut self, code: impl Into<String>, message: impl Into<String>) -> Failure {
        self.ec2 = Some(Box::new(Ec2Error { code: code.into(), message: message.into() }));
        self
    }

    /// The failure in one line, for a JSON result or a table.
    pub(crate) fn line(&self) -> String {
        let parts: Vec<_> = std::iter::once(&self.message).chain(&self.causes).map(String::as_str).collect();
        parts.join(": ")
    }
}
