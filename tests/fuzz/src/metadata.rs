//! What a guest sends to the metadata service. The first byte says how the service is set and how the bytes arrive.

use ami_run_metadata::{Connection, MAX_HEAD, Now, Service};
use std::sync::OnceLock;
use std::time::Instant;

#[path = "../../../devices/metadata/tests/sample/mod.rs"]
mod sample;

/// No answer is longer: the sample's user data is short.
const MOST: usize = 4 << 10;

const SCENARIOS: [&str; 4] = ["default", "required", "tags", "disabled"];

pub fn metadata_http(bytes: &[u8]) {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let Some((how, mut bytes)) = bytes.split_first() else { return };
    let now = Now { wall: sample::at(300), instant: *BEGAN.get_or_init(Instant::now) };
    let name = SCENARIOS.get(usize::from(how & 3)).copied().unwrap_or_default();
    let (facts, options) = sample::scenario(name);
    let mut service = Service::new(facts, options, [7; 32], None, now);
    let mut connection = Connection::new(now.instant);
    let step = if how & 4 == 0 { MAX_HEAD } else { usize::from(how >> 3) + 1 };
    let mut closed = false;
    while !bytes.is_empty() {
        let come = bytes.get(..step).unwrap_or(bytes);
        let taken = connection.take(come, now.instant);
        assert!(taken > 0, "it takes something while nothing is to be answered");
        bytes = bytes.get(taken..).unwrap_or_default();
        while let Some(answer) = connection.answer(&mut service, now) {
            assert!(!closed, "an answer behind the last");
            closed = answer.close;
            assert!(answer.bytes.len() <= MOST, "an answer of {} bytes", answer.bytes.len());
            let status = answer.bytes.get(9..12).unwrap_or_default();
            assert!(answer.bytes.starts_with(b"HTTP/1.1 ") && status.iter().all(u8::is_ascii_digit));
            assert_eq!(closed, status != b"403" || closed, "only what is forbidden may go on");
            let forbidden = name == "disabled" && status != b"400";
            assert!(!forbidden || status == b"403", "a disabled endpoint says nothing else");
            assert!(answer.hop_limit.is_none() || status == b"200");
            assert!(
                name != "required"
                    || status != b"200"
                    || answer.hop_limit.is_some()
                    || tells_lifetime(&answer.bytes),
                "without a token nothing is found"
            );
        }
    }
}

fn tells_lifetime(answer: &[u8]) -> bool {
    String::from_utf8_lossy(answer).contains("\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: ")
}
