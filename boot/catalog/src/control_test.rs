//! Every request and answer as the text that stands on the wire.

use super::*;
use crate::State;

fn stop(force: bool, timeout: Option<u64>) -> Action {
    Action::Stop { force, timeout }
}

#[test]
fn requests_are_these_lines() {
    let cases = [
        (Action::Describe, r#"{"Version":1,"Action":"Describe"}"#),
        (stop(false, None), r#"{"Version":1,"Action":"Stop","Force":false,"Timeout":null}"#),
        (stop(true, Some(7)), r#"{"Version":1,"Action":"Stop","Force":true,"Timeout":7}"#),
        (
            Action::Terminate { force: false, timeout: Some(0) },
            r#"{"Version":1,"Action":"Terminate","Force":false,"Timeout":0}"#,
        ),
        (Action::Reboot, r#"{"Version":1,"Action":"Reboot"}"#),
        (Action::PowerButton, r#"{"Version":1,"Action":"PowerButton"}"#),
        (Action::Console, r#"{"Version":1,"Action":"Console"}"#),
        (
            Action::Event { event: Event::SpotStop, within: 120, cancel: false },
            r#"{"Version":1,"Action":"Event","Event":"spot-stop","Within":120,"Cancel":false}"#,
        ),
        (
            Action::Event { event: Event::Maintenance("system-reboot".to_owned()), within: 9, cancel: true },
            r#"{"Version":1,"Action":"Event","Event":{"maintenance":"system-reboot"},"Within":9,"Cancel":true}"#,
        ),
    ];
    for (action, text) in cases {
        assert_eq!(request_line(action.clone()).unwrap(), format!("{text}\n").as_bytes());
        assert_eq!(parse_request(text.as_bytes()), Ok(action), "{text}");
    }
    // What may be left out, other orders, members of a later time.
    let text = br#"{"Force":true,"Why":"x","Action":"Stop","Version":1}"#;
    assert_eq!(parse_request(text), Ok(stop(true, None)));
    let text = br#"{"Version":1,"Action":"ModifyMetadata","Change":{"HttpPutResponseHopLimit":3}}"#;
    let change = MetadataChange { http_put_response_hop_limit: Some(3), ..MetadataChange::default() };
    assert_eq!(parse_request(text), Ok(Action::ModifyMetadata { change }));
}

#[test]
fn answers_are_these_lines() {
    let change = Transition {
        instance_id: "i-1".to_owned(),
        current_state: State::Stopping,
        previous_state: State::Running,
    };
    let cases = [
        (
            Outcome::Description { state: State::Running, holds: 4096 },
            r#"{"Version":1,"Description":{"State":{"Code":16,"Name":"running"},"Holds":4096}}"#,
        ),
        (
            Outcome::StateChange(change),
            r#"{"Version":1,"StateChange":{"InstanceId":"i-1","CurrentState":{"Code":64,"Name":"stopping"},"PreviousState":{"Code":16,"Name":"running"}}}"#,
        ),
        (
            Outcome::MetadataOptions(Box::default()),
            r#"{"Version":1,"MetadataOptions":{"State":"applied","HttpTokens":"optional","HttpPutResponseHopLimit":1,"HttpEndpoint":"enabled","HttpProtocolIpv6":"disabled","InstanceMetadataTags":"disabled"}}"#,
        ),
        (Outcome::Done(true), r#"{"Version":1,"Done":true}"#),
        (Outcome::error("A", "b"), r#"{"Version":1,"Error":{"Code":"A","Message":"b"}}"#),
    ];
    for (outcome, text) in cases {
        assert_eq!(answer_line(outcome.clone()).unwrap(), format!("{text}\n").as_bytes());
        assert_eq!(parse_answer(text.as_bytes()).unwrap(), outcome);
    }
    assert!(matches!(parse_answer(br#"{"Version":2,"Done":true}"#), Err(BadAnswer::Version(2))));
    assert!(matches!(parse_answer(br#"{"Version":1,"Other":true}"#), Err(BadAnswer::Unreadable(_))));
}

#[test]
fn what_is_not_known_is_unsupported() {
    let cases = [
        ("", "no request"),
        ("GET / HTTP/1.1", "no request"),
        (r#"{"Action":"Describe"}"#, "no request"),
        (r#"{"Version":2,"Action":"Describe"}"#, "version 1 of the control protocol, not 2"),
        (r#"{"Version":1,"Action":"Explode"}"#, "does not know this action"),
        (r#"{"Version":1}"#, "does not know this action"),
        (r#"{"Version":1,"Action":"Stop","Force":"yes"}"#, "does not know this action"),
        (r#"{"Version":1,"Action":"Stop","Force":true,"Timeout":-1}"#, "does not know this action"),
    ];
    for (text, words) in cases {
        let Err(Outcome::Error { code, message }) = parse_request(text.as_bytes()) else { panic!("{text}") };
        assert_eq!(code, UNSUPPORTED);
        assert!(message.contains(words), "{text}: {message}");
    }
}
