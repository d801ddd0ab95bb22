//! Three storage engines that embed co-core: an in-memory map, redb, fjall.
//!
//! Each of [`map`], [`redb`] and [`fjall`] is one `Store`, whole, in fewer than 150 lines of code: copy the
//! one that is nearest to your engine, turn `impl Engine for Store` into `impl Store` if the kit stays
//! behind, and keep the kit as a test. The two stores on disk share [`workspace`]; the one that validates
//! uses [`changes`] as well. Which to copy, and what each obligation looks like in code, is in the
//! `README.md`.
//!
//! [`run`] puts each of them through the kit.
#![forbid(unsafe_code)]

pub mod changes;
pub mod fjall;
pub mod map;
pub mod redb;
pub mod workspace;

use std::path::{Path, PathBuf};

use conformance::{Class, Options, Report};

/// The embeddings, by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Embedding {
    /// [`map::Store`]: in memory, strict commitment ordering.
    Map,
    /// [`redb::Store`]: on disk, optimistic.
    Redb,
    /// [`fjall::Store`]: on disk, strong strict two-phase locking.
    Fjall,
}

impl Embedding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Map, Self::Redb, Self::Fjall];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Redb => "redb",
            Self::Fjall => "fjall",
        }
    }

    /// `options` with what the embedding promises.
    #[must_use]
    pub fn options(self, options: Options) -> Options {
        let (class, durable) = match self {
            Self::Map => (Class::StrictCo, false),
            Self::Redb => (Class::Optimistic, true),
            Self::Fjall => (Class::Rigorous, true),
        };
        Options {
            name: self.name().to_owned(),
            class: Some(class),
            durable,
            ..options
        }
    }
}

/// Runs the kit on an embedding. Stores on disk are made in `folder`, which has to be empty.
#[must_use]
pub fn run(embedding: Embedding, folder: &Path, options: Options) -> Report {
    let options = embedding.options(options);
    let folder: PathBuf = folder.to_owned();
    match embedding {
        Embedding::Map => conformance::run(|_| Ok(map::Store::new()), options),
        Embedding::Redb => conformance::run(
            move |place| redb::Store::open(&folder.join(place.to_string())),
            options,
        ),
        Embedding::Fjall => conformance::run(
            move |place| fjall::Store::open(&folder.join(place.to_string())),
            options,
        ),
    }
}
