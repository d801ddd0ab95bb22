//! Named points at which a test has a process fail: with an error, a panic, an abort, or by standing still.
//!
//! Without the feature `failpoints` asking at a point is a constant and leaves no code. With it, the environment
//! of a process says `COCO_FAILPOINT=<name>=<error|panic|kill|sleep|run>[@n]`, and the process fails so when it
//! comes to that point for the n-th time, once. `run` waits for the shell command in `COCO_FAILPOINT_COMMAND`, so that
//! anything else can fail while the process stands there. What an error means is the point's business: a connection that
//! breaks, a write or sync that fails, a log that counts as failed, a call that is refused.

use std::io;

/// What has to happen before a process comes to a point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// It works.
    Works,
    /// It has filled a segment of its log; the first is made at its first start.
    Fills,
    /// It starts on what an earlier life left.
    Starts,
    /// A process that it is linked to dies.
    Lonely,
}

/// In which process a point is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Process {
    /// In a coordinator; the log is everywhere, and listed once.
    Coordinator,
    /// In a site.
    Site,
    /// In a site over a database.
    Adapter,
}

use Process::{Adapter as A, Coordinator as C, Site as S};
use When::{Fills, Lonely, Starts, Works};

/// All points. One that is not listed fails a debug build when it is come to.
pub const POINTS: &[(&str, Process, When)] = &[
    ("adapter: commit", A, Works),
    ("adapter: committed", A, Works),
    ("adapter: prepare", A, Works),
    ("adapter: prepared", A, Works),
    ("adapter: roll back", A, Works),
    ("adapter: rolled back", A, Works),
    ("adapter: settle", A, Starts),
    ("adapter: settled", A, Starts),
    ("coordinator: append commit", C, Works),
    ("coordinator: append end", C, Works),
    ("coordinator: append epoch", C, Starts),
    ("coordinator: begin", C, Works),
    ("coordinator: begun", C, Works),
    ("coordinator: checkpoint", C, Works),
    ("coordinator: checkpoint durable", C, Works),
    ("coordinator: commit", C, Works),
    ("coordinator: cut", C, Works),
    ("coordinator: cut done", C, Works),
    ("coordinator: durable", C, Works),
    ("coordinator: frame heard", C, Works),
    ("coordinator: frame said", C, Works),
    ("coordinator: hello", C, Works),
    ("coordinator: link", C, Works),
    ("coordinator: link ended", C, Lonely),
    ("coordinator: messages", C, Works),
    ("coordinator: answer", C, Works),
    ("coordinator: question", C, Works),
    ("coordinator: recover", C, Starts),
    ("coordinator: recovered", C, Starts),
    ("coordinator: reply", C, Works),
    ("coordinator: rollback", C, Works),
    ("coordinator: send decision", C, Works),
    ("coordinator: send one-phase", C, Works),
    ("coordinator: send prepare", C, Works),
    ("coordinator: serve", C, Starts),
    ("link: connect", S, Works),
    ("link: down", S, Lonely),
    ("link: frame heard", S, Works),
    ("link: frame said", S, Works),
    ("link: up", S, Works),
    ("log: before sync", S, Works),
    ("log: before write", C, Works),
    ("log: complete", S, Works),
    ("log: cut: remove", C, Works),
    ("log: cut: sync folder", C, Works),
    ("log: open: list", S, Starts),
    ("log: open: open segment", S, Starts),
    ("log: open: read segment", S, Starts),
    ("log: open: sync folder", S, Starts),
    ("log: open: sync segment", S, Starts),
    ("log: open: write tail", S, Starts),
    ("log: open: write zeros", S, Starts),
    ("log: segment: create", S, Fills),
    ("log: segment: rename", C, Fills),
    ("log: segment: sync", S, Fills),
    ("log: segment: sync folder", C, Fills),
    ("log: segment: write header", S, Fills),
    ("log: segment: write zeros", C, Fills),
    ("log: synced", C, Works),
    ("log: write", C, Works),
    ("peer: connect", C, Works),
    ("peer: frame heard", C, Works),
    ("peer: frame said", C, Works),
    ("peer: hello", C, Works),
    ("peer: message", C, Works),
    ("peer: up", C, Works),
    ("site: alive", S, Starts),
    ("site: append decision", S, Works),
    ("site: append one-phase", S, Works),
    ("site: append prepared", S, Works),
    ("site: apply abort", S, Works),
    ("site: apply commit", S, Works),
    ("site: checkpoint", S, Works),
    ("site: checkpoint durable", S, Works),
    ("site: cut", S, Works),
    ("site: cut done", S, Works),
    ("site: decide", S, Works),
    ("site: durable", S, Works),
    ("site: execute", S, Works),
    ("site: executed", S, Works),
    ("site: link down", S, Lonely),
    ("site: link up", S, Works),
    ("site: one-phase", S, Works),
    ("site: persist", S, Works),
    ("site: prepare", S, Works),
    ("site: recover", S, Starts),
    ("site: recovered", S, Starts),
    ("site: released", S, Works),
    ("site: request vote", S, Works),
    ("site: send", S, Works),
    ("site: serve", S, Starts),
    ("site: settle", S, Works),
    ("site: tick", S, Works),
];

/// Whether the caller shall fail here with an error. Any other way to fail happens in here.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
#[must_use]
pub const fn hit(_name: &'static str) -> bool {
    false
}

#[cfg(feature = "failpoints")]
pub use armed::hit;

/// [`hit`] for callers whose errors are the system's.
///
/// # Errors
/// If this point shall fail.
#[inline]
pub fn io(name: &'static str) -> io::Result<()> {
    if hit(name) {
        return Err(io::Error::other(name));
    }
    Ok(())
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::io::Write as _;
    use std::process::Command;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    struct Armed {
        name: String,
        action: String,
        /// How often the point is passed before it fails; after that it has wrapped around.
        left: AtomicU32,
    }

    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

    fn from_environment() -> Option<Armed> {
        let text = std::env::var("COCO_FAILPOINT").ok()?;
        let (name, how) = text.split_once('=')?;
        let (action, times) = how.split_once('@').unwrap_or((how, "1"));
        Some(Armed {
            name: name.to_owned(),
            action: action.to_owned(),
            left: AtomicU32::new(times.parse().ok()?),
        })
    }

    /// Whether the caller shall fail here with an error. Any other way to fail happens in here.
    ///
    /// # Panics
    /// If the environment says so; and in a debug build if nobody knows the point.
    #[must_use]
    pub fn hit(name: &'static str) -> bool {
        debug_assert!(
            super::POINTS.iter().any(|(known, ..)| *known == name),
            "the failpoint `{name}` is not listed"
        );
        let Some(armed) = ARMED.get_or_init(from_environment) else {
            return false;
        };
        if armed.name != name || armed.left.fetch_sub(1, Ordering::Relaxed) != 1 {
            return false;
        }
        // Without standard error there is nobody to tell.
        let _nobody = writeln!(std::io::stderr().lock(), "failpoint {name}");
        match armed.action.as_str() {
            "panic" => panic!("failpoint {name}"),
            "kill" => std::process::abort(),
            "sleep" => {
                std::thread::sleep(Duration::from_secs(1));
                false
            }
            "run" => {
                let command = std::env::var("COCO_FAILPOINT_COMMAND").unwrap_or_default();
                let ended = Command::new("sh").args(["-c", &command]).status();
                assert!(
                    ended.is_ok_and(|status| status.success()),
                    "failpoint {name}: `{command}` did not end well"
                );
                false
            }
            _ => true,
        }
    }
}
