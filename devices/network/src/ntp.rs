//! The time, as 169.254.169.123 tells it: the host's (RFC 5905, server mode). Who asks is not remembered.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) const PORT: u16 = 123;
const LEN: usize = 48;
/// From 1900, where NTP begins, to 1970.
const BEFORE_UNIX: u64 = 2_208_988_800;
const CLIENT: u8 = 3;
const SERVER: u8 = 4;
/// What EC2's service says of itself.
const STRATUM: u8 = 3;
/// 2^-20 s: a microsecond.
const PRECISION: u8 = 0xec;

pub(crate) fn answer(request: &[u8], wall: SystemTime) -> Option<[u8; LEN]> {
    let request = request.first_chunk::<LEN>()?;
    let (version, mode) = (request[0] >> 3 & 7, request[0] & 7);
    if mode != CLIENT || !(1..=4).contains(&version) {
        return None;
    }
    let now = timestamp(wall);
    let mut reply = [0; LEN];
    reply[..4].copy_from_slice(&[version << 3 | SERVER, STRATUM, request[2], PRECISION]);
    // Root delay and dispersion: 2^-10 s each, which is more than a host's own clock is off its source.
    reply[6] = 0;
    reply[7] = 64;
    reply[11] = 64;
    reply[12..16].copy_from_slice(&crate::subnet::CLOCK.octets());
    reply[16..24].copy_from_slice(&now);
    // The client's own time comes back as it was.
    reply[24..32].copy_from_slice(&request[40..48]);
    reply[32..40].copy_from_slice(&now);
    reply[40..48].copy_from_slice(&now);
    Some(reply)
}

/// Seconds since 1900, modulo 2^32, and their 2^32nd parts.
fn timestamp(wall: SystemTime) -> [u8; 8] {
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = since.as_secs().wrapping_add(BEFORE_UNIX) & u64::from(u32::MAX);
    let parts = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    (seconds << 32 | parts).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_the_host_s_time() {
        let wall = UNIX_EPOCH + Duration::new(1_700_000_000, 500_000_000);
        let mut request = [0; LEN];
        request[0] = 0x23;
        request[40..].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let reply = answer(&request, wall).unwrap();
        assert_eq!(reply[..2], [0x24, 3], "version 4, server, stratum 3");
        assert_eq!(
            reply[24..32],
            [1, 2, 3, 4, 5, 6, 7, 8],
            "the client's own time, for it to know its question"
        );
        // 3,908,988,800 seconds and a half.
        assert_eq!(reply[40..], [0xe8, 0xfe, 0x6f, 0x80, 0x80, 0, 0, 0]);
        assert_eq!(reply[32..40], reply[40..]);
    }

    #[test]
    fn what_is_no_question_is_not_answered() {
        for first in [0x24, 0x00, 0x3b, 0x26] {
            let mut request = [0; LEN];
            request[0] = first;
            assert!(answer(&request, UNIX_EPOCH).is_none(), "{first:#x}");
        }
        assert!(answer(&[0x23; 47], UNIX_EPOCH).is_none());
    }
}
