//! msi under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ami_run_fuzz::msi(data));
