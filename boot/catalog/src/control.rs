//! The control protocol, between a command and the process that runs an instance's machine.
//!
//! A Unix stream socket, `control.sock` in the instance's folder, mode 0600; the process also looks at the peer's
//! user id. The client sends one line, a JSON object [`Request`] of at most [`MAX_LINE`] bytes, and gets one line, a
//! JSON object [`Answer`]. After [`Action::Console`] and its answer the connection carries the console's bytes both
//! ways until either side closes it; after any other action the process keeps it open until its machine has ended,
//! so that the end can be waited for, and sends nothing more. Several connections are served at once.
//!
//! A server answers a version or an action that it does not know with an error of code `UnsupportedProtocol`.

use crate::state::Transition;
use serde::{Deserialize, Serialize};

/// Of the protocol.
pub const VERSION: u64 = 1;
/// The longest line, either way.
pub const MAX_LINE: usize = 64 << 10;
/// What a console's late reader is shown of what was said before.
pub const BACKLOG: usize = 64 << 10;
/// The socket's name in the instance's folder.
pub const SOCKET: &str = "control.sock";

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
    /// By the power button, and after `timeout` seconds the hard way; at once if `force`.
    Stop { force: bool, timeout: Option<u64> },
    /// The same, and the instance is terminated then.
    Terminate { force: bool, timeout: Option<u64> },
    /// By the power button, and after EC2's four minutes, or at once where nobody listens to it, by a reset.
    Reboot,
    /// The console: first what was said last, then what is said; what is sent is typed, unless `read_only`.
    Console { read_only: bool },
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
    StateChange(Transition),
    /// Console and Reboot.
    Done(bool),
    Error {
        code: String,
        message: String,
    },
}
