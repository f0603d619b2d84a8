//! SSH into an instance, by the distribution's own programs: keys, who logs in, the way to the guest's port, and what
//! a launch does there by itself.
//!
//! Nothing of SSH is spoken here. `ssh` and `scp` reach the guest through this program's own control socket, so
//! neither a port of this computer nor an address is needed.

mod exec;
pub(crate) mod key;
mod login;
mod master;
mod mux;
mod pass;
mod program;
mod proxy;
mod ready;
mod relay;
pub(crate) mod user;
mod wait;

pub(crate) use exec::{Exec, Outputs};
pub(crate) use login::Login;
pub(crate) use program::{Program, run};
pub(crate) use proxy::run as proxy;
pub(crate) use ready::Probe;
