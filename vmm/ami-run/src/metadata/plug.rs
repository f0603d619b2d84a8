//! The service as a link's own: at its addresses, one session a connection.

use super::credentials::{Lender, lend};
use ami_run_metadata::{Answer, Connection, Now, Service};
use ami_run_network::Session;
use parking_lot::Mutex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

const PORT: u16 = 80;
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// What answers at each of the service's addresses; `open` begins a connection.
pub(super) fn services(
    ipv6: bool,
    open: impl Fn() -> Session + Clone + Send + 'static,
) -> Vec<ami_run_network::Service> {
    let ipv6 = ipv6.then_some(IpAddr::from(IPV6));
    let at = |address: IpAddr| {
        let open = Box::new(open.clone());
        ami_run_network::Service { at: SocketAddr::new(address, PORT), open }
    };
    [ADDRESS.into()].into_iter().chain(ipv6).map(at).collect()
}

/// Of an instance that is only thought of.
pub(super) fn imagined(service: Service, lender: Option<Lender>) -> Vec<ami_run_network::Service> {
    let ipv6 = service.options().ipv6;
    let shared = Arc::new((Arc::new(Mutex::new(service)), lender));
    services(ipv6, move || {
        let (service, lender) = &*shared;
        if let Some(lender) = lender {
            let now = Now::read();
            let read = lender.read(now.wall);
            lend(&mut service.lock(), read, now);
        }
        session(Arc::clone(service))
    })
}

/// One connection, which holds the service for one answer at a time.
pub(super) fn session(service: Arc<Mutex<Service>>) -> Session {
    let mut connection = Connection::new(Now::read().instant);
    Box::new(move |mut bytes, answer| {
        let now = Now::read();
        answer.end |= now.instant >= connection.deadline();
        while !bytes.is_empty() && !answer.end {
            let taken = connection.take(bytes, now.instant);
            bytes = bytes.get(taken..).unwrap_or_default();
            // What was sent in one go is answered in one go: each answer is to an earlier request.
            while let Some(told) = next(&service, &mut connection, now) {
                answer.bytes.extend(told.bytes);
                answer.ttl = told.hop_limit.unwrap_or(answer.ttl);
                answer.end |= told.close;
            }
        }
    })
}

/// The lock is free again when it returns.
fn next(service: &Mutex<Service>, connection: &mut Connection, now: Now) -> Option<Answer> {
    connection.answer(&mut service.lock(), now)
}
