//! `ami-run`: the command. From what was typed to a machine, and from a machine's end to an exit code.
//!
//! Three layers: [`args`] is what was typed, [`plan`] is what that means (every mistake of the user is told there,
//! before KVM is opened), [`session`] is the machine running. Only [`ui`] prints.

mod alike;
mod answer;
mod args;
mod bases;
mod console;
mod disks;
mod doctor;
mod exit;
mod failure;
mod fresh;
mod host;
mod inspect;
mod instance;
mod launch;
mod lint;
mod mappings;
mod outputs;
mod panic;
mod parent;
mod plan;
mod report;
mod run;
mod serve;
mod session;
mod snapshots;
mod socket;
mod source;
mod state;
mod ui;
mod values;
mod volume;

use args::Command;
use std::process::ExitCode;

fn main() -> ExitCode {
    ui::start();
    ui::log_warnings();
    panic::install();
    let run = || match args::read() {
        Ok(Command::Launch { args, bare }) => launch::run(&args, bare),
        Ok(Command::Process(args)) => instance::process(&args),
        Ok(Command::Doctor(args)) => doctor::run(&args),
        Ok(Command::Lint(args)) => lint::run(&args),
        Ok(Command::SnapshotServe(args)) => serve::snapshot(&args),
        Ok(Command::VolumeCreate(args)) => volume::create(&args),
        Ok(Command::VolumeServe(args)) => serve::volume(&args),
        Ok(Command::VolumeRebase(args)) => volume::rebase(&args),
        Err(refused) => refused.tell(),
    };
    let code = std::panic::catch_unwind(run).unwrap_or(exit::Code::Bug);
    ui::finish();
    code.into()
}
