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
        Output::Text => return self::page(page, code),
        Output::Json => {
            serde_json::to_string(json).map_err(io::Error::from).and_then(|json| ui::result(&json))
        }
    };
    written(told, code)
}

/// The same where there is no JSON. Nothing is said if there is nothing to say.
pub(crate) fn page(page: &str, code: Code) -> Code {
    if page.is_empty() { code } else { written(ui::page(page), code) }
}

/// The exit code of a verb that has ended, or was refused, which is said.
pub(crate) fn ended(ended: Result<Code, Failure>) -> Code {
    ended.unwrap_or_else(|failure| {
        ui::failure(&failure);
        failure.code
    })
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
