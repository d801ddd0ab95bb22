//! The demonstration as its user meets it: real processes, real signals, exit statuses.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use databases::{Binaries, Product};
use serde_json::Value;

/// A demonstration that is running, and the processes it has announced.
struct Running {
    process: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
    /// Names and ids, coordinator first.
    children: Vec<(String, u32)>,
}

fn multidb(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_multidb"));
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn finished(args: &[&str]) -> (Output, String) {
    let output = multidb(args).output().unwrap();
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    (output, stderr)
}

/// Starts a long run and waits until it has announced its four processes.
fn running(temporary: &Path) -> Running {
    running_with(&["ss2pl", "optimistic", "mvcc"], 4, temporary)
}

/// Starts a long run with these sites and waits until it has announced so many processes.
fn running_with(sites: &[&str], processes: usize, temporary: &Path) -> Running {
    let sites = sites.join(",");
    let mut process = multidb(&["--json", "--seconds", "600", "--sites", &sites])
        .env("TMPDIR", temporary)
        .spawn()
        .unwrap();
    let stderr = BufReader::new(process.stderr.take().unwrap());
    let mut running = Running {
        process,
        stderr,
        said: String::new(),
        children: Vec::new(),
    };
    while running.children.len() < processes {
        let mut line = String::new();
        let read = running.stderr.read_line(&mut line).unwrap();
        assert!(
            read > 0,
            "it ended before it had started its processes: {}",
            running.said
        );
        if let Some((name, rest)) = line.trim().split_once(": pid ") {
            let (pid, _address) = rest.split_once(',').unwrap();
            running
                .children
                .push((name.to_owned(), pid.parse().unwrap()));
        }
        running.said.push_str(&line);
    }
    assert!(
        running.children.iter().all(|(_, pid)| lives(*pid)),
        "{:?}",
        running.children
    );
    running
}

impl Running {
    fn signal(&self, signal: &str) {
        send(signal, self.process.id());
    }

    /// Waits for the end, and returns the exit status and all that was said.
    fn end(mut self) -> (Option<i32>, String, Vec<(String, u32)>) {
        self.stderr.read_to_string(&mut self.said).unwrap();
        let mut stdout = String::new();
        self.process
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut stdout)
            .unwrap();
        assert_eq!(stdout, "", "a run that was cut off has no report");
        (
            self.process.wait().unwrap().code(),
            self.said,
            self.children,
        )
    }
}

fn send(signal: &str, pid: u32) {
    let sent = Command::new("kill")
        .args([signal, &pid.to_string()])
        .status()
        .unwrap();
    assert!(sent.success(), "kill {signal} {pid}");
}

/// Whether a process runs. One that has ended but that nobody has waited for does not.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next());
    !matches!(state, None | Some("Z" | "X"))
}

/// The processes of all runs of a report.
fn pids(report: &Value) -> Vec<u32> {
    let runs = report["runs"].as_array().unwrap();
    let processes = runs
        .iter()
        .flat_map(|run| run["processes"].as_array().unwrap());
    processes
        .map(|process| u32::try_from(process["pid"].as_u64().unwrap()).unwrap())
        .collect()
}

#[test]
fn ordering_makes_the_difference_and_nothing_is_left_behind() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().to_str().unwrap();
    let (output, stderr) = finished(&[
        "--json",
        "--seconds",
        "3",
        "--hot",
        "1",
        "--seed",
        "7",
        "--data",
        folder,
    ]);
    // Standard output is one document and nothing else.
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}; it said: {stderr}"));
    assert_eq!(output.status.code(), Some(0), "{report:#}\n{stderr}");
    assert_eq!(report["exit_status"], 0);
    let [off, on] = report["runs"].as_array().unwrap().as_slice() else {
        panic!("two runs were asked for: {report:#}")
    };

    assert_eq!(
        (&off["ordering"], &on["ordering"]),
        (&"off".into(), &"on".into())
    );
    assert!(
        off["impossible_reads"]["count"].as_u64().unwrap() > 0,
        "{off:#}"
    );
    let checker = &off["checker"];
    assert_eq!(checker["serializability"]["verdict"], "invalid", "{off:#}");
    assert!(
        checker["serializability"]["cycle"]
            .as_array()
            .unwrap()
            .len()
            >= 2
    );
    for site in ["A", "B", "C"] {
        assert_eq!(checker["each_site_alone"][site], "valid", "{off:#}");
    }

    assert_eq!(on["finding"], "clean", "{on:#}");
    assert_eq!(on["impossible_reads"]["count"], 0);
    assert_eq!(on["checker"]["serializability"]["verdict"], "valid");
    assert_eq!(on["checker"]["commitment_ordering"]["verdict"], "valid");
    for run in [off, on] {
        assert!(run["commits"].as_u64().unwrap() > 100, "{run:#}");
        assert_eq!(run["unknown_outcomes"], 0, "{run:#}");
        assert_eq!(
            run["end_state"]["total"],
            run["end_state"]["expected_total"]
        );
        let history = Path::new(run["histories"].as_str().unwrap()).join("B.hist");
        assert!(history.is_file(), "{}", history.display());
    }

    let pids = pids(&report);
    assert_eq!(pids.len(), 8);
    let alive: Vec<u32> = pids.into_iter().filter(|pid| lives(*pid)).collect();
    assert!(alive.is_empty(), "still there: {alive:?}");
}

/// A server behind an adapter, and an engine of this project.
#[test]
fn ordering_makes_the_difference_over_a_database_server() {
    if Binaries::for_test(Product::Postgres).is_none() {
        return;
    }
    let (output, stderr) = finished(&[
        "--json",
        "--sites",
        "postgres,mvcc",
        "--seconds",
        "5",
        "--hot",
        "1",
        "--seed",
        "7",
    ]);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}; it said: {stderr}"));
    assert_eq!(output.status.code(), Some(0), "{report:#}\n{stderr}");
    assert!(
        stderr.contains("starting a PostgreSQL server for site A"),
        "{stderr}"
    );
    let [off, on] = report["runs"].as_array().unwrap().as_slice() else {
        panic!("two runs were asked for: {report:#}")
    };
    assert!(
        off["impossible_reads"]["count"].as_u64().unwrap() > 0,
        "{off:#}"
    );
    assert_eq!(off["checker"]["serializability"]["verdict"], "invalid");
    assert_eq!(on["finding"], "clean", "{on:#}");
    assert_eq!(on["checker"]["commitment_ordering"]["verdict"], "valid");
    for run in [off, on] {
        for site in ["A", "B"] {
            assert_eq!(run["checker"]["each_site_alone"][site], "valid", "{run:#}");
        }
        assert!(run["commits"].as_u64().unwrap() > 50, "{run:#}");
        assert_eq!(
            run["end_state"]["total"],
            run["end_state"]["expected_total"]
        );
    }
    let pids = pids(&report);
    assert_eq!(
        pids.len(),
        8,
        "the server is named in both runs: {report:#}"
    );
    let alive: Vec<u32> = pids.into_iter().filter(|pid| lives(*pid)).collect();
    assert!(alive.is_empty(), "still there: {alive:?}");
}

#[test]
fn servers_end_with_the_demonstration_however_it_ends() {
    if Binaries::for_test(Product::Postgres).is_none() {
        return;
    }
    for signal in ["-INT", "-KILL"] {
        let temporary = tempfile::tempdir().unwrap();
        // The server's own user works below it.
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
        std::fs::set_permissions(temporary.path(), everybody).unwrap();
        let running = running_with(&["postgres"], 3, temporary.path());
        let (name, server) = running.children[2].clone();
        assert_eq!(name, "PostgreSQL server of A");
        running.signal(signal);
        let (_, said, _) = running.end();
        // A shell cleans up after the one that is killed: it is nobody's child, so its end can only be looked for.
        let deadline = Instant::now() + Duration::from_secs(20);
        let left = || {
            let entries = std::fs::read_dir(temporary.path()).unwrap();
            let names = entries.flatten().map(|entry| entry.file_name());
            names
                .filter(|name| name.to_string_lossy().starts_with("co-databases-"))
                .count()
        };
        while lives(server) || left() > 0 {
            assert!(Instant::now() < deadline, "{signal}: still there; {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_server_that_is_not_installed_is_named_with_what_to_install() {
    for (site, variable, package) in [
        ("postgres", "CO_POSTGRES_BIN", "apt-get install postgresql"),
        (
            "mariadb",
            "CO_MARIADB_BIN",
            "apt-get install mariadb-server",
        ),
    ] {
        let output = multidb(&["--sites", site])
            .env(variable, "/nowhere")
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(package), "{stderr}");
        assert!(stderr.contains("server of site A"), "{stderr}");
    }
}

#[test]
fn an_interrupted_run_says_so_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    for (signal, status, word) in [("-INT", 130, "interrupted"), ("-TERM", 143, "terminated")] {
        let running = running(temporary.path());
        running.signal(signal);
        let (code, said, children) = running.end();
        assert_eq!(code, Some(status), "{said}");
        assert!(said.contains(word), "{said}");
        let left = std::fs::read_dir(temporary.path()).unwrap().count();
        assert_eq!(left, 0, "its temporary folder is still there");
        let alive: Vec<_> = children
            .into_iter()
            .filter(|(_, pid)| lives(*pid))
            .collect();
        assert!(alive.is_empty(), "still there: {alive:?}; it said: {said}");
    }
}

#[test]
fn children_end_when_their_parent_is_killed() {
    let temporary = tempfile::tempdir().unwrap();
    let running = running(temporary.path());
    running.signal("-KILL");
    let (code, said, children) = running.end();
    assert_eq!(code, None, "{said}");
    // They are nobody's children now, so their end cannot be waited for, only looked for.
    let deadline = Instant::now() + Duration::from_secs(20);
    while children.iter().any(|(_, pid)| lives(*pid)) {
        assert!(Instant::now() < deadline, "still there: {children:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_participant_that_dies_is_named_with_its_status() {
    let temporary = tempfile::tempdir().unwrap();
    for place in [0, 2] {
        let running = running(temporary.path());
        let (name, pid) = running.children[place].clone();
        send("-KILL", pid);
        let (code, said, children) = running.end();
        assert_eq!(code, Some(2), "{said}");
        assert!(
            said.contains(&format!("{name} (pid {pid}) died in mid-run")),
            "{said}"
        );
        assert!(said.contains("signal: 9"), "{said}");
        let alive: Vec<_> = children
            .into_iter()
            .filter(|(_, pid)| lives(*pid))
            .collect();
        assert!(alive.is_empty(), "still there: {alive:?}; it said: {said}");
    }
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named() {
    // Not even the superuser may make folders in /sys.
    for folder in ["/sys/multidb", "/dev/null"] {
        let (output, stderr) = finished(&["--seconds", "1", "--data", folder]);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("cannot make the data folder"), "{stderr}");
        assert!(stderr.contains(folder), "{stderr}");
    }
}

#[test]
fn an_earlier_run_is_not_overwritten() {
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join("on")).unwrap();
    let folder = data.path().to_str().unwrap();
    let (output, stderr) = finished(&["--seconds", "1", "--ordering", "on", "--data", folder]);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("holds an earlier run"), "{stderr}");
}

#[test]
fn a_port_in_use_is_said_to_be() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (output, stderr) = finished(&["--seconds", "1", "--port", &port]);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("the coordinator did not start"), "{stderr}");
    assert!(
        stderr.contains(&port) && stderr.contains("in use"),
        "{stderr}"
    );
}

#[test]
fn the_help_shows_examples_and_hides_the_processes() {
    let (output, _) = finished(&["--help"]);
    let help = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        help.contains("Examples:") && help.contains("Exit status:"),
        "{help}"
    );
    assert!(!help.contains("  participant "), "{help}");
}
