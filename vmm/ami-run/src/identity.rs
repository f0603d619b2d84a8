//! Who the launched machine is: an instance id, the UUID that goes with it, and a VM generation id, new at each launch.

use ami_run_machine::Identity;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fmt::Write;
use std::io;

pub(crate) fn new(instance_type: &str) -> io::Result<Identity> {
    Ok(from_random(random()?, instance_type))
}

/// A new volume id.
pub(crate) fn volume_id() -> io::Result<String> {
    Ok(id("vol", random::<8>()?))
}

/// A new serial number of an instance store's disk.
pub(crate) fn store_serial() -> io::Result<String> {
    Ok(format!("AWS{}", digits(random::<8>()?).to_uppercase()))
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += getrandom(rest, GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

fn id(prefix: &str, bytes: [u8; 8]) -> String {
    format!("{prefix}-{}", digits(bytes))
}

/// Those of EC2's longer ids: 17, and the first is 0.
fn digits(bytes: [u8; 8]) -> String {
    let mut text = String::from("0");
    for byte in bytes {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    text
}

fn from_random(random: [u8; 48], instance_type: &str) -> Identity {
    let [digits, uuid, generation] = [0, 16, 32].map(|at| {
        let mut part = [0; 16];
        part.iter_mut().zip(random.iter().skip(at)).for_each(|(to, from)| *to = *from);
        part
    });
    let [i0, i1, i2, i3, i4, i5, i6, i7, ..] = digits;
    let instance_id = id("i", [i0, i1, i2, i3, i4, i5, i6, i7]);
    let [_, second, rest @ ..] = uuid;
    let mut uuid = [0; 16];
    uuid.iter_mut()
        .zip([0xec, 0x20 | (second & 0x0f)].into_iter().chain(rest))
        .for_each(|(to, from)| *to = from);
    Identity { instance_id, instance_type: instance_type.to_owned(), uuid, generation }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_ec2_s_shape_and_differ() {
        let (one, other) = (new("t3.micro").unwrap(), new("t3.micro").unwrap());
        assert_eq!(one.instance_id.len(), "i-0123456789abcdef0".len());
        assert_eq!((one.uuid[0], one.uuid[1] >> 4), (0xec, 2), "begins with ec2");
        assert_ne!(one.instance_id, other.instance_id);
        assert_ne!(one.uuid, other.uuid);
        assert_ne!(one.generation, other.generation);
    }

    #[test]
    fn a_store_s_serial_number_fills_its_field() {
        let serial = store_serial().unwrap();
        assert!(serial.len() == 20 && serial.starts_with("AWS0"), "{serial}");
    }

    #[test]
    fn every_random_byte_counts() {
        let random: [u8; 48] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let identity = from_random(random, "m5.large");
        assert_eq!(identity.instance_id, "i-00001020304050607");
        assert_eq!(identity.uuid[..4], [0xec, 0x21, 18, 19]);
        assert_eq!(identity.generation[15], 47);
        assert_eq!(identity.instance_type, "m5.large");
    }
}
