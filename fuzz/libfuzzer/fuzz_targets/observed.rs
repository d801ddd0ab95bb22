#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| (fuzz::target("observed").run)(input));
