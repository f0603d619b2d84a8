//! `ssh` and `cp`, and what they start to reach the guest: their options.

use crate::values;
use clap::Parser;
use std::ffi::OsString;
use std::time::Duration;

/// The verb that connects standard input and output to a guest's port: started by `ssh`, so no help lists it.
pub(crate) const PROXY: &str = "ssh-proxy";

const SSH: &str = "\
Examples:
  ami-run ssh web
  ami-run ssh i-0123456789abcdef0 -- systemctl is-system-running --wait

Exit codes:
  0–255  ssh's own: the command's status, or 255 if there was no connection
      1  there is no such instance, or it does not run
      2  command line
      3  this computer can't: no ssh
";

/// Log in to an instance that runs by SSH, or run a command there.
///
/// It needs no address and no port of this computer, and starts this computer's ssh, which asks its agent and reads its
/// settings. The key is the one that the instance was launched with. A guest that has just been started is waited for.
#[derive(Parser, Debug)]
#[command(
    name = "ami-run ssh",
    override_usage = "ami-run ssh [OPTIONS] INSTANCE [-- COMMAND...]",
    no_binary_name = true,
    max_term_width = 100,
    after_help = SSH
)]
pub(crate) struct Ssh {
    /// By id, unique beginning of one, or name
    #[arg(value_name = "INSTANCE")]
    pub(crate) instance: String,

    #[command(flatten)]
    pub(crate) login: LoginOptions,

    /// For the login shell of the guest, as ssh puts it together
    #[arg(value_name = "COMMAND", last = true)]
    pub(crate) command: Vec<OsString>,
}

/// How to log in.
#[derive(clap::Args, Debug)]
pub(crate) struct LoginOptions {
    /// Who logs in (whom cloud-init on the image's disk names, or images of its name are known for)
    #[arg(long, value_name = "NAME", value_parser = values::user)]
    pub(crate) user: Option<String>,

    /// The port of the guest's SSH server
    #[arg(long, value_name = "PORT", default_value = "22", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,

    /// How long to wait for the guest's SSH server at most
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = values::duration)]
    pub(crate) timeout: Duration,
}

const CP: &str = "\
Examples:
  ami-run cp build.tar.gz web:/tmp/
  ami-run cp -r web:/var/log logs
  ami-run cp --user root a b i-0123456789abcdef0:

Exit codes:
  0  all is copied
  1  scp says what is not, or there is no such instance, or it does not run
  2  command line
  3  this computer can't: no scp
";

/// Copy files to an instance that runs, or from it, by SSH.
///
/// INSTANCE:PATH is a file or folder of the guest's, from the home folder of who logs in there; a path of this computer
/// that has a colon is written ./PATH. It starts this computer's scp, as `ami-run ssh` starts ssh.
#[derive(Parser, Debug)]
#[command(
    name = "ami-run cp",
    override_usage = "ami-run cp [OPTIONS] SOURCE... DESTINATION",
    no_binary_name = true,
    max_term_width = 100,
    after_help = CP
)]
pub(crate) struct Cp {
    /// Files here or there, and last where they go
    #[arg(value_name = "PATH", required = true, num_args = 2..)]
    pub(crate) paths: Vec<OsString>,

    /// Copy folders, and what is in them
    #[arg(short, long)]
    pub(crate) recursive: bool,

    #[command(flatten)]
    pub(crate) login: LoginOptions,
}

/// Connect standard input and output to a guest's port.
#[derive(Parser, Debug)]
#[command(name = "ami-run ssh-proxy", no_binary_name = true)]
pub(crate) struct Proxy {
    /// The instance's id
    pub(crate) id: String,

    /// Of the guest
    pub(crate) port: u16,

    /// How long an SSH server is waited for there (without end)
    #[arg(long, value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,
}
