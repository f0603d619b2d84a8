//! The states of an instance, as EC2 numbers and names them, and why it is in one.

use serde::{Deserialize, Serialize};
use std::fmt;

/// DescribeInstances' `State`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

impl State {
    pub const ALL: [State; 6] = [
        State::Pending,
        State::Running,
        State::ShuttingDown,
        State::Terminated,
        State::Stopping,
        State::Stopped,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Running => "running",
            State::ShuttingDown => "shutting-down",
            State::Terminated => "terminated",
            State::Stopping => "stopping",
            State::Stopped => "stopped",
        }
    }

    /// EC2's `Code`.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            State::Pending => 0,
            State::Running => 16,
            State::ShuttingDown => 32,
            State::Terminated => 48,
            State::Stopping => 64,
            State::Stopped => 80,
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether a process must be there that runs the machine, or is about to.
    #[must_use]
    pub fn is_alive(self) -> bool {
        matches!(self, State::Pending | State::Running | State::ShuttingDown | State::Stopping)
    }
}

impl fmt::Display for State {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.name())
    }
}

/// As JSON has it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CodeAndName {
    code: u16,
    name: String,
}

impl Serialize for State {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        CodeAndName { code: self.code(), name: self.name().to_owned() }.serialize(to)
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<State, D::Error> {
        let CodeAndName { name, .. } = CodeAndName::deserialize(from)?;
        State::from_name(&name)
            .ok_or_else(|| serde::de::Error::custom(format!("`{name}` is no instance state")))
    }
}

/// Why an instance is in its state: EC2's code, and words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StateReason {
    pub code: String,
    pub message: String,
}

impl StateReason {
    /// The words repeat the code, as EC2's do.
    #[must_use]
    pub fn new(code: &str, words: &str) -> StateReason {
        StateReason { code: code.to_owned(), message: format!("{code}: {words}") }
    }

    /// A verb asked for it.
    #[must_use]
    pub fn by_user() -> StateReason {
        StateReason::new("Client.UserInitiatedShutdown", "User initiated shutdown")
    }

    /// A Spot Instance was interrupted, which terminates or stops it.
    #[must_use]
    pub fn by_spot(terminates: bool) -> StateReason {
        if terminates {
            StateReason::new("Server.SpotInstanceTermination", "Spot instance termination")
        } else {
            StateReason::new("Server.SpotInstanceShutdown", "Spot instance shutdown")
        }
    }

    /// The guest powered itself off.
    #[must_use]
    pub fn by_instance() -> StateReason {
        StateReason::new("Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
    }

    /// Its process, this computer or the guest failed.
    #[must_use]
    pub fn failure(words: &str) -> StateReason {
        StateReason::new("Server.InternalError", words)
    }
}

/// What a verb changed: StartInstances', StopInstances' and TerminateInstances' `InstanceStateChange`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Transition {
    pub instance_id: String,
    pub current_state: State,
    pub previous_state: State,
}
