//! `ssh`: this computer's own ssh, told how to reach an instance and log in to it.

use super::refused;
use crate::args::{LoginOptions, Ssh};
use crate::exit::Code;
use crate::failure::Failure;
use crate::run::io_failure;
use crate::ssh::{self, Login, Program};
use crate::ui;
use ami_run_catalog::control::Connection;
use ami_run_catalog::{Catalog, State};
use std::ffi::OsString;
use std::io::ErrorKind;

pub(crate) fn ssh(args: &Ssh) -> Code {
    super::run(|catalog| {
        let login = login(catalog, &args.instance, &args.login)?;
        let mut arguments = login.options();
        arguments.push(OsString::from(&login.id));
        if !args.command.is_empty() {
            arguments.push("--".into());
            arguments.extend(args.command.iter().cloned());
        }
        ui::finish();
        Err(ssh::run(Program::Ssh, &arguments))
    })
}

/// How to log in to an instance that runs.
pub(super) fn login(catalog: &Catalog, name: &str, options: &LoginOptions) -> Result<Login, Failure> {
    let id = catalog.resolve(name).map_err(refused)?;
    // A process that does not answer yet is waited for where the guest is.
    reach(catalog, &id)?;
    let record = catalog.describe(&id).map_err(refused)?;
    let user = options.user.clone().unwrap_or_else(|| ssh::user::of(&record));
    let folder = catalog.instance_folder(&id);
    let login = Login::new(&record, &folder, user, options.port, Some(options.timeout))
        .map_err(|cause| io_failure("find this program", &cause))?;
    if login.identity.is_none() {
        let hint = "`ami-run IMAGE --ssh-key FILE.pub` gives one at launch";
        ui::status("ssh", &format!("{id} was given no key: {} logs in by what ssh has ({hint})", login.user));
    }
    Ok(login)
}

/// The process of an instance.
pub(crate) enum Reach {
    Running(Connection),
    /// It comes up or goes down, and does not listen right now.
    NotNow,
}

/// Connects to the process of an instance, which must be alive.
pub(crate) fn reach(catalog: &Catalog, id: &str) -> Result<Reach, Failure> {
    let nobody = match Connection::connect(&catalog.instance_folder(id)) {
        Ok(connection) => return Ok(Reach::Running(connection)),
        Err(cause) => cause,
    };
    if !matches!(nobody.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) {
        return Err(Failure::new(Code::Host, format!("the machine of {id} does not answer")).because(&nobody));
    }
    let state = catalog.describe(id).map_err(refused)?.state;
    if state.is_alive() {
        return Ok(Reach::NotNow);
    }
    let message =
        format!("The instance '{id}' is not in a state in which one can log in to it: it is {state}.");
    let code = "IncorrectInstanceState";
    let failure = Failure::new(Code::Refused, format!("{message} ({code})")).ec2(code, message);
    Err(match state {
        State::Stopped => failure.hint(format!("`ami-run start {id}` starts it")),
        _ => failure,
    })
}
