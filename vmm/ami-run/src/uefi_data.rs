//! UefiData: the UEFI variables that an instance begins with, as RegisterImage takes them.

use crate::exit::Code;
use crate::failure::Failure;
use crate::firmware::First;
use ami_run_firmware::find::Firmware;
use ami_run_firmware::uefi::{Store, StoreError, aws};
use ami_run_image::{BootMode, code};
use serde::Deserialize;
use std::error::Error;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};

/// Room for all that EC2 takes, with line ends, in JSON.
const MAX_TEXT: u64 = 256 << 10;

/// What GetInstanceUefiData answers, DescribeImageAttribute, and RegisterImage is asked with.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    uefi_data: Text,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    /// An attribute's.
    #[serde(rename_all = "PascalCase")]
    Value {
        value: String,
    },
}

/// Reads it, of a launch that starts by `mode`. In base64, on one line.
pub(crate) fn read(given: &str, mode: BootMode) -> Result<String, Failure> {
    if mode == BootMode::LegacyBios {
        let message = "UefiData is for an instance that starts by uefi, and this one starts by legacy-bios";
        let failure = Failure::new(Code::Refused, format!("--uefi-data {given}: {message}"));
        return Err(failure
            .hint("leave it out, or start the image by uefi: --boot-mode uefi")
            .ec2(code::INVALID_COMBINATION, message));
    }
    let text = text(given)?;
    let data = data(given, &text)?;
    aws::decode(&data).map_err(|cause| refused(given, &cause))?;
    Ok(data)
}

/// Whether the firmware's variable store has room for it, before anything is made.
pub(crate) fn check_room(data: Option<&str>, first: &First) -> Result<(), Failure> {
    match (data, first) {
        (Some(_), First::Uefi(firmware)) => first_store(data, &firmware.variables).map(drop),
        _ => Ok(()),
    }
}

/// The content of the variables' flash chip when the instance has never run. `template`: the firmware's own.
pub(crate) fn first_store(data: Option<&str>, template: &Firmware) -> Result<Vec<u8>, Failure> {
    let Some(data) = data else { return Ok(template.bytes.clone()) };
    let variables = aws::decode(data).map_err(|cause| refused("", &cause))?;
    Store::build(&template.bytes, &variables).map_err(|cause| match cause {
        StoreError::Full { .. } | StoreError::Variable { .. } => refused("", &cause),
        cause => {
            let message = format!("cannot use the variable template {}", template.path.display());
            Failure::new(Code::Host, message).because(&cause)
        }
    })
}

fn refused(given: &str, cause: &dyn Error) -> Failure {
    let option = if given.is_empty() { "--uefi-data".to_owned() } else { format!("--uefi-data {given}") };
    Failure::new(Code::Refused, format!("{option}: cannot give the instance these UEFI variables"))
        .because(cause)
        .ec2(code::INVALID_VALUE, cause.to_string())
}

/// PATH or file://PATH as the AWS CLI writes it, or - for standard input.
fn text(given: &str) -> Result<String, Failure> {
    let read = |from: &mut dyn Read| {
        let mut text = Vec::new();
        from.take(MAX_TEXT.saturating_add(1)).read_to_end(&mut text).map(|_| text)
    };
    let bytes = match given {
        "-" if io::stdin().is_terminal() => {
            let message = "--uefi-data -: it would be read from a terminal";
            return Err(Failure::new(Code::CommandLine, message).hint("pipe it in, or name a file"));
        }
        "-" => read(&mut io::stdin().lock()),
        _ => {
            let path = given.strip_prefix("file://").unwrap_or(given);
            File::open(path).and_then(|mut file| read(&mut file))
        }
    };
    let bytes = bytes.map_err(|cause| unreadable(given, &cause))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_TEXT {
        let message =
            format!("--uefi-data {given}: it has more than {MAX_TEXT} bytes, which no UefiData has");
        return Err(
            Failure::new(Code::Refused, message).hint("give what get-instance-uefi-data or uefivars wrote")
        );
    }
    String::from_utf8(bytes).map_err(|_| {
        let failure = Failure::new(Code::Refused, format!("--uefi-data {given}: it is not text"));
        failure.hint("UefiData is base64; `uefivars -i edk2 -o aws` makes it of a variable store")
    })
}

fn unreadable(given: &str, cause: &io::Error) -> Failure {
    let refuse = |what: &str| {
        Failure::new(Code::CommandLine, format!("--uefi-data: cannot read {what}")).because(cause)
    };
    // What every UefiData begins with.
    if given.starts_with("QU1aTlVFRk") {
        return refuse("a file of this name")
            .hint("it looks like UefiData itself: write it to a file, or pipe it to --uefi-data -");
    }
    refuse(given)
}

/// What is in a JSON answer, or the text itself; without line ends.
fn data(given: &str, text: &str) -> Result<String, Failure> {
    let compact = |text: &str| text.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
    if !text.trim_start().starts_with('{') {
        return Ok(compact(text));
    }
    let answer: Answer = serde_json::from_str(text).map_err(|cause| {
        let message = format!("--uefi-data {given}: it is JSON, but not with UefiData in it");
        let hint = "give what `aws ec2 get-instance-uefi-data` answers, or the base64 text alone";
        Failure::new(Code::Refused, message).because(&cause).hint(hint)
    })?;
    Ok(match answer.uefi_data {
        Text::Plain(text) | Text::Value { value: text } => compact(&text),
    })
}
