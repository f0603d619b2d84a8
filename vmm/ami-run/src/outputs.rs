//! Files that a launch writes: the console's log, the firmware's and the trace.

use crate::args::Launch;
use crate::exit::Code;
use crate::failure::Failure;
use crate::plan::Plan;
use crate::values::TraceTo;
use ami_run_models::trace::Trace;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(crate) struct Outputs {
    pub(crate) log: Option<File>,
    pub(crate) firmware_log: Option<File>,
    pub(crate) trace: Option<Trace>,
}

/// Opens what was asked for, after a look that none of it is one of the launch's inputs.
pub(crate) fn open(args: &Launch, plan: &Plan) -> Result<Outputs, Failure> {
    let mut inputs = plan.inputs();
    inputs.extend(args.image.clone());
    inputs.extend(
        [&args.given.user_data, &args.uefi_data].into_iter().flatten().filter_map(|given| file_of(given)),
    );
    if let Some(path) = &args.console_log {
        spare(path, &inputs, "--console-log")?;
    }
    inputs.extend(args.console_log.clone());
    if let Some(path) = &args.firmware_log {
        spare(path, &inputs, "--firmware-log")?;
    }
    inputs.extend(args.firmware_log.clone());
    if let Some(to) = &args.trace {
        spare(&to.file, &inputs, "--trace")?;
    }
    if args.detach {
        // Its process opens them.
        return Ok(Outputs { log: None, firmware_log: None, trace: None });
    }
    let log = open_log("console log", args.console_log.as_deref())?;
    let firmware_log = open_log("firmware log", args.firmware_log.as_deref())?;
    Ok(Outputs { log, firmware_log, trace: open_trace(args.trace.as_ref())? })
}

pub(crate) fn open_trace(to: Option<&TraceTo>) -> Result<Option<Trace>, Failure> {
    let open = |to: &TraceTo| {
        Trace::to_file(to.kinds, &to.file).map_err(|cause| cannot_write("trace", &to.file, &cause))
    };
    to.map(open).transpose()
}

/// `what` it is, for the error.
pub(crate) fn open_log(what: &str, path: Option<&Path>) -> Result<Option<File>, Failure> {
    let open = |path| create(path).map_err(|cause| cannot_write(what, path, &cause));
    path.map(open).transpose()
}

/// O_NONBLOCK: a named pipe that nobody reads is refused, and one that is read slowly never stops the machine.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    options.open(path)
}

/// Of an option that takes `PATH`, `file://PATH` or `-`.
fn file_of(given: &str) -> Option<PathBuf> {
    (given != "-").then(|| PathBuf::from(given.strip_prefix("file://").unwrap_or(given)))
}

/// Refuses to write over a file that this launch needs, under whatever name.
fn spare(path: &Path, others: &[PathBuf], option: &str) -> Result<(), Failure> {
    let output = fs::metadata(path).ok();
    let same = |other: &&PathBuf| match (&output, fs::metadata(other)) {
        // Writing to a terminal or to /dev/null twice destroys nothing.
        (Some(output), Ok(it)) => {
            !it.file_type().is_char_device() && (it.dev(), it.ino()) == (output.dev(), output.ino())
        }
        (None, _) => *other == path,
        (Some(_), Err(_)) => false,
    };
    match others.iter().find(same) {
        None => Ok(()),
        Some(other) => {
            let message = format!("{option} would overwrite {}", other.display());
            Err(Failure::new(Code::CommandLine, message).hint("name another file"))
        }
    }
}

fn cannot_write(what: &str, path: &Path, cause: &io::Error) -> Failure {
    Failure::new(Code::Host, format!("cannot write the {what} {}", path.display())).because(cause)
}
