//! `--block-device-mappings`: file:// values are read here, the rest is ami-run-image's.

use crate::exit::Code;
use crate::failure::Failure;
use crate::source::with_hint;
use ami_run_image::{BlockDeviceMapping, parse_mappings};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Far above any mapping.
const MAX_FILE: u64 = 1 << 20;

pub(crate) fn read(values: &[String]) -> Result<Vec<BlockDeviceMapping>, Failure> {
    let texts: Result<Vec<_>, _> = values.iter().map(|value| text(value)).collect();
    parse_mappings(&texts?).map_err(|refusal| {
        let failure = Failure::new(Code::CommandLine, "the block-device mappings cannot be read");
        let failure = failure.because(&refusal).ec2(refusal.code, refusal.message.as_str());
        with_hint(failure, refusal.hint.as_deref())
    })
}

/// The AWS CLI's `file://PATH` stands for what the file holds.
fn text(value: &str) -> Result<String, Failure> {
    let Some(path) = value.strip_prefix("file://") else { return Ok(value.to_owned()) };
    content(Path::new(path)).map_err(|cause| {
        Failure::new(Code::CommandLine, format!("--block-device-mappings: cannot read {path}"))
            .because(&cause)
    })
}

fn content(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other("it has more than 1 MiB, so it holds no mappings"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stands_for_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mappings.json");
        std::fs::write(&path, "[{\"DeviceName\": \"/dev/sdf\", \"Ebs\": {\"VolumeSize\": 1}}]\n").unwrap();
        let from_file = read(&[format!("file://{}", path.display())]).unwrap();
        assert_eq!(from_file, read(&["DeviceName=/dev/sdf,Ebs={VolumeSize=1}".to_owned()]).unwrap());
        let bare = read(&["mappings.json".to_owned()]).unwrap_err();
        assert!(bare.hint.is_some_and(|hint| hint.contains("file://")), "{:?}", bare.causes);
        let missing = read(&["file://not-there".to_owned()]).unwrap_err();
        assert!(missing.message.ends_with("cannot read not-there") && missing.code == Code::CommandLine);
        std::fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
        assert!(read(&[format!("file://{}", path.display())]).unwrap_err().causes[0].contains("1 MiB"));
    }
}
