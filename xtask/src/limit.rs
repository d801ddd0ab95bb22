//! Commands that may take so long and no longer. A test that hangs says nothing, and a run that is cut off from outside
//! has no figures; here the step that took too long is ended with all that it has started, and the others go on.
//!
//! Database servers, which are in groups of their own, are ended by their watchdog then.
//!
//! Only in CI: at a terminal somebody sees that nothing moves, and wants to interrupt the whole run with one key.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// A command that is watched.
pub(crate) struct Limited {
    pub(crate) child: Child,
    watch: Option<(Sender<()>, JoinHandle<bool>)>,
    limit: Option<Duration>,
}

impl Limited {
    /// Starts a command; with a limit in a process group of its own.
    pub(crate) fn start(command: &mut Command, limit: Option<Duration>) -> Result<Self, String> {
        if limit.is_some() {
            command.process_group(0);
        }
        let started = command.spawn();
        let child = started.map_err(|error| {
            let program = command.get_program().display();
            format!("cannot start {program}: {error}")
        })?;
        let group = child.id();
        let watch = limit.map(|limit| {
            let (over, ended) = mpsc::channel();
            let watcher = std::thread::spawn(move || {
                let late = ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
                late && kill(group)
            });
            (over, watcher)
        });
        Ok(Self {
            child,
            watch,
            limit,
        })
    }

    /// Waits for its end, which has to be a success.
    pub(crate) fn end(mut self, words: &str) -> Result<(), String> {
        let status = self.child.wait();
        let status = status.map_err(|error| format!("cannot wait for {words}: {error}"))?;
        let killed = self.watch.take().is_some_and(|(over, watcher)| {
            drop(over);
            watcher.join().unwrap_or(false)
        });
        if killed {
            let minutes = self.limit.unwrap_or_default().as_secs_f64() / 60.0;
            return Err(format!(
                "{words} had not ended after {minutes:.0} minutes, and was killed with what it had started; the last lines \
                 above are of what ended before"
            ));
        }
        if status.success() {
            Ok(())
        } else {
            Err(format!("{words} ended with {status}"))
        }
    }
}

/// Who gives up before the end leaves nothing behind.
impl Drop for Limited {
    fn drop(&mut self) {
        if self.watch.take().is_some() {
            kill(self.child.id());
            let _status = self.child.wait();
        }
    }
}

/// Kills a process group. Says whether that was done.
fn kill(group: u32) -> bool {
    // The shell's own `kill`: the program of that name is not everywhere.
    let killed = Command::new("sh")
        .args(["-c", &format!("kill -KILL -{group}")])
        .status();
    let done = killed.is_ok_and(|status| status.success());
    if !done {
        eprintln!("the process group {group} is late, and cannot be killed");
    }
    done
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::Stdio;

    use super::*;

    /// The end of the output is the end of all who have it.
    #[test]
    fn what_takes_too_long_is_killed_with_all_that_it_has_started() {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "echo begun; sleep 600 & wait"])
            .stdout(Stdio::piped());
        let mut started = Limited::start(&mut shell, Some(Duration::from_secs(3))).unwrap();
        let mut output = String::new();
        let mut stdout = started.child.stdout.take().unwrap();
        stdout.read_to_string(&mut output).unwrap();
        assert_eq!(output, "begun\n");
        let ended = started.end("`sh`").unwrap_err();
        assert!(ended.starts_with("`sh` had not ended"), "{ended}");
    }

    #[test]
    fn what_ends_in_time_is_judged_by_its_status() {
        for limit in [None, Some(Duration::from_secs(600))] {
            let end = |program| Limited::start(&mut Command::new(program), limit)?.end(program);
            assert_eq!(end("true"), Ok(()));
            assert!(end("false").unwrap_err().contains("exit status: 1"));
            assert!(
                end("co-no-such-program")
                    .unwrap_err()
                    .starts_with("cannot start")
            );
        }
    }
}
