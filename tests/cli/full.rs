//! A state folder on a disk that is full: what cannot be made is refused and not half there, and what runs can be
//! ended.

use crate::guest::Guest;
use crate::leaks::Count;
use crate::life::Life;
use crate::run::{BOUND, Ended, end, has_kvm, read_until, run, skip};
use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// What a tmpfs gives a file at once.
const PAGE: usize = 4096;

/// A mount namespace in which the state folder is a small disk of its own.
struct Small {
    life: Life,
    /// Keeps the namespace.
    holder: Child,
}

impl Small {
    /// None: not here.
    fn new() -> Option<Small> {
        if !has_kvm() {
            return None;
        }
        let life = Life::new();
        fs::create_dir_all(life.state_folder()).unwrap();
        let mut holder = Command::new("unshare");
        life.place.prepare(&mut holder);
        let script = "mount -t tmpfs -o size=512k,mode=700 none \"$0\" && echo ready && read -r _";
        holder.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(life.state_folder());
        let holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut small = Small { life, holder: holder.spawn().unwrap() };
        let mut said = [0; 6];
        if small.holder.stdout.as_mut().unwrap().read_exact(&mut said).is_err() {
            let mut why = String::new();
            small.holder.stderr.as_mut().unwrap().read_to_string(&mut why).unwrap();
            skip(&why);
            return None;
        }
        Some(small)
    }

    /// `ami-run` in the namespace.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        self.life.place.prepare(&mut command);
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()));
        command.arg(format!("--wd={}", self.life.place.inputs().display()));
        command.arg(env!("CARGO_BIN_EXE_ami-run")).args(line.split(' '));
        command
    }

    fn ended(&self, line: &str) -> Ended {
        run(self.command(line))
    }

    fn done(&self, line: &str) -> String {
        let ended = self.ended(line);
        assert_eq!(ended.code, Some(0), "{line}: {}", ended.err);
        ended.out
    }

    /// Seen from outside.
    fn state_folder(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.life.state_folder().strip_prefix("/").unwrap())
    }

    /// Leaves this many pages free.
    fn fill(&self, free: usize) {
        let path = self.state_folder().join("fill");
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        let full = io::copy(&mut io::repeat(0), &mut file).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        file.flush().unwrap();
        let size = usize::try_from(file.metadata().unwrap().len()).unwrap() / PAGE * PAGE;
        file.set_len(u64::try_from(size - free * PAGE).unwrap()).unwrap();
    }

    fn empty(&self) {
        fs::remove_file(self.state_folder().join("fill")).unwrap();
    }

    /// Without the process that keeps the namespace.
    fn count(&self) -> Count {
        let counted = Count::of_folder(&self.life, &self.state_folder());
        Count { processes: counted.processes - 1, ..counted }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        fs::remove_file(self.state_folder().join("fill")).unwrap_or_default();
        for id in self.ended("ls -q").out.lines() {
            // The test has failed or not, whatever becomes of this.
            drop(self.ended(&format!("terminate --force {id}")));
        }
        drop(self.holder.stdin.take());
        end(&mut self.holder);
    }
}

const MACHINE: &str = "disk.raw --kernel guest --force --cpus 1 --memory 64";

#[test]
fn a_launch_on_a_full_disk_is_refused_and_leaves_nothing() {
    let Some(small) = Small::new() else { return };
    small.life.place.write("guest", Guest::default().say("up\r\n").halt().elf());
    let mut launched = 0;
    for free in 0..16 {
        small.fill(free);
        let Ended { code, out, err } = small.ended(&format!("{MACHINE} -d --wait-for console:up"));
        match code {
            Some(0) => {
                launched += 1;
                small.done(&format!("terminate --force {}", out.trim()));
            }
            _ => {
                assert_eq!((code, out.as_str()), (Some(3), ""), "{free}: {err}");
                assert!(err.contains("No space left on device"), "{free}: {err}");
            }
        }
        small.done("ls --output json");
        small.done("prune");
        assert_eq!(small.count(), Count::default(), "with {free} pages");
        small.empty();
    }
    assert!(launched > 0, "it fits at last");
}

#[test]
fn on_a_disk_that_has_become_full_instances_are_stopped_and_terminated() {
    let Some(small) = Small::new() else { return };
    small.life.place.write("guest", Guest::default().say("up\r\n").halt().elf());
    for verb in ["stop", "terminate"] {
        let id = small.done(&format!("{MACHINE} -d --wait-for console:up")).trim().to_owned();
        small.fill(0);
        let ended = small.done(&format!("{verb} {id}"));
        let wanted = if verb == "stop" { "stopped" } else { "terminated" };
        assert!(ended.starts_with(&format!("{id}  running → {wanted}\n")), "{ended}");
        assert!(small.done("ls").contains(wanted));
        let said = small.done(&format!("terminate {id}"));
        assert!(said.starts_with(&format!("{id}  ")) && said.contains("terminated"), "{said}");
        small.done("prune");
        small.empty();
        assert_eq!(small.count(), Count::default(), "{verb}");
    }
}

#[test]
fn a_console_log_that_has_no_room_ends_with_one_warning_and_the_guest_goes_on() {
    let Some(small) = Small::new() else { return };
    small.life.place.write("guest", Guest::default().flood().elf());
    let mut launch = small.command(&format!("{MACHINE} --name web"));
    let mut child = launch.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // The log alone fills the disk.
    let mut said = read_until(child.stderr.as_mut().unwrap(), "console log ends here");
    let begun = Instant::now();
    let ended = small.ended("stop --force web");
    assert!(begun.elapsed() < BOUND);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    said.push_str(&crate::run::rest(child.stderr.take().unwrap()));
    assert_eq!(end(&mut child).code(), Some(0), "{said}");
    assert_eq!(said.matches("console log ends here").count(), 1, "{said}");
    let id = small.done("ls -q").trim().to_owned();
    assert!(small.done("ls").contains("stopped"));
    small.done(&format!("terminate {id}"));
    small.done("prune");
    assert_eq!(small.count(), Count::default());
}
