//! Says that the models were not run.
#![cfg(not(co_loom))]

#[test]
#[ignore = "the models need RUSTFLAGS=\"--cfg co_loom\" and a target folder of their own, see loom-tests/README.md"]
fn every_model_is_skipped() {
    unreachable!("run the models instead of this test");
}
