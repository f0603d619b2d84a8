//! An instance's own key pair: Ed25519, made at its launch, in the formats that OpenSSH's programs read.

use crate::exit::Code;
use crate::failure::Failure;
use rustix::fs::{AtFlags, CWD, fsync, unlinkat};
use rustix::io::Errno;
use ssh_key::private::{Ed25519Keypair, KeypairData, PrivateKey};
use ssh_key::{LineEnding, PublicKey};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The name of the key pairs that are made here, as EC2's KeyName.
pub(crate) const NAME: &str = "ami-run";
/// The private half, in the instance's folder.
pub(crate) const FILE: &str = "key";

/// A key pair of ours. Whoever reads the private half logs in, so it is not shown.
pub(crate) struct KeyPair {
    pub(crate) name: &'static str,
    /// `ssh-ed25519 AAAA… NAME`.
    pub(crate) public: String,
    /// As OpenSSH's programs read it.
    private: String,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

/// The key pair that a launch makes: if nobody `gave` one, and somebody is to log in, be it a person at the terminal
/// or the launch itself (`--exec`, `--wait-for ssh`). All instances of the launch get it.
pub(crate) fn for_launch(given: bool, login: bool) -> Result<Option<KeyPair>, Failure> {
    if given || !login {
        return Ok(None);
    }
    let failed = |cause: &dyn std::error::Error| {
        Failure::new(Code::Host, "cannot make a key pair")
            .because(cause)
            .hint("give one by --ssh-key FILE.pub")
    };
    let mut seed = [0; 32];
    fill(&mut seed).map_err(|cause| failed(&io::Error::from(cause)))?;
    KeyPair::from_seed(&seed).map(Some).map_err(|cause| failed(&cause))
}

/// Random bytes, all of them.
fn fill(seed: &mut [u8]) -> Result<(), Errno> {
    let mut left = seed;
    while !left.is_empty() {
        match rustix::rand::getrandom(&mut *left, rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => left = left.get_mut(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(())
}

impl KeyPair {
    fn from_seed(seed: &[u8; 32]) -> ssh_key::Result<KeyPair> {
        let pair = Ed25519Keypair::from_seed(seed);
        let public = PublicKey::new(pair.public.into(), NAME).to_openssh()?;
        let private = PrivateKey::new(KeypairData::Ed25519(pair), NAME)?.to_openssh(LineEnding::LF)?;
        Ok(KeyPair { name: NAME, public, private: private.to_string() })
    }

    /// Puts the private half into an instance's folder, before its machine runs.
    pub(crate) fn store(&self, folder: &Path) -> Result<(), Failure> {
        let path = folder.join(FILE);
        self.write(&path).map_err(|cause| {
            let mut failure = Failure::new(Code::Host, "cannot store the instance's key").because(&cause);
            failure.causes.insert(0, path.display().to_string());
            failure
        })
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        match unlinkat(CWD, path, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(cause) => return Err(cause.into()),
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(self.private.as_bytes())?;
        file.sync_all()?;
        fsync(File::open(path.parent().unwrap_or(path))?)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    #[test]
    fn openssh_reads_the_key_and_nobody_else_may() {
        let folder = tempfile::tempdir().unwrap();
        let pair = for_launch(false, true).unwrap().unwrap();
        pair.store(folder.path()).unwrap();
        // A start of a machine that was never started stores it again.
        pair.store(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let read = Command::new("ssh-keygen").arg("-y").arg("-f").arg(&path).output();
        match read {
            Ok(read) => {
                assert_eq!(String::from_utf8_lossy(&read.stdout).trim_end(), pair.public, "{read:?}");
            }
            Err(cause) => eprintln!("skipped: ssh-keygen reads the key: {cause}"),
        }
    }

    #[test]
    fn the_formats_are_openssh_s_and_each_key_is_new() {
        let pair = KeyPair::from_seed(&[7; 32]).unwrap();
        let public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI";
        assert!(pair.public.starts_with(public) && pair.public.ends_with(" ami-run"), "{}", pair.public);
        assert!(pair.private.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
        assert!(!format!("{pair:?}").contains("PRIVATE"));
        let new = || for_launch(false, true).unwrap().unwrap().public;
        assert_ne!(new(), new());
        for (given, login) in [(true, true), (true, false), (false, false)] {
            assert!(for_launch(given, login).unwrap().is_none());
        }
    }
}
