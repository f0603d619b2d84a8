//! The process of a detached instance: started by commands, not by people, so no help lists it.

use crate::report::Wanted;
use crate::values::{self, Awaited, TraceTo};
use clap::Parser;
use std::path::PathBuf;
use std::time::Duration;

/// Its verb.
pub(crate) const PROCESS: &str = "instance-process";

/// Run the machine of an instance whose lock is standard input.
#[derive(Parser, Debug)]
#[command(name = "ami-run instance-process", no_binary_name = true)]
pub(crate) struct Process {
    /// The instance's id
    pub(crate) id: String,

    /// As of a launch
    #[arg(long)]
    pub(crate) force: bool,

    /// As of a launch
    #[arg(long = "wait-for", value_parser = values::awaited)]
    pub(crate) wait_for: Vec<Awaited>,

    /// As of a launch
    #[arg(long, value_parser = values::timeout)]
    pub(crate) timeout: Option<Duration>,

    /// As of a launch
    #[arg(long, default_value = "60s", value_parser = values::duration)]
    pub(crate) hang_after: Duration,

    /// As of a launch
    #[arg(long)]
    pub(crate) firmware_log: Option<PathBuf>,

    /// As of a launch
    #[arg(long)]
    pub(crate) console_log: Option<PathBuf>,

    /// As of a launch
    #[arg(long, value_parser = values::trace)]
    pub(crate) trace: Option<TraceTo>,
}

impl Process {
    pub(crate) fn wanted(&self) -> Wanted<'_> {
        Wanted {
            timeout: self.timeout,
            console_log: self.console_log.as_deref(),
            exec: false,
            awaited: &self.wait_for,
        }
    }
}
