//! `ami-run`: the command. From what was typed to a machine, and from a machine's end to an exit code.
//!
//! Three layers: [`args`] is what was typed, [`plan`] is what that means (every mistake of the user is told there,
//! before KVM is opened), [`session`] is the machine running. Only [`ui`] prints.

mod alike;
mod answer;
mod args;
mod attach;
mod bases;
mod console;
mod disks;
mod doctor;
mod exit;
mod explain;
mod failure;
mod firmware;
mod fresh;
mod host;
mod inherited;
mod inspect;
mod instance;
mod launch;
mod lint;
mod logs;
mod mappings;
mod metadata;
mod network;
mod outputs;
mod panic;
mod parent;
mod plan;
mod progress;
mod report;
mod run;
mod serve;
mod session;
mod show;
mod snapshots;
mod socket;
mod source;
mod ssh;
mod state;
mod uefi_data;
mod ui;
mod values;
mod verbs;
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
        Ok(Command::Proxy(args)) => ssh::proxy(&args),
        Ok(Command::Ssh(args)) => verbs::ssh(&args),
        Ok(Command::Cp(args)) => verbs::cp(&args),
        Ok(Command::Doctor(args)) => doctor::run(&args),
        Ok(Command::Lint(args)) => lint::run(&args),
        Ok(Command::Inspect(args)) => show::run(&args),
        Ok(Command::Console(args)) => attach::run(&args),
        Ok(Command::Logs(args)) => logs::run(&args),
        Ok(Command::Metadata(args)) => metadata::run(&args),
        Ok(Command::MetadataInside(args)) => metadata::inside(&args),
        Ok(Command::SnapshotServe(args)) => serve::snapshot(&args),
        Ok(Command::VolumeCreate(args)) => volume::create(&args),
        Ok(Command::VolumeServe(args)) => serve::volume(&args),
        Ok(Command::VolumeRebase(args)) => volume::rebase(&args),
        Ok(Command::VolumeResize(args)) => verbs::volume_resize(&args),
        Ok(Command::VolumeLs(args)) => verbs::volume_ls(&args),
        Ok(Command::VolumeRm(args)) => verbs::volume_rm(&args),
        Ok(Command::AttachVolume(args)) => verbs::attach(&args),
        Ok(Command::DetachVolume(args)) => verbs::detach(&args),
        Ok(Command::Ls(args)) => verbs::ls(&args),
        Ok(Command::Stop(args)) => verbs::stop(&args),
        Ok(Command::Start(args)) => verbs::start(&args),
        Ok(Command::Reboot(args)) => verbs::reboot(&args),
        Ok(Command::Terminate(args)) => verbs::terminate(&args),
        Ok(Command::Wait(args)) => verbs::wait(&args),
        Ok(Command::Modify(args)) => verbs::modify(&args),
        Ok(Command::MetadataOptions(args)) => verbs::metadata_options(&args),
        Ok(Command::Event(args)) => verbs::event(&args),
        Ok(Command::UefiData(args)) => verbs::uefi_data(&args),
        Ok(Command::Prune(args)) => verbs::prune(&args),
        Err(refused) => refused.tell(),
    };
    let code = std::panic::catch_unwind(run).unwrap_or(exit::Code::Bug);
    ui::finish();
    code.into()
}
