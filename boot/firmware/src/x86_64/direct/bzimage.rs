//! bzImage: Linux's own format (Documentation/arch/x86/boot.rst). Entered by the 32-bit protocol, which every
//! such kernel has, whether it is a 32- or a 64-bit one, and which needs no page tables from us.

use super::spec::{LOADED_HIGH, LOADER_OTHER, SETUP_HEADER, SetupHeader, VERSION_WITH_INIT_SIZE};
use super::{Kernel, WANTED, damaged, layout};
use crate::FirmwareError;
use crate::file::Source;
use crate::kernel::identify::{BOOT_FLAG, SETUP_MAGIC};
use crate::x86_64::direct::entry::Protocol;
use zerocopy::FromBytes;

const SECTOR: u64 = 512;
/// What 0 in setup_sects means, for historical reasons.
const DEFAULT_SETUP_SECTORS: u64 = 4;
/// Where all of them are linked to be loaded; they move themselves from there.
const LOAD_ADDRESS: u64 = layout::KERNEL_MIN;

pub(super) fn plan(source: &Source, head: &[u8]) -> Result<Kernel, FirmwareError> {
    let damaged = |what: &str| damaged(source, what);
    let header = head.get(SETUP_HEADER..).and_then(|rest| SetupHeader::read_from_prefix(rest).ok());
    let Some((mut header, _)) = header else { return Err(damaged("it ends within its header")) };
    let version = header.version.get();
    if version < VERSION_WITH_INIT_SIZE || header.loadflags & LOADED_HIGH == 0 {
        let found = format!("an old kernel (boot protocol {}.{:02})", version >> 8, version & 0xff);
        let path = source.path.clone();
        return Err(FirmwareError::NotAKernel { path, found, wanted: WANTED.formats });
    }
    let setup = match u64::from(header.setup_sects) {
        0 => DEFAULT_SETUP_SECTORS,
        sectors => sectors,
    };
    let image = source.length.checked_sub(setup.saturating_add(1).saturating_mul(SECTOR));
    let Some(image) = image.filter(|length| *length > 0) else {
        return Err(damaged("it ends before its 32-bit code"));
    };
    if u64::from(header.code32_start.get()) != LOAD_ADDRESS {
        return Err(damaged("its header does not name 1 MiB as load address"));
    }
    let payload_end =
        u64::from(header.payload_offset.get()).saturating_add(header.payload_length.get().into());
    if payload_end > image {
        return Err(damaged("it ends within the compressed kernel"));
    }
    let end = run_end(&header).ok_or_else(|| damaged("its header asks for an impossible place in memory"))?;
    header.type_of_loader = LOADER_OTHER;
    header.setup_data = 0.into();
    Ok(Kernel {
        protocol: Protocol::Linux32,
        entry: LOAD_ADDRESS,
        end: end.max(LOAD_ADDRESS.saturating_add(image)),
        initrd_max: u64::from(header.initrd_addr_max.get()),
        command_line_max: usize::try_from(header.cmdline_size.get()).unwrap_or(usize::MAX),
        header,
    })
}

/// Where the memory ends that the kernel uses before it reads the memory map: it unpacks itself to its preferred
/// address, or to where it was loaded if that is higher.
fn run_end(header: &SetupHeader) -> Option<u64> {
    let align = u64::from(header.kernel_alignment.get());
    let loaded = match header.relocatable_kernel {
        0 => LOAD_ADDRESS,
        _ if align.is_power_of_two() => LOAD_ADDRESS.checked_next_multiple_of(align)?,
        _ => return None,
    };
    let end = loaded.max(header.pref_address.get()).checked_add(header.init_size.get().into())?;
    (end <= layout::KERNEL_MAX).then_some(end)
}

/// The header of a kernel that came as ELF and has none: what a kernel reads of it.
pub(super) fn minimal_header() -> SetupHeader {
    let mut header: SetupHeader = zerocopy::FromZeros::new_zeroed();
    header.boot_flag = BOOT_FLAG.into();
    header.header = SETUP_MAGIC.into();
    header.version = VERSION_WITH_INIT_SIZE.into();
    header.type_of_loader = LOADER_OTHER;
    header.loadflags = LOADED_HIGH;
    header
}
