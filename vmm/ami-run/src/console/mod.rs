//! The guest's console on the host's side: keys in, screen out, and what it said as plain text.

mod escape;
mod input;
mod log;
mod plain;
mod screen;
pub(crate) mod terminal;
mod transcript;

pub(crate) use escape::Command;
pub(crate) use input::Input;
pub(crate) use log::{ConsoleLog, NEWER, OLDER};
pub(crate) use plain::Plain;
pub(crate) use screen::Screen;
pub(crate) use transcript::{Seen, Transcript};
