//! The service as a link's own: at its addresses, one session a connection.

use super::Lender;
use ami_run_metadata::{Connection, Now, Service};
use ami_run_network::{Answer, Session};
use parking_lot::Mutex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

const PORT: u16 = 80;
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

pub(super) fn services(service: Service, lender: Option<Lender>) -> Vec<ami_run_network::Service> {
    let ipv6 = service.options().ipv6.then_some(IpAddr::from(IPV6));
    let shared = Arc::new((Mutex::new(service), lender));
    let at = |address: IpAddr| {
        let shared = Arc::clone(&shared);
        let open = Box::new(move || session(&shared));
        ami_run_network::Service { at: SocketAddr::new(address, PORT), open }
    };
    [ADDRESS.into()].into_iter().chain(ipv6).map(at).collect()
}

fn session(shared: &Arc<(Mutex<Service>, Option<Lender>)>) -> Session {
    let (shared, now) = (Arc::clone(shared), Now::read());
    if let (service, Some(lender)) = &*shared {
        lender.renew(&mut service.lock(), now);
    }
    let mut connection = Connection::new(now.instant);
    Box::new(move |bytes, answer| take(&mut connection, &mut shared.0.lock(), bytes, answer))
}

fn take(connection: &mut Connection, service: &mut Service, mut bytes: &[u8], answer: &mut Answer) {
    let now = Now::read();
    while !bytes.is_empty() {
        let taken = connection.take(bytes, now.instant);
        bytes = bytes.get(taken..).unwrap_or_default();
        while let Some(said) = connection.answer(service, now) {
            answer.ttl = said.hop_limit.unwrap_or(answer.ttl);
            answer.bytes.extend(said.bytes);
            answer.end = said.close;
        }
    }
}
