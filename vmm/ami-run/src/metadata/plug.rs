//! The service as a link's own: at its address, one session a connection.

use super::Lender;
use ami_run_metadata::{Connection, Now, Service};
use ami_run_network::{Answer, Session};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};

pub(super) const ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80);

pub(super) fn service(service: Service, lender: Option<Lender>) -> ami_run_network::Service {
    let shared = Arc::new(Mutex::new(service));
    let open = move || -> Session {
        let now = Now::read();
        if let Some(lender) = &lender {
            lender.renew(&mut shared.lock().unwrap_or_else(PoisonError::into_inner), now);
        }
        let (shared, mut connection) = (Arc::clone(&shared), Connection::new(now.instant));
        Box::new(move |bytes, answer| {
            let mut service = shared.lock().unwrap_or_else(PoisonError::into_inner);
            take(&mut connection, &mut service, bytes, answer);
        })
    };
    ami_run_network::Service { at: ADDRESS, open: Box::new(open) }
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
