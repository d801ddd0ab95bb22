//! Reads histories of any format and says what is in them and how long that took.
//!
//! ```sh
//! cargo run --release -p checker --example load -- list.edn
//! ```
#![allow(clippy::print_stdout, reason = "what the example is for")]

use std::path::Path;
use std::time::Instant;

use checker::formats::{self, ReadOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args_os().skip(1) {
        let path = Path::new(&path);
        let begin = Instant::now();
        let history = formats::read_path(path, &ReadOptions::default())?;
        println!(
            "{}: {} transactions, {} operations, {} keys, {} sessions, in {:.3} s",
            path.display(),
            history.txns().len(),
            history.op_count(),
            history.key_count(),
            history.session_count(),
            begin.elapsed().as_secs_f64(),
        );
    }
    Ok(())
}
