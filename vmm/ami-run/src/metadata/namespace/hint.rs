//! Why this computer gives nobody a namespace, and what to do about it.

use super::tap;
use crate::exit::Code;
use crate::failure::Failure;
use std::io::{self, ErrorKind};

const OR_LISTEN: &str = "or serve on a port: --listen 127.0.0.1:1338";

/// Settings that forbid user namespaces, and what allows them: user_namespaces(7), Ubuntu's release notes for 23.10,
/// Debian's patch of its kernels.
const SETTINGS: [(&str, &str, &str); 3] = [
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("user/max_user_namespaces", "0", "10000"),
];

/// `setting`: the content of a file below /proc/sys.
pub(super) fn no_namespace(cause: &io::Error, setting: impl Fn(&str) -> Option<String>) -> Failure {
    let guilty =
        SETTINGS.iter().find(|(path, bad, _)| setting(path).is_some_and(|value| value.trim() == *bad));
    let hint = match guilty {
        Some((path, _, good)) => {
            format!("as root: sysctl -w {}={good}; {OR_LISTEN}", path.replace('/', "."))
        }
        None => format!(
            "a container's rules may forbid it (Docker: --security-opt seccomp=unconfined --security-opt \
             apparmor=unconfined, and --device /dev/net/tun); {OR_LISTEN}"
        ),
    };
    Failure::new(Code::Host, "this computer gives the command no network namespace of its own")
        .because(cause)
        .hint(hint)
}

/// The device that makes interfaces cannot be had.
pub(super) fn no_device(cause: &io::Error) -> Failure {
    let device = tap::DEVICE;
    let hint = match cause.kind() {
        ErrorKind::NotFound => format!("as root: modprobe tun; in a container: --device {device}"),
        ErrorKind::PermissionDenied => {
            format!(
                "as root: chmod 0666 {device}, as distributions have it: it gives nobody power over others"
            )
        }
        _ => format!("in a container: --device {device}"),
    };
    let failure = Failure::new(Code::Host, format!("cannot use {device}, which makes network interfaces"));
    failure.because(cause).hint(format!("{hint}; {OR_LISTEN}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_forbids_it_is_named() {
        let refused = io::Error::from(ErrorKind::PermissionDenied);
        let hint = |name: &'static str, value: &'static str| {
            let setting = move |asked: &str| (asked == name).then(|| format!("{value}\n"));
            no_namespace(&refused, setting).hint.unwrap()
        };
        let ubuntu = hint("kernel/apparmor_restrict_unprivileged_userns", "1");
        assert!(ubuntu.contains("sysctl -w kernel.apparmor_restrict_unprivileged_userns=0; or"), "{ubuntu}");
        let debian = hint("kernel/unprivileged_userns_clone", "0");
        assert!(debian.contains("sysctl -w kernel.unprivileged_userns_clone=1; or"), "{debian}");
        let none = hint("user/max_user_namespaces", "1000");
        assert!(none.contains("a container") && none.ends_with(OR_LISTEN), "{none}");
    }

    #[test]
    fn a_missing_device_and_a_forbidden_one_are_different_things() {
        let hint = |kind: ErrorKind| no_device(&kind.into()).hint.unwrap();
        assert!(hint(ErrorKind::NotFound).contains("modprobe tun"));
        assert!(hint(ErrorKind::PermissionDenied).contains("chmod 0666 /dev/net/tun"));
    }
}
