//! Plays conformance.tsv: every row against the core, and every row over TCP.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test: what goes wrong fails it")]

mod sample;

use ami_run_metadata::{Answer, Connection, Now, Service, Signer};
use sample::{at, scenario};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const TABLE: &str = include_str!("conformance.tsv");
const LEAST: usize = 150;
const TTL: &str = "X-aws-ec2-metadata-token-ttl-seconds";

#[derive(Debug)]
struct Row {
    line: usize,
    scenario: &'static str,
    method: &'static str,
    path: &'static str,
    token: &'static str,
    headers: &'static str,
    status: u16,
    answer_headers: &'static str,
    body: String,
    source: &'static str,
}

fn rows() -> Vec<Row> {
    let lines = (1..).zip(TABLE.lines()).filter(|(_, line)| !line.starts_with('#'));
    lines.map(|(line, text)| row(line, text)).collect()
}

fn row(line: usize, text: &'static str) -> Row {
    let fields: Vec<&'static str> = text.split('\t').collect();
    let &[scenario, method, path, token, headers, status, answer_headers, body, source] = &fields[..] else {
        panic!("line {line} has {} fields", fields.len());
    };
    let unless_none = |text: &'static str| if text == "-" { "" } else { text };
    Row {
        line,
        scenario,
        method,
        path,
        token,
        headers: unless_none(headers),
        status: status.parse().unwrap(),
        answer_headers: unless_none(answer_headers),
        body: unless_none(body).replace("\\n", "\n"),
        source,
    }
}

/// When the services began; every row is asked five minutes after the instance was started.
fn now(seconds: u64) -> Now {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let began = BEGAN.get_or_init(Instant::now);
    Now { wall: at(60 + seconds), instant: *began + Duration::from_secs(seconds) }
}

fn service(name: &str, secret: u8) -> Service {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().unwrap());
    let (facts, options) = scenario(name);
    Service::new(facts, options, [secret; 32], Some(Signer::open(folder.path()).unwrap()), now(0))
}

/// What one client sends at once is answered at once.
fn ask(service: &mut Service, bytes: &[u8], now: Now) -> Answer {
    let mut connection = Connection::new(now.instant);
    assert_eq!(connection.take(bytes, now.instant), bytes.len());
    connection.answer(service, now).unwrap()
}

fn body(answer: &[u8]) -> &str {
    std::str::from_utf8(answer).unwrap().split_once("\r\n\r\n").unwrap().1
}

fn token(service: &mut Service, seconds: u64, now: Now) -> String {
    let request = format!("PUT /latest/api/token HTTP/1.1\r\n{TTL}: {seconds}\r\n\r\n");
    body(&ask(service, request.as_bytes(), now).bytes).to_owned()
}

fn request(row: &Row, service: &mut Service) -> String {
    let mut text = format!("{} {} HTTP/1.1\r\nHost: 169.254.169.254\r\n", row.method, row.path);
    let token = match row.token {
        "none" => None,
        "good" => Some(token(service, 21600, now(200))),
        "ended" => Some(token(service, 60, now(180))),
        "other" => Some(token(&mut self::service("required", 9), 21600, now(200))),
        "bad" => Some("AQAAAEWydq6w3E==".to_owned()),
        "empty" => Some(String::new()),
        other => panic!("line {}: token {other}", row.line),
    };
    text.extend(token.map(|token| format!("X-aws-ec2-metadata-token: {token}\r\n")));
    text.extend(
        row.headers.split("; ").filter(|header| !header.is_empty()).flat_map(|header| [header, "\r\n"]),
    );
    text + "\r\n"
}

fn check(row: &Row, answer: &[u8]) {
    let text = std::str::from_utf8(answer).unwrap();
    let context = format!("line {}: {row:?}\n{text}", row.line);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{context}"));
    let (status, headers) = head.split_once("\r\n").unwrap();
    assert!(status.starts_with(&format!("HTTP/1.1 {} ", row.status)), "{context}");
    let headers: Vec<_> = headers.lines().map(|line| line.split_once(": ").unwrap()).collect();
    let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    for name in ["Date", "Content-Type", "Content-Length"] {
        assert_eq!(headers.iter().filter(|(known, _)| *known == name).count(), 1, "{name}: {context}");
    }
    assert_eq!(header("Server"), Some("EC2ws"), "{context}");
    assert_eq!(header("Connection"), (row.status != 403).then_some("close"), "{context}");
    for wanted in row.answer_headers.split("; ").filter(|wanted| !wanted.is_empty()) {
        match (wanted.strip_prefix('!'), wanted.split_once(": ")) {
            (Some(absent), _) => assert_eq!(header(absent), None, "{context}"),
            (None, wanted) => {
                let (name, value) = wanted.unwrap();
                assert_eq!(header(name), Some(value), "{context}");
            }
        }
    }
    if row.method != "HEAD" {
        assert_eq!(header("Content-Length"), Some(body.len().to_string().as_str()), "{context}");
    }
    match row.body.as_str() {
        "PAGE" => {
            assert_eq!(header("Content-Type"), Some("text/html"), "{context}");
            assert!(
                body.starts_with("<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n<!DOCTYPE"),
                "{context}"
            );
            assert!(
                body.contains(&format!("<h1>{} - ", row.status)) && body.ends_with("</html>"),
                "{context}"
            );
        }
        "TOKEN" => {
            assert!(body.len() == 56 && body.starts_with("AQAAA") && body.ends_with("=="), "{context}");
        }
        "SIGNED" => assert!(body.len() > 300 && body.lines().all(|line| line.len() <= 76), "{context}"),
        wanted => assert_eq!(body, wanted, "{context}"),
    }
}

fn services(rows: &[Row]) -> BTreeMap<&'static str, Service> {
    rows.iter().map(|row| row.scenario).map(|name| (name, service(name, 7))).collect()
}

#[test]
fn the_table_is_long_and_mostly_seen() {
    let rows = rows();
    let inferred = rows.iter().filter(|row| row.source.starts_with("inferred")).count();
    assert!(rows.len() >= LEAST && inferred * 4 <= rows.len(), "{inferred} of {} inferred", rows.len());
    assert!(rows.iter().all(|row| row.source.len() > 5));
}

#[test]
fn every_row_holds_of_the_core() {
    let rows = rows();
    let mut services = services(&rows);
    for row in &rows {
        let service = services.get_mut(row.scenario).unwrap();
        let request = request(row, service);
        let hop_limit = service.options().hop_limit;
        let answer = ask(service, request.as_bytes(), now(240));
        check(row, &answer.bytes);
        // Only a token's packets are kept near.
        assert_eq!(answer.hop_limit, (row.body == "TOKEN").then_some(hop_limit), "line {}", row.line);
    }
}

#[test]
fn every_row_holds_over_tcp() {
    let rows = rows();
    let mut services = services(&rows);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for row in &rows {
        let service = services.get_mut(row.scenario).unwrap();
        let request = request(row, service);
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut server = listener.accept().unwrap().0;
        serve(&mut server, service);
        drop(server);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        check(row, &answer);
    }
}

/// One connection, to its end, in small pieces.
fn serve(socket: &mut TcpStream, service: &mut Service) {
    let now = now(240);
    let mut connection = Connection::new(now.instant);
    let mut bytes = [0; 23];
    loop {
        let count = socket.read(&mut bytes).unwrap();
        if count == 0 {
            return;
        }
        assert_eq!(connection.take(&bytes[..count], now.instant), count);
        while let Some(answer) = connection.answer(service, now) {
            socket.write_all(&answer.bytes).unwrap();
        }
    }
}
