//! What no single request shows: everything listed is there, signatures verify, requests that are slow, huge, many
//! or no requests at all, and an instance that things happen to.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test: what goes wrong fails it")]

mod sample;

use ami_run_metadata::{Connection, MAX_HEAD, Now, Service, Signer};
use sample::{at, scenario};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn now() -> Now {
    Now { wall: at(300), instant: Instant::now() }
}

fn service(name: &str, signer: Option<Signer>) -> Service {
    let (facts, options) = scenario(name);
    Service::new(facts, options, [7; 32], signer, now())
}

/// All that is answered to these bytes, and whether the connection is over.
fn told(service: &mut Service, bytes: &[u8]) -> (String, bool) {
    let mut connection = Connection::new(Instant::now());
    assert_eq!(connection.take(bytes, Instant::now()), bytes.len());
    let (mut text, mut close) = (String::new(), false);
    while let Some(answer) = connection.answer(service, now()) {
        text.push_str(std::str::from_utf8(&answer.bytes).unwrap());
        close = answer.close;
    }
    (text, close)
}

fn get(service: &mut Service, path: &str) -> Result<String, String> {
    let (text, _) = told(service, format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes());
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    if head.starts_with("HTTP/1.1 200 ") { Ok(body.to_owned()) } else { Err(head.to_owned()) }
}

/// Asks for everything below a listing, as cloud-init does, and counts the values.
fn crawl(service: &mut Service, path: &str) -> usize {
    let listing = get(service, path).unwrap_or_else(|head| panic!("{path}: {head}"));
    let mut values = 0;
    for line in listing.lines() {
        let name = if path.ends_with("/public-keys/") { line.split('=').next().unwrap() } else { line };
        let is_directory = name.ends_with('/') || path.ends_with("/public-keys/");
        let below = format!("{path}{}", name.trim_end_matches('/'));
        values += if is_directory {
            crawl(service, &format!("{below}/"))
        } else {
            assert!(get(service, &below).is_ok(), "{below} is listed");
            1
        };
    }
    values
}

#[test]
fn every_listed_name_answers_in_every_version() {
    for name in ["default", "tags", "bare", "events"] {
        let mut service = service(name, None);
        let versions = get(&mut service, "/").unwrap();
        let counts: Vec<_> = versions
            .lines()
            .map(|version| {
                let dynamic = get(&mut service, &format!("/{version}/")).unwrap().starts_with("dynamic");
                let of_dynamic = dynamic.then(|| crawl(&mut service, &format!("/{version}/dynamic/")));
                crawl(&mut service, &format!("/{version}/meta-data/")) + of_dynamic.unwrap_or(0)
            })
            .collect();
        assert!(counts.is_sorted() && counts.first() < counts.last(), "{name}: {counts:?}");
        // Nobody signs here.
        assert_eq!(get(&mut service, "/latest/dynamic/instance-identity/").as_deref(), Ok("document"));
    }
}

#[test]
fn what_happens_to_the_instance_is_told_and_tokens_stay_good() {
    let mut service = service("required", None);
    let put = "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n";
    let (text, _) = told(&mut service, put.as_bytes());
    let token = text.split_once("\r\n\r\n").unwrap().1;
    let spot = |service: &mut Service| {
        let request = format!(
            "GET /latest/meta-data/spot/instance-action HTTP/1.1\r\nX-aws-ec2-metadata-token: {token}\r\n\r\n"
        );
        told(service, request.as_bytes()).0
    };
    assert!(spot(&mut service).starts_with("HTTP/1.1 404 "));
    let (facts, mut options) = scenario("events");
    options.tokens_required = true;
    let later = Now { wall: at(999), ..now() };
    service.set(facts, options, later);
    let told = spot(&mut service);
    assert!(told.starts_with("HTTP/1.1 200 ") && told.contains("\"terminate\""), "{told}");
    assert!(told.contains("Last-Modified: Sat, 21 Nov 2026 21:16:39 GMT\r\n"), "{told}");
}

#[test]
fn a_role_without_credentials_says_why() {
    let (mut facts, options) = scenario("default");
    facts.role.as_mut().unwrap().credentials = None;
    let mut service = Service::new(facts, options, [7; 32], None, now());
    let told = get(&mut service, "/latest/meta-data/iam/security-credentials/my-role").unwrap();
    assert!(told.contains("\"Code\" : \"AssumeRoleUnauthorizedAccess\""), "{told}");
}

#[test]
fn signatures_verify_as_the_guide_tells_users_to() {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::open(&folder.path().join("new/identity")).unwrap();
    let again = Signer::open(&folder.path().join("new/identity")).unwrap();
    assert_eq!(signer.certificate(), again.certificate());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("certificate"), signer.certificate()).unwrap();
    let mut service = service("default", Some(signer));
    let mut ask =
        |name: &str| get(&mut service, &format!("/latest/dynamic/instance-identity/{name}")).unwrap();
    let document = ask("document");
    std::fs::write(path("document"), &document).unwrap();
    std::fs::write(path("signature"), ask("signature")).unwrap();
    assert_eq!(ask("signature"), std::fs::read_to_string(path("signature")).unwrap(), "it is the same again");
    if let Err(cause) = Command::new("openssl").arg("version").output() {
        writeln!(std::io::stderr(), "skipped: signatures: openssl cannot be run: {cause}").unwrap();
        return;
    }
    openssl(&["x509", "-in", &path("certificate"), "-pubkey", "-noout", "-out", &path("key")]);
    openssl(&["base64", "-d", "-in", &path("signature"), "-out", &path("raw")]);
    openssl(&["dgst", "-sha256", "-verify", &path("key"), "-signature", &path("raw"), &path("document")]);
    for form in ["pkcs7", "rsa2048"] {
        let pem = format!("-----BEGIN PKCS7-----\n{}\n-----END PKCS7-----\n", ask(form));
        std::fs::write(path(form), pem).unwrap();
        let certificate = path("certificate");
        let verified = openssl(&[
            "smime",
            "-verify",
            "-in",
            &path(form),
            "-inform",
            "PEM",
            "-certfile",
            &certificate,
            "-noverify",
        ]);
        assert_eq!(String::from_utf8(verified).unwrap(), document);
    }
}

fn openssl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn a_damaged_key_is_told_and_one_that_was_first_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).join("identity.pem");
    Signer::open(&folder.path().join("one")).unwrap();
    Signer::open(&folder.path().join("other")).unwrap();
    let (one, other) = (read(&file("one")), read(&file("other")));
    let mode = std::os::unix::fs::MetadataExt::mode(&file("one").metadata().unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let begin = "-----BEGIN CERTIFICATE-----";
    let (key, _) = one.split_once(begin).unwrap();
    let (_, certificate) = other.split_once(begin).unwrap();
    let short = one.get(..one.len() - 40).unwrap();
    for bad in ["", key, short, &format!("{key}{begin}{certificate}")] {
        std::fs::write(file("one"), bad).unwrap();
        let refused = Signer::open(&folder.path().join("one")).unwrap_err().to_string();
        assert!(refused.contains("identity.pem holds no key"), "{refused}");
    }
    assert!(Signer::open(&file("one")).is_err());
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn what_is_no_request_is_refused_once() {
    let mut service = service("default", None);
    for bad in
        ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/2.0\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n"]
    {
        let (text, close) = told(&mut service, bad.as_bytes());
        assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n") && close, "{bad:?}: {text}");
        assert_eq!(text.matches("HTTP/1.1").count(), 1);
    }
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
    assert!(told(&mut service, many.as_bytes()).0.starts_with("HTTP/1.1 400 "));
}

#[test]
fn a_head_has_a_longest_length() {
    let mut service = service("default", None);
    let mut connection = Connection::new(Instant::now());
    let endless = vec![b'a'; 3 * MAX_HEAD];
    assert_eq!(connection.take(&endless, Instant::now()), MAX_HEAD);
    let answer = connection.answer(&mut service, now()).unwrap();
    assert!(answer.close && answer.bytes.starts_with(b"HTTP/1.1 400 "));
    assert_eq!(connection.take(&endless, Instant::now()), endless.len(), "the rest is swallowed");
    assert!(connection.answer(&mut service, now()).is_none());
    let longest = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(MAX_HEAD - 18));
    assert_eq!(longest.len(), MAX_HEAD);
    assert!(told(&mut service, longest.as_bytes()).0.starts_with("HTTP/1.1 404 "));
}

#[test]
fn requests_behind_each_other_are_answered_until_one_closes() {
    let mut service = service("default", None);
    let refused = "PUT /none HTTP/1.1\r\n\r\n";
    let good = "GET /latest/meta-data/ami-id HTTP/1.1\r\n\r\n";
    let (text, close) = told(&mut service, refused.repeat(3).as_bytes());
    assert_eq!((text.matches("HTTP/1.1 403 ").count(), close), (3, false));
    let (text, close) = told(&mut service, [refused, good, good].concat().as_bytes());
    assert_eq!((text.matches("HTTP/1.1").count(), close), (2, true));
    for last in ["PUT /none HTTP/1.0\r\n\r\n", "PUT /none HTTP/1.1\r\nContent-Length: 9\r\n\r\nGET / HTT"] {
        let (text, close) = told(&mut service, [last, good].concat().as_bytes());
        assert_eq!((text.matches("HTTP/1.1").count(), close), (1, true), "{last}");
    }
}

#[test]
fn who_is_slow_has_a_deadline_that_crumbs_do_not_move() {
    let begin = Instant::now();
    let after = |seconds| begin + Duration::from_secs(seconds);
    let mut connection = Connection::new(begin);
    assert_eq!(connection.deadline(), after(60));
    connection.take(b"G", after(30));
    assert_eq!(connection.deadline(), after(40));
    connection.take(b"E", after(39));
    assert_eq!(connection.deadline(), after(40));
    let mut service = service("disabled", None);
    let mut ask = |bytes: &[u8], seconds| {
        connection.take(bytes, after(seconds));
        assert!(connection.answer(&mut service, Now { instant: after(seconds), ..now() }).is_some());
        connection.deadline()
    };
    assert_eq!(ask(b"T / HTTP/1.1\r\n\r\n", 39), after(99), "it may go on");
    assert_eq!(ask(b"GET / HTTP/1.0\r\n\r\n", 70), after(80), "it may only fetch its answer");
}
