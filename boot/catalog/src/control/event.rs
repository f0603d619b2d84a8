//! What EC2 announces to an instance, as a verb has it announced.

use serde::{Deserialize, Serialize};

/// EC2's codes of scheduled events.
pub const MAINTENANCE_CODES: [&str; 5] =
    ["instance-reboot", "system-reboot", "system-maintenance", "instance-retirement", "instance-stop"];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A notice that a Spot Instance is interrupted, in one of three ways.
    SpotStop,
    SpotTerminate,
    SpotHibernate,
    /// A recommendation to go elsewhere.
    Rebalance,
    /// A scheduled event, by its code.
    Maintenance(String),
}
