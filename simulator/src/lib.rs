//! Many sites under the real protocol and the real engines, in one thread, from one seed.
#![forbid(unsafe_code)]
