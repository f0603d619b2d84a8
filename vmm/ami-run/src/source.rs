//! IMAGE: a description (image.json), a disk file or a volume, told by what it holds.

use crate::alike;
use crate::args::{longer_verbs, verb_names};
use crate::exit::Code;
use crate::failure::Failure;
use ami_run_image::{BlockDeviceMapping, EbsBlockDevice, Image, ImageError, Refusal, is_description};
use ami_run_inspect::{Guess, ROOT_DEVICE_NAME};
use ami_run_storage::{Opened, is_volume};
use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Read, Seek as _};
use std::path::{Path, PathBuf};

/// Far above any description; what is larger is not one.
const MAX_DESCRIPTION: u64 = 16 << 20;
/// How far the first character of a description may be.
const MAX_INDENT: u64 = 4096;

/// The snapshot of a bare disk file in the image that is assumed for it.
pub(crate) const ASSUMED_SNAPSHOT: &str = "snap-0";

#[derive(Debug)]
pub(crate) enum Source {
    /// `folder` is where its snapshots are looked for.
    Description {
        image: Box<Image>,
        name: String,
        folder: PathBuf,
    },
    Disk(PathBuf),
    /// A volume's own file.
    Volume(PathBuf),
}

/// Opens what the command line names. `bare`: the verb was left out, so the name may be a mistyped verb. `wanted` is
/// the id of the image to take from a description.
pub(crate) fn open(path: &Path, bare: bool, wanted: Option<&str>) -> Result<Source, Failure> {
    if path == Path::new("-") {
        return from_standard_input(wanted);
    }
    let mut file = match ami_run_storage::open(path).map_err(|cause| missing(path, bare, &cause))? {
        Opened::Data(file) => file,
        Opened::Other(what) => return Err(refuse_kind(path, what)),
    };
    let held = tell(path, &mut file).map_err(|cause| unreadable(path, &cause))?;
    if held != Held::Description {
        return match (wanted, held) {
            (None, Held::Volume) => Ok(Source::Volume(path.to_owned())),
            (None, _) => Ok(Source::Disk(path.to_owned())),
            (Some(id), _) => {
                let what = if held == Held::Volume { "volume" } else { "disk file" };
                let message =
                    format!("--image-id {id}: {} is a {what}, and describes no image", path.display());
                Err(Failure::new(Code::CommandLine, message)
                    .hint("leave --image-id out, or name an image.json"))
            }
        };
    }
    let bytes = file.rewind().and_then(|()| read_all(file)).map_err(|cause| unreadable(path, &cause))?;
    let name = path.display().to_string();
    Ok(Source::Description { image: parse(&bytes, &name, wanted)?, name, folder: folder_of(path) })
}

pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The image that is assumed for a disk that none describes; what the disk itself tells of it is in `guess`.
pub(crate) fn assumed_image(guess: Option<&Guess>) -> Image {
    let ebs = EbsBlockDevice { snapshot_id: Some(ASSUMED_SNAPSHOT.to_owned()), ..Default::default() };
    let root = BlockDeviceMapping {
        device_name: Some(ROOT_DEVICE_NAME.to_owned()),
        ebs: Some(ebs),
        ..Default::default()
    };
    Image {
        architecture: guess.map(|guess| guess.architecture.to_string()),
        boot_mode: guess.map(|guess| guess.boot_mode.to_string()),
        root_device_name: Some(ROOT_DEVICE_NAME.to_owned()),
        block_device_mappings: Some(vec![root]),
        ..Default::default()
    }
}

/// A file that holds no image.
fn refuse(name: &str, cause: &ImageError) -> Failure {
    let failure = Failure::new(Code::Refused, format!("cannot launch {name}")).because(cause);
    let failure = match cause.code() {
        Some(code) => failure.ec2(code, cause.to_string()),
        None => failure,
    };
    with_hint(failure, cause.hint().as_deref())
}

/// An image that EC2 would not launch.
pub(crate) fn refuse_launch(name: &str, cause: &Refusal) -> Failure {
    let failure = Failure::new(Code::Refused, format!("cannot launch {name}")).because(cause);
    with_hint(failure.ec2(cause.code, cause.message.as_str()), cause.hint.as_deref())
}

pub(crate) fn with_hint(failure: Failure, hint: Option<&str>) -> Failure {
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn from_standard_input(wanted: Option<&str>) -> Result<Source, Failure> {
    let name = "standard input".to_owned();
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let failure = Failure::new(Code::CommandLine, "the image would be read from a terminal");
        return Err(failure.hint("pipe it in: aws ec2 describe-images --image-ids ami-… | ami-run -"));
    }
    let bytes = read_all(stdin.lock()).map_err(|cause| unreadable(Path::new(&name), &cause))?;
    Ok(Source::Description { image: parse(&bytes, &name, wanted)?, name, folder: PathBuf::from(".") })
}

fn parse(bytes: &[u8], name: &str, wanted: Option<&str>) -> Result<Box<Image>, Failure> {
    if bytes.is_empty() {
        let failure = Failure::new(Code::Refused, format!("{name} is empty"));
        return Err(failure.hint("`aws ec2 describe-images --image-ids ami-… --output json` writes an image"));
    }
    ami_run_image::parse(bytes, wanted).map(Box::new).map_err(|cause| refuse(name, &cause))
}

fn read_all(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_DESCRIPTION + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_DESCRIPTION {
        return Err(io::Error::other("it has more than 16 MiB, so it is no image's description"));
    }
    Ok(bytes)
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Description,
    Volume,
    Disk,
}

/// A description begins with `{`. A file called .json that does not is still no disk, but a broken description; and so
/// is what the AWS CLI prints in other formats.
fn tell(path: &Path, file: &mut File) -> io::Result<Held> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
        return Ok(Held::Description);
    }
    let mut head = Vec::new();
    file.take(MAX_INDENT).read_to_end(&mut head)?;
    Ok(match head {
        head if is_volume(&head) => Held::Volume,
        head if is_description(&head) => Held::Description,
        _ => Held::Disk,
    })
}

fn refuse_kind(path: &Path, what: &str) -> Failure {
    let failure =
        Failure::new(Code::Refused, format!("{} is {what}, not an image or a disk file", path.display()));
    let inside = path.join("image.json");
    if what == "a named pipe" {
        failure.hint("pass - as the image to read it from standard input")
    } else if inside.is_file() {
        failure.hint(format!("did you mean {}?", inside.display()))
    } else {
        failure.hint("name an image.json or a disk file")
    }
}

fn unreadable(path: &Path, cause: &io::Error) -> Failure {
    Failure::new(Code::Refused, format!("cannot read {}", path.display())).because(cause)
}

fn missing(path: &Path, bare: bool, cause: &io::Error) -> Failure {
    if cause.kind() != io::ErrorKind::NotFound {
        return unreadable(path, cause);
    }
    let name = path.display();
    // A word that looks like no file is as likely a mistyped command.
    let word = bare && !path.to_string_lossy().contains(['/', '.']);
    let failure = if word {
        Failure::new(Code::CommandLine, format!("no such command or image: {name}"))
    } else {
        Failure::new(Code::Refused, format!("no such image: {name}"))
    };
    if let Some(there_is) = longer_verbs(&name.to_string()).filter(|_| word) {
        return failure.hint(there_is);
    }
    match suggestion(path, bare) {
        Some(other) => failure.hint(format!("did you mean {other}?")),
        None if word => failure.hint("`ami-run --help` lists the commands; an image is a file"),
        None => failure,
    }
}

/// "No such command" for a word that clap took for an image, when more words follow it that fit no launch.
pub(crate) fn mistyped_verb(word: &Path) -> Option<Failure> {
    match fs::metadata(word) {
        Err(cause) if !word.to_string_lossy().starts_with('-') => Some(missing(word, true, &cause)),
        _ => None,
    }
}

/// The verb or the file beside it that is most like the name.
fn suggestion(path: &Path, bare: bool) -> Option<String> {
    let wanted = path.file_name()?.to_string_lossy().into_owned();
    let folder = path.parent().unwrap_or(Path::new(""));
    let listed = if folder == Path::new("") { Path::new(".") } else { folder };
    let files = fs::read_dir(listed).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let files = files.map(|name| folder.join(name).display().to_string());
    let verbs = verb_names().filter(|_| bare).map(str::to_owned);
    alike::most_alike(&wanted, verbs.chain(files))
}
