//! UefiData, as RegisterImage and CreateImage take and GetInstanceUefiData and DescribeImageAttribute give it: base64
//! of a header and of the variables, packed. EC2 documents it only by its tool, python-uefivars.

use super::{Authentication, UefiDataError, Variable, packed};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// In characters: the longest string that EC2's interface takes.
const MAX_LENGTH: usize = 64_000;
/// Four times what the variable stores of OVMF and AAVMF hold.
const MAX_UNPACKED: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"AMZNUEFI";
const VERSION: u32 = 0;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    /// CRC-32C of all that follows.
    checksum: U32,
    version: U32,
}

/// Where the checksum begins to count.
const CHECKED: usize = 12;

/// Reads UefiData. White space in it, as line ends, does not count.
pub fn decode(text: &str) -> Result<Vec<Variable>, UefiDataError> {
    let text: String = text.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    if text.len() > MAX_LENGTH {
        return Err(UefiDataError::TooLong { length: text.len(), limit: MAX_LENGTH });
    }
    let bytes = STANDARD.decode(text).map_err(|_| UefiDataError::NotBase64)?;
    if !bytes.starts_with(&MAGIC) {
        return Err(UefiDataError::Foreign);
    }
    let (header, packed) = Header::read_from_prefix(&bytes).map_err(|_| UefiDataError::Truncated)?;
    let computed = crc32c::crc32c(bytes.get(CHECKED..).unwrap_or_default());
    let found = header.checksum.get();
    if found != computed {
        return Err(UefiDataError::Checksum { found, computed });
    }
    if header.version.get() != VERSION {
        return Err(UefiDataError::Version { found: header.version.get() });
    }
    let unpacked = packed::inflate(packed, MAX_UNPACKED)?;
    variables(&mut Reader { rest: &unpacked })
}

/// Writes UefiData: [`decode`] gives the same variables again.
pub fn encode(variables: &[Variable]) -> Result<String, UefiDataError> {
    let mut unpacked = U64::new(variables.len() as u64).as_bytes().to_vec();
    let sized = |unpacked: &mut Vec<u8>, bytes: &[u8]| {
        unpacked.extend_from_slice(U64::new(bytes.len() as u64).as_bytes());
        unpacked.extend_from_slice(bytes);
    };
    for variable in variables {
        sized(&mut unpacked, variable.name.as_bytes());
        sized(&mut unpacked, &variable.data);
        unpacked.extend_from_slice(&variable.vendor);
        unpacked.extend_from_slice(U32::new(variable.attributes).as_bytes());
        if variable.is_authenticated() {
            let none = Authentication::none();
            let authentication = variable.authentication.as_ref().unwrap_or(&none);
            unpacked.extend_from_slice(&authentication.timestamp);
            sized(&mut unpacked, &authentication.digest);
        }
    }
    if unpacked.len() > MAX_UNPACKED {
        return Err(UefiDataError::TooBig { limit: MAX_UNPACKED });
    }
    let checked = [&VERSION.to_le_bytes()[..], &packed::deflate(&unpacked)?].concat();
    let checksum = crc32c::crc32c(&checked).to_le_bytes();
    let text = STANDARD.encode([&MAGIC[..], &checksum, &checked].concat());
    if text.len() > MAX_LENGTH {
        return Err(UefiDataError::TooLong { length: text.len(), limit: MAX_LENGTH });
    }
    Ok(text)
}

/// What is unpacked, from front to back.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: u64) -> Result<&'a [u8], UefiDataError> {
        let short = UefiDataError::Damaged { what: "it ends within a variable" };
        let taken = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (taken, rest) = taken.ok_or(short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], UefiDataError> {
        let taken = self.take(N as u64)?;
        taken.try_into().map_err(|_| UefiDataError::Truncated)
    }

    fn sized(&mut self) -> Result<&'a [u8], UefiDataError> {
        let length = u64::from_le_bytes(self.array()?);
        self.take(length)
    }
}

/// Each is there before room is made for the next, whatever their count says.
fn variables(reader: &mut Reader<'_>) -> Result<Vec<Variable>, UefiDataError> {
    let mut variables = Vec::new();
    for _ in 0..u64::from_le_bytes(reader.array()?) {
        let name = std::str::from_utf8(reader.sized()?);
        let name = name.map_err(|_| UefiDataError::Damaged { what: "a variable's name is not UTF-8" })?;
        let mut variable = Variable {
            name: name.to_owned(),
            data: reader.sized()?.to_vec(),
            vendor: reader.array()?,
            attributes: u32::from_le_bytes(reader.array()?),
            authentication: None,
        };
        if variable.is_authenticated() {
            let (timestamp, digest) = (reader.array()?, reader.sized()?.to_vec());
            variable.authentication = Some(Authentication { timestamp, digest });
        }
        variables.push(variable);
    }
    if !reader.rest.is_empty() {
        return Err(UefiDataError::Damaged { what: "something follows its last variable" });
    }
    Ok(variables)
}

#[cfg(test)]
#[path = "aws_test.rs"]
mod tests;
