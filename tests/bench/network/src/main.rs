//! What the user-mode link costs, without a machine: a generated guest drives it through its interface, and QEMU's user
//! network and passt through the sockets that they have for such things. Prints one JSON object of samples.
//!
//!     network-bench link | qemu FILE | passt FILE
//!     network-bench requests ADDR:PORT
//!
//! FILE is the program of QEMU or passt. The host's side is in this process, on loopback, for all. `requests` asks a
//! metadata service on loopback.

mod guest;
mod host;
mod requests;
mod wire;

use guest::{Connection, Station};
use serde_json::{Value, json};
use std::error::Error;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use wire::{OURS, PASST, SLIRP, Wire};

const SAMPLES: usize = 10;
const SLICE: Duration = Duration::from_millis(300);
const CONNECTIONS: usize = 300;
const REQUESTS: usize = 2000;
const FLOWS: usize = 1000;
/// The exit status if nothing more came of the other side.
const STALLED: u8 = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["link"] => link(),
        ["qemu", program] => qemu(program),
        ["passt", program] => passt(program),
        ["requests", server] => requests::measure(server).map_err(Into::into),
        _ => Err("usage: network-bench link | qemu FILE | passt FILE | requests ADDR:PORT".into()),
    };
    match outcome.and_then(|figures| Ok(writeln!(io::stdout(), "{figures}")?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            writeln!(io::stderr(), "network-bench: {cause}").unwrap_or_default();
            let stalled =
                cause.downcast_ref::<io::Error>().is_some_and(|one| one.kind() == ErrorKind::TimedOut);
            if stalled { ExitCode::from(STALLED) } else { ExitCode::FAILURE }
        }
    }
}

fn link() -> Result<Value, Box<dyn Error>> {
    let mut station = Station::new(Wire::link()?, OURS)?;
    Ok(measure(&mut station, std::process::id())?)
}

/// Ends it, whatever happens.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

fn qemu(program: &str) -> Result<Value, Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("network-bench-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&path)?;
    let stream = format!("stream,id=wire,server=off,addr.type=unix,addr.path={}", path.display());
    let child = Command::new(program)
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-M", "none", "-monitor", "none"])
        .args(["-netdev", "user,id=user", "-netdev", &stream])
        .args([
            "-netdev",
            "hubport,id=one,hubid=0,netdev=user",
            "-netdev",
            "hubport,id=two,hubid=0,netdev=wire",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let mut peer = Peer(child.inspect_err(|_| remove(&path))?);
    let accepted = accept(&listener, &mut peer.0);
    remove(&path);
    let mut station = Station::new(Wire::socket(accepted?, false)?, SLIRP)?;
    Ok(measure(&mut station, peer.0.id())?)
}

fn passt(program: &str) -> Result<Value, Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("network-bench-{}.sock", std::process::id()));
    let child = Command::new(program)
        .args(["--foreground", "--quiet", "--ipv4-only", "--address", "10.0.2.15", "--netmask", "24"])
        .args(["--gateway", "10.0.2.2", "--socket"])
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let mut peer = Peer(child?);
    let connected = connect(&path, &mut peer.0);
    remove(&path);
    // Of the rest of a frame that it has read in part, passt of 2023 reads once more what is there, and loses step if
    // that is not all: then it takes data for lengths, and hears nothing for seconds.
    let mut station = Station::new(Wire::socket(connected?, true)?, PASST)?;
    Ok(measure(&mut station, peer.0.id())?)
}

fn remove(path: &Path) {
    // What is left over is a name in the folder of temporary files.
    std::fs::remove_file(path).unwrap_or_default();
}

fn accept(listener: &UnixListener, child: &mut Child) -> io::Result<UnixStream> {
    listener.set_nonblocking(true)?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => return Ok(stream),
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => {}
            Err(cause) => return Err(cause),
        }
        still_runs(child)?;
    }
}

/// After a moment, in which it may have got further.
fn still_runs(child: &mut Child) -> io::Result<()> {
    std::thread::sleep(Duration::from_millis(5));
    match child.try_wait()? {
        Some(status) => Err(io::Error::other(format!("the other program ended: {status}"))),
        None => Ok(()),
    }
}

fn connect(path: &Path, child: &mut Child) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path) {
            Err(cause) if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
            outcome => return outcome,
        }
        still_runs(child)?;
    }
}

fn measure(station: &mut Station, process: u32) -> io::Result<Value> {
    // First: what other measures leave behind would hide what flows take.
    let memory = memory(station, process)?;
    let to_host = rates(station, host::sink()?, |one| one.arrived, u64::MAX)?;
    let to_guest = rates(station, host::source()?, |one| one.heard, 0)?;
    let longest = station.longest;
    let echo = host::echo()?;
    let latencies = latencies(station, echo)?;
    let connections = connections(station, echo)?;
    Ok(json!({
        "to_host_bytes_per_second": to_host,
        "to_guest_bytes_per_second": to_guest,
        "longest_to_guest": longest,
        "latency_us": latencies,
        "connections_per_second": connections,
        "kib_per_1000_flows": memory,
    }))
}

/// Bytes a second of one connection, slice by slice.
fn rates(station: &mut Station, to: u16, count: fn(&Connection) -> u64, limit: u64) -> io::Result<Vec<f64>> {
    let mut connection = station.connect(to)?;
    let mut rates = Vec::new();
    for sample in 0..=SAMPLES {
        let (before, begun) = (count(&connection), Instant::now());
        station.until(&mut [&mut connection], limit, |_| begun.elapsed() >= SLICE)?;
        // The first warms up.
        if sample > 0 {
            rates.push((count(&connection) - before) as f64 / begun.elapsed().as_secs_f64());
        }
    }
    station.abort(&mut connection);
    Ok(rates)
}

/// Microseconds from a byte said to the same byte heard.
fn latencies(station: &mut Station, to: u16) -> io::Result<Vec<f64>> {
    let mut connection = station.connect(to)?;
    let mut samples = Vec::new();
    for request in 1..=REQUESTS as u64 {
        let begun = Instant::now();
        station.until(&mut [&mut connection], request, |all| all.iter().all(|one| one.heard == request))?;
        samples.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    station.close(&mut connection)?;
    Ok(samples)
}

/// Connections made, used for one byte and closed, one after the other.
fn connections(station: &mut Station, to: u16) -> io::Result<Vec<f64>> {
    let mut rates = Vec::new();
    for _ in 0..SAMPLES {
        let begun = Instant::now();
        for _ in 0..CONNECTIONS / SAMPLES {
            let mut connection = station.connect(to)?;
            station.until(&mut [&mut connection], 1, |all| all.iter().all(|one| one.heard == 1))?;
            station.close(&mut connection)?;
        }
        rates.push((CONNECTIONS / SAMPLES) as f64 / begun.elapsed().as_secs_f64());
    }
    Ok(rates)
}

/// What connections that exist and say nothing take of the program's memory.
fn memory(station: &mut Station, process: u32) -> io::Result<f64> {
    let to = host::keeper()?;
    let mut first = station.connect(to)?;
    station.abort(&mut first);
    let before = dirty(process)?;
    let mut connections = Vec::new();
    // A few at a time: a listener's queue is bounded.
    for _ in 0..FLOWS / 50 {
        let mut some: Vec<Connection> = (0..50).map(|_| station.begin(to)).collect();
        let mut all: Vec<&mut Connection> = some.iter_mut().collect();
        station.until(&mut all, 0, |all| all.iter().all(|one| one.open || one.reset))?;
        if all.iter().any(|one| one.reset) {
            return Err(io::Error::other("a connection was refused"));
        }
        connections.extend(some);
    }
    let taken = dirty(process)?.saturating_sub(before);
    // Other measures are not to be slowed by them.
    connections.iter_mut().for_each(|connection| station.abort(connection));
    station.turn(&mut [])?;
    Ok(taken as f64 * 1000.0 / connections.len() as f64)
}

/// Private_Dirty of a process, in KiB.
fn dirty(process: u32) -> io::Result<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    kib.ok_or_else(|| io::Error::other("smaps_rollup has no Private_Dirty"))
}
