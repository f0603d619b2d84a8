//! The process that becomes the command of `metadata`: started by it, not by people, so no help lists it.

use clap::Parser;
use std::ffi::OsString;
use std::os::fd::RawFd;

/// Its verb.
pub(crate) const INSIDE: &str = "metadata-command";

/// Run a command in a network namespace that this makes.
#[derive(Parser, Debug)]
#[command(name = "ami-run metadata-command", no_binary_name = true)]
pub(crate) struct Inside {
    /// The descriptor of a socket that the network interface is sent to
    #[arg(value_parser = clap::value_parser!(RawFd).range(3..))]
    pub(crate) socket: RawFd,

    /// What the interface is, in JSON
    pub(crate) station: String,

    /// The command and its words
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}
