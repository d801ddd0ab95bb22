//! The gRPC service under a simulated network: coordinators, sites and clients in one thread, from one seed.
//!
//! Real: the servers of `coco` and `participant` as their programs run them, the client, tonic, HTTP/2, the
//! file log, the engines. Simulated: TCP (turmoil), time, the disk below the logs. A run has three sites with
//! different engines, one or two coordinators and some clients. For twelve seconds links are cut, held and slowed
//! down, processes are killed, machines lose their power, disks fail; then all heals, and within a bound of
//! virtual time everything must be decided and nothing be held. Then the checks of `simulator` judge: the
//! histories of all lives of all sites, what clients were told, the values, the money.
//!
//! ```
//! let run = turmoil_tests::run(1, None, false);
//! assert!(run.problem.is_none(), "{run:?}");
//! assert!(run.faults >= 60 && run.commits > 0, "{run:?}");
//! ```
#![forbid(unsafe_code)]

mod client;
mod faults;
mod hosts;
mod machine;
mod net;
mod plan;
mod trace;
mod world;

pub use plan::Planted;
pub use world::{Outcome, run};
