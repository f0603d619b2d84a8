//! Seeds of the control protocol's target: every request and every answer.

use super::Seed;
use ami_run_catalog::control::{Action, Event, Outcome, answer_line, request_line};
use ami_run_catalog::{State, Transition};
use ami_run_image::MetadataChange;

pub(super) fn all() -> Vec<Seed> {
    let requests = [
        Action::Describe,
        Action::Stop { force: false, timeout: None },
        Action::Terminate { force: true, timeout: Some(30) },
        Action::Reboot,
        Action::PowerButton,
        Action::Console,
        Action::ModifyMetadata { change: MetadataChange::default() },
        Action::Event { event: Event::SpotStop, within: 120, cancel: false },
        Action::Event { event: Event::Maintenance("system-reboot".to_owned()), within: 9, cancel: true },
    ];
    let change = Transition {
        instance_id: "i-0123456789abcdef0".to_owned(),
        current_state: State::ShuttingDown,
        previous_state: State::Running,
    };
    let answers = [
        Outcome::Description { state: State::Stopping, holds: 4096 },
        Outcome::StateChange(change),
        Outcome::MetadataOptions(Box::default()),
        Outcome::Done(true),
        Outcome::error("IncorrectInstanceState", "The instance 'i-1' is not in a state …"),
    ];
    let requests = requests.into_iter().flat_map(|action| request_line(action).unwrap());
    let answers = answers.into_iter().flat_map(|outcome| answer_line(outcome).unwrap());
    let odd = b"\xff{\"Version\":2,\"Action\":\"Describe\"}\n{\"Version\":1,\"Action\":\"Other\"}\n[]\n\n";
    vec![
        ("answers", [255].into_iter().chain(answers).collect()),
        ("odd", odd.to_vec()),
        ("requests", [7].into_iter().chain(requests).collect()),
    ]
}
