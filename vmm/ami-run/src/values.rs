//! Values of options: from what was typed to a type that needs no second look.

use ami_run_catalog::{Behavior, Network, State};
use ami_run_image::{ImageBootMode, is_snapshot_id};
use ami_run_models::trace::Kinds;
use ami_run_network::{Forward, NoForward};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What a guest's memory may be at least: SeaBIOS and a boot sector run in this. Other firmware needs more.
const MIN_MEMORY_MIB: u64 = 16;

/// `--snapshot SNAP=FILE`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotFile {
    pub(crate) id: String,
    pub(crate) file: PathBuf,
}

/// `--trace KIND[,KIND]=FILE`
#[derive(Clone, Debug)]
pub(crate) struct TraceTo {
    pub(crate) kinds: Kinds,
    /// The kinds as they were typed.
    pub(crate) names: String,
    pub(crate) file: PathBuf,
}

/// `--wait-for`
#[derive(Clone, Debug)]
pub(crate) struct Awaited {
    /// As it was typed.
    pub(crate) text: String,
    pub(crate) sign: Sign,
}

/// By what it is seen.
#[derive(Clone, Debug)]
pub(crate) enum Sign {
    Console(regex::bytes::Regex),
    /// An SSH server's answer.
    Ssh,
}

/// `--escape KEY`: a control character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EscapeKey(pub(crate) u8);

impl EscapeKey {
    pub(crate) fn name(self) -> String {
        format!("Ctrl-{}", char::from(self.0 | 0x40))
    }
}

/// `--delete-on-termination DEVICE=true|false`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeleteOnTermination {
    pub(crate) device: String,
    pub(crate) value: bool,
}

/// A size of memory in MiB.
pub(crate) fn memory(text: &str) -> Result<u64, String> {
    let upper = text.to_ascii_uppercase();
    let short = upper.strip_suffix("IB").unwrap_or(&upper);
    let (number, unit) = match (short.strip_suffix('G'), short.strip_suffix('M')) {
        (Some(number), _) => (number, 1024),
        (_, Some(number)) => (number, 1),
        _ => (upper.as_str(), 1),
    };
    let mib = digits(number).and_then(|n| n.checked_mul(unit)).ok_or("give MiB, or a number with M or G")?;
    // Bytes of it must fit, too.
    if !(MIN_MEMORY_MIB..=u64::MAX >> 20).contains(&mib) {
        return Err(format!("{mib} MiB is not a guest's memory: give {MIN_MEMORY_MIB}M or more"));
    }
    Ok(mib)
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match (text.strip_suffix('s'), text.strip_suffix('m'), text.strip_suffix('h')) {
        (Some(number), _, _) => (number, 1),
        (_, Some(number), _) => (number, 60),
        (_, _, Some(number)) => (number, 3600),
        _ => (text, 1),
    };
    // A century is for ever, and can be added to any clock's time.
    let century = 100 * 366 * 24 * 3600;
    match digits(number).and_then(|n| n.checked_mul(unit)) {
        Some(seconds) => Ok(Duration::from_secs(seconds.min(century))),
        None => Err("give seconds, or a number with s, m or h, such as 90s or 5m".to_owned()),
    }
}

/// A duration that is not zero.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("nothing can be seen in no time: give 1s or more".to_owned()),
        some => Ok(some),
    }
}

/// Who logs in to a guest: a word that neither `ssh` nor a shell takes for more.
pub(crate) fn user(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_alphanumeric() || "_.-@+".contains(c);
    if text.is_empty() || text.starts_with('-') || !text.chars().all(good) {
        return Err("give the name of a user".to_owned());
    }
    Ok(text.to_owned())
}

fn digits(text: &str) -> Option<u64> {
    // `parse` would take a plus sign.
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

pub(crate) fn snapshot(text: &str) -> Result<SnapshotFile, String> {
    let (id, file) = named_file(text, "SNAP=FILE, such as snap-0123456789abcdef0=root.raw")?;
    if !is_snapshot_id(id) {
        return Err(format!("`{id}` is not a snapshot id: give the image's own, which begins with `snap-`"));
    }
    Ok(SnapshotFile { id: id.to_owned(), file })
}

pub(crate) fn boot_mode(text: &str) -> Result<ImageBootMode, String> {
    ImageBootMode::from_ec2(text).ok_or_else(|| format!("give {}", ImageBootMode::NAMES.join(", ")))
}

/// A tag's value has at most 256 characters on EC2.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let count = text.chars().count();
    match text {
        "" => Err("a name has at least one character".to_owned()),
        _ if count > 256 => Err(format!("a tag's value has 256 characters at most, and this {count}")),
        _ if text.chars().any(char::is_control) => Err("a name has no control characters".to_owned()),
        _ if text.starts_with("i-") => Err("what begins with i- is taken for an instance's id".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// An account's id has 12 digits, which people write in groups, too.
pub(crate) fn account(text: &str) -> Result<String, String> {
    let id = text.replace('-', "");
    if id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(id)
    } else {
        Err("an account id has 12 digits".to_owned())
    }
}

/// A Region's name has words and a number: us-gov-west-1.
pub(crate) fn region(text: &str) -> Result<String, String> {
    let parts: Vec<_> = text.split('-').collect();
    let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    match parts.split_last() {
        Some((number, words))
            if (2..=3).contains(&words.len())
                && words.iter().all(is_word)
                && number.parse::<u8>().is_ok() =>
        {
            Ok(text.to_owned())
        }
        _ => Err("give a Region such as eu-central-1".to_owned()),
    }
}

pub(crate) fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "give an address and a port, such as 127.0.0.1:1338".to_owned())
}

pub(crate) fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("give KEY=VALUE, such as Name=web".to_owned()),
    }
}

pub(crate) fn trace(text: &str) -> Result<TraceTo, String> {
    let (kinds, file) = named_file(text, "KIND[,KIND]=FILE, such as exits,pci=trace.txt")?;
    Ok(TraceTo { kinds: kinds.parse()?, names: kinds.to_owned(), file })
}

pub(crate) fn delete_on_termination(text: &str) -> Result<DeleteOnTermination, String> {
    let parts = text.rsplit_once('=').map(|(device, value)| (device, value.parse()));
    match parts {
        Some((device, Ok(value))) if !device.is_empty() => {
            Ok(DeleteOnTermination { device: device.to_owned(), value })
        }
        _ => Err("give DEVICE=true or DEVICE=false, such as /dev/sdf=true".to_owned()),
    }
}

pub(crate) fn behavior(text: &str) -> Result<Behavior, String> {
    match text {
        "stop" => Ok(Behavior::Stop),
        "terminate" => Ok(Behavior::Terminate),
        _ => Err("give stop or terminate".to_owned()),
    }
}

/// A state that instances stay in until something is done to them.
pub(crate) fn lasting_state(text: &str) -> Result<State, String> {
    let lasting = |state: &State| matches!(state, State::Running | State::Stopped | State::Terminated);
    State::from_name(text)
        .filter(lasting)
        .ok_or_else(|| "the last word is a state: running, stopped or terminated".to_owned())
}

fn named_file<'a>(text: &'a str, form: &str) -> Result<(&'a str, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name, PathBuf::from(file))),
        _ => Err(format!("give {form}")),
    }
}

/// What a network card is connected to. Ports of the user network are given by themselves.
pub(crate) fn network(text: &str) -> Result<Network, String> {
    /// Of a network interface's name, in bytes (IFNAMSIZ without its end).
    const LONGEST: usize = 15;
    match (text, text.strip_prefix("tap=")) {
        ("user", _) => Ok(Network::default()),
        ("none", _) => Ok(Network::None),
        (_, Some(name)) if (1..=LONGEST).contains(&name.len()) && !name.contains(['/', ' ']) => {
            Ok(Network::Tap { name: name.to_owned() })
        }
        (_, Some(_)) => Err("give tap= and the name of an interface, 1 to 15 characters".to_owned()),
        _ => Err("give user, tap=NAME or none".to_owned()),
    }
}

pub(crate) fn forward(text: &str) -> Result<Forward, String> {
    text.parse().map_err(|cause: NoForward| cause.to_string())
}

pub(crate) fn awaited(text: &str) -> Result<Awaited, String> {
    const LOGIN: &str = "login: ?$";
    // cloud-init's final_message, as it is by default in all of its versions.
    const CLOUD_INIT: &str = r"Cloud-init v\. \S+ finished at ";
    let expression = match text {
        "ssh" => return Ok(Awaited { text: text.to_owned(), sign: Sign::Ssh }),
        "login" => LOGIN,
        "cloud-init" => CLOUD_INIT,
        _ => text.strip_prefix("console:").ok_or_else(|| {
            "give console:REGEX, such as console:login:, or login, ssh or cloud-init".to_owned()
        })?,
    };
    if expression.is_empty() {
        return Err("an empty pattern is always seen: give console:REGEX".to_owned());
    }
    let built = regex::bytes::RegexBuilder::new(expression).multi_line(true).crlf(true).build();
    match built {
        Ok(regex) => Ok(Awaited { text: text.to_owned(), sign: Sign::Console(regex) }),
        Err(cause) => Err(cause.to_string()),
    }
}

pub(crate) fn escape_key(text: &str) -> Result<EscapeKey, String> {
    let lower = text.to_ascii_lowercase();
    let key = lower.strip_prefix("ctrl-").or_else(|| lower.strip_prefix('^')).map(str::as_bytes);
    match key {
        // What an Enter key sends cannot be an escape key.
        Some([b'j' | b'm']) => Err("that is the Enter key: choose another".to_owned()),
        Some([key @ (b'a'..=b'z' | b'\\'..=b'_')]) => Ok(EscapeKey(key & 0x1f)),
        _ => Err("give ctrl- and a letter or one of \\ ] ^ _, such as ctrl-t".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_in_mib_unless_it_says_otherwise() {
        let good = [("512", 512), ("512M", 512), ("2G", 2048), ("1g", 1024), ("3GiB", 3072), ("64mib", 64)];
        for (text, mib) in good {
            assert_eq!(memory(text), Ok(mib), "{text}");
        }
        for bad in [
            "",
            "G",
            "-1",
            "+1",
            "1.5G",
            "0",
            "15M",
            "2T",
            "1 G",
            "18446744073709551615G",
            "99999999999999999",
        ] {
            assert!(memory(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_in_seconds_unless_they_say_otherwise() {
        let seconds = |n| Ok(Duration::from_secs(n));
        for (text, n) in [("90", 90), ("90s", 90), ("5m", 300), ("2h", 7200), ("0", 0)] {
            assert_eq!(duration(text), seconds(n), "{text}");
        }
        for bad in ["", "s", "1d", "-5", "1.5s", "5ms", "99999999999999999999"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(timeout("0s").is_err());
    }

    #[test]
    fn snapshots_and_traces_name_a_file() {
        let given = snapshot("snap-1=a=b.raw").unwrap();
        assert_eq!((given.id.as_str(), given.file), ("snap-1", PathBuf::from("a=b.raw")));
        for bad in ["snap-1", "snap-1=", "=x", "vol-1=x"] {
            assert!(snapshot(bad).is_err(), "{bad}");
        }
        assert_eq!(trace("exits,irq=out").unwrap().kinds, Kinds::EXITS | Kinds::IRQ);
        assert!(trace("smoke=out").unwrap_err().contains("choose from"));
    }

    #[test]
    fn accounts_and_boot_modes_are_ec2_s() {
        assert_eq!(account("1234-5678-9012").as_deref(), Ok("123456789012"));
        for bad in ["", "12345678901", "1234567890123", "12345678901x", "self"] {
            assert!(account(bad).is_err(), "{bad}");
        }
        assert_eq!(boot_mode("uefi"), Ok(ImageBootMode::Uefi));
        assert!(boot_mode("bios").unwrap_err().contains("uefi-preferred"));
    }

    #[test]
    fn states_behaviors_and_devices_are_ec2_s() {
        assert_eq!(lasting_state("stopped"), Ok(State::Stopped));
        assert!(lasting_state("pending").is_err() && lasting_state("i-1").is_err());
        assert_eq!(behavior("terminate"), Ok(Behavior::Terminate));
        assert!(behavior("hibernate").is_err());
        let given = delete_on_termination("/dev/sdf=true").unwrap();
        assert_eq!((given.device.as_str(), given.value), ("/dev/sdf", true));
        for bad in ["", "/dev/sdf", "=true", "/dev/sdf=yes", "/dev/sdf="] {
            assert!(delete_on_termination(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn regions_and_tags_have_their_form() {
        for good in ["us-east-1", "ap-northeast-2", "us-gov-west-1"] {
            assert_eq!(region(good).as_deref(), Ok(good));
        }
        for bad in ["", "us-east", "us-east-1a", "US-EAST-1", "1", "us--1", "a-b-c-d-1"] {
            assert!(region(bad).is_err(), "{bad}");
        }
        assert_eq!(tag("k=a=b"), Ok(("k".to_owned(), "a=b".to_owned())));
        assert!(tag("k").is_err() && tag("=v").is_err());
        assert!(listen("[::1]:80").is_ok() && listen("localhost:80").unwrap_err().contains("127.0.0.1:1338"));
    }

    #[test]
    fn networks_are_named() {
        assert_eq!(network("none"), Ok(Network::None));
        assert_eq!(network("tap=tap0"), Ok(Network::Tap { name: "tap0".to_owned() }));
        for bad in ["", "bridge", "tap", "tap=", "tap=a/b", "tap=0123456789abcdef"] {
            assert!(network(bad).is_err(), "{bad}");
        }
        assert!(forward("22").unwrap_err().contains("2222:22"));
    }

    #[test]
    fn what_is_waited_for_on_the_console_is_found_in_lines_that_end_in_any_way() {
        let is_seen = |text: &str, console: &[u8]| match awaited(text).unwrap().sign {
            Sign::Console(regex) => regex.is_match(console),
            Sign::Ssh => false,
        };
        assert!(is_seen("console:^login: $", b"Debian\r\nlogin: \r\n"));
        assert!(is_seen("login", b"\r\nip-172-31-16-4 login: "));
        assert!(!is_seen("login", b"Last login: Sun Nov 22 01:00:00 UTC 2026 on ttyS0\r\n"));
        let finished =
            b"[   30.5] cloud-init[614]: Cloud-init v. 22.4.2 finished at Sun, 22 Nov 2026 00:00:00 +0000.";
        assert!(
            is_seen("cloud-init", finished) && !is_seen("cloud-init", b"Cloud-init v. 22.4.2 running 'init'")
        );
        assert!(matches!(awaited("ssh").unwrap().sign, Sign::Ssh));
        for bad in ["login:", "console:", "console:(", "console", "SSH", ""] {
            assert!(awaited(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn escape_keys_are_control_characters() {
        assert_eq!(escape_key("ctrl-a"), Ok(EscapeKey(1)));
        assert_eq!(escape_key("Ctrl-]").unwrap().name(), "Ctrl-]");
        assert_eq!(escape_key("^T").unwrap().name(), "Ctrl-T");
        for bad in ["a", "ctrl-", "ctrl-aa", "ctrl-1", "ctrl-m", "alt-x"] {
            assert!(escape_key(bad).is_err(), "{bad}");
        }
    }
}
