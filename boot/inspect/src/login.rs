//! Who logs in to a system by SSH: the user that cloud-init makes by default, as its settings on the disk say it.
//!
//! Of YAML only this one path is read, `system_info: default_user: name`, in the two ways in which people write it: no
//! YAML crate is kept. What is written otherwise is not found.

use crate::contents::{Holds, Table};
use crate::disk::{Disk, Fault};
use crate::files::{self, FileSystem, identify};
use crate::look::{MOST_AT_START, whole_disk};
use crate::table;
use std::io::{self, Read, Seek};

const SETTINGS: &str = "/etc/cloud/cloud.cfg";
/// Later files there say it over again.
const FOLDER: &str = "/etc/cloud/cloud.cfg.d";
/// Those of a distribution have some KiB.
const MAX_SETTINGS: u64 = 256 << 10;
const MAX_FILES: usize = 64;
/// useradd(8) makes no longer names.
const MAX_NAME: usize = 32;

/// The user that cloud-init makes, if a file system of the disk holds its settings. Arguments are those of
/// [`look`](crate::look).
pub fn login_user(source: &mut (impl Read + Seek), volume_bytes: u64) -> io::Result<Option<String>> {
    let mut disk = Disk::new(source, volume_bytes, MOST_AT_START)?;
    let found = search(&mut disk);
    match disk.trouble() {
        Some(cause) => Err(cause),
        None => Ok(found.unwrap_or_default()),
    }
}

fn search(disk: &mut Disk<'_>) -> Result<Option<String>, Fault> {
    let mut first = [0; 512];
    disk.read(0, &mut first)?;
    let (table, mut partitions) = table::read(disk, &first)?;
    for partition in &mut partitions {
        partition.holds = identify(disk, partition.first_byte, partition.bytes);
    }
    if table == Table::None {
        partitions.extend(whole_disk(disk));
    }
    for partition in partitions.iter().filter(|partition| partition.holds == Holds::Ext) {
        // What one file system says wrong is not what another says.
        let found = files::open(disk, partition).and_then(|files| user(disk, files.as_ref()));
        if let Ok(Some(name)) = found {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn user(disk: &mut Disk<'_>, files: &dyn FileSystem) -> Result<Option<String>, Fault> {
    let mut found = settings(disk, files, SETTINGS)?;
    let mut names = files.list(disk, FOLDER).unwrap_or_default();
    names.retain(|name| name.ends_with(".cfg"));
    names.sort();
    for name in names.iter().take(MAX_FILES) {
        if let Ok(Some(later)) = settings(disk, files, &format!("{FOLDER}/{name}")) {
            found = Some(later);
        }
    }
    Ok(found)
}

fn settings(disk: &mut Disk<'_>, files: &dyn FileSystem, path: &str) -> Result<Option<String>, Fault> {
    let bytes = files.find(disk, path)?.read(disk, MAX_SETTINGS)?;
    Ok(default_user(&String::from_utf8_lossy(&bytes)))
}

/// The name in `default_user`.
fn default_user(text: &str) -> Option<String> {
    let mut lines =
        text.lines().filter(|line| !matches!(line.trim_start().bytes().next(), None | Some(b'#')));
    let (outer, rest) = lines.find_map(|line| {
        let rest = line.trim_start().strip_prefix("default_user:")?;
        Some((indent(line), rest))
    })?;
    let name = if let Some(inline) = rest.trim_start().strip_prefix('{') {
        inline.split([',', '}']).find_map(|member| member.trim().strip_prefix("name:"))
    } else {
        let mut members = lines.take_while(|line| indent(line) > outer).peekable();
        let inner = members.peek().map_or(0, |line| indent(line));
        // Not a name of what is in a member of its own.
        members.filter(|line| indent(line) == inner).find_map(|line| line.trim_start().strip_prefix("name:"))
    };
    name.and_then(plain)
}

fn indent(line: &str) -> usize {
    line.bytes().take_while(|byte| *byte == b' ').count()
}

/// A scalar that is the name of a user.
fn plain(scalar: &str) -> Option<String> {
    let name = scalar.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']);
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let is_name = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(good) && !name.starts_with('-');
    is_name.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_found_as_distributions_write_it() {
        let debian = "users:\n  - default\nsystem_info:\n   distro: debian\n   # Default user\n   default_user:\n     name: debian\n     lock_passwd: True\n";
        let nested = "default_user:\n  sudo:\n    name: no\n  name: 'ec2-user'  # EC2's\nname: other\n";
        let inline = "system_info: \n  default_user: {lock_passwd: true, name: \"core\"}\n";
        for (text, name) in [(debian, "debian"), (nested, "ec2-user"), (inline, "core")] {
            assert_eq!(default_user(text).as_deref(), Some(name), "{text}");
        }
    }

    #[test]
    fn nothing_else_is_taken_for_a_name() {
        for text in [
            "",
            "#  default_user:\n#    name: x\n",
            "default_user:\n",
            "default_user:\n  gecos: x\nname: y\n",
            "default_user:\n  name: -oProxyCommand=x\n",
            "default_user:\n  name: a b\n",
            "default_user:\n  name: $(id)\n",
            "default_user:\n  name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
            "default_user: {",
            "default_user: [name: x]",
        ] {
            assert_eq!(default_user(text), None, "{text}");
        }
    }
}
