//! Bodies of the fuzz targets: what comes from a disk or a wire never does more than be refused.
//!
//! Each target is a function of bytes that panics if something is wrong. Two drivers run them: the
//! tests of this crate, with a deterministic [`Mutator`] over the stored inputs, at every run of the
//! tests; and libFuzzer, in `libfuzzer/`, guided by coverage (`cargo xtask fuzz`).
//!
//! `corpus/TARGET/` holds inputs to start from, `findings/TARGET/` the inputs that once found
//! something; both are run as they are as well.
#![forbid(unsafe_code)]

mod chunks;
mod coordinator_records;
mod history;
mod memory_folder;
mod mutator;
mod observed;
mod segments;
mod site_records;
#[cfg(feature = "wire")]
mod wire;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use mutator::Mutator;

/// One target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of its folders, and for `cargo xtask fuzz`.
    pub name: &'static str,
    /// Runs one input; panics if something is wrong.
    pub run: fn(&[u8]),
    /// Inputs written by the code that the target reads with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "segments",
        run: segments::run,
        seeds: segments::seeds,
    },
    Target {
        name: "coordinator_records",
        run: coordinator_records::run,
        seeds: coordinator_records::seeds,
    },
    Target {
        name: "site_records",
        run: site_records::run,
        seeds: site_records::seeds,
    },
    Target {
        name: "history",
        run: history::run,
        seeds: history::seeds,
    },
    Target {
        name: "observed",
        run: observed::run,
        seeds: observed::seeds,
    },
    #[cfg(feature = "wire")]
    Target {
        name: "wire",
        run: wire::run,
        seeds: wire::seeds,
    },
];

/// The target of this name.
///
/// # Panics
///
/// If there is none.
#[must_use]
pub fn target(name: &str) -> Target {
    *TARGETS
        .iter()
        .find(|target| target.name == name)
        .unwrap_or_else(|| panic!("no target `{name}`"))
}

impl Target {
    /// Where the inputs to start from are stored.
    #[must_use]
    pub fn corpus(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(self.name)
    }

    /// Where the inputs are stored that once found something.
    #[must_use]
    pub fn findings(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("findings")
            .join(self.name)
    }

    /// All stored inputs and seeds, in a fixed order.
    ///
    /// # Errors
    ///
    /// If a stored input cannot be read.
    pub fn inputs(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut inputs = (self.seeds)();
        for folder in [self.corpus(), self.findings()] {
            if !folder.exists() {
                continue;
            }
            let mut paths = fs::read_dir(folder)?
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<io::Result<Vec<_>>>()?;
            paths.sort();
            for path in paths {
                inputs.push(fs::read(path)?);
            }
        }
        Ok(inputs)
    }
}
