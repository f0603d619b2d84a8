//! Fault points: where tests kill this process, to see that whoever comes next puts right what it leaves.
//!
//! In builds with debug assertions only: a release has none.

/// All there are.
pub const POINTS: &[&str] = &[
    "create-folder",
    "create-lock",
    "create-address",
    "create-record",
    "record-written",
    "record-renamed",
    "terminate-begun",
    "terminate-described",
    "terminate-volume",
    "terminate-volumes",
    "terminate-address",
    "remove-begun",
    "remove-record",
    "attach-moved",
    "attach-recorded",
    "detach-described",
    "detach-recorded",
    "detach-moved",
    "resize-grown",
    "delete-file",
    "sweep-instance",
    "sweep-volume",
    "spawn-begun",
    "spawn-done",
    "run-disks",
    "run-socket",
    "run-running",
    "run-ended",
];

/// Kills this process if AMI_RUN_FAULT has this name.
pub fn point(name: &str) {
    if cfg!(debug_assertions) && std::env::var_os("AMI_RUN_FAULT").is_some_and(|wanted| wanted == name) {
        // It has no caller to tell of an error, and does not return.
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .unwrap_or_default();
    }
}
