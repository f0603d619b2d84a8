//! The control protocol, between a command and the process that runs an instance's machine.
//!
//! A Unix stream socket, `control.sock` in the instance's folder, mode 0600; the process also looks at the peer's
//! user id. The client sends one line, a JSON object [`Request`] of at most [`MAX_LINE`] bytes, and gets one line, a
//! JSON object [`Answer`]. After [`Action::Console`] and [`Action::Connect`] and their answer the connection carries
//! bytes both ways until either side closes it; after any other action the process keeps it open until its machine has ended,
//! so that the end can be waited for, and sends nothing more. Several connections are served at once.
//!
//! A server answers a version or an action that it does not know, and a line that it cannot read, with an error of
//! code [`UNSUPPORTED`], and closes the connection after any error. A machine that stands still, because its process
//! was suspended (SIGTSTP), answers nothing: a client waits for a bounded time.

mod client;
mod event;
mod line;

pub use client::{Connection, listen};
pub use event::{Event, MAINTENANCE_CODES};
pub use line::{Line, TooLong};

use crate::record::MetadataOptions;
use crate::state::Transition;
use ami_run_image::MetadataChange;
use serde::{Deserialize, Serialize};

/// Of the protocol.
pub const VERSION: u64 = 1;
/// The longest line, either way, with its end.
pub const MAX_LINE: usize = 64 << 10;
/// What a console's late reader is shown of what was said before.
pub const BACKLOG: usize = 64 << 10;
/// The socket's name in the instance's folder.
pub const SOCKET: &str = "control.sock";
/// The code of an error that is about the protocol itself.
pub const UNSUPPORTED: &str = "UnsupportedProtocol";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Request {
    pub version: u64,
    #[serde(flatten)]
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "Action", rename_all_fields = "PascalCase")]
pub enum Action {
    /// Nothing: the answer says in what state the instance is, and how much its files without names hold.
    Describe,
    /// By the power button, and after `timeout` seconds (the instance's own time, without one) the hard way; at once
    /// if `force`. An instance that is to be removed when it ends is terminated then.
    Stop { force: bool, timeout: Option<u64> },
    /// The same, and the instance is terminated then.
    Terminate { force: bool, timeout: Option<u64> },
    /// By the power button, and after EC2's four minutes, or at once where nobody listens to it, by a reset.
    Reboot,
    /// The power button, and nothing else is done, whatever the guest makes of it.
    PowerButton,
    /// The console: first what was said last ([`BACKLOG`]), then what is said; what is sent is typed. What a client
    /// does not read in time is dropped, and the gap is marked.
    Console,
    /// A TCP connection to this port of the guest, whether it listens there or not: the connection carries its bytes,
    /// and ends when it ends.
    Connect { port: u16 },
    /// ModifyInstanceMetadataOptions: from the next answer of the metadata service on.
    ModifyMetadata { change: MetadataChange },
    /// Announced among the metadata, to happen in so many seconds; or taken back. An interrupted Spot Instance is then
    /// stopped or terminated.
    Event { event: Event, within: u64, cancel: bool },
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Answer {
    pub version: u64,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "PascalCase")]
pub enum Outcome {
    /// As [`Action::Describe`] asks. `holds`: bytes in files without a name.
    Description {
        state: crate::State,
        holds: u64,
    },
    /// Stop and Terminate.
    StateChange(Transition),
    /// ModifyMetadata: what they are now.
    MetadataOptions(Box<MetadataOptions>),
    /// Console, Connect, Event: true. Reboot and PowerButton: whether the guest listens to its power button.
    Done(bool),
    Error {
        code: String,
        message: String,
    },
}

impl Outcome {
    pub fn error(code: &str, message: impl Into<String>) -> Outcome {
        Outcome::Error { code: code.to_owned(), message: message.into() }
    }
}

/// The version alone, which is looked at before anything else.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Versioned {
    version: u64,
}

/// Reads a client's line; the error is what to answer.
pub fn parse_request(line: &[u8]) -> Result<Action, Outcome> {
    let unsupported = |message: String| Outcome::error(UNSUPPORTED, message);
    let Versioned { version } = serde_json::from_slice(line)
        .map_err(|cause| unsupported(format!("this is no request of the control protocol: {cause}")))?;
    if version != VERSION {
        let message = format!("the machine speaks version {VERSION} of the control protocol, not {version}");
        return Err(unsupported(message));
    }
    serde_json::from_slice(line)
        .map(|request: Request| request.action)
        .map_err(|cause| unsupported(format!("the machine does not know this action: {cause}")))
}

/// Why a server's line is no answer.
#[derive(Debug)]
pub enum BadAnswer {
    /// It is of another version.
    Version(u64),
    Unreadable(serde_json::Error),
}

/// Reads a server's line.
pub fn parse_answer(line: &[u8]) -> Result<Outcome, BadAnswer> {
    let Versioned { version } = serde_json::from_slice(line).map_err(BadAnswer::Unreadable)?;
    if version != VERSION {
        return Err(BadAnswer::Version(version));
    }
    serde_json::from_slice(line).map(|answer: Answer| answer.outcome).map_err(BadAnswer::Unreadable)
}

/// The line that a client sends.
pub fn request_line(action: Action) -> serde_json::Result<Vec<u8>> {
    line_of(&Request { version: VERSION, action })
}

/// The line that a server sends.
pub fn answer_line(outcome: Outcome) -> serde_json::Result<Vec<u8>> {
    line_of(&Answer { version: VERSION, outcome })
}

fn line_of(of: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(of)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
#[path = "control_test.rs"]
mod tests;
