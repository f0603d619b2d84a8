//! The service as a link's own: at its addresses, one session a connection.

use ami_run_metadata::{Answer, Connection, Now, Service};
use ami_run_network::Session;
use parking_lot::Mutex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

const PORT: u16 = 80;
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// `before` is called when somebody connects, before anything is answered.
pub(super) fn services(
    core: &Arc<Mutex<Service>>,
    before: impl Fn() + Clone + Send + 'static,
) -> Vec<ami_run_network::Service> {
    let at = |address: IpAddr| {
        let (core, before) = (Arc::clone(core), before.clone());
        let open = move || {
            before();
            session(Arc::clone(&core), address.is_ipv6())
        };
        ami_run_network::Service { at: SocketAddr::new(address, PORT), open: Box::new(open) }
    };
    [ADDRESS.into(), IPV6.into()].map(at).into()
}

/// One connection, which holds the service for one answer at a time.
fn session(core: Arc<Mutex<Service>>, by_ipv6: bool) -> Session {
    let mut connection = Connection::new(Now::read().instant);
    // HttpProtocolIpv6 may change while the machine runs.
    let off = by_ipv6 && !core.lock().options().ipv6;
    Box::new(move |mut bytes, answer| {
        let now = Now::read();
        answer.end |= off || now.instant >= connection.deadline();
        while !bytes.is_empty() && !answer.end {
            let taken = connection.take(bytes, now.instant);
            bytes = bytes.get(taken..).unwrap_or_default();
            // What was sent in one go is answered in one go: each answer is to an earlier request.
            while let Some(told) = next(&core, &mut connection, now) {
                answer.bytes.extend(told.bytes);
                answer.ttl = told.hop_limit.unwrap_or(answer.ttl);
                answer.end |= told.close;
            }
        }
    })
}

/// The lock is free again when it returns.
fn next(core: &Mutex<Service>, connection: &mut Connection, now: Now) -> Option<Answer> {
    connection.answer(&mut core.lock(), now)
}
