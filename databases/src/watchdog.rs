//! Nothing stays when the process that started a private server is killed: a shell outlives it, and cleans up.
//!
//! The shell reads a pipe that only this process has open for writing. However this process ends, the pipe ends with it;
//! the shell then ends all that runs in the server's folder, and removes the folder. A process is told by its working
//! folder, not by its number, which might be another's by then.

use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use std::os::unix::process::CommandExt;

use crate::error::Error;

/// `QUIT` is the end at once that leaves no shared memory behind; who does not hear is killed after five seconds.
const SCRIPT: &str = r#"
read -r _
found() {
    for link in /proc/[0-9]*/cwd; do
        case $(readlink "$link")/ in
            "$1"/*) link=${link%/cwd}; printf '%s ' "${link#/proc/}" ;;
        esac
    done
}
tries=0
signal=QUIT
while [ $tries -lt 100 ]; do
    pids=$(found "$1")
    [ -n "$pids" ] || break
    kill -CONT $pids
    kill -$signal $pids
    tries=$((tries + 1))
    [ $tries -lt 50 ] || signal=KILL
    sleep 0.1
done 2>/dev/null
rm -rf "$1"
"#;

/// A shell that waits for the end of this process.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
    /// Its end tells the shell.
    _pipe: Option<ChildStdin>,
}

impl Watchdog {
    /// Watches over what runs in this folder, which has an absolute path.
    pub(crate) fn over(folder: &Path) -> Result<Self, Error> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "watchdog"]).arg(folder);
        command.current_dir("/").stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        // What ends this process at a terminal must not end the shell as well.
        command.process_group(0);
        let shell = command.spawn();
        let mut shell = shell.map_err(Error::io("start a shell that watches over the server"))?;
        Ok(Self {
            _pipe: shell.stdin.take(),
            shell,
        })
    }
}

impl Drop for Watchdog {
    /// The server is gone in good order: there is nothing to watch.
    fn drop(&mut self) {
        let _ended_by_itself = self.shell.kill();
        let _ended_by_itself = self.shell.wait();
    }
}
