//! Tests of store.rs.
