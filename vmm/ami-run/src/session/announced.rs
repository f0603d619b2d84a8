//! What verbs change or announce among a running instance's metadata.

use super::Asked;
use super::follow::Session;
use super::requests::{Why, refused};
use ami_run_catalog::control::{Event, MAINTENANCE_CODES, Outcome};
use ami_run_catalog::{State, changed_metadata};
use ami_run_image::MetadataChange;
use std::time::{Duration, Instant, SystemTime};

/// Events later than that are EC2's no more.
const LONGEST: u64 = 366 * 24 * 3600;

/// An interruption of the Spot Instance, as it was announced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interruption {
    pub(super) at: Instant,
    asked: Asked,
}

impl Session {
    pub(super) fn modify_metadata(&mut self, change: &MetadataChange) -> Outcome {
        let instance = &mut self.setup.instance;
        let changed = changed_metadata(instance.record(), change).and_then(|options| {
            instance.change(|record| record.metadata_options.clone_from(&options))?;
            Ok(options)
        });
        match changed {
            Err(cause) => refused(&cause),
            Ok(options) => {
                if let Some(metadata) = &self.setup.metadata {
                    metadata.changed(self.setup.instance.record());
                }
                Outcome::MetadataOptions(Box::new(options))
            }
        }
    }

    pub(super) fn announce(&mut self, event: &Event, within: u64, cancel: bool, now: Instant) -> Outcome {
        let record = self.setup.instance.record();
        let id = &record.instance_id;
        if record.state != State::Running {
            let message = format!("The instance '{id}' is not in the 'running' state.");
            return Outcome::error("IncorrectInstanceState", message);
        }
        if let Event::Maintenance(code) = event
            && !MAINTENANCE_CODES.contains(&code.as_str())
        {
            return Outcome::error("InvalidParameterValue", format!("There is no scheduled event {code}."));
        }
        let Some(metadata) = &self.setup.metadata else {
            let message = format!("The instance '{id}' has no network to be told by.");
            return Outcome::error("UnsupportedOperation", message);
        };
        let within = Duration::from_secs(within.min(LONGEST));
        if let Err(cause) = metadata.inject(event, SystemTime::now() + within, cancel) {
            return refused(&cause);
        }
        let asked = match event {
            Event::SpotTerminate => Some(Asked::Terminate),
            // Nothing here hibernates: memory is lost, as where the guest's agent fails.
            Event::SpotStop | Event::SpotHibernate => Some(Asked::Stop),
            Event::Rebalance | Event::Maintenance(_) => None,
        };
        if let Some(asked) = asked {
            self.interruption = (!cancel).then_some(Interruption { at: now + within, asked });
        }
        Outcome::Done(true)
    }

    /// Does what was announced, when it is time to.
    pub(super) fn interrupt(&mut self, now: Instant) {
        let Some(due) = self.interruption.take_if(|it| it.at <= now) else { return };
        if let Outcome::Error { message, .. } = self.end(due.asked, Why::Spot, false, None, now) {
            log::warn!("the instance is not interrupted: {message}");
        }
    }
}
