//! # A store
//!
//! Here is a store: a map behind a mutex. It is serializable, as every call is alone in it.
//!
//! Two of them are not serializable together, whatever each does for itself. Transaction T1 reads `x` at the
//! first store and writes `y` at the second; T2 writes `x` and reads `y`. The first store may put T1 before T2
//! and the second T2 before T1, and neither sees anything wrong. The steps that follow give the store
//! transactions that commit in an order on which all stores agree, though they never exchange a word about
//! conflicts.
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::sync::Mutex;
//!
//! #[derive(Default)]
//! struct Store {
//!     data: Mutex<BTreeMap<String, i64>>,
//! }
//!
//! let store = Store::default();
//! store.data.lock().unwrap().insert("x".to_owned(), 7);
//! assert_eq!(store.data.lock().unwrap()["x"], 7);
//! ```
