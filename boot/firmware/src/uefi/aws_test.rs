//! Tests of aws.rs.
