//! The command line as it was typed. Values are parsed; nothing has been looked at yet.
//!
//! A verb is a line in [`VERBS`] and a file here. The first word that is no verb is the image of a launch: clap's own
//! subcommands cannot keep that rule, so clap reads only what follows the verb.

mod announced;
mod console;
mod doctor;
mod given;
mod inside;
mod inspect;
mod instances;
mod launch;
mod lint;
mod logs;
mod metadata;
mod process;
mod snapshot;
mod ssh;
mod uefi_data;
mod volume;

pub(crate) use announced::{EventArgs, Kind, MetadataOptionsArgs};
pub(crate) use console::Console;
pub(crate) use doctor::Doctor;
pub(crate) use given::Given;
pub(crate) use inside::{INSIDE, Inside};
pub(crate) use inspect::{Inspect, Looked};
pub(crate) use instances::{Ls, Modify, Prune, Reboot, Start, Stop, Terminate, Wait};
pub(crate) use launch::{DEFAULT_CPUS, DEFAULT_MEMORY_MIB, Launch, MAX_CPUS};
pub(crate) use lint::Lint;
pub(crate) use logs::Logs;
pub(crate) use metadata::Metadata;
pub(crate) use process::{PROCESS, Process};
pub(crate) use snapshot::SnapshotServe;
pub(crate) use ssh::{Cp, LoginOptions, PROXY, Proxy, Ssh};
pub(crate) use uefi_data::UefiDataArgs;
pub(crate) use volume::{
    AttachVolume, DetachVolume, VolumeCreate, VolumeLs, VolumeRebase, VolumeResize, VolumeRm, VolumeServe,
};

use crate::exit::Code;
use crate::failure::Failure;
use crate::{alike, source, state, ui};
use clap::error::ErrorKind;
use clap::{Parser, ValueEnum};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Command {
    Launch {
        args: Box<Launch>,
        /// The verb was left out, so the image may be a mistyped verb.
        bare: bool,
    },
    /// The process of a detached instance.
    Process(Box<Process>),
    /// What connects `ssh` to a guest.
    Proxy(Proxy),
    Doctor(Doctor),
    Lint(Lint),
    Inspect(Inspect),
    Console(Console),
    Logs(Logs),
    Ssh(Ssh),
    Cp(Cp),
    Metadata(Box<Metadata>),
    /// The process that becomes the command of `metadata`.
    MetadataInside(Inside),
    SnapshotServe(SnapshotServe),
    VolumeCreate(VolumeCreate),
    VolumeServe(VolumeServe),
    VolumeRebase(VolumeRebase),
    VolumeResize(VolumeResize),
    VolumeLs(VolumeLs),
    VolumeRm(VolumeRm),
    AttachVolume(AttachVolume),
    DetachVolume(DetachVolume),
    Ls(Ls),
    Stop(Stop),
    Start(Start),
    Reboot(Reboot),
    Terminate(Terminate),
    Wait(Wait),
    Modify(Modify),
    MetadataOptions(MetadataOptionsArgs),
    Event(EventArgs),
    UefiData(UefiDataArgs),
    Prune(Prune),
}

/// A command line that does nothing: a mistake, or help or version, which were asked for.
#[derive(Debug)]
pub(crate) enum Refused {
    Clap(clap::Error),
    NoSuchVerb(Failure),
}

struct Verb {
    /// A word, or two with a space between them.
    name: &'static str,
    about: &'static str,
    /// Reads the words that follow the name.
    read: fn(&[OsString]) -> Result<Command, clap::Error>,
}

const VERBS: [Verb; 29] = [
    Verb {
        name: "launch",
        about: "Launch an image; this word may be left out",
        read: |words| launch(words, false),
    },
    Verb {
        name: "ls",
        about: "List the instances",
        read: |words| Ls::try_parse_from(words).map(Command::Ls),
    },
    Verb {
        name: "console",
        about: "Use the console of an instance that runs",
        read: |words| Console::try_parse_from(words).map(Command::Console),
    },
    Verb {
        name: "logs",
        about: "Show what an instance's console said",
        read: |words| Logs::try_parse_from(words).map(Command::Logs),
    },
    Verb {
        name: "ssh",
        about: "Log in to an instance by SSH, or run a command there",
        read: |words| Ssh::try_parse_from(words).map(Command::Ssh),
    },
    Verb {
        name: "cp",
        about: "Copy files to an instance or from it, by SSH",
        read: |words| Cp::try_parse_from(words).map(Command::Cp),
    },
    Verb {
        name: "stop",
        about: "Stop instances: their volumes are kept",
        read: |words| Stop::try_parse_from(words).map(Command::Stop),
    },
    Verb {
        name: "start",
        about: "Start stopped instances",
        read: |words| Start::try_parse_from(words).map(Command::Start),
    },
    Verb {
        name: "reboot",
        about: "Reboot running instances",
        read: |words| Reboot::try_parse_from(words).map(Command::Reboot),
    },
    Verb {
        name: "terminate",
        about: "Terminate instances",
        read: |words| Terminate::try_parse_from(words).map(Command::Terminate),
    },
    Verb {
        name: "wait",
        about: "Wait until instances run, are stopped or terminated",
        read: |words| Wait::try_parse_from(words).map(Command::Wait),
    },
    Verb {
        name: "modify",
        about: "Change a stopped instance",
        read: |words| Modify::try_parse_from(words).map(Command::Modify),
    },
    Verb {
        name: "metadata-options",
        about: "Change how an instance's metadata service answers",
        read: |words| MetadataOptionsArgs::try_parse_from(words).map(Command::MetadataOptions),
    },
    Verb {
        name: "event",
        about: "Announce an interruption or maintenance to an instance",
        read: |words| EventArgs::try_parse_from(words).map(Command::Event),
    },
    Verb {
        name: "uefi-data",
        about: "Show an instance's UEFI variables, as another can be given them",
        read: |words| UefiDataArgs::try_parse_from(words).map(Command::UefiData),
    },
    Verb {
        name: "attach-volume",
        about: "Attach a volume to a stopped instance",
        read: |words| AttachVolume::try_parse_from(words).map(Command::AttachVolume),
    },
    Verb {
        name: "detach-volume",
        about: "Detach a volume from a stopped instance",
        read: |words| DetachVolume::try_parse_from(words).map(Command::DetachVolume),
    },
    Verb {
        name: "prune",
        about: "Terminate all stopped instances",
        read: |words| Prune::try_parse_from(words).map(Command::Prune),
    },
    Verb {
        name: "volume create",
        about: "Make a volume, empty or from a snapshot's disk file",
        read: |words| VolumeCreate::try_parse_from(words).map(Command::VolumeCreate),
    },
    Verb {
        name: "volume resize",
        about: "Make a volume larger",
        read: |words| VolumeResize::try_parse_from(words).map(Command::VolumeResize),
    },
    Verb {
        name: "volume ls",
        about: "List the volumes of instances, and those that none has",
        read: |words| VolumeLs::try_parse_from(words).map(Command::VolumeLs),
    },
    Verb {
        name: "volume rm",
        about: "Delete volumes that no instance has",
        read: |words| VolumeRm::try_parse_from(words).map(Command::VolumeRm),
    },
    Verb {
        name: "volume rebase",
        about: "Tell a volume which disk file it stands on",
        read: |words| VolumeRebase::try_parse_from(words).map(Command::VolumeRebase),
    },
    Verb {
        name: "volume serve",
        about: "Show a volume to other programs as a disk, by NBD",
        read: |words| VolumeServe::try_parse_from(words).map(Command::VolumeServe),
    },
    Verb {
        name: "snapshot serve",
        about: "Show a snapshot to other programs as a disk, by NBD",
        read: |words| SnapshotServe::try_parse_from(words).map(Command::SnapshotServe),
    },
    Verb {
        name: "image inspect",
        about: "Show what is on an image's root disk, and what would start",
        read: |words| Inspect::try_parse_from(words).map(Command::Inspect),
    },
    Verb {
        name: "image lint",
        about: "Say what would keep an image from starting on EC2",
        read: |words| Lint::try_parse_from(words).map(Command::Lint),
    },
    Verb {
        name: "metadata",
        about: "Answer as an instance's metadata service would, for tools under test",
        read: |words| Metadata::try_parse_from(words).map(Box::new).map(Command::Metadata),
    },
    Verb {
        name: "doctor",
        about: "Check whether a launch can work on this computer",
        read: |words| Doctor::try_parse_from(words).map(Command::Doctor),
    },
];

const HELP: &str = "help";

/// What somebody may have meant who mistyped a verb.
pub(crate) fn verb_names() -> impl Iterator<Item = &'static str> {
    VERBS.iter().map(|verb| verb.name).chain([HELP])
}

/// The list of verbs as `--help` prints it.
fn commands() -> String {
    let mut text = String::from("Commands:\n");
    let help = (HELP, "Say what a command does and takes: ami-run help COMMAND");
    for (name, about) in VERBS.iter().map(|verb| (verb.name, verb.about)).chain([help]) {
        // Writing to a String cannot fail.
        writeln!(text, "  {name:<16}  {about}").unwrap_or_default();
    }
    text
}

/// Reads the command line.
pub(crate) fn read() -> Result<Command, Refused> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (folder, words) = global(&words)?;
    if let Some(folder) = folder {
        state::choose(folder);
    }
    parse(words)
}

/// The one global option, which stands before everything else.
fn global(words: &[OsString]) -> Result<(Option<PathBuf>, &[OsString]), Refused> {
    const NAME: &str = "--state-dir";
    let named = words.first().and_then(|word| word.to_str()).unwrap_or_default();
    let (folder, rest) = match (named.strip_prefix(NAME), words) {
        (Some(""), [_, folder, rest @ ..]) => (PathBuf::from(folder), rest),
        (Some(value), [_, rest @ ..]) if value.starts_with('=') => {
            (PathBuf::from(value.trim_start_matches('=')), rest)
        }
        (Some(""), _) => (PathBuf::new(), words),
        _ => return Ok((None, words)),
    };
    if folder.as_os_str().is_empty() {
        let failure = Failure::new(Code::CommandLine, format!("{NAME} names no folder"));
        return Err(Refused::NoSuchVerb(
            failure.hint(format!("give {NAME} FOLDER, before the command or image")),
        ));
    }
    Ok((Some(folder), rest))
}

fn parse(words: &[OsString]) -> Result<Command, Refused> {
    if let Some((word, rest)) = words.split_first()
        && word == PROCESS
    {
        let process = Process::try_parse_from(rest).map_err(Refused::Clap)?;
        return Ok(Command::Process(Box::new(process)));
    }
    if let Some((word, rest)) = words.split_first()
        && word == INSIDE
    {
        return Inside::try_parse_from(rest).map(Command::MetadataInside).map_err(Refused::Clap);
    }
    if let Some((word, rest)) = words.split_first()
        && word == PROXY
    {
        return Proxy::try_parse_from(rest).map(Command::Proxy).map_err(Refused::Clap);
    }
    if let Some((word, rest)) = words.split_first()
        && word == HELP
    {
        return help(rest);
    }
    if let Some((verb, rest)) = find(&VERBS, words) {
        return (verb.read)(rest).map_err(Refused::Clap);
    }
    launch(words, true).map_err(|cause| {
        // A mistyped verb is taken for an image, and what follows it then fits nothing.
        let odd = cause.kind() == ErrorKind::UnknownArgument;
        match words.first().filter(|_| odd).and_then(|first| source::mistyped_verb(Path::new(first))) {
            Some(failure) => Refused::NoSuchVerb(failure),
            None => Refused::Clap(cause),
        }
    })
}

fn launch(words: &[OsString], bare: bool) -> Result<Command, clap::Error> {
    Ok(Command::Launch { args: Box::new(Launch::try_parse_from(words)?), bare })
}

/// `help`, and `help VERB`.
fn help(words: &[OsString]) -> Result<Command, Refused> {
    let ask = [OsString::from("--help")];
    let about = match (words.first(), find(&VERBS, words)) {
        (_, Some((verb, _))) => (verb.read)(&ask),
        (Some(word), None) if word != HELP => return Err(Refused::NoSuchVerb(no_such_verb(word))),
        _ => launch(&ask, false),
    };
    about.map_err(Refused::Clap)
}

/// What there is to say to a word that only begins verbs.
pub(crate) fn longer_verbs(word: &str) -> Option<String> {
    let verbs: Vec<_> = verb_names().filter(|verb| verb.starts_with(&format!("{word} "))).collect();
    (!verbs.is_empty()).then(|| format!("there is `ami-run {}`", verbs.join("`, `ami-run ")))
}

fn no_such_verb(word: &OsString) -> Failure {
    let word = word.to_string_lossy();
    let longer = longer_verbs(&word);
    let hint = match alike::most_alike(&word, verb_names()) {
        _ if longer.is_some() => longer.unwrap_or_default(),
        Some(verb) => format!("did you mean {verb}?"),
        None => "`ami-run --help` lists the commands".to_owned(),
    };
    Failure::new(Code::CommandLine, format!("no such command: {word}")).hint(hint)
}

/// The verb that the words begin with, and the words behind it.
fn find<'a, 'w>(verbs: &'a [Verb], words: &'w [OsString]) -> Option<(&'a Verb, &'w [OsString])> {
    verbs.iter().find_map(|verb| {
        let length = verb.name.split(' ').count();
        let (name, rest) = words.split_at_checked(length)?;
        name.iter().eq(verb.name.split(' ')).then_some((verb, rest))
    })
}

impl Refused {
    /// Says it; help and version are no failures.
    pub(crate) fn tell(&self) -> Code {
        match self {
            Refused::NoSuchVerb(failure) => {
                ui::failure(failure);
                failure.code
            }
            Refused::Clap(told) => {
                // Help that nobody reads, to a closed pipe, is no failure either.
                told.print().unwrap_or_default();
                if told.use_stderr() { Code::CommandLine } else { Code::Success }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// For programs: one JSON object with the result
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn typed(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn parsed(line: &str) -> Result<Command, Refused> {
        parse(&typed(line))
    }

    #[test]
    fn definitions_are_sound_and_every_option_has_help() {
        for command in [
            Launch::command(),
            Doctor::command(),
            Lint::command(),
            Inspect::command(),
            Console::command(),
            Logs::command(),
            Ssh::command(),
            Cp::command(),
            Metadata::command(),
            SnapshotServe::command(),
            VolumeCreate::command(),
            VolumeServe::command(),
            VolumeRebase::command(),
            VolumeResize::command(),
            VolumeLs::command(),
            VolumeRm::command(),
            AttachVolume::command(),
            DetachVolume::command(),
            Ls::command(),
            Stop::command(),
            Start::command(),
            Reboot::command(),
            Terminate::command(),
            Wait::command(),
            Modify::command(),
            MetadataOptionsArgs::command(),
            EventArgs::command(),
            UefiDataArgs::command(),
            Prune::command(),
        ] {
            command.clone().debug_assert();
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{}", argument.get_id());
            }
        }
    }

    #[test]
    fn the_first_word_that_is_no_verb_is_the_image() {
        let cases = [
            ("--cpus 3 x.json", "x.json", true),
            ("launch --cpus=3 x.json", "x.json", false),
            ("launch --cpus 3 doctor", "doctor", false),
            ("--cpus 3 doctor", "doctor", true),
            ("--cpus 3 -- doctor", "doctor", true),
            ("./doctor --cpus 3", "./doctor", true),
        ];
        for (line, wanted, without) in cases {
            let Ok(Command::Launch { args, bare }) = parsed(line) else { panic!("{line}") };
            assert_eq!(
                (args.cpus, args.image, bare),
                (Some(3), Some(PathBuf::from(wanted)), without),
                "{line}"
            );
        }
        assert!(matches!(parsed("doctor"), Ok(Command::Doctor(_))));
    }

    #[test]
    fn help_is_there_for_every_verb() {
        let told = |line: &str| match parsed(line) {
            Err(Refused::Clap(told)) if told.kind() == ErrorKind::DisplayHelp => told.to_string(),
            other => panic!("{line}: {other:?}"),
        };
        for line in ["help", "help help", "help launch", "launch --help", "--help", "-h"] {
            let text = told(line);
            assert!(text.contains("Usage: ami-run [launch] [OPTIONS] IMAGE\n"), "{text}");
            assert!(verb_names().all(|name| text.contains(&format!("\n  {name} "))), "{text}");
        }
        for line in ["help doctor", "doctor --help"] {
            assert!(told(line).contains("Usage: ami-run doctor [OPTIONS]\n"), "{line}");
        }
    }

    #[test]
    fn a_mistyped_verb_is_told_what_it_may_have_been() {
        let hint = |line: &str| match parsed(line) {
            Err(Refused::NoSuchVerb(failure)) => failure.hint.unwrap(),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(hint("laucnh x y"), "did you mean launch?");
        assert_eq!(hint("dcotor --wrong"), "did you mean doctor?");
        assert_eq!(hint("help dcotor"), "did you mean doctor?");
        assert!(hint("help volume").starts_with("there is `ami-run volume create`, `ami-run volume "));
        assert_eq!(hint("help quux"), "`ami-run --help` lists the commands");
    }

    #[test]
    fn a_verb_may_have_two_words() {
        let verb = |name| Verb { name, about: "", read: |words| launch(words, false) };
        let verbs = [verb("image lint"), verb("image ls"), verb("ls")];
        let found = |line: &str| {
            let words = typed(line);
            find(&verbs, &words).map(|(verb, rest)| (verb.name, rest.len()))
        };
        assert_eq!(found("image ls x y"), Some(("image ls", 2)));
        assert_eq!(found("ls image"), Some(("ls", 1)));
        assert_eq!(found("image"), None);
        assert_eq!(found("x image ls"), None);
    }
}
