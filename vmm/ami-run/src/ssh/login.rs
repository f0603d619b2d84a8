//! How `ssh` and `scp` are told to log in to an instance.

use super::key;
use crate::args;
use ami_run_catalog::InstanceRecord;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which keys of servers were seen, in the instance's folder.
const KNOWN_HOSTS: &str = "known_hosts";

/// Who logs in to what, and how.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    /// The instance.
    pub(crate) id: String,
    /// Its folder.
    pub(crate) folder: PathBuf,
    pub(crate) user: String,
    /// The file of the private key, or of the public one if an agent has the other. None: it was given no key.
    pub(crate) identity: Option<PathBuf>,
    /// What connects standard input and output to the guest's port: a line for a shell.
    pub(crate) proxy: OsString,
}

impl Login {
    /// As `user` to the guest's `port`. Its server is waited for so long, or without end.
    pub(crate) fn new(
        record: &InstanceRecord,
        folder: &Path,
        user: String,
        port: u16,
        timeout: Option<Duration>,
    ) -> io::Result<Login> {
        let id = record.instance_id.clone();
        let mut proxy = quoted(std::env::current_exe()?.as_os_str());
        proxy.push(" --state-dir ");
        proxy.push(quoted(crate::state::place().as_os_str()));
        proxy.push(format!(" {} {id} {port}", args::PROXY));
        if let Some(timeout) = timeout {
            proxy.push(format!(" --timeout {}", timeout.as_secs()));
        }
        Ok(Login { identity: identity(record, folder), folder: folder.to_owned(), id, user, proxy })
    }

    /// The options that `ssh` and `scp` share.
    pub(crate) fn options(&self) -> Vec<OsString> {
        let known_hosts = argument(self.folder.join(KNOWN_HOSTS).as_os_str());
        let mut options = vec![
            option("ProxyCommand", &percents(&self.proxy)),
            option("User", &argument(OsStr::new(&self.user))),
            // An instance's host key is its own business: the user's known_hosts knows nothing of instances.
            option("UserKnownHostsFile", &known_hosts),
            option("HostKeyAlias", OsStr::new(&self.id)),
            option("StrictHostKeyChecking", OsStr::new("accept-new")),
            // A connection that is shared by name would outlive the instance of this name.
            option("ControlPath", OsStr::new("none")),
            // Without the line that a host key was added.
            option("LogLevel", OsStr::new("ERROR")),
        ];
        if let Some(identity) = &self.identity {
            options.push(option("IdentityFile", &argument(identity.as_os_str())));
            options.push(option("IdentitiesOnly", OsStr::new("yes")));
        }
        options
    }
}

/// The instance's own key, or the one that its launch was given.
fn identity(record: &InstanceRecord, folder: &Path) -> Option<PathBuf> {
    let own = folder.join(key::FILE);
    if own.exists() {
        return Some(own);
    }
    let public = record.own.key_file.as_ref()?;
    // As ssh-keygen names the two; else an agent is asked for the private half.
    let private = public.with_extension("");
    let beside = public.extension() == Some(OsStr::new("pub")) && private.exists();
    Some(if beside { private } else { public.clone() })
}

fn option(name: &str, value: &OsStr) -> OsString {
    let mut option = OsString::from(format!("-o{name}="));
    option.push(value);
    option
}

/// For a shell.
pub(super) fn quoted(word: &OsStr) -> OsString {
    let mut quoted = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => quoted.extend_from_slice(br"'\''"),
            other => quoted.push(*other),
        }
    }
    quoted.push(b'\'');
    OsString::from_vec(quoted)
}

/// For an option of ssh_config(5) that is split into words, and in which `%` begins a token.
fn argument(value: &OsStr) -> OsString {
    let mut argument = vec![b'"'];
    for byte in value.as_bytes() {
        if matches!(byte, b'"' | b'\\') {
            argument.push(b'\\');
        }
        argument.push(*byte);
    }
    argument.push(b'"');
    percents(&OsString::from_vec(argument))
}

fn percents(value: &OsStr) -> OsString {
    let doubled =
        value.as_bytes().iter().flat_map(|byte| if *byte == b'%' { vec![b'%'; 2] } else { vec![*byte] });
    OsString::from_vec(doubled.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_are_spelt_so_that_they_are_read_back() {
        let odd = OsStr::new("/a b/it's \"50%\"\\");
        assert_eq!(quoted(odd), OsString::from("'/a b/it'\\''s \"50%\"\\'"));
        assert_eq!(argument(odd), OsString::from("\"/a b/it's \\\"50%%\\\"\\\\\""));
        assert_eq!(option("IdentityFile", OsStr::new("x")), OsString::from("-oIdentityFile=x"));
    }
}
