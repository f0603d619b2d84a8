//! What a verb is refused with: EC2's code and words where EC2 has them, and what the host said where it has not.

use crate::state::State;
use ami_run_storage::StorageError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum CatalogError {
    /// EC2 would refuse it, too.
    #[error("{message}")]
    Refused {
        /// EC2's error code.
        code: &'static str,
        /// EC2's words, or ours in its manner.
        message: String,
        /// The next step, if there is one.
        hint: Option<String>,
    },
    #[error("{id} is being worked on by another command")]
    Busy { id: String },
    #[error("cannot {what} {}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is of version {version}: this ami-run knows version {known}", path.display())]
    Newer { path: PathBuf, version: u64, known: u64 },
    #[error("{} belongs to another user", path.display())]
    NotOurs { path: PathBuf },
    /// A record that cannot be understood; nothing is done to it.
    #[error("{} is damaged", path.display())]
    Damaged { path: PathBuf, source: serde_json::Error },
    /// The file of a volume.
    #[error(transparent)]
    Volume(#[from] StorageError),
    #[error("the machine of {id} does not answer")]
    NoAnswer { id: String, source: io::Error },
    #[error("the machine of {id} speaks another version of the control protocol ({version})")]
    Protocol { id: String, version: u64 },
}

impl CatalogError {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> CatalogError {
        CatalogError::Io { what, path: path.into(), source }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> CatalogError {
        match self {
            CatalogError::Refused { code, message, .. } => {
                CatalogError::Refused { code, message, hint: Some(hint.into()) }
            }
            other => other,
        }
    }

    pub(crate) fn refused(code: &'static str, message: impl Into<String>) -> CatalogError {
        CatalogError::Refused { code, message: message.into(), hint: None }
    }

    /// It is no id, and no instance has that name.
    pub(crate) fn malformed(given: &str) -> CatalogError {
        // EC2's words: ClusterLabs/cluster-glue pull request 29.
        CatalogError::refused("InvalidInstanceID.Malformed", format!("Invalid id: \"{given}\""))
            .hint("no instance has this name: `ami-run ls` lists them")
    }

    /// EC2 has no instance of this id.
    pub(crate) fn not_found(id: &str) -> CatalogError {
        // EC2's words: boto/boto3 issue 567.
        CatalogError::refused("InvalidInstanceID.NotFound", format!("The instance ID '{id}' does not exist"))
    }

    /// `verb`: "started", "stopped".
    pub(crate) fn incorrect_state(id: &str, state: State, verb: &str) -> CatalogError {
        // EC2's words: canonical/ubuntu-pro-client pull request 1697.
        let message = format!("The instance '{id}' is not in a state from which it can be {verb}.");
        CatalogError::Refused {
            code: "IncorrectInstanceState",
            message,
            hint: Some(format!("it is {state}")),
        }
    }
}

/// An error in one line.
pub(crate) fn with_cause(error: &CatalogError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
