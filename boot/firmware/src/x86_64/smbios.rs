//! SMBIOS of the PC, and its place in memory where there is no firmware to find one.

use crate::FirmwareError;
use crate::board::Board;
use crate::smbios::{Machine, Socket, UNKNOWN_FAMILY, tables};
use ami_run_memory::{Gpa, Memory, Range};

const DATE: &str = "10/16/2017";
/// Of the 32-bit entry point.
const ENTRY_POINT: u64 = 31;
const ALIGN: u64 = 16;

impl<'a> From<&'a Board> for Machine<'a> {
    fn from(board: &'a Board) -> Machine<'a> {
        Machine {
            identity: &board.identity,
            cpus: board.cpus.len(),
            ram: &board.ram,
            firmware: board.firmware,
            date: DATE,
            socket: Socket { maker: "", version: "", megahertz: 0, family: UNKNOWN_FAMILY },
        }
    }
}

/// Does what a firmware does: puts entry point and structures into `place`, which an OS searches.
pub(crate) fn place(board: &Board, place: Range, memory: &Memory) -> Result<(), FirmwareError> {
    let smbios = tables(board);
    let start = place.start.saturating_add(ENTRY_POINT).next_multiple_of(ALIGN);
    let end = start.saturating_add(smbios.bytes.len() as u64);
    let address = u32::try_from(start).ok().filter(|_| end <= place.end());
    let address =
        address.ok_or(FirmwareError::Tables("the SMBIOS structures do not fit into their place"))?;
    memory.write(Gpa(place.start), &smbios.anchor(address))?;
    Ok(memory.write(Gpa(start), &smbios.bytes)?)
}
