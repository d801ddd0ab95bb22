//! Processes: whether they live, their children, and their end. Reads /proc, and sends signals with `kill`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often a process is looked at that is about to start or to end: none of these events can be waited for.
pub(crate) const LOOK: Duration = Duration::from_millis(10);

/// Whether this program runs as root.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// The ids of a user of the system and of its group.
pub(crate) fn user(name: &str) -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some((uid, gid))
}

/// The state letter and the parent of a process.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some((state, parent))
}

/// Whether the process runs; one that has ended and was not waited for does not, unless threads of it are still on
/// their way out, which keep its files and sockets open.
pub(crate) fn lives(pid: u32) -> bool {
    let Some((state, _)) = stat(pid) else {
        return false;
    };
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let others = threads.map_or(0, |threads| threads.count().saturating_sub(1));
    (state != 'Z' && state != 'X') || others > 0
}

/// Whether the process is that program.
pub(crate) fn is_program(pid: u32, program: &Path) -> bool {
    let exe = std::fs::read_link(format!("/proc/{pid}/exe"));
    let (Ok(exe), Ok(program)) = (exe, program.canonicalize()) else {
        return false;
    };
    exe == program
}

/// The processes that a process has started and that still run.
fn children(pid: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let pids = names.filter_map(|name| name.to_str()?.parse::<u32>().ok());
    pids.filter(|&child| stat(child).is_some_and(|(_, parent)| parent == pid))
        .collect()
}

/// Sends a signal. A process that has just ended is no error.
pub(crate) fn signal(name: &str, pids: &[u32]) {
    let mut command = Command::new("kill");
    command.arg(format!("-{name}"));
    command.args(pids.iter().map(u32::to_string));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let _gone = command.status();
}

/// Sends a signal to a process and all that it has started.
pub(crate) fn signal_all(name: &str, pid: u32) {
    let mut all = children(pid);
    all.insert(0, pid);
    signal(name, &all);
}

/// Ends a process and all that it has started, at once: nothing is flushed, nobody is told.
pub(crate) fn kill(pid: u32) {
    let mut all = children(pid);
    all.insert(0, pid);
    signal("KILL", &all);
    for pid in all {
        wait_for_end(pid, Duration::from_secs(10));
    }
}

/// Waits until the process has ended. Says whether it has.
pub(crate) fn wait_for_end(pid: u32, patience: Duration) -> bool {
    let started = Instant::now();
    while lives(pid) {
        if started.elapsed() > patience {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}
