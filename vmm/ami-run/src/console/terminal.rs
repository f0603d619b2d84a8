//! The terminal on standard input: raw while a guest has it, and always given back.
//!
//! The way back is in a static, because a panic in any thread must find it.

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How the terminal was before.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);
static RAW: AtomicBool = AtomicBool::new(false);

/// While this lives, the terminal is raw whenever this program is in the foreground.
#[derive(Debug)]
pub(crate) struct Raw(());

impl Raw {
    /// Takes the terminal, if standard input is one.
    pub(crate) fn take() -> io::Result<Option<Raw>> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let raw = Raw(());
        raw.enter()?;
        Ok(Some(raw))
    }

    /// Makes the terminal raw, if this program is in the foreground.
    pub(crate) fn enter(&self) -> io::Result<()> {
        if is_raw() || !in_foreground() {
            return Ok(());
        }
        let mut before = lock();
        let found = tcgetattr(io::stdin())?;
        let mut raw = found.clone();
        raw.make_raw();
        // After a stop the modes may be raw still, or another's: the way back stays the first.
        before.get_or_insert(found);
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        RAW.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the terminal anew after this program was stopped: whoever stopped it may have changed the modes.
    pub(crate) fn enter_again(&self) -> io::Result<()> {
        RAW.store(false, Ordering::Relaxed);
        self.enter()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Whether the terminal is raw now.
pub(crate) fn is_raw() -> bool {
    RAW.load(Ordering::Relaxed)
}

/// Whether what is typed is for this program. A terminal without job control is nobody else's.
pub(crate) fn in_foreground() -> bool {
    tcgetpgrp(io::stdin()).map_or(true, |group| group == rustix::process::getpgrp())
}

/// Gives the terminal back as it was. In the background it is somebody else's already.
pub(crate) fn restore() {
    RAW.store(false, Ordering::Relaxed);
    if let Some(before) = lock().take()
        && in_foreground()
        && let Err(cause) = tcsetattr(io::stdin(), OptionalActions::Now, &before)
    {
        // A terminal that was hung up has nobody to be given back to.
        log::info!("the terminal cannot be restored: {cause}");
    }
}

fn lock() -> MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}
