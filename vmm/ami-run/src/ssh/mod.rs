//! SSH into an instance, by the distribution's own programs: keys, who logs in, the way to the guest's port, and what
//! a launch does there by itself.
//!
//! Nothing of SSH is spoken here. `ssh` and `scp` reach the guest through this program's own control socket, so
//! neither a port of this computer nor an address is needed.

mod key;
