//! What can be wrong with a variable store or with UefiData. The texts begin with what it is, so that the caller can
//! put the file's name before them.

/// Why a variable store cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error(
        "not a UEFI variable store but {found}; name a copy of your firmware package's OVMF_VARS or AAVMF_VARS file"
    )]
    Foreign { found: &'static str },
    #[error("a UEFI variable store cut short: it has {size} bytes of {needed}; copy it again")]
    Truncated { size: usize, needed: u64 },
    #[error("a UEFI variable store whose header has a wrong checksum; copy it again")]
    Checksum,
    #[error(
        "a damaged UEFI variable store: {what}; copy it again, or start from your firmware package's template"
    )]
    Damaged { what: &'static str },
    #[error("a damaged UEFI variable store: the variable at {offset:#x} runs past its end; copy it again")]
    Overrun { offset: usize },
    #[error(
        "a UEFI variable store too small: the variables need {needed} bytes and it has room for {room}; take some \
         out, or use a bigger template"
    )]
    Full { needed: usize, room: usize },
    #[error("the UEFI variable {name:?} cannot be stored: {why}; take it out")]
    Variable { name: String, why: &'static str },
}

/// Why UefiData cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UefiDataError {
    #[error("UefiData of {length} characters, and EC2 takes {limit} at most; take variables out")]
    TooLong { length: usize, limit: usize },
    #[error("not UefiData: it is not base64; give what get-instance-uefi-data or uefivars wrote, unchanged")]
    NotBase64,
    #[error(
        "not UefiData: it does not begin with AMZNUEFI in base64; give what get-instance-uefi-data or uefivars wrote"
    )]
    Foreign,
    #[error("UefiData of version {found}, and only version 0 is known; write it anew with uefivars")]
    Version { found: u32 },
    #[error(
        "UefiData with a wrong checksum: {found:08x} is written in it, and it has {computed:08x}; copy it again"
    )]
    Checksum { found: u32, computed: u32 },
    #[error("UefiData cut short; copy it again")]
    Truncated,
    #[error("damaged UefiData: {what}; make it again")]
    Damaged { what: &'static str },
    #[error("UefiData that unpacks to more than {limit} bytes, which no variable store holds; make it again")]
    TooBig { limit: usize },
}
