//! The top of a volume: a sparse file with what was written since the volume was made, and the map that tells it from
//! the base.

pub(crate) mod file;
pub(crate) mod header;
pub(crate) mod kept;
pub(crate) mod layout;
pub(crate) mod sector;
pub(crate) mod store;
