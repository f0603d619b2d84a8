//! A variable store's records: which of them count, and a new store's. A record is never changed in place: a new one
//! is added and the old one's state says that it is replaced (MdeModulePkg's VariableDxe).

use super::spec::{
    RECORD_ALIGNMENT, RECORD_START, Record, STATE_ADDED, STATE_BEING_REPLACED, STATE_ERASED, record,
};
use super::volume::Volume;
use super::{Authentication, NON_VOLATILE, StoreError, Variable, certificates, fault_tolerant};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

const ERASED: u8 = 0xff;
const NUL: u16 = 0;

/// What a variable store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    variables: Vec<Variable>,
    unreadable: usize,
}

impl Store {
    /// Reads a store's image as the firmware's next start will see it. What follows the store in the image, as the
    /// padding of AAVMF's files, does not count.
    pub fn parse(image: &[u8]) -> Result<Store, StoreError> {
        let volume = Volume::find(image).or_else(|why| Volume::find_in_spare(image).ok_or(why))?;
        let image = fault_tolerant::finished(image, &volume);
        let volume = Volume::find(&image)?;
        let mut store = Store { variables: Vec::new(), unreadable: 0 };
        for found in counting(&image, volume.variables)? {
            match found.variable(&image) {
                Some(variable) => store.variables.push(variable),
                None => store.unreadable = store.unreadable.saturating_add(1),
            }
        }
        certificates::give_out(&mut store.variables);
        Ok(store)
    }

    /// In the order of their records. The certificates' table is not among them but in
    /// [`Variable::authentication`].
    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// How many variables there are besides, with names that no text can be: unpaired surrogates. A guest may make
    /// them, but UefiData cannot hold them.
    #[must_use]
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// A store of the template's layout with these variables and no others. Volatile ones have no place in a store
    /// and are left out, as EC2 leaves them out of UefiData.
    pub fn build(template: &[u8], variables: &[Variable]) -> Result<Vec<u8>, StoreError> {
        let volume = Volume::find(template)?;
        let lasting: Vec<&Variable> = variables
            .iter()
            .filter(|it| it.attributes & NON_VOLATILE != 0 && !certificates::is_table(it))
            .collect();
        let table = certificates::collect(&lasting);
        let mut records = Vec::new();
        let mut seen = BTreeMap::new();
        for variable in lasting.into_iter().chain(&table) {
            check(variable)?;
            if seen.insert((&variable.name, variable.vendor), ()).is_some() {
                return Err(StoreError::Variable { name: variable.name.clone(), why: "it is given twice" });
            }
            write(variable, &mut records)?;
        }
        let room = volume.variables.len();
        let mut image = template.to_vec();
        let mut fill = |range: Range<usize>| image.get_mut(range).map(|area| area.fill(ERASED));
        fill(volume.variables.clone());
        if let Some(areas) = volume.write_areas {
            fill(areas.queue);
            fill(areas.spare);
        }
        let area = image.get_mut(volume.variables).and_then(|area| area.get_mut(..records.len()));
        area.ok_or(StoreError::Full { needed: records.len(), room })?.copy_from_slice(&records);
        Ok(image)
    }
}

/// One record that counts.
struct Found {
    record: Record,
    name: Range<usize>,
    data: Range<usize>,
}

impl Found {
    /// None where the name is no text.
    fn variable(&self, image: &[u8]) -> Option<Variable> {
        let units = name(image.get(self.name.clone())?);
        let authentication = Authentication { timestamp: self.record.timestamp, ..Authentication::none() };
        let mut variable = Variable {
            name: String::from_utf16(&units).ok()?,
            vendor: self.record.vendor,
            attributes: self.record.attributes.get(),
            data: image.get(self.data.clone())?.to_vec(),
            authentication: None,
        };
        variable.authentication = variable.is_authenticated().then_some(authentication);
        Some(variable)
    }
}

/// The characters before the NUL.
fn name(bytes: &[u8]) -> Vec<u16> {
    let (units, _) = bytes.as_chunks::<2>();
    units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != NUL).collect()
}

/// The records that count, in order: those written whole and not replaced, and of a variable whose replacement was
/// cut off the old one.
fn counting(image: &[u8], variables: Range<usize>) -> Result<Vec<Found>, StoreError> {
    let mut found: Vec<Found> = Vec::new();
    let mut places: BTreeMap<(Vec<u16>, [u8; 16]), usize> = BTreeMap::new();
    let mut at = variables.start;
    while let Some(record) = image.get(..variables.end).and_then(|area| record::<Record>(area, at)) {
        if record.start.get() != RECORD_START {
            break;
        }
        let next = extent(&record, at).filter(|it| it.data.end <= variables.end);
        let next = next.ok_or(StoreError::Overrun { offset: at })?;
        at = next.data.end.checked_next_multiple_of(RECORD_ALIGNMENT).unwrap_or(usize::MAX);
        if !matches!(record.state, STATE_ADDED | STATE_BEING_REPLACED) {
            continue;
        }
        let key = (name(image.get(next.name.clone()).unwrap_or_default()), record.vendor);
        // Nobody can ask for what has no name.
        if key.0.is_empty() {
            continue;
        }
        match places.entry(key) {
            Entry::Vacant(place) => {
                place.insert(found.len());
                found.push(next);
            }
            // The firmware takes the first that is whole, else the last that is being replaced.
            Entry::Occupied(place) => {
                if let Some(old) = found.get_mut(*place.get())
                    && old.record.state == STATE_BEING_REPLACED
                {
                    *old = next;
                }
            }
        }
    }
    Ok(found)
}

/// None where the sizes cannot be added. Sizes count only when they have been written whole.
fn extent(record: &Record, at: usize) -> Option<Found> {
    let fields = [record.attributes, record.name_size, record.data_size];
    let unwritten = record.state == STATE_ERASED || fields.iter().any(|field| field.get() == u32::MAX);
    let size = |field: U32| if unwritten { 0 } else { field.get() as usize };
    let start = at.checked_add(size_of::<Record>())?;
    let middle = start.checked_add(size(record.name_size))?;
    let end = middle.checked_add(size(record.data_size))?;
    Some(Found { record: *record, name: start..middle, data: middle..end })
}

/// Whether firmware would read it as it is.
fn check(variable: &Variable) -> Result<(), StoreError> {
    let refuse = |why| Err(StoreError::Variable { name: variable.name.clone(), why });
    if variable.name.is_empty() {
        return refuse("it has no name");
    }
    if variable.name.contains('\0') {
        return refuse("its name has a NUL in it");
    }
    if variable.attributes == u32::MAX {
        return refuse("its attributes are all ones, which firmware takes for erased flash");
    }
    Ok(())
}

/// Adds one record.
fn write(variable: &Variable, records: &mut Vec<u8>) -> Result<(), StoreError> {
    let name: Vec<U16> = variable.name.encode_utf16().chain([NUL]).map(U16::new).collect();
    let size = |length: usize| {
        let size = u32::try_from(length).ok().filter(|size| *size != u32::MAX);
        size.map(U32::new).ok_or(StoreError::Full { needed: length, room: u32::MAX as usize })
    };
    let timestamp = variable.authentication.as_ref().filter(|_| variable.is_authenticated());
    let record = Record {
        start: U16::new(RECORD_START),
        state: STATE_ADDED,
        reserved: 0,
        attributes: U32::new(variable.attributes),
        monotonic_count: U64::ZERO,
        timestamp: timestamp.map_or([0; 16], |it| it.timestamp),
        public_key: U32::ZERO,
        name_size: size(name.as_bytes().len())?,
        data_size: size(variable.data.len())?,
        vendor: variable.vendor,
    };
    records.resize(records.len().next_multiple_of(RECORD_ALIGNMENT), ERASED);
    records.extend_from_slice(record.as_bytes());
    records.extend_from_slice(name.as_bytes());
    records.extend_from_slice(&variable.data);
    Ok(())
}

#[cfg(test)]
#[path = "store_test.rs"]
mod tests;
