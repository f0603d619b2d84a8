//! A bug of ours: the terminal is given back before anything is said about it.

use crate::console::terminal;
use crate::exit::Code;
use crate::failure::Failure;
use crate::ui;
use std::panic::{self, PanicHookInfo};

/// From here on a panic in any thread restores the terminal and is told as a bug. What unwinds does the rest.
pub(crate) fn install() {
    panic::set_hook(Box::new(|info| {
        terminal::restore();
        ui::failure(&failure(info));
    }));
}

fn failure(info: &PanicHookInfo<'_>) -> Failure {
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let mut failure =
        Failure::new(Code::Bug, format!("this is a bug in ami-run {}", env!("CARGO_PKG_VERSION")));
    failure.causes.push(format!("{}, at {place}", info.payload_as_str().unwrap_or("a panic without words")));
    failure.hint("please report it with the lines above, the command line and the image's description")
}

#[cfg(test)]
#[path = "panic_test.rs"]
mod tests;
