//! A guest's connections, by the bytes that the link would pass on.

use super::*;
use crate::verbs::samples::stopped;
use ami_run_network::Answer;
use std::time::Instant;

/// Far longer than it takes on a slow computer to make a key.
const BOUND: Duration = Duration::from_secs(120);

struct Guest {
    record: InstanceRecord,
    live: Live,
    folder: tempfile::TempDir,
}

impl Guest {
    fn new(change: impl FnOnce(&mut InstanceRecord, &Path)) -> Guest {
        let folder = tempfile::tempdir().unwrap();
        let mut record = stopped("i-01");
        change(&mut record, folder.path());
        let live = Live::open(&record, folder.path()).unwrap();
        Guest { record, live, folder }
    }

    fn ask(&self, bytes: &[u8]) -> Answer {
        self.ask_at("169.254.169.254:80", bytes)
    }

    fn ask_at(&self, at: &str, bytes: &[u8]) -> Answer {
        let mut services = self.live.service().into_iter();
        let mut service = services.find(|service| service.at.to_string() == at).unwrap();
        let mut session = (service.open)();
        let mut answer = Answer { bytes: Vec::new(), ttl: 64, end: false };
        bytes.chunks(7).for_each(|piece| session(piece, &mut answer));
        answer
    }

    fn get(&self, path: &str) -> (u16, String) {
        let answer = self.ask(format!("GET /latest/{path} HTTP/1.1\r\n\r\n").as_bytes());
        assert!(answer.end);
        let text = String::from_utf8(answer.bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn until(&self, path: &str, wanted: impl Fn(&(u16, String)) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let told = self.get(path);
            if wanted(&told) {
                return told.1;
            }
            assert!(begun.elapsed() < BOUND, "{path}: {told:?}");
            thread::yield_now();
        }
    }
}

#[test]
fn a_guest_is_answered_at_the_address_that_it_knows() {
    let guest = Guest::new(|_, _| ());
    assert_eq!(guest.get("meta-data/instance-id"), (200, "i-01".to_owned()));
    assert_eq!(guest.get("meta-data/spot/instance-action").0, 404);
    assert_eq!(guest.ask(&[b'x'; 9000]).bytes.get(..12), Some(&b"HTTP/1.1 400"[..]));
    let put = b"PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n";
    assert_eq!(guest.ask(put).ttl, 1, "as the record's HttpPutResponseHopLimit says");
}

#[test]
fn nothing_is_made_before_the_guest_asks_and_signatures_come_when_they_are_there() {
    let guest = Guest::new(|_, _| ());
    assert!(!guest.folder.path().join("identity").exists());
    assert_eq!(guest.get("dynamic/instance-identity/document").0, 200);
    guest.until("dynamic/instance-identity/pkcs7", |(status, _)| {
        assert!(matches!(status, 200 | 503), "{status}");
        *status == 200
    });
    assert_eq!(guest.get("dynamic/instance-identity/signature").0, 200);
    guest.live.changed(&guest.record);
    assert_eq!(guest.get("dynamic/instance-identity/rsa2048").0, 200, "the document is the same");
}

#[test]
fn a_changed_record_is_answered_at_once_and_events_stay() {
    let mut guest = Guest::new(|_, _| ());
    guest.live.inject(&Event::Rebalance, SystemTime::now(), false).unwrap();
    guest.record.metadata_options.options.instance_metadata_tags = "enabled".to_owned();
    guest.live.changed(&guest.record);
    assert_eq!(guest.get("meta-data/tags/instance/Name"), (200, "web".to_owned()));
    assert_eq!(guest.get("meta-data/events/recommendations/rebalance").0, 200);
    guest.record.metadata_options.options.http_endpoint = "disabled".to_owned();
    guest.live.changed(&guest.record);
    let answer = guest.ask(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(answer.bytes.get(..12), Some(&b"HTTP/1.1 403"[..]));
}

#[test]
fn by_ipv6_it_answers_while_that_is_enabled() {
    let mut guest = Guest::new(|_, _| ());
    let ask = |guest: &Guest| guest.ask_at("[fd00:ec2::254]:80", b"GET / HTTP/1.1\r\n\r\n");
    let refused = ask(&guest);
    assert!(refused.end && refused.bytes.is_empty());
    guest.record.metadata_options.options.http_protocol_ipv6 = "enabled".to_owned();
    guest.live.changed(&guest.record);
    assert_eq!(ask(&guest).bytes.get(..12), Some(&b"HTTP/1.1 200"[..]));
}

#[test]
fn events_are_announced_and_taken_back() {
    let guest = Guest::new(|_, _| ());
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_294_800);
    let inject = |event: &Event, cancel| guest.live.inject(event, at, cancel).unwrap();
    for (event, action) in
        [(Event::SpotStop, "stop"), (Event::SpotTerminate, "terminate"), (Event::SpotHibernate, "hibernate")]
    {
        inject(&event, false);
        let wanted = format!("{{\"action\": \"{action}\", \"time\": \"2026-11-21T21:00:00Z\"}}");
        assert_eq!(guest.get("meta-data/spot/instance-action"), (200, wanted));
        inject(&event, true);
        assert_eq!(guest.get("meta-data/spot/instance-action").0, 404);
    }
    let reboot = Event::Maintenance("system-reboot".to_owned());
    inject(&reboot, false);
    let scheduled = || guest.get("meta-data/events/maintenance/scheduled").1;
    assert!(scheduled().contains("system-reboot") && scheduled().contains("\"instance-event-0"));
    inject(&reboot, true);
    assert_eq!(scheduled(), "[]");
    assert!(guest.get("meta-data/events/maintenance/history").1.contains("canceled"));
}

#[test]
fn a_role_s_credentials_follow_their_file_and_are_missing_while_it_is() {
    let guest = Guest::new(|record, folder| {
        record.own.iam_credentials = Some(format!("file:{}", folder.join("keys").display()));
    });
    let path = "meta-data/iam/security-credentials/ami-run";
    let write = |id: &str| {
        let json = format!(r#"{{"AccessKeyId": "{id}", "SecretAccessKey": "s", "SessionToken": "t"}}"#);
        std::fs::write(guest.folder.path().join("keys"), json).unwrap();
    };
    write("ASIAFIRST");
    guest.until(path, |(_, body)| body.contains("ASIAFIRST"));
    write("ASIASECOND");
    guest.until(path, |(_, body)| body.contains("ASIASECOND"));
    std::fs::remove_file(guest.folder.path().join("keys")).unwrap();
    guest.until(path, |(_, body)| body.contains("AssumeRoleUnauthorizedAccess"));
}
