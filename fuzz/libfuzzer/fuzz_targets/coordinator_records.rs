#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| (fuzz::target("coordinator_records").run)(input));
