//! What an instance is given: user data, a public key, tags. Each is refused as EC2 refuses it.

use super::credentials::{self, Lender};
use super::options;
use crate::args::Given;
use crate::exit::Code;
use crate::failure::Failure;
use ami_run_catalog::check_metadata_tag;
use ami_run_image::{MetadataOptions, Tag, code};
use ami_run_metadata::PublicKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::Path;

/// What EC2 takes, before base64.
const MAX_USER_DATA: usize = 16384;
/// Far above any public key.
const MAX_KEY: u64 = 64 << 10;

/// What the options of a launch come to, in the forms that a record has them.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) availability_zone: String,
    /// In base64.
    pub(crate) user_data: Option<String>,
    pub(crate) key: Option<PublicKey>,
    pub(crate) tags: Vec<Tag>,
    pub(crate) metadata_options: MetadataOptions,
    pub(crate) iam_credentials: Option<String>,
}

/// Reads all of them. `image`: what the image brings.
pub(crate) fn read(given: &Given, name: Option<&str>, image: &MetadataOptions) -> Result<Inputs, Failure> {
    let metadata_options = options::read(given.metadata_options.as_deref(), image)?;
    let name = name.map(|name| ("Name".to_owned(), name.to_owned()));
    let all: Vec<_> = name.into_iter().chain(given.tags.iter().cloned()).collect();
    let tags = tags(&all, metadata_options.instance_metadata_tags == "enabled")?;
    let tag = |(key, value)| Tag { key: Some(key), value: Some(value), ..Tag::default() };
    if let Some(source) = &given.iam_credentials {
        Lender::open(source)?.check()?;
    }
    Ok(Inputs {
        availability_zone: format!("{}a", given.region),
        user_data: given.user_data.as_deref().map(user_data).transpose()?.map(|data| STANDARD.encode(data)),
        key: given.ssh_key.as_deref().map(public_key).transpose()?,
        tags: tags.into_iter().map(tag).collect(),
        metadata_options,
        iam_credentials: given.iam_credentials.as_deref().map(credentials::lasting),
    })
}

/// PATH, file://PATH or fileb://PATH as the AWS CLI writes it, or - for standard input.
fn user_data(given: &str) -> Result<Vec<u8>, Failure> {
    let limit = u64::try_from(MAX_USER_DATA).unwrap_or(u64::MAX).saturating_add(1);
    let read = |from: &mut dyn Read| {
        let mut data = Vec::new();
        from.take(limit).read_to_end(&mut data).map(|_| data)
    };
    let data = match given {
        "-" if io::stdin().is_terminal() => {
            let message = "--user-data -: it would be read from a terminal";
            return Err(Failure::new(Code::CommandLine, message).hint("pipe it in, or name a file"));
        }
        "-" => read(&mut io::stdin().lock()),
        _ => {
            let path =
                ["file://", "fileb://"].iter().find_map(|form| given.strip_prefix(form)).unwrap_or(given);
            File::open(path).and_then(|mut file| read(&mut file))
        }
    };
    let data = data.map_err(|cause| {
        let refuse = |what: &str| {
            let failure = Failure::new(Code::CommandLine, format!("--user-data: cannot read {what}"));
            failure.because(&cause)
        };
        if given.starts_with('#') || given.contains([' ', '\n']) {
            // Not repeated: it may hold secrets, and errors are logged.
            refuse("a file of this name")
                .hint("it looks like user data itself: write it to a file, or pipe it to --user-data -")
        } else {
            refuse(given)
        }
    })?;
    if data.len() > MAX_USER_DATA {
        // As EC2 says it.
        let message = format!("User data is limited to {MAX_USER_DATA} bytes");
        return Err(Failure::new(Code::Refused, format!("--user-data {given}: {message}"))
            .hint("compress it with gzip, which cloud-init knows, or let it fetch the rest")
            .ec2(code::INVALID_VALUE, message));
    }
    Ok(data)
}

/// A key pair by its public key's file.
fn public_key(path: &Path) -> Result<PublicKey, Failure> {
    let refuse = |why: &str| Failure::new(Code::CommandLine, format!("--ssh-key {}: {why}", path.display()));
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_KEY).read_to_string(&mut text))
        .map_err(|cause| refuse("it cannot be read").because(&cause))?;
    if text.contains("PRIVATE KEY") {
        return Err(
            refuse("it is a private key").hint("the public one has the same name with .pub behind it")
        );
    }
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let mut words = line.unwrap_or_default().split_whitespace();
    let (Some(kind), Some(key)) = (words.next(), words.next()) else {
        return Err(refuse("it holds no public key"));
    };
    if !["ssh-", "ecdsa-", "sk-"].iter().any(|begin| kind.starts_with(begin)) || !key.starts_with("AAAA") {
        return Err(refuse("it holds no public key").hint("give a file as ssh-keygen makes them: FILE.pub"));
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    // Between number and name stands an =, and clients expect no other.
    let name = name.replace(|c: char| c == '=' || c.is_control(), "-");
    Ok(PublicKey { openssh: format!("{kind} {key} {name}"), name })
}

/// `in_metadata`: the instance can see its tags, and so their keys must be names in a tree.
fn tags(given: &[(String, String)], in_metadata: bool) -> Result<BTreeMap<String, String>, Failure> {
    let refuse = |message: String| {
        Err(Failure::new(Code::Refused, format!("--tag: {message}")).ec2(code::INVALID_VALUE, message))
    };
    let mut tags = BTreeMap::new();
    for (key, value) in given {
        if key.to_lowercase().starts_with("aws:") {
            return refuse("Tag keys starting with 'aws:' are reserved for internal use".to_owned());
        }
        if key.chars().count() > 128 || value.chars().count() > 256 {
            return refuse(format!("'{key}': a key has 128 characters at most, and a value 256"));
        }
        if in_metadata && let Err(message) = check_metadata_tag(key) {
            return refuse(message);
        }
        if tags.insert(key.clone(), value.clone()).is_some() {
            return refuse(format!("Duplicate tag key '{key}' specified."));
        }
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_has_ec2_s_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let given = format!("file://{}", path.display());
        std::fs::write(&path, vec![0xff; MAX_USER_DATA]).unwrap();
        assert_eq!(user_data(&given).unwrap(), vec![0xff; MAX_USER_DATA]);
        std::fs::write(&path, vec![b'x'; MAX_USER_DATA + 1]).unwrap();
        let refused = user_data(path.to_str().unwrap()).unwrap_err();
        let ec2 = refused.ec2.unwrap();
        assert_eq!(
            (ec2.code.as_str(), ec2.message.as_str()),
            ("InvalidParameterValue", "User data is limited to 16384 bytes")
        );
        let binary = format!("fileb://{}", path.display());
        assert!(user_data(&binary).unwrap_err().message.contains("is limited to"));
        for literal in ["#!/bin/sh\necho secret", "echo secret"] {
            let refused = user_data(literal).unwrap_err();
            assert!(!refused.line().contains("secret"), "{}", refused.line());
            assert!(refused.hint.unwrap().contains("--user-data -"));
        }
        assert_eq!(user_data("not-there").unwrap_err().hint, None);
    }

    #[test]
    fn a_key_pair_has_its_file_s_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a=b.pub");
        std::fs::write(&path, "# mine\nssh-ed25519 AAAAC3Nza me@here\n").unwrap();
        let key = public_key(&path).unwrap();
        assert_eq!((key.name.as_str(), key.openssh.as_str()), ("a-b", "ssh-ed25519 AAAAC3Nza a-b"));
        let private = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n";
        for (bad, why) in [(private, "a private key"), ("", "no public key"), ("hello AAAA", "no public key")]
        {
            std::fs::write(&path, bad).unwrap();
            assert!(public_key(&path).unwrap_err().message.contains(why), "{bad}");
        }
    }

    #[test]
    fn tags_are_refused_as_ec2_refuses_them() {
        let one = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
        assert_eq!(tags(&one("a b/c", ""), false).unwrap().len(), 1);
        assert!(tags(&one("a+b=c@d:e", "ä"), true).is_ok());
        for bad in ["a b", "a/b", "..", "_index"] {
            let message = tags(&one(bad, "x"), true).unwrap_err().message;
            assert!(message.contains("is not a valid tag key"), "{message}");
        }
        for bad in [one("AWS:x", "y"), one(&"x".repeat(129), ""), one("k", &"x".repeat(257))] {
            assert!(tags(&bad, false).is_err());
        }
        let twice = [one("k", "1"), one("k", "2")].concat();
        assert!(tags(&twice, false).unwrap_err().message.contains("Duplicate tag key 'k'"));
    }
}
