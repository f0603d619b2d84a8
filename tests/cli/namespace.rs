//! `ami-run metadata … -- COMMAND`: what the command finds where every client looks, how far it is away, and how both
//! end. The commands are this very program: a test that only such a command is told to play.
#![expect(unsafe_code, reason = "IP_MINTTL has no safe face")]

use crate::run::{Ended, Place, end, read_until, rest, run, skip};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const IMAGE: &str = r#"{"Images": [{"ImageId": "ami-0abcdef1234567890", "Architecture": "x86_64",
  "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": [
  {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1", "VolumeSize": 8}},
  {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}}]}]}"#;
const TABLE: &str = include_str!("../../devices/metadata/tests/conformance.tsv");
const SERVICE: &str = "169.254.169.254:80";
const SERVICE_6: &str = "[fd00:ec2::254]:80";
/// The part that a command plays, and its scenario in the table.
const PART: &str = "AMI_RUN_TEST_PART";
const TOKEN: &str = "X-aws-ec2-metadata-token";

fn metadata(place: &Place, options: &[&str]) -> Command {
    place.write("image.json", IMAGE);
    let mut command = place.command(&["metadata", "image.json"]);
    command.args(options);
    command
}

/// Plays a part. None: this computer gives nobody a namespace, which is said.
fn play(place: &Place, part: &str, options: &[&str]) -> Option<Ended> {
    let mut command = metadata(place, options);
    let me = std::env::current_exe().unwrap();
    command.env(PART, part).arg("--").arg(me).args([
        "namespace::a_command",
        "--exact",
        "--ignored",
        "--nocapture",
    ]);
    let ended = run(command);
    if is_forbidden(&ended) {
        return None;
    }
    assert_eq!(ended.code, Some(0), "{part}: {}{}", ended.out, ended.err);
    assert!(ended.out.contains("1 passed"), "{}", ended.out);
    Some(ended)
}

fn is_forbidden(ended: &Ended) -> bool {
    let words = ["network namespace of its own", "cannot use /dev/net/tun"];
    let forbidden = ended.code == Some(3) && words.iter().any(|word| ended.err.contains(word));
    if forbidden {
        assert!(ended.err.contains("--listen 127.0.0.1:1338"), "{}", ended.err);
        skip(&ended.err);
    }
    forbidden
}

#[test]
fn credentials_that_are_lent_from_the_environment_are_not_in_the_command_s() {
    let place = Place::new();
    let mut command =
        metadata(&place, &["--iam-credentials", "env", "--", "sh", "-c", "echo ${AWS_ACCESS_KEY_ID-none}"]);
    command.env("AWS_ACCESS_KEY_ID", "AKIA1").env("AWS_SECRET_ACCESS_KEY", "s");
    let ended = run(command);
    if !is_forbidden(&ended) {
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), "none\n"), "{}", ended.err);
        assert!(ended.err.contains("the credentials of the environment, to sh"), "{}", ended.err);
    }
}

#[test]
#[ignore = "the others have it played in a namespace"]
fn a_command() {
    let Ok(part) = std::env::var(PART) else { return };
    match part.as_str() {
        "near" => near(),
        "far" => far(),
        "token" => std::fs::write("token", token(21600)).unwrap(),
        scenario => table(scenario.trim_end_matches('6')),
    }
}

#[test]
fn every_row_of_the_table_holds_where_clients_look() {
    let place = Place::new();
    place.write("data", "#!/bin/sh\necho hello");
    place.write("my-key-name.pub", "ssh-rsa AAAAB3NzaC1yc2E my-key-name\n");
    place.write("keys", r#"{"AccessKeyId": "ASIA", "SecretAccessKey": "s", "SessionToken": "t"}"#);
    let given = ["--user-data", "data", "--ssh-key", "my-key-name.pub", "--iam-credentials", "file:keys"];
    let tags = ["--tag", "Name=web server", "--tag", "Empty=", "--tag", "a+b=x"];
    for (scenario, options) in [
        ("token", "HttpTokens=optional"),
        ("default", "HttpTokens=optional"),
        ("default6", "HttpTokens=optional,HttpProtocolIpv6=enabled"),
        ("required", "HttpTokens=required,HttpPutResponseHopLimit=2"),
        ("disabled", "HttpEndpoint=disabled"),
        ("tags", "InstanceMetadataTags=enabled"),
        ("bare", "HttpTokens=optional"),
    ] {
        let given = if scenario == "bare" { &[][..] } else { &given };
        let tags = if scenario == "tags" { &tags[..] } else { &[] };
        let options = [given, tags, &["--metadata-options", options]].concat();
        if play(&place, scenario, &options).is_none() {
            return;
        }
    }
}

#[test]
fn a_token_comes_no_further_than_its_hop_limit() {
    let place = Place::new();
    for (part, limit) in [("near", 1), ("far", 64)] {
        let options = format!("HttpPutResponseHopLimit={limit}");
        if play(&place, part, &["--metadata-options", &options]).is_none() {
            return;
        }
    }
}

#[test]
fn the_command_s_end_is_ours() {
    let place = Place::new();
    let ended = |command: &[&str]| run(metadata(&place, &[&["--"], command].concat()));
    let plain = ended(&["sh", "-c", "cat; echo out; echo err >&2; exit 7"]);
    if is_forbidden(&plain) {
        return;
    }
    assert_eq!((plain.code, plain.out.as_str()), (Some(7), "out\n"), "{}", plain.err);
    assert!(plain.err.ends_with("err\n"), "{}", plain.err);
    assert_eq!(ended(&["sh", "-c", "kill -KILL $$"]).code, Some(137));
    let missing = ended(&["./no-such-program"]);
    assert_eq!(missing.code, Some(2), "{}", missing.err);
    assert!(missing.err.contains("error: cannot run ./no-such-program\n"), "{}", missing.err);
    // What is made there is ours, and the whole environment arrives.
    let mut command =
        metadata(&place, &["--", "sh", "-c", "touch made; id -u; echo $AWS_EC2_METADATA_DISABLED"]);
    let made = run({
        command.env("AWS_EC2_METADATA_DISABLED", "maybe");
        command
    });
    let me = rustix::process::geteuid().as_raw();
    assert_eq!(made.out, format!("{me}\nmaybe\n"));
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(place.inputs().join("made").metadata().unwrap().uid(), me);
    let both = run(metadata(&place, &["--listen", "127.0.0.1:0", "--", "true"]));
    assert_eq!(both.code, Some(2), "{}", both.err);
}

#[test]
fn signals_go_to_the_command_which_ends_with_us() {
    let place = Place::new();
    let script = "trap 'echo had it; exit 9' TERM; echo $$; while :; do read line <fifo; done";
    let made = Command::new("mkfifo").arg(place.inputs().join("fifo")).status().unwrap();
    assert!(made.success());
    let start = || {
        let mut command = metadata(&place, &["--", "sh", "-c", script]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let kill = |signal: &str, id: u32| {
        assert!(Command::new("kill").args([signal, &id.to_string()]).status().unwrap().success());
    };
    let probe = run(metadata(&place, &["--", "true"]));
    if is_forbidden(&probe) {
        return;
    }
    let mut child = start();
    read_until(child.stdout.as_mut().unwrap(), "\n");
    kill("-TERM", child.id());
    assert_eq!(end(&mut child).code(), Some(9));
    assert_eq!(rest(child.stdout.take().unwrap()), "had it\n");
    // Who kills us kills the command: its end of the pipe is closed.
    let mut child = start();
    read_until(child.stdout.as_mut().unwrap(), "\n");
    kill("-KILL", child.id());
    end(&mut child);
    assert_eq!(rest(child.stdout.take().unwrap()), "");
}

/// A whole answer; what it brings by and by is waited for.
fn ask(request: &str) -> String {
    let ipv6 = std::env::var(PART).unwrap().ends_with('6');
    let mut stream = TcpStream::connect(if ipv6 { SERVICE_6 } else { SERVICE }).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    answer(stream)
}

fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn put(seconds: u32) -> String {
    format!("PUT /latest/api/token HTTP/1.1\r\n{TOKEN}-ttl-seconds: {seconds}\r\n\r\n")
}

fn get(path: &str, token: &str) -> String {
    format!("GET /latest/{path} HTTP/1.1\r\n{TOKEN}: {token}\r\n\r\n")
}

fn token(seconds: u32) -> String {
    ask(&put(seconds)).split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// Packets with fewer hops left than these do not reach the socket (ip(7) has no word on it; RFC 5082 has).
fn least_hops(stream: &TcpStream, hops: i32) {
    let (value, size) = ((&raw const hops).cast(), libc::socklen_t::try_from(size_of::<i32>()).unwrap());
    // SAFETY: the value is of this size, and outlives the call.
    let failed =
        unsafe { libc::setsockopt(stream.as_raw_fd(), libc::IPPROTO_IP, libc::IP_MINTTL, value, size) };
    assert_eq!(failed, 0);
}

/// With a hop limit of 1: a token is lost on the first hop, nothing else is.
fn near() {
    let mut stream = TcpStream::connect(SERVICE).unwrap();
    least_hops(&stream, 2);
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.write_all(put(60).as_bytes()).unwrap();
    let lost = stream.read(&mut [0]).unwrap_err();
    assert!(matches!(lost.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{lost}");
    // It is sent again and again.
    least_hops(&stream, 1);
    stream.set_read_timeout(Some(crate::run::BOUND)).unwrap();
    let token = answer(stream).split_once("\r\n\r\n").unwrap().1.to_owned();
    far_answer(&get("meta-data/instance-id", &token));
}

/// With a hop limit of 64 a token goes as far as everything.
fn far() {
    far_answer(&put(60));
}

fn far_answer(request: &str) {
    let mut stream = TcpStream::connect(SERVICE).unwrap();
    least_hops(&stream, 64);
    stream.write_all(request.as_bytes()).unwrap();
    let answer = answer(stream);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Plays a scenario's rows. The instance is not the table's: of what it is, status and headers count.
fn table(scenario: &str) {
    /// What the table's instance has and this one has not.
    const ABSENT: [&str; 6] =
        ["public-", "ipv6", "ipv4-associations", "vpc-ipv6", "ephemeral0", "a%2Bb%3Dc%40d"];
    let (good, ended) = (token(21600), token(1));
    let refused = |token: &str| ask(&get("meta-data/instance-id", token)).starts_with("HTTP/1.1 401 ");
    let begun = Instant::now();
    // Not with an endpoint that gives none, whose rows bring none.
    while scenario != "disabled" && !refused(&ended) {
        assert!(begun.elapsed() < crate::run::BOUND);
    }
    let mac = ask(&get("meta-data/mac", &good)).split_once("\r\n\r\n").unwrap().1.to_owned();
    let other = std::fs::read_to_string("token").unwrap();
    let tokens: BTreeMap<&str, &str> = [
        ("good", good.as_str()),
        ("ended", &ended),
        ("other", &other),
        ("bad", "AQAAAEWydq6w3E=="),
        ("empty", ""),
    ]
    .into();
    let mut played = 0;
    for line in TABLE.lines().filter(|line| line.split('\t').next() == Some(scenario)) {
        let fields: [&str; 9] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let [_, method, path, token, headers, status, answer_headers, body, _] = fields;
        if status == "200" && ABSENT.iter().any(|word| path.contains(word)) || path.contains("a+b=c@d") {
            continue;
        }
        let path = path.replace("02:11:22:33:44:55", &mac).replace("my-role", "ami-run");
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n");
        request.extend(tokens.get(token).map(|token| format!("{TOKEN}: {token}\r\n")));
        let headers = headers.split("; ").filter(|header| *header != "-");
        request.extend(headers.flat_map(|header| [header, "\r\n"]));
        let answer = ask(&(request + "\r\n"));
        check(line, &answer, (method, status, answer_headers, body));
        played += 1;
    }
    let least =
        BTreeMap::from([("default", 180), ("required", 23), ("disabled", 6), ("tags", 6), ("bare", 7)]);
    assert!(played >= least[scenario], "{played} rows of {scenario}");
}

fn check(line: &str, answer: &str, wanted: (&str, &str, &str, &str)) {
    let (method, status, headers, body) = wanted;
    let context = format!("{line}\n{answer}");
    let (head, said) = answer.split_once("\r\n\r\n").unwrap_or_default();
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{context}");
    let is_time = |wanted: &str| wanted.starts_with("Last-Modified") || wanted.starts_with("Date");
    let has = |wanted: &str| head.lines().any(|line| line.starts_with(wanted));
    assert!(has("Server: EC2ws"), "{context}");
    for wanted in headers.split("; ").filter(|wanted| *wanted != "-") {
        // When this instance's things changed, and how long they are, is its own.
        let own = status == "200" && wanted.starts_with("Content-Length") && body != "TOKEN";
        match wanted.strip_prefix('!') {
            Some(absent) => assert!(!has(absent), "{context}"),
            None => assert!(own || is_time(wanted) || has(wanted), "{wanted}: {context}"),
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    match body {
        _ if method == "HEAD" => assert_eq!(said, "", "{context}"),
        "PAGE" => assert!(said.contains(&format!("<h1>{status} - ")), "{context}"),
        "-" => assert_eq!((said, length), ("", "0"), "{context}"),
        "TOKEN" => assert_eq!(said.len(), 56, "{context}"),
        _ => assert_eq!(said.len().to_string(), length, "{context}"),
    }
}
