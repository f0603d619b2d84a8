//! The variable `certdb`, in which EDK II (SecurityPkg's AuthVariableLib) keeps who signed each authenticated variable.
//! UefiData has the same with each variable, and so has [`Authentication::digest`]: the table is made and read here.
//!
//! [`Authentication::digest`]: super::Authentication::digest

use super::spec::{CERTIFICATES, Certificate, record};
use super::{Authentication, Variable};
use std::collections::BTreeMap;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

const NAME: &str = "certdb";
/// Non-volatile, for boot and run time, time-based authenticated.
const ATTRIBUTES: u32 = 0x27;
/// The table begins with its own size.
const SIZE: usize = 4;

pub(super) fn is_table(variable: &Variable) -> bool {
    variable.name == NAME && variable.vendor == CERTIFICATES
}

/// Takes the table from among the variables, and gives each its digest.
pub(super) fn give_out(variables: &mut Vec<Variable>) {
    let Some(at) = variables.iter().position(is_table) else { return };
    let table = variables.remove(at).data;
    let mut entries = entries(&table);
    for variable in variables {
        if let Some(authentication) = &mut variable.authentication
            && let Some(digest) = entries.remove(&(variable.name.clone(), variable.vendor))
        {
            authentication.digest = digest;
        }
    }
}

/// By name and vendor. What is behind a damaged entry is not read. The entries' own sizes are not believed: uefivars
/// writes them wrong.
fn entries(table: &[u8]) -> BTreeMap<(String, [u8; 16]), Vec<u8>> {
    let mut entries = BTreeMap::new();
    let mut rest = table.get(SIZE..).unwrap_or_default();
    let mut next = || {
        let entry: Certificate = record(rest, 0)?;
        let (_, names) = rest.split_at_checked(size_of::<Certificate>())?;
        let (name, digests) = names.split_at_checked((entry.name_length.get() as usize).checked_mul(2)?)?;
        let (digest, behind) = digests.split_at_checked(entry.digest_size.get() as usize)?;
        rest = behind;
        let (units, _) = name.as_chunks::<2>();
        let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
        let name = String::from_utf16_lossy(&units).trim_end_matches('\0').to_owned();
        Some(((name, entry.vendor), digest.to_vec()))
    };
    while let Some((key, digest)) = next() {
        entries.entry(key).or_insert(digest);
    }
    entries
}

/// The table of these variables. None where nobody signed any: the firmware makes an empty one itself.
pub(super) fn collect(variables: &[&Variable]) -> Option<Variable> {
    let mut entries = Vec::new();
    for variable in variables.iter().filter(|it| it.is_authenticated()) {
        let Some(signer) = variable.authentication.as_ref().filter(|it| it.has_signer()) else { continue };
        let name: Vec<U16> = variable.name.encode_utf16().map(U16::new).collect();
        let size = size_of::<Certificate>().saturating_add(name.as_bytes().len());
        let entry = Certificate {
            vendor: variable.vendor,
            size: number(size.saturating_add(signer.digest.len())),
            name_length: number(name.len()),
            digest_size: number(signer.digest.len()),
        };
        entries.extend_from_slice(entry.as_bytes());
        entries.extend_from_slice(name.as_bytes());
        entries.extend_from_slice(&signer.digest);
    }
    if entries.is_empty() {
        return None;
    }
    let size = number(SIZE.saturating_add(entries.len()));
    Some(Variable {
        name: NAME.to_owned(),
        vendor: CERTIFICATES,
        attributes: ATTRIBUTES,
        data: [size.as_bytes(), &entries].concat(),
        authentication: Some(Authentication::none()),
    })
}

/// What does not fit here fits no store either, which is told where the store is written.
fn number(length: usize) -> U32 {
    U32::new(u32::try_from(length).unwrap_or(u32::MAX))
}
