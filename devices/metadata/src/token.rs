//! Session tokens. They carry their own end and a seal, so that no memory of them is kept and no guest can fill it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use rsa::sha2::{Digest as _, Sha256};
use std::time::Duration;

/// What a client may ask for, in seconds.
const LIFETIMES: std::ops::RangeInclusive<u64> = 1..=21600;
/// Of a token before it is written in base64: four bytes that are always the same, the end, the lifetime and a
/// number, four bytes each, and the seal.
const MARK: [u8; 4] = [1, 0, 0, 0];
const SEALED: usize = 16;
const LENGTH: usize = 40;

/// Gives tokens and knows them again. Times are since the service began.
#[derive(Debug)]
pub(crate) struct Tokens {
    secret: [u8; 32],
    given: u32,
}

impl Tokens {
    pub(crate) fn new(secret: [u8; 32]) -> Tokens {
        Tokens { secret, given: 0 }
    }

    /// A new token of so many seconds.
    pub(crate) fn give(&mut self, lifetime: u32, now: Duration) -> String {
        self.given = self.given.wrapping_add(1);
        let end = u32::try_from(now.as_secs()).unwrap_or(u32::MAX).saturating_add(lifetime);
        let mut token = MARK.to_vec();
        for number in [end, lifetime, self.given] {
            token.extend(number.to_be_bytes());
        }
        let seal = self.seal(&token);
        token.extend(seal);
        URL_SAFE.encode(token)
    }

    /// The lifetime of a token of ours that has not ended.
    pub(crate) fn lifetime(&self, token: &str, now: Duration) -> Option<u32> {
        let token: [u8; LENGTH] = URL_SAFE.decode(token).ok()?.try_into().ok()?;
        let (sealed, seal) = token.split_at(SEALED);
        // All bytes are compared, so that the time it takes says nothing.
        let differ = self.seal(sealed).zip(seal).fold(0, |differ, (one, other)| differ | (one ^ other));
        let [_, _, _, _, a, b, c, d, e, f, g, h, ..] = token;
        let (end, lifetime) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        (differ == 0 && now.as_secs() < u64::from(end)).then_some(lifetime)
    }

    /// What is sealed has one length, so that nothing can be added to it.
    fn seal(&self, sealed: &[u8]) -> impl Iterator<Item = u8> + use<> {
        let digest = Sha256::new().chain_update(self.secret).chain_update(sealed).finalize();
        digest.into_iter().take(LENGTH.saturating_sub(SEALED))
    }
}

/// The lifetime that a header asks for.
pub(crate) fn asked(header: &str) -> Option<u32> {
    let digits = !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = header.parse().ok().filter(|seconds| digits && LIFETIMES.contains(seconds))?;
    u32::try_from(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_until_its_end() {
        let mut tokens = Tokens::new([7; 32]);
        let at = Duration::from_secs;
        let token = tokens.give(60, at(100));
        assert_eq!((token.len(), token.get(..6)), (56, Some("AQAAAA")));
        assert_eq!(tokens.lifetime(&token, at(159)), Some(60));
        assert_eq!(tokens.lifetime(&token, at(160)), None);
        assert_ne!(tokens.give(60, at(100)), token);
        assert_eq!(Tokens::new([8; 32]).lifetime(&token, at(100)), None);
        let mut bytes = URL_SAFE.decode(&token).unwrap();
        for at_byte in 0..bytes.len() {
            bytes[at_byte] ^= 1;
            assert_eq!(tokens.lifetime(&URL_SAFE.encode(&bytes), at(0)), None, "byte {at_byte}");
            bytes[at_byte] ^= 1;
        }
    }

    #[test]
    fn lifetimes_are_whole_seconds_up_to_six_hours() {
        assert_eq!((asked("1"), asked("21600")), (Some(1), Some(21600)));
        for bad in ["", "0", "21601", "-1", "+1", " 1", "1.0", "six", "99999999999999999999999"] {
            assert_eq!(asked(bad), None, "{bad}");
        }
    }
}
