//! Advice: which transaction types of an application need no coordination, which an ordering point at one site, and which
//! the order of commitment across sites.
//!
//! An application states its tables, its invariants and its transaction types ([`advise`] reads TOML; `docs/advice.md` has
//! the language). For each invariant, the types that can change whether it holds are run in a bounded model of the
//! database, and [`confluence`](super::confluence) decides by search which of them can commit at any replica without
//! asking the others: Bailis et al., "Coordination Avoidance in Database Systems", definition 6. Ordering points at the
//! site of a number that is assigned late are that paper's section 6.1.
//!
//! # Invariants
//!
//! - **I1** Advice is sound for the invariants that are declared, within the bounds that it states: a type needs no
//!   coordination only if, for every invariant, the decider found all types that run freely confluent together, while
//!   the others are coordinated as advised.
//! - **I2** What is not recognised coordinates: text that is no rule, operations that are not known, models that are too
//!   large, searches that reach their cap, types that never commit in the model.
//! - **I3** Equal input gives equal advice, to the letter.
//!
//! ```
//! use checker::spec::advise::{Answer, Options, advise};
//!
//! let advice = advise(
//!     r#"
//! application = "shop"
//! [tables.stock]
//! columns = ["item"]
//! counters = ["left"]
//! key = "item"
//! lives = { by = "item" }
//!
//! [[invariants]]
//! kind = "check"
//! table = "stock"
//! holds = "left >= 0"
//!
//! [[transactions]]
//! name = "deliver"
//! operations = [{ update = "stock", rows = "own", increment = { left = "given" } }]
//!
//! [[transactions]]
//! name = "sell"
//! operations = [{ update = "stock", rows = "own", decrement = { left = 1 } }]
//! "#,
//!     &Options::default(),
//! )?;
//! assert_eq!(advice.types[0].answer, Answer::NoCoordination);
//! assert!(matches!(advice.types[1].answer, Answer::SingleSite { .. }));
//! # Ok::<(), checker::spec::advise::InputError>(())
//! ```

mod advice;
mod bound;
mod database;
mod document;
mod execute;
mod invariant;
mod judge;
mod linear;
mod operations;
mod population;
mod projection;
mod report;
mod resolve;
mod schema;
mod study;
mod whole;

pub use advice::{
    Advice, Answer, Checked, Instead, Options, OptionsError, Reason, TypeAdvice, advise,
};
pub use document::InputError;
pub use schema::Site;
pub use study::Searched;
pub use whole::{Running, together};
