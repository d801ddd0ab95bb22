//! What tests do where a product is not installed: they skip, so loudly that it is seen and counted; in CI they fail.

use std::fs::File;
use std::io::Write;

use crate::binaries::Binaries;
use crate::error::Error;
use crate::product::Product;
use crate::server::{Server, Settings};

/// The environment variable that names a file to which every test that skips adds a line: what it is called, and why.
/// Test programs keep what passing tests print to themselves, so whoever runs them counts those lines instead.
pub const SKIPPED_TESTS: &str = "CO_SKIPPED_TESTS";

impl Server {
    /// [`Server::private`] for a test: `None` where the product is not installed, which is said on standard error and in the
    /// file of [`SKIPPED_TESTS`].
    ///
    /// # Panics
    /// If the server does not start; and in CI (`CI=true`) also if it is not installed.
    #[must_use]
    pub fn for_test(product: Product, settings: Settings<'_>) -> Option<Self> {
        there(Self::private(product, settings))
    }
}

impl Binaries {
    /// [`Binaries::find`] for a test that has another program start the server.
    ///
    /// # Panics
    /// In CI (`CI=true`) if the product is not installed.
    #[must_use]
    pub fn for_test(product: Product) -> Option<Self> {
        there(Self::find(product))
    }
}

fn there<T>(found: Result<T, Error>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(error) if error.is_missing() && !in_ci() => {
            note(&error);
            // Straight to the process's own standard error, past what the test program keeps to itself.
            let _nobody_reads = writeln!(std::io::stderr(), "SKIPPED: {}: {error}", test());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Adds a line to the file of those that skip, if there is one.
fn note(error: &Error) {
    let Some(path) = std::env::var_os(SKIPPED_TESTS) else {
        return;
    };
    let line = format!("{}: {error}\n", test());
    let written = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    assert!(
        written.is_ok(),
        "{} of {SKIPPED_TESTS} cannot be written",
        path.display()
    );
}

/// Whether a missing server is a failure.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1")
}

/// The test program, and the test, whose name its thread has.
fn test() -> String {
    let program = std::env::current_exe().ok();
    let program = program
        .as_deref()
        .and_then(|path| path.file_stem())
        .map(|name| name.to_string_lossy().into_owned());
    let program = program.unwrap_or_default();
    let thread = std::thread::current();
    format!("{program} {}", thread.name().unwrap_or("?"))
}
