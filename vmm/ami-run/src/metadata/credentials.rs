//! `--iam-credentials`: where the role's credentials come from.

use crate::exit::Code;
use crate::failure::Failure;
use ami_run_metadata::{Credentials, Now, Role, Service, partition};
use serde_json::Value;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf, absolute};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Far above any file of credentials.
const MAX_FILE: u64 = 1 << 20;
const HOUR: u64 = 3600;
/// How long credentials last that do not say it, as EC2's do.
const LIFETIME: u64 = 6 * HOUR;

/// The source that is the environment, and what it holds.
const ENVIRONMENT: &str = "env";
const VARIABLES: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
/// Names the file of profiles, in the place of the one in the home folder.
const PROFILES: &str = "AWS_SHARED_CREDENTIALS_FILE";
const ROLE: &str = "ami-run";
const PROFILE_ID: &str = "AIPA0000000000000000A";

/// A source as it was named, so that it means the same in another folder.
pub(crate) fn lasting(given: &str) -> String {
    match given.strip_prefix("file:").map(absolute) {
        Some(Ok(path)) => format!("file:{}", path.display()),
        _ => given.to_owned(),
    }
}

/// What the environment is to say so that a profile means the same in another folder.
pub(crate) fn lasting_environment() -> Option<(&'static str, PathBuf)> {
    let path = std::env::var_os(PROFILES).filter(|path| !path.is_empty())?;
    Some((PROFILES, absolute(&path).unwrap_or_else(|_| path.into())))
}

/// What a command is not to find in its own environment, or it would never ask the service.
pub(super) fn hidden(given: Option<&str>) -> &'static [&'static str] {
    if given == Some(ENVIRONMENT) { &VARIABLES } else { &[] }
}

/// Gives an instance's role its credentials, and new ones when their source has some.
#[derive(Debug)]
pub(crate) struct Lender(Source);

impl Lender {
    /// By this process' environment.
    pub(crate) fn open(given: &str) -> Result<Lender, Failure> {
        Source::open(given, |name| std::env::var_os(name)).map(Lender)
    }

    /// Refuses a source that has nothing to lend.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.read(SystemTime::now()).map(drop)
    }

    /// Where from, for people.
    pub(crate) fn what(&self) -> String {
        match &self.0 {
            Source::File(path) => path.display().to_string(),
            Source::Fixed { what, .. } => what.clone(),
        }
    }

    /// How soon to look again for something new.
    pub(super) fn again(&self, of_a_file: Duration) -> Duration {
        match &self.0 {
            Source::File(_) => of_a_file,
            // Its end moves on by the hour.
            Source::Fixed { .. } => Duration::from_secs(HOUR / 6),
        }
    }

    /// May take as long as the file's host takes.
    pub(crate) fn read(&self, now: SystemTime) -> Result<Credentials, Failure> {
        self.0.read(now)
    }

    /// The instance profile's, in this account.
    pub(super) fn role(&self, account: &str, region: &str, now: SystemTime) -> Role {
        let partition = partition(region);
        Role {
            name: ROLE.to_owned(),
            profile_arn: format!("arn:{partition}:iam::{account}:instance-profile/{ROLE}"),
            profile_id: PROFILE_ID.to_owned(),
            credentials: self.read(now).map_err(|failure| log::warn!("{}", failure.line())).ok(),
            updated: now,
        }
    }
}

/// Tells the service what was read, if that is something new. Told once that there is nothing to be had, and again
/// when there is.
pub(super) fn lend(service: &mut Service, read: Result<Credentials, Failure>, now: Now) {
    let Some(role) = &service.facts().role else { return };
    if role.credentials.as_ref() == read.as_ref().ok() {
        return;
    }
    if let Err(failure) = &read {
        log::warn!("{}", failure.line());
    }
    let mut facts = service.facts().clone();
    if let Some(role) = &mut facts.role {
        (role.credentials, role.updated) = (read.ok(), now.wall);
    }
    let options = service.options();
    service.set(facts, options, now);
}

/// Where credentials come from.
#[derive(Debug)]
enum Source {
    /// Read whenever they are asked for.
    File(PathBuf),
    /// Read once.
    Fixed { what: String, keys: [String; 3] },
}

impl Source {
    fn open(given: &str, variable: impl Fn(&str) -> Option<OsString>) -> Result<Source, Failure> {
        let text = |name: &str| variable(name).and_then(|value| value.into_string().ok()).unwrap_or_default();
        if let Some(path) = given.strip_prefix("file:") {
            return Ok(Source::File(PathBuf::from(path)));
        }
        if given == ENVIRONMENT {
            return fixed("the environment".to_owned(), VARIABLES.map(text), &VARIABLES);
        }
        let Some(profile) = given.strip_prefix("profile:") else {
            let message = format!("--iam-credentials {given}: it is none of file:PATH, env and profile:NAME");
            return Err(Failure::new(Code::CommandLine, message));
        };
        let path = match variable(PROFILES).filter(|path| !path.is_empty()) {
            Some(path) => PathBuf::from(path),
            None => PathBuf::from(variable("HOME").unwrap_or_default()).join(".aws/credentials"),
        };
        let content = content(&path)?;
        let names = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];
        let keys = names.map(|name| in_profile(&content, profile, name).unwrap_or_default());
        fixed(format!("profile {profile} of {}", path.display()), keys, &names).map_err(|failure| {
            let export = format!("aws configure export-credentials --profile {profile} > FILE");
            failure.hint(format!("if it gets them otherwise: {export}, and --iam-credentials file:FILE"))
        })
    }

    fn read(&self, now: SystemTime) -> Result<Credentials, Failure> {
        match self {
            Source::File(path) => of_json(path, &content(path)?, now),
            Source::Fixed { keys: [id, secret, token], .. } => Ok(Credentials {
                access_key_id: id.clone(),
                secret_access_key: secret.clone(),
                token: token.clone(),
                expiration: expiration(now),
            }),
        }
    }
}

/// The end of credentials that have none: it moves on by the hour, long before a client would ask for new ones.
fn expiration(now: SystemTime) -> SystemTime {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    UNIX_EPOCH + Duration::from_secs(seconds / HOUR * HOUR + LIFETIME)
}

fn fixed(what: String, keys: [String; 3], names: &[&str; 3]) -> Result<Source, Failure> {
    // A session token is not everybody's.
    match keys.iter().zip(names).take(2).find(|(key, _)| key.is_empty()) {
        Some((_, name)) => {
            let message = format!("--iam-credentials: {what} has no {name}");
            Err(Failure::new(Code::CommandLine, message))
        }
        None => Ok(Source::Fixed { what, keys }),
    }
}

fn content(path: &Path) -> Result<String, Failure> {
    let refuse =
        || Failure::new(Code::CommandLine, format!("--iam-credentials: cannot read {}", path.display()));
    let mut text = String::new();
    // Opening a named pipe would wait for who writes to it, and what a pipe holds is read only once.
    let kind = path.metadata().map_err(|cause| refuse().because(&cause))?;
    if !kind.is_file() {
        return Err(refuse().hint("give a regular file: it is read again, for new credentials"));
    }
    let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text));
    read.map_err(|cause| refuse().because(&cause))?;
    Ok(text)
}

/// A key of a profile in an INI file.
fn in_profile(content: &str, profile: &str, name: &str) -> Option<String> {
    let mut inside = false;
    for line in content.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            inside = section.trim_end_matches(']').trim() == profile;
        } else if inside
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == name
        {
            return Some(value.trim().to_owned());
        }
    }
    None
}

/// As `aws configure export-credentials` and a `credential_process` print them, or the service itself.
fn of_json(path: &Path, content: &str, now: SystemTime) -> Result<Credentials, Failure> {
    let refuse = |why: String| {
        let message = format!("--iam-credentials: {} holds no credentials: {why}", path.display());
        Failure::new(Code::CommandLine, message)
            .hint("`aws configure export-credentials` prints what it should hold")
    };
    let json: Value = serde_json::from_str(content).map_err(|cause| refuse(cause.to_string()))?;
    let text = |name: &str| json.get(name).and_then(Value::as_str).map(str::to_owned);
    let needed = |name: &str| text(name).ok_or_else(|| refuse(format!("{name} is missing")));
    let end = match text("Expiration") {
        None => expiration(now),
        Some(end) => moment(&end).ok_or_else(|| refuse(format!("Expiration {end} is no time")))?,
    };
    Ok(Credentials {
        access_key_id: needed("AccessKeyId")?,
        secret_access_key: needed("SecretAccessKey")?,
        token: text("SessionToken").or_else(|| text("Token")).unwrap_or_default(),
        expiration: end,
    })
}

/// `2026-11-21T21:00:00Z`, also with a fraction or `+00:00`.
fn moment(text: &str) -> Option<SystemTime> {
    let (date, clock) = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00"))?.split_once('T')?;
    let numbers = |text: &str, by: char| -> Option<[u64; 3]> {
        let all: Result<Vec<u64>, _> = text.split(by).map(str::parse).collect();
        all.ok()?.try_into().ok()
    };
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(clock.split('.').next()?, ':')?;
    let good = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !good || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years begin in March here, so that a leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let seconds = (days - 719_468) * 86400 + hour * 3600 + minute * 60 + second;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn times_are_read_in_the_forms_that_are_written() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2022-02-13T13:17:17Z", 1_644_758_237),
            ("2000-02-29T00:00:00+00:00", 951_782_400),
            ("2024-03-01T00:00:00.123Z", 1_709_251_200),
        ] {
            assert_eq!(moment(text), Some(at(seconds)), "{text}");
        }
        for bad in ["", "2022-02-13", "2022-02-13T13:17:17", "2022-13-01T00:00:00Z", "x-02-13T13:17:17Z"] {
            assert_eq!(moment(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_file_is_read_again_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.json");
        let source = Source::open(&format!("file:{}", path.display()), |_| None).unwrap();
        assert!(source.read(at(0)).unwrap_err().message.contains("cannot read"));
        let exported = r#"{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "S", "SessionToken": "T",
            "Expiration": "2022-02-13T13:17:17Z"}"#;
        std::fs::write(&path, exported).unwrap();
        let had = source.read(at(0)).unwrap();
        assert_eq!((had.token.as_str(), had.expiration), ("T", at(1_644_758_237)));
        std::fs::write(&path, r#"{"AccessKeyId": "B", "SecretAccessKey": "S", "Token": "T"}"#).unwrap();
        let had = source.read(at(7300)).unwrap();
        assert_eq!((had.access_key_id.as_str(), had.expiration), ("B", at(7200 + 6 * 3600)));
        for bad in ["{", "{}", r#"{"AccessKeyId": "A", "SecretAccessKey": "S", "Expiration": "soon"}"#] {
            std::fs::write(&path, bad).unwrap();
            assert!(source.read(at(0)).unwrap_err().message.contains("holds no credentials"), "{bad}");
        }
    }

    #[test]
    fn environment_and_profiles_are_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        let ini =
            "[default]\naws_access_key_id = D\n[ci]\naws_access_key_id=C\naws_secret_access_key = x=y\n";
        std::fs::write(&path, ini).unwrap();
        let variable = |name: &str| match name {
            "AWS_SHARED_CREDENTIALS_FILE" => Some(path.clone().into_os_string()),
            "AWS_ACCESS_KEY_ID" => Some("E".into()),
            "AWS_SECRET_ACCESS_KEY" => Some("s".into()),
            _ => None,
        };
        let of = |given: &str| Source::open(given, variable).and_then(|source| source.read(at(0)));
        let ci = of("profile:ci").unwrap();
        assert_eq!((ci.access_key_id.as_str(), ci.secret_access_key.as_str()), ("C", "x=y"));
        assert_eq!(of("env").unwrap().access_key_id, "E");
        let partial = of("profile:default").unwrap_err();
        assert!(partial.message.ends_with("has no aws_secret_access_key"), "{}", partial.message);
        assert!(partial.hint.unwrap().contains("aws configure export-credentials --profile default"));
        assert!(of("vault:x").is_err() && Source::open("env", |_| None).is_err());
    }
}
