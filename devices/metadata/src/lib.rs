//! The instance metadata service, IMDS: what EC2 answers on 169.254.169.254, byte for byte as far as it is known.
//!
//! [`Facts`] are plain data about one instance; a [`Service`] answers about them. A [`Connection`] takes what one
//! client sends and gives [`Answer`]s, each with the hop limit that its packets travel with. Whoever owns the
//! sockets, the guest's link or a listener on this computer, also owns the clock and closes what is too slow.
//!
//! Left out: `managed-ssh-keys`, `identity-credentials/…/ec2-instance` and AWS's own signatures, which need AWS's
//! keys (the identity document is signed by a local [`Signer`]); Elastic Graphics and Elastic Inference, which EC2
//! no longer has; throttling.
#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "requests come from a guest"
)]

mod answer;
mod connection;
mod document;
mod facts;
mod json;
mod options;
mod request;
mod service;
mod signer;
mod time;
mod token;
mod tree;
mod version;

pub use answer::Answer;
pub use connection::{Connection, MAX_HEAD};
pub use facts::{
    Credentials, Events, Facts, Interface, Maintenance, MaintenanceState, Placement, PublicKey, Role,
    SecurityGroup, SpotAction, SpotNotice,
};
pub use options::MetadataOptions;
pub use service::{Now, Service};
pub use signer::{Signatures, Signer, SignerError};
pub use tree::partition;
