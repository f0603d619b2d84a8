//! Block-device mappings: the caller's syntax, the merge with the image's, and what EBS allows.

pub(crate) mod limits;
pub(crate) mod merge;
pub(crate) mod option;
mod shorthand;

#[cfg(test)]
mod merge_test;
#[cfg(test)]
mod model_test;
