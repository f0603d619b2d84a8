//! A command's answer on standard output: a page for people, or JSON for programs.

use crate::args::Output;
use crate::exit::Code;
use crate::failure::Failure;
use crate::ui;
use serde::Serialize;
use std::io;

/// Says it; the exit code is `code`, unless it cannot be said.
pub(crate) fn tell(output: Output, page: &str, json: &impl Serialize, code: Code) -> Code {
    let told = match output {
        Output::Text => ui::page(page),
        Output::Json => {
            serde_json::to_string(json).map_err(io::Error::from).and_then(|json| ui::result(&json))
        }
    };
    written(told, code)
}

/// The exit code, after an answer was written or not. Who has closed the pipe knows that, as with other programs.
pub(crate) fn written(told: io::Result<()>, code: Code) -> Code {
    match told {
        Ok(()) => code,
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => {
            Code::Signal(u8::try_from(libc::SIGPIPE).unwrap_or_default())
        }
        Err(cause) => {
            let failure = Failure::new(Code::Host, "cannot write to standard output").because(&cause);
            ui::failure(&failure);
            failure.code
        }
    }
}
