//! Ids in EC2's shape, at random. They become file names, so what is no id is told from one before it is used.

use crate::error::CatalogError;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fmt::Write;
use std::io;
use std::path::PathBuf;

/// EC2's have 8 or 17; examples and tests have other lengths.
const MAX_DIGITS: usize = 17;

/// `i-` and EC2's 17 digits.
pub fn instance() -> Result<String, CatalogError> {
    new("i")
}

/// `vol-` and EC2's 17 digits.
pub fn volume() -> Result<String, CatalogError> {
    new("vol")
}

/// SMBIOS' UUID of an instance: 32 digits that begin with `ec2`, which guests know EC2 by.
pub fn uuid() -> Result<String, CatalogError> {
    Ok(format!("ec2{}", hexadecimal(&random::<16>()?).get(3..).unwrap_or_default()))
}

/// An instance store disk's serial number, which fills its field of 20.
pub fn store_serial() -> Result<String, CatalogError> {
    Ok(format!("AWS{}", digits(random::<8>()?).to_uppercase()))
}

pub(crate) fn new(prefix: &str) -> Result<String, CatalogError> {
    Ok(format!("{prefix}-{}", digits(random::<8>()?)))
}

/// Random bytes.
pub fn random<const N: usize>() -> Result<[u8; N], CatalogError> {
    let fail = |cause: io::Error| CatalogError::io("read", PathBuf::from("/dev/urandom"), cause);
    let mut bytes = [0; N];
    let mut filled = 0_usize;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let more = getrandom(rest, GetRandomFlags::empty()).map_err(|cause| fail(cause.into()))?;
        filled = filled.saturating_add(more);
    }
    Ok(bytes)
}

/// Those of EC2's longer ids: 17, and the first is 0.
fn digits(bytes: [u8; 8]) -> String {
    format!("0{}", hexadecimal(&bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

/// `i-` and hexadecimal digits, or the beginning of such an id.
pub(crate) fn is_instance(id: &str) -> bool {
    is_id(id, "i-")
}

pub(crate) fn is_volume(id: &str) -> bool {
    is_id(id, "vol-")
}

fn is_id(id: &str, prefix: &str) -> bool {
    id.strip_prefix(prefix).is_some_and(|rest| {
        (1..=MAX_DIGITS).contains(&rest.len())
            && rest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_ec2_s_shape_and_differ() {
        let (one, other) = (instance().unwrap(), instance().unwrap());
        assert_eq!(one.len(), "i-0123456789abcdef0".len());
        assert!(one.starts_with("i-0") && is_instance(&one) && one != other, "{one} {other}");
        assert!(is_volume(&volume().unwrap()));
    }

    #[test]
    fn guests_know_ec2_by_the_uuid() {
        let (one, other) = (uuid().unwrap(), uuid().unwrap());
        assert!(one.len() == 32 && one.starts_with("ec2") && one != other, "{one} {other}");
    }

    #[test]
    fn a_store_s_serial_number_fills_its_field() {
        let serial = store_serial().unwrap();
        assert!(serial.len() == 20 && serial.starts_with("AWS0"), "{serial}");
    }

    #[test]
    fn every_random_byte_counts() {
        assert_eq!(digits([0, 1, 2, 3, 4, 5, 6, 0xff]), "000010203040506ff");
    }

    #[test]
    fn an_id_is_no_path() {
        for not in ["", "i-", "i-../x", "i-0/1", "i-0A", "vol-1", "i-012345678901234567", "i-0\0"] {
            assert!(!is_instance(not), "{not}");
        }
    }
}
