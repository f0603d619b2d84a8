//! A guest's network link. User-mode: what a guest sees as a subnet of a VPC, with no privilege, no set-up and no helper
//! (user). Or a TAP interface that somebody made on the host (tap).
//!
//! Frames in, frames out, each with what its receiver has still to do (offload). The user-mode link answers ARP, DHCP,
//! echoes, the time, and the names that EC2's resolver knows (subnet, dhcp, ntp, dns); services plugged in at an address
//! (service); all else goes through sockets of the host (tcp, udp), and ports of the host's and sockets of this
//! process's lead to the guest (forward, dial). Everything runs in its owner's thread: nothing here waits, and nothing
//! asks what time it is.
//!
//! A guest that has an IPv6 address gets it and a router, and reaches the link's own services over IPv6 (ip6, dhcp6).
//! IPv6 ends there: the host's may be another's or none, so that all else is told at once to have no route, and a client
//! that tries both families goes on with IPv4.
//!
//! Left out: virtio and any other card's headers; IPv6 to and from the host's network; answers to pings beyond the
//! router; fragments, in and out: what is longer than the MTU of 9001 is lost, so that nothing of a fragment is ever kept.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "every byte here came from the guest or from the network"
)]

mod dhcp;
mod dhcp6;
mod dial;
#[cfg(test)]
mod dial_test;
mod dns;
mod epoll;
mod forward;
mod host;
mod ip6;
#[cfg(test)]
mod ip6_test;
mod link;
#[cfg(test)]
mod namespace;
mod ntp;
mod offload;
#[cfg(test)]
mod play;
#[cfg(test)]
mod robust_test;
mod service;
mod subnet;
mod tap;
#[cfg(test)]
mod tap_test;
mod tcp;
#[cfg(test)]
mod tcp_test;
mod udp;
mod user;
#[cfg(test)]
mod user_test;
mod wire;

pub use dhcp::MTU;
pub use dial::Dialer;
pub use dns::Resolvers;
pub use forward::{Forward, NoForward, Protocol};
pub use ip6::ROUTER as ROUTER_6;
pub use link::{Link, Now};
pub use offload::{Checksum, Frame, MAX_FRAME, Offload, Takes};
pub use service::{Answer, Service, Session};
pub use subnet::Guest;
pub use tap::{TapConfig, TapError, TapLink};
pub use user::{Config, LinkError, UserLink};
