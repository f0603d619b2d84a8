//! A command in a network namespace of its own, whose one interface leads to the user-mode link: what a guest has, and
//! the metadata service where every client looks for it. Nobody else reaches it.
//!
//! A process of this program makes the namespace, since a thread may not leave its user namespace while there are
//! others; it sends the interface back and becomes the command. This process carries frames until the command ends.

mod hint;
mod inside;
mod rtnetlink;
mod station;
mod tap;
mod traffic;

pub(crate) use inside::run as inside;
pub(super) use station::Station;

use crate::args;
use crate::exit::Code;
use crate::failure::Failure;
use crate::session::Signals;
use ami_run_network::{Config, Resolvers, Service, UserLink};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus};

/// Where names are looked up, here and, with another content, in the namespace.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Runs the command, without some variables of our environment, to its end, which is ours. `told`: what is to be said before the command says anything.
pub(super) fn run(
    station: &Station,
    services: Vec<Service>,
    command: (&[OsString], &[&str]),
    told: impl FnOnce(),
) -> Result<Code, Failure> {
    let cannot = |cause: &dyn std::error::Error| {
        Failure::new(Code::Host, "cannot give the command a network").because(cause)
    };
    let mut link = UserLink::new(Config {
        guest: station.guest(),
        resolvers: Resolvers::File(RESOLV_CONF.into()),
        services,
        forwards: Vec::new(),
        host_loopback: false,
    })
    .map_err(|cause| cannot(&cause))?;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|cause| cannot(&cause))?;
    // Before signals are blocked: the command is to have them as we had them.
    let mut child = spawn(station, &theirs, command).map_err(|cause| cannot(&cause))?;
    // Else it would never be seen to have gone.
    drop(theirs);
    let mut signals = Signals::block().map_err(|cause| cannot(&cause))?;
    let Some(tap) = tap::receive(&ours).map_err(|cause| cannot(&cause))? else {
        // It has said why.
        return child.wait().map(code).map_err(|cause| cannot(&cause));
    };
    told();
    tap::go(&ours).map_err(|cause| cannot(&cause))?;
    let ended = traffic::carry(tap, &mut link, &mut child, &mut signals);
    ended.map(code).map_err(|cause| cannot(&cause))
}

fn spawn(
    station: &Station,
    theirs: &OwnedFd,
    (command, hidden): (&[OsString], &[&str]),
) -> io::Result<Child> {
    let station = serde_json::to_string(station)?;
    fcntl_setfd(theirs, FdFlags::empty())?;
    let mut process = Command::new("/proc/self/exe");
    process.arg0("ami-run").arg(args::INSIDE).arg(theirs.as_raw_fd().to_string()).arg(station);
    for name in hidden {
        process.env_remove(name);
    }
    process.arg("--").args(command).spawn()
}

/// A command's exit status is ours; one that a signal ended is told as a shell would.
fn code(status: ExitStatus) -> Code {
    let number = |number: i32| u8::try_from(number).unwrap_or_default();
    match (status.code(), status.signal()) {
        (Some(status), _) => Code::Command(number(status)),
        (None, signal) => Code::Signal(number(signal.unwrap_or_default())),
    }
}
