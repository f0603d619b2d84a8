//! `snapshot serve` and `volume serve`: a disk for other programs, by NBD, until a signal ends it.

use crate::args::{SnapshotServe, VolumeServe};
use crate::disks::{top_folder, unusable};
use crate::exit::Code;
use crate::failure::Failure;
use crate::session::{Signals, signal_name};
use crate::snapshots::{self, Places};
use crate::{answer, bases, socket, ui, volume};
use ami_run_image::{Image, is_snapshot_id};
use ami_run_storage::Volume;
use ami_run_storage::nbd::{Export, Server};
use rustix::event::{PollFd, PollFlags, poll};
use std::io;
use std::path::{Path, PathBuf};

/// Serves a snapshot, read-only.
pub(crate) fn snapshot(args: &SnapshotServe) -> Code {
    answer::ended(open_snapshot(args).and_then(|export| serve(export, &args.snapshot, &args.socket)))
}

/// Serves a kept volume.
pub(crate) fn volume(args: &VolumeServe) -> Code {
    answer::ended(open_volume(args).and_then(|export| serve(export, &args.volume, &args.socket)))
}

fn open_snapshot(args: &SnapshotServe) -> Result<Export, Failure> {
    let file = find(&args.snapshot)?;
    let volume = bases::open(&file)
        .and_then(|base| Volume::temporary(base, None, &top_folder()))
        .map_err(|cause| unusable(&file.display().to_string(), &cause))?;
    Ok(Export { volume, read_only: true, description: format!("snapshot {}", args.snapshot.display()) })
}

fn open_volume(args: &VolumeServe) -> Result<Export, Failure> {
    let (file, read_only) = (volume::find(&args.volume)?, args.read_only);
    let volume =
        Volume::open(&file, read_only, bases::open).map_err(|cause| volume::refused(&file, &cause))?;
    Ok(Export { volume, read_only, description: format!("volume {}", args.volume.display()) })
}

/// A file of this name, or else the snapshot's.
fn find(given: &Path) -> Result<PathBuf, Failure> {
    match given.to_str() {
        Some(id) if is_snapshot_id(id) && given.symlink_metadata().is_err() => {
            let (image, folder) = (Image::default(), Path::new("."));
            snapshots::find(id, &Places { given: &[], image: &image, folder, external: false })
                .map_err(|failure| failure.hint("give the path of its disk file"))
        }
        _ => Ok(given.to_owned()),
    }
}

/// Until a signal comes.
fn serve(export: Export, what: &Path, path: &Path) -> Result<Code, Failure> {
    let cannot = |what: &str, cause: &io::Error| Failure::new(Code::Host, what).because(cause);
    // Both before there are other threads.
    let mut signals = Signals::block().map_err(|cause| cannot("cannot take over signals", &cause))?;
    let (listener, bound) = socket::listen(path)?;
    let access = if export.read_only { ", read-only" } else { "" };
    let server =
        Server::start(listener, export).map_err(|cause| cannot("cannot start the NBD server", &cause))?;
    ui::status("serving", &format!("{} at {}{access}", what.display(), bound.uri()));
    let signal = wait(&mut signals).map_err(|cause| cannot("cannot wait for signals", &cause))?;
    ui::status("ending", &signal_name(signal));
    server
        .stop()
        .map_err(|cause| cannot("what was written may be lost", &cause).hint("see the warnings above"))?;
    Ok(Code::Signal(u8::try_from(signal).unwrap_or_default()))
}

/// Waits for the signal that ends it.
fn wait(signals: &mut Signals) -> io::Result<i32> {
    loop {
        if let Some(signal) = ending_signal(signals)? {
            return Ok(signal);
        }
        match poll(&mut [PollFd::new(signals, PollFlags::IN)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
}

/// The signal that ends a server, if one has come; what else has come is seen to.
pub(crate) fn ending_signal(signals: &mut Signals) -> io::Result<Option<i32>> {
    loop {
        match signals.next() {
            // What was to happen if nobody had taken it.
            Some(libc::SIGTSTP) => {
                let me = rustix::process::getpid();
                rustix::process::kill_process(me, rustix::process::Signal::STOP)?;
            }
            Some(libc::SIGCONT) => {}
            other => return Ok(other),
        }
    }
}
