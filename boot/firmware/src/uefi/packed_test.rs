//! Tests of packed.rs.
