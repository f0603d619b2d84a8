//! `ami-run snapshot serve`: who may connect, how it ends, and what becomes of the socket.

use crate::run::{Place, end, read_until, rest, run};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A server that can be used.
struct Serving {
    child: Child,
    said: String,
}

impl Serving {
    fn start(mut command: Command) -> Serving {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let said = read_until(child.stderr.as_mut().unwrap(), "s\n");
        Serving { child, said }
    }

    /// Its exit code, and what it said at last.
    fn end_by(mut self, signal: &str) -> (Option<i32>, String) {
        let kill = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let code = end(&mut self.child).code();
        (code, rest(self.child.stderr.take().unwrap()))
    }
}

/// What every NBD server says first.
fn greeted(socket: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"NBDMAGICIHAVEOPT\0\x03");
    stream
}

#[test]
fn a_snapshot_is_served_to_its_user_until_a_signal_comes() {
    for (signal, code) in [("-TERM", 143), ("-INT", 130), ("-HUP", 129)] {
        let place = Place::new();
        place.write("snap-1.raw", [7; 4096]);
        let serving = Serving::start(place.command(&["snapshot", "serve", "snap-1", "--socket", "a b.sock"]));
        let socket = place.inputs().join("a b.sock");
        let uri = socket.display().to_string().replace(' ', "%20");
        assert!(
            serving.said.contains(&format!("snap-1 at nbd+unix:///?socket={uri}, read-only")),
            "{}",
            serving.said
        );
        let file = socket.metadata().unwrap();
        assert!(file.file_type().is_socket());
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
        // Somebody who stays connected and says nothing.
        let _silent = greeted(&socket);
        let (ended, said) = serving.end_by(signal);
        assert_eq!(ended, Some(code), "{said}");
        assert!(place.leftovers(&["snap-1.raw"]).is_empty(), "{:?}", place.leftovers(&["snap-1.raw"]));
    }
}

#[test]
fn a_dead_servers_socket_is_replaced_and_a_living_ones_is_not() {
    let place = Place::new();
    place.write("d.raw", [0; 512]);
    let socket = place.inputs().join("s");
    drop(UnixListener::bind(&socket).unwrap());
    let serve = || place.command(&["snapshot", "serve", "d.raw", "--socket", "s"]);
    let serving = Serving::start(serve());
    drop(greeted(&socket));
    let second = run(serve());
    assert_eq!(second.code, Some(3), "{}", second.err);
    assert!(second.err.contains("--socket s: another program is serving there"), "{}", second.err);
    drop(greeted(&socket));
    // Another program's socket of that name is not removed at the end.
    std::fs::remove_file(&socket).unwrap();
    let other = UnixListener::bind(&socket).unwrap();
    assert_eq!(serving.end_by("-TERM").0, Some(143));
    UnixStream::connect(&socket).unwrap().write_all(b"x").unwrap();
    drop(other);
}
