//! `cp`: this computer's own scp, told how to reach an instance and log in to it.

use super::ssh::login;
use crate::args::Cp;
use crate::exit::Code;
use crate::failure::Failure;
use crate::ssh::{self, Program};
use crate::ui;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// A path as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Side {
    Here(OsString),
    There { instance: String, path: OsString },
}

pub(crate) fn cp(args: &Cp) -> Code {
    super::run(|catalog| {
        let sides: Vec<_> = args.paths.iter().map(|path| side(path)).collect();
        let instance = one_instance(&sides)?;
        let login = login(catalog, &instance, &args.login)?;
        let mut arguments = login.options();
        arguments.extend(args.recursive.then(|| "-r".into()));
        arguments.push("--".into());
        arguments.extend(sides.iter().map(|side| operand(side, &login.id)));
        ui::finish();
        Err(ssh::run(Program::Scp, &arguments))
    })
}

/// As scp tells them apart: a colon before any slash.
fn side(path: &OsStr) -> Side {
    let bytes = path.as_bytes();
    let colon =
        bytes.iter().position(|byte| matches!(byte, b':' | b'/')).filter(|at| bytes.get(*at) == Some(&b':'));
    match colon.and_then(|at| bytes.split_at_checked(at)) {
        Some((instance @ [_, ..], [b':', path @ ..])) => Side::There {
            instance: String::from_utf8_lossy(instance).into_owned(),
            path: OsString::from_vec(path.to_owned()),
        },
        _ => Side::Here(path.to_owned()),
    }
}

/// The instance that files are copied to or from.
fn one_instance(sides: &[Side]) -> Result<String, Failure> {
    let wrong = |why: &str| {
        Failure::new(Code::CommandLine, why.to_owned())
            .hint("copy to an instance, `ami-run cp FILE... INSTANCE:PATH`, or from it, `ami-run cp INSTANCE:PATH... PATH`")
    };
    let Some((last, sources)) = sides.split_last() else { return Err(wrong("nothing is to be copied")) };
    let of = |side: &Side| match side {
        Side::There { instance, .. } => Some(instance.clone()),
        Side::Here(_) => None,
    };
    let from: Vec<_> = sources.iter().map(of).collect();
    match (of(last), from.first()) {
        (Some(instance), _) if from.iter().all(Option::is_none) => Ok(instance),
        (None, Some(Some(instance))) if from.iter().all(|other| other.as_ref() == Some(instance)) => {
            Ok(instance.clone())
        }
        (None, _) if from.iter().all(Option::is_none) => Err(wrong("no path is an instance's")),
        _ => Err(wrong("files are copied between this computer and one instance")),
    }
}

/// For scp, which takes a colon for a host's end, too.
fn operand(side: &Side, id: &str) -> OsString {
    let mut operand = OsString::new();
    match side {
        Side::Here(path) => {
            // `:x` is the one that has a colon and is not an instance's.
            operand.push(if path.as_bytes().starts_with(b":") { "./" } else { "" });
            operand.push(path);
        }
        Side::There { path, .. } => {
            operand.push(id);
            operand.push(":");
            operand.push(path);
        }
    }
    operand
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(line: &str) -> Vec<Side> {
        line.split(' ').map(|word| side(OsStr::new(word))).collect()
    }

    #[test]
    fn paths_go_to_one_instance_or_come_from_it() {
        for (line, instance) in [("a b web:", "web"), ("web:/a web:b .", "web"), ("./a:b i-1:/x:y", "i-1")] {
            assert_eq!(one_instance(&sides(line)).unwrap(), instance, "{line}");
        }
        for line in ["a b", "web:a web:b", "web:a db:b .", "web:a b .", "/a:b ./c:d"] {
            assert_eq!(one_instance(&sides(line)).unwrap_err().code, Code::CommandLine, "{line}");
        }
    }

    #[test]
    fn scp_gets_the_id_and_its_paths() {
        let operands: Vec<_> = sides("web:/x:y ./a:b :c").iter().map(|side| operand(side, "i-1")).collect();
        assert_eq!(operands, ["i-1:/x:y", "./a:b", "./:c"]);
    }
}
