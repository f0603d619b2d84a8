//! Does what a firmware does with the table-loader script, for a machine that boots without one: puts the files
//! into guest memory, fills in pointers and checksums.

use crate::table_loader::{
    ADD_CHECKSUM, ADD_POINTER, ALLOCATE, AddChecksum, AddPointer, Allocate, FileName, RECORD, ZONE_F_SEGMENT,
    ZONE_HIGH,
};
use crate::{Blob, FirmwareError};
use ami_run_memory::{Gpa, Memory, Range};
use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

/// Where files may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zones {
    pub high: Range,
    pub f_segment: Range,
}

#[derive(Debug)]
struct Placed {
    name: FileName,
    address: u64,
    bytes: Vec<u8>,
}

/// Runs `script` on `files`, and says where `wanted` ended up.
pub(crate) fn run(
    script: &[u8],
    files: &[Blob],
    zones: Zones,
    memory: &Memory,
    wanted: &str,
) -> Result<Gpa, FirmwareError> {
    let mut placement = Placement { files, zones, placed: Vec::new() };
    for command in commands(script)? {
        match command {
            Command::Allocate(record) => placement.allocate(&record)?,
            Command::AddPointer(record) => placement.add_pointer(&record)?,
            Command::AddChecksum(record) => placement.add_checksum(&record)?,
        }
    }
    for file in &placement.placed {
        memory.write(Gpa(file.address), &file.bytes)?;
    }
    Ok(Gpa(placement.file(FileName::new(wanted))?.address))
}

struct Placement<'a> {
    files: &'a [Blob],
    zones: Zones,
    placed: Vec<Placed>,
}

impl Placement<'_> {
    fn file(&mut self, name: FileName) -> Result<&mut Placed, FirmwareError> {
        self.placed
            .iter_mut()
            .find(|file| file.name == name)
            .ok_or(FirmwareError::Tables("the loader script uses a file before it has a place"))
    }

    /// Takes the file's room from the front of its zone.
    fn allocate(&mut self, record: &Allocate) -> Result<(), FirmwareError> {
        let zone = match record.zone {
            ZONE_HIGH => &mut self.zones.high,
            ZONE_F_SEGMENT => &mut self.zones.f_segment,
            _ => return Err(FirmwareError::Tables("the loader script names an unknown zone")),
        };
        let file = self.files.iter().find(|file| FileName::new(&file.name) == record.file);
        let file = file.ok_or(FirmwareError::Tables("the loader script names a file that does not exist"))?;
        let full = FirmwareError::Tables("a zone is too small for its tables");
        let address = zone.start.checked_next_multiple_of(u64::from(record.align.get()));
        let Some(address) = address else { return Err(full) };
        let end = address.saturating_add(file.bytes.len() as u64);
        if end > zone.end() {
            return Err(full);
        }
        *zone = Range::new(end, zone.end().saturating_sub(end));
        self.placed.push(Placed { name: record.file, address, bytes: file.bytes.clone() });
        Ok(())
    }

    fn add_pointer(&mut self, record: &AddPointer) -> Result<(), FirmwareError> {
        let base = self.file(record.source)?.address;
        let target = self.file(record.target)?;
        let outside = FirmwareError::Tables("a pointer lies outside its table or does not fit into it");
        let (start, size) = (record.offset.get() as usize, usize::from(record.size));
        let field = target.bytes.get_mut(start..start.saturating_add(size));
        let mut number = [0; 8];
        let (Some(field), Some(low)) = (field, number.get_mut(..size)) else { return Err(outside) };
        low.copy_from_slice(field);
        let sum = u64::from_le_bytes(number).wrapping_add(base).to_le_bytes();
        let (low, high) = sum.split_at(size);
        if high.iter().any(|byte| *byte != 0) {
            return Err(outside);
        }
        field.copy_from_slice(low);
        Ok(())
    }

    fn add_checksum(&mut self, record: &AddChecksum) -> Result<(), FirmwareError> {
        let file = self.file(record.file)?;
        let (start, length) = (record.start.get() as usize, record.length.get() as usize);
        let outside = FirmwareError::Tables("a checksum lies outside its table");
        let Some(range) = file.bytes.get(start..start.saturating_add(length)) else { return Err(outside) };
        let sum = range.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        let Some(result) = file.bytes.get_mut(record.result.get() as usize) else { return Err(outside) };
        *result = result.wrapping_sub(sum);
        Ok(())
    }
}

#[derive(Debug)]
enum Command {
    Allocate(Allocate),
    AddPointer(AddPointer),
    AddChecksum(AddChecksum),
}

/// Reads a script back.
fn commands(script: &[u8]) -> Result<Vec<Command>, FirmwareError> {
    let (records, rest) = script.as_chunks::<RECORD>();
    if !rest.is_empty() {
        return Err(FirmwareError::Tables("the loader script ends within a record"));
    }
    records.iter().map(command).collect()
}

fn command(record: &[u8; RECORD]) -> Result<Command, FirmwareError> {
    let unknown = FirmwareError::Tables("the loader script has an unknown command");
    let Ok((command, payload)) = U32::read_from_prefix(record) else { return Err(unknown) };
    let decoded = match command.get() {
        ALLOCATE => Allocate::read_from_bytes(payload).ok().map(Command::Allocate),
        ADD_POINTER => AddPointer::read_from_bytes(payload).ok().map(Command::AddPointer),
        ADD_CHECKSUM => AddChecksum::read_from_bytes(payload).ok().map(Command::AddChecksum),
        _ => None,
    };
    decoded.ok_or(unknown)
}
