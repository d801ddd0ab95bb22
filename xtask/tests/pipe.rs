//! Output that nobody reads to its end, as with `| head`.
#![allow(
    clippy::unwrap_used,
    reason = "a test that fails to set itself up has failed"
)]

use std::process::{Command, Stdio};

#[test]
fn who_reads_no_more_ends_nothing() {
    let folder = std::env::temp_dir().join(format!("xtask-pipe-{}", std::process::id()));
    for asked in ["help", "status"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(["databases", asked]).stdin(Stdio::null());
        command.env("CO_DATABASES_FOLDER", &folder);
        let output = command.stdout(writer).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{asked}: {said}");
        assert_eq!(said, "", "{asked}");
    }
}
