//! `ami-run metadata`: what clients get from the port, who they are kept from, and how it ends.

use crate::run::{Place, end, read_until, rest, run};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

const IMAGE: &str = r#"{"Images": [{"ImageId": "ami-0123456789abcdef0", "Architecture": "x86_64", "ImdsSupport": "v2.0",
  "RootDeviceName": "/dev/xvda", "ProductCodes": [{"ProductCodeId": "abc"}], "BlockDeviceMappings": [
  {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}},
  {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1", "VolumeSize": 8}}]}]}"#;
const V1: [&str; 2] = ["--metadata-options", "HttpTokens=optional"];

/// A service that can be asked.
struct Serving {
    child: Child,
    said: String,
    address: String,
}

impl Serving {
    fn start(place: &Place, options: &[&str]) -> Serving {
        place.write("image.json", IMAGE);
        let mut command = place.command(&["metadata", "image.json", "--listen", "127.0.0.1:0"]);
        let mut child = command.args(options).stderr(Stdio::piped()).spawn().unwrap();
        let said = read_until(child.stderr.as_mut().unwrap(), "/  ");
        let address = said.split_once("http://").unwrap().1.split_once('/').unwrap().0.to_owned();
        Serving { child, said, address }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).unwrap()
    }

    /// Status and body.
    fn ask(&self, request: &str) -> (u16, String) {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        answer(stream)
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET /latest/{path} HTTP/1.1\r\n\r\n"))
    }

    fn found(&self, path: &str) -> String {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}");
        body
    }

    fn end(mut self) -> String {
        let kill = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        assert_eq!(end(&mut self.child).code(), Some(143));
        rest(self.child.stderr.take().unwrap())
    }
}

fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn an_instance_that_nobody_launched_has_metadata() {
    let place = Place::new();
    place.write("data", "#cloud-config\n");
    place.write("mine.pub", "ssh-ed25519 AAAAC3Nz me@here\n");
    let given =
        ["--user-data", "file://data", "--ssh-key", "mine.pub", "--tag", "Name=web", "--region", "eu-west-3"];
    let options = ["--metadata-options", "HttpTokens=optional,InstanceMetadataTags=enabled"];
    let serving = Serving::start(&place, &[&given[..], &options].concat());
    let id = serving.found("meta-data/instance-id");
    assert!(id.starts_with("i-0") && serving.said.contains(&id), "{}", serving.said);
    for (path, wanted) in [
        ("user-data", "#cloud-config\n"),
        ("meta-data/public-keys/", "0=mine"),
        ("meta-data/public-keys/0/openssh-key", "ssh-ed25519 AAAAC3Nz mine"),
        ("meta-data/tags/instance/Name", "web"),
        ("meta-data/ami-id", "ami-0123456789abcdef0"),
        ("meta-data/instance-type", "t3.micro"),
        ("meta-data/product-codes", "abc"),
        ("meta-data/block-device-mapping/", "ami\nebs1\nroot"),
        ("meta-data/block-device-mapping/ebs1", "sdf"),
        ("meta-data/placement/availability-zone-id", "euw3-az1"),
        ("dynamic/instance-identity/", "document\npkcs7\nrsa2048\nsignature"),
    ] {
        assert_eq!(serving.found(path), wanted, "{path}");
    }
    let hostname = serving.found("meta-data/local-hostname");
    assert!(hostname.ends_with(".eu-west-3.compute.internal"), "{hostname}");
    assert_eq!(serving.get("meta-data/iam/").0, 404);
    let said = serving.end();
    assert!(said.contains("ending     SIGTERM"), "{said}");
    let left = place.leftovers(&["image.json", "data", "mine.pub"]);
    assert!(left.len() == 1 && left[0].ends_with("ami-run/identity/identity.pem"), "{left:?}");
    let certificate = run(place.command(&["metadata", "--certificate"])).out;
    assert!(std::fs::read_to_string(&left[0]).unwrap().ends_with(&certificate), "{certificate}");
}

#[test]
fn an_image_may_demand_tokens() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    assert_eq!(serving.get("meta-data/").0, 401);
    let put = "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n";
    let (status, token) = serving.ask(put);
    assert_eq!(status, 200);
    let get = format!("GET /latest/meta-data/ami-id HTTP/1.1\r\nX-aws-ec2-metadata-token: {token}\r\n\r\n");
    assert_eq!(serving.ask(&get), (200, "ami-0123456789abcdef0".to_owned()));
    serving.end();
}

#[test]
fn a_role_s_credentials_follow_their_file() {
    let place = Place::new();
    let write = |id: &str| {
        let json = format!(r#"{{"AccessKeyId": "{id}", "SecretAccessKey": "s", "SessionToken": "t"}}"#);
        place.write("keys", json)
    };
    write("ASIAFIRST");
    place.write("image.json", IMAGE);
    let options = ["--iam-credentials", "file:keys", V1[0], V1[1]];
    let refused =
        run(place.command(&[&["metadata", "image.json", "--listen", "127.0.0.1:0"], &options[..]].concat()));
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("add --allow-local-users"), "{}", refused.err);
    let serving = Serving::start(&place, &[&options[..], &["--allow-local-users"]].concat());
    assert!(
        serving.said.contains("the credentials of keys, to every user of this computer"),
        "{}",
        serving.said
    );
    let credentials = || serving.found("meta-data/iam/security-credentials/ami-run");
    assert_eq!(serving.found("meta-data/iam/security-credentials/"), "ami-run");
    assert!(credentials().contains("\"AccessKeyId\" : \"ASIAFIRST\""));
    write("ASIASECOND");
    assert!(credentials().contains("\"AccessKeyId\" : \"ASIASECOND\""));
    std::fs::remove_file(place.inputs().join("keys")).unwrap();
    assert!(credentials().contains("\"Code\" : \"AssumeRoleUnauthorizedAccess\""));
    assert!(credentials().contains("\"Code\" : \"AssumeRoleUnauthorizedAccess\""));
    let said = serving.end();
    assert_eq!(said.matches("warning: --iam-credentials: cannot read keys").count(), 1, "{said}");
}

#[test]
fn silent_and_slow_clients_keep_nobody_else_waiting() {
    let place = Place::new();
    let serving = Serving::start(&place, &V1);
    let mut silent: Vec<_> = (0..127).map(|_| serving.connect()).collect();
    assert_eq!(serving.get("meta-data/ami-id").0, 200, "there is one place left");
    let mut slow = serving.connect();
    for byte in b"GET /latest/user-data HTTP/1.1\r\n\r" {
        slow.write_all(&[*byte]).unwrap();
    }
    // One more than there are places: its turn comes when somebody goes.
    let mut next = serving.connect();
    next.write_all(b"GET /latest/meta-data/ami-id HTTP/1.1\r\n\r\n").unwrap();
    silent.pop();
    assert_eq!(answer(next).0, 200);
    slow.write_all(b"\n").unwrap();
    assert_eq!(answer(slow).0, 404);
    drop(silent);
    // An answer is not lost because its client has said too much.
    let much = format!("GET /latest/meta-data/ami-id HTTP/1.1\r\n\r\n{}", "x".repeat(100_000));
    assert_eq!(serving.ask(&much).0, 200);
    assert_eq!(serving.ask(&"x".repeat(9000)).0, 400);
    serving.end();
}

#[test]
fn a_port_that_is_taken_is_told() {
    let place = Place::new();
    let serving = Serving::start(&place, &V1);
    let second = run(place.command(&["metadata", "image.json", "--listen", &serving.address]));
    assert_eq!(second.code, Some(3), "{}", second.err);
    assert!(second.err.contains(": another program listens there"), "{}", second.err);
    serving.end();
}
