//! A test process that is killed leaves no server behind. The process is this test program once more, told by a variable to
//! start a server and wait.
#![allow(clippy::unwrap_used, reason = "tests: what fails panics")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use databases::{Binaries, Product, SKIPPED_TESTS, Server};

const VICTIM: &str = "CO_DATABASES_VICTIM";
const PATIENCE: Duration = Duration::from_secs(30);

/// Not a test by itself: the process that is killed.
#[test]
fn victim() {
    let Ok(told) = std::env::var(VICTIM) else {
        return;
    };
    let product = if told.starts_with("postgres") {
        Product::Postgres
    } else {
        Product::MariaDb
    };
    let server = Server::private(product, &[]).unwrap();
    if told.ends_with("frozen") {
        server.freeze();
    }
    let line = format!("{} {}\n", server.pid().unwrap(), server.port());
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    // Until it is killed.
    loop {
        std::thread::park();
    }
}

fn this_program(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]);
    command
}

/// A victim with a running server, and the server's process.
fn victim_with_server(told: &str, temporary: &Path) -> (Child, u32) {
    let mut victim = this_program("victim")
        .env(VICTIM, told)
        .env("TMPDIR", temporary)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let numbers = |line: &String| {
        let (pid, port) = line.split_once(' ')?;
        port.parse::<u16>().ok()?;
        pid.parse::<u32>().ok()
    };
    let pid = lines.map_while(Result::ok).find_map(|line| numbers(&line));
    (victim, pid.expect("it says where its server is"))
}

fn folders(temporary: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(temporary).unwrap();
    entries.flatten().map(|entry| entry.path()).collect()
}

/// Processes that work in a folder.
fn processes_in(temporary: &Path) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let works_here = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(temporary))
    };
    let names = entries.filter(works_here);
    names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn leaves_nothing(product: Product, told: &str) {
    if Binaries::for_test(product).is_none() {
        return;
    }
    let temporary = std::env::temp_dir().join(format!("co-killed-{told}-{}", std::process::id()));
    std::fs::create_dir(&temporary).unwrap();
    let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
    std::fs::set_permissions(&temporary, open_to_all).unwrap();
    let (mut victim, server) = victim_with_server(told, &temporary);
    assert_eq!(folders(&temporary).len(), 1);
    let working = processes_in(&temporary);
    assert!(working.contains(&server.to_string()), "{working:?}");
    victim.kill().unwrap();
    victim.wait().unwrap();
    let end = Instant::now() + PATIENCE;
    while !folders(&temporary).is_empty() || !processes_in(&temporary).is_empty() {
        assert!(
            Instant::now() < end,
            "left behind: {:?}, {:?}",
            folders(&temporary),
            processes_in(&temporary)
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::remove_dir(&temporary).unwrap();
}

#[test]
fn a_killed_process_leaves_no_postgres() {
    leaves_nothing(Product::Postgres, "postgres");
}

#[test]
fn a_killed_process_leaves_no_frozen_postgres() {
    leaves_nothing(Product::Postgres, "postgres-frozen");
}

#[test]
fn a_killed_process_leaves_no_mariadb() {
    leaves_nothing(Product::MariaDb, "mariadb");
}

/// Not a test by itself: it is run where nothing is installed.
#[test]
fn skipper() {
    if std::env::var(VICTIM).is_ok_and(|told| told == "skipper") {
        // A program that is asked for a server that is not there says so, and is no test that skips.
        let asked = Server::private(Product::Postgres, &[]);
        assert!(asked.is_err_and(|error| error.is_missing()));
        assert!(Server::for_test(Product::Postgres, &[]).is_none());
    }
}

#[test]
fn a_test_that_skips_is_counted_and_in_ci_it_fails() {
    let folder = std::env::temp_dir();
    let file = folder.join(format!("co-skipped-{}", std::process::id()));
    let run = |ci: &str| {
        let mut command = this_program("skipper");
        command.env(VICTIM, "skipper").env("CI", ci);
        command.env("CO_POSTGRES_BIN", "/nowhere");
        command.env(SKIPPED_TESTS, &file);
        command.output().unwrap()
    };
    let skipped = run("");
    assert!(skipped.status.success());
    let said = String::from_utf8_lossy(&skipped.stderr).into_owned();
    assert!(
        said.contains("SKIPPED: killed-") && said.contains("skipper: "),
        "{said}"
    );
    let lines = std::fs::read_to_string(&file).unwrap();
    assert_eq!(lines.lines().count(), 1, "{lines}");
    assert!(
        lines.contains(" skipper: PostgreSQL is not installed"),
        "{lines}"
    );
    assert!(!run("true").status.success(), "nothing is skipped in CI");
    std::fs::remove_file(&file).unwrap();
}
