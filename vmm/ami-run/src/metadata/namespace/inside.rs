//! The process that makes the namespace, and becomes the command.
#![expect(unsafe_code, reason = "a descriptor that was inherited by number; unshare")]

use super::station::Station;
use super::{RESOLV_CONF, hint, rtnetlink::Rtnetlink, tap};
use crate::args::Inside;
use crate::exit::Code;
use crate::failure::Failure;
use crate::ui;
use rustix::process::{Signal, getegid, geteuid, set_parent_process_death_signal};
use rustix::thread::UnshareFlags;
use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// Comes back only with what went wrong.
pub(crate) fn run(args: &Inside) -> Code {
    let Err(failure) = become_command(args);
    ui::failure(&failure);
    failure.code
}

fn become_command(args: &Inside) -> Result<Infallible, Failure> {
    let broken = |cause: &serde_json::Error| Failure::new(Code::Bug, "no such station").because(cause);
    let station: Station = serde_json::from_str(&args.station).map_err(|cause| broken(&cause))?;
    // SAFETY: who started this process has left it this descriptor, and nothing here has opened another one yet.
    let socket = unsafe { OwnedFd::from_raw_fd(args.socket) };
    enter().map_err(|cause| hint::no_namespace(&cause, setting))?;
    let tap = tap::open().map_err(|cause| hint::no_device(&cause))?;
    // Ubuntu grants a namespace, but no power in it.
    tap::attach(&tap).map_err(|cause| hint::no_namespace(&cause, setting))?;
    connect(&station).map_err(|cause| hint::no_namespace(&cause, setting))?;
    if let Err(cause) = look_names_up(&station) {
        log::warn!("names are looked up as {RESOLV_CONF} of this computer says: {cause}");
    }
    let gone = |cause: &io::Error| Failure::new(Code::Host, "ami-run has ended").because(cause);
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|cause| gone(&cause.into()))?;
    tap::send(&socket, &tap).and_then(|()| tap::wait(&socket)).map_err(|cause| gone(&cause))?;
    drop((socket, tap));
    execute(args)
}

fn setting(path: &str) -> Option<String> {
    fs::read_to_string(Path::new("/proc/sys").join(path)).ok()
}

/// Moves into namespaces of its own, as the user and the group that it is.
fn enter() -> io::Result<()> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    // SAFETY: no descriptors are parted from those of another thread, and there is none.
    unsafe {
        rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNET | UnshareFlags::NEWNS)
    }?;
    // user_namespaces(7): without privilege outside, groups can be mapped only where none can be dropped.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

fn connect(station: &Station) -> io::Result<()> {
    let rtnetlink = Rtnetlink::open()?;
    rtnetlink.loopback_up()?;
    let index = rtnetlink.interface_up(tap::NAME, station.mac, station.mtu())?;
    station.addresses().into_iter().try_for_each(|address| rtnetlink.address(index, address))?;
    station.routes().iter().try_for_each(|route| rtnetlink.route(index, route))
}

/// Puts what a DHCP lease would write over the computer's own resolv.conf, in this namespace of mounts.
fn look_names_up(station: &Station) -> io::Result<()> {
    let mut file = tempfile::Builder::new().permissions(Permissions::from_mode(0o644)).tempfile()?;
    writeln!(file, "search {}\nnameserver {}", station.domain, station.resolver())?;
    // The mount stays when the file's name goes.
    Ok(rustix::mount::mount_bind(file.path(), RESOLV_CONF)?)
}

fn execute(args: &Inside) -> Result<Infallible, Failure> {
    let Some((program, words)) = args.command.split_first() else {
        return Err(Failure::new(Code::Bug, "there is no command"));
    };
    let cause = Command::new(program).args(words).exec();
    let failure = Failure::new(Code::CommandLine, format!("cannot run {}", program.display()));
    Err(match cause.kind() {
        ErrorKind::NotFound => {
            failure.because(&cause).hint("what stands behind -- is a program and its words")
        }
        _ => failure.because(&cause),
    })
}
