//! The distribution's own programs.

use crate::exit::Code;
use crate::failure::Failure;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    Ssh,
    Scp,
}

impl Program {
    pub(super) fn command(self) -> Command {
        Command::new(self.name())
    }

    fn name(self) -> &'static str {
        match self {
            Program::Ssh => "ssh",
            Program::Scp => "scp",
        }
    }

    /// Why it cannot be started.
    pub(super) fn failure(self, cause: &io::Error) -> Failure {
        let failure = Failure::new(Code::Host, format!("cannot run {}", self.name())).because(cause);
        if cause.kind() == ErrorKind::NotFound {
            let packages = "openssh-client (Debian, Ubuntu) or openssh-clients (Fedora, RHEL)";
            return failure.hint(format!("install OpenSSH's client: {packages}"));
        }
        failure
    }
}

/// Becomes that program; comes back only if it cannot.
pub(crate) fn run(program: Program, arguments: &[OsString]) -> Failure {
    program.failure(&program.command().args(arguments).exec())
}
