//! Signals as events: blocked in every thread, read from a descriptor.
//!
//! Unsafe, since no crate that the product uses wraps signalfd(2).
#![expect(unsafe_code, reason = "signalfd is a system call")]

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use vmm_sys_util::signal::{block_signal, create_sigset};

const TAKEN: [i32; 6] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGTSTP, libc::SIGCONT];

/// The size of the record that a read gives (signalfd_siginfo); its first four bytes are the number.
const RECORD: usize = size_of::<libc::signalfd_siginfo>();

/// Whom a signal is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The terminal, mostly: the whole process group has it.
    Kernel,
    Process,
}

#[derive(Debug)]
pub(crate) struct Signals {
    from: File,
}

impl Signals {
    /// Blocks the signals in this thread, and so in every thread that it starts from now on.
    pub(crate) fn block() -> io::Result<Signals> {
        // What the caller of this program had ignored (nohup does), stays ignored.
        let ignored = fs::read_to_string("/proc/self/status").map_or(0, |status| ignored(&status));
        let taken: Vec<i32> = TAKEN.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0).collect();
        for signal in &taken {
            block_signal(*signal).map_err(|cause| io::Error::other(format!("{cause:?}")))?;
        }
        let set = create_sigset(&taken)?;
        // SAFETY: the set is initialised, and the kernel only reads it.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let from = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Signals { from: File::from(from) })
    }

    /// The next signal that has come, if any.
    pub(crate) fn next(&mut self) -> Option<i32> {
        self.next_of().map(|(signal, _)| signal)
    }

    /// The same, and whom it is from.
    pub(crate) fn next_of(&mut self) -> Option<(i32, Sender)> {
        let mut record = [0; RECORD];
        self.from.read_exact(&mut record).ok()?;
        // Number, errno and code, each of four bytes.
        let [a, b, c, d, _, _, _, _, w, x, y, z, ..] = record;
        let code = i32::from_ne_bytes([w, x, y, z]);
        let sender = if code == libc::SI_KERNEL { Sender::Kernel } else { Sender::Process };
        Some((i32::try_from(u32::from_ne_bytes([a, b, c, d])).ok()?, sender))
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.from.as_raw_fd()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.from.as_fd()
    }
}

/// The mask of ignored signals in /proc/self/status.
fn ignored(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// What a signal is called.
pub(crate) fn name(signal: i32) -> String {
    match signal {
        libc::SIGHUP => "SIGHUP".to_owned(),
        libc::SIGINT => "SIGINT".to_owned(),
        libc::SIGQUIT => "SIGQUIT".to_owned(),
        libc::SIGTERM => "SIGTERM".to_owned(),
        other => format!("signal {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_found_in_the_mask() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t3\n"), 0x1001);
        assert_eq!(ignored("nothing"), 0);
    }
}
