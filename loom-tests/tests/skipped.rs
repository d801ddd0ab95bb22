//! Says that the models were not run.
#![cfg(not(any(co_loom, co_shuttle)))]

#[test]
#[ignore = "the models need RUSTFLAGS=\"--cfg co_loom\" or \"--cfg co_shuttle\" and a target folder of their own, see loom-tests/README.md"]
fn every_model_is_skipped() {
    unreachable!("run the models instead of this test");
}
