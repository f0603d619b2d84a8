//! `ami-run`: the command. From what was typed to a machine, and from a machine's end to an exit code.
//!
//! Three layers: [`args`] is what was typed, [`plan`] is what that means (every mistake of the user is told there,
//! before KVM is opened), [`session`] is the machine running. Only [`ui`] prints.

mod args;
mod console;
mod exit;
mod failure;
mod host;
mod identity;
mod launch;
mod outputs;
mod panic;
mod plan;
mod report;
mod session;
mod snapshots;
mod source;
mod ui;
mod values;

use std::process::ExitCode;

fn main() -> ExitCode {
    ui::start();
    ui::log_warnings();
    panic::install();
    let run = || match args::read() {
        Ok((launch, bare)) => launch::run(&launch, bare).tell(launch.output),
        Err(refused) => refused.tell(),
    };
    let code = std::panic::catch_unwind(run).unwrap_or(exit::Code::Bug);
    ui::finish();
    code.into()
}
