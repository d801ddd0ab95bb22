//! One server: made, started, killed, started again.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::binaries::Binaries;
use crate::error::Error;
use crate::process::{self, LOOK};
use crate::product::Product;
use crate::watchdog::Watchdog;

/// How long a server may take to start; recovery after a kill is part of that.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long an orderly stop may take.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// How long an end at once may take that only leaves shared memory tidy.
const QUIT_PATIENCE: Duration = Duration::from_secs(5);
/// How much of a log is shown when a server does not start, in bytes.
const LOG_SHOWN: usize = 2_000;

/// Settings of a server besides those that all get.
pub type Settings<'a> = &'a [(&'static str, &'a str)];

/// A running server.
#[derive(Debug)]
pub struct Server {
    name: String,
    binaries: Binaries,
    folder: PathBuf,
    port: u16,
    settings: Vec<(&'static str, String)>,
    pid: Option<u32>,
    /// The folder goes with the server.
    temporary: bool,
    /// It stays when this value is dropped.
    detached: bool,
    /// Ends it when this process is killed.
    watchdog: Option<Watchdog>,
}

impl Server {
    /// A new server on a port that is free, in a folder of its own that goes when the server is dropped, or this process is
    /// killed.
    ///
    /// # Errors
    /// [`Error::Missing`] where the product is not installed, and all that may go wrong with a server.
    pub fn private(product: Product, settings: Settings<'_>) -> Result<Self, Error> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{}-{number}", product.daemon(), std::process::id());
        let folder = std::env::temp_dir().join(format!("co-databases-{name}"));
        let port = free_port(number)?;
        let mut server = Self::describe(product, &name, folder, port, settings)?;
        server.temporary = true;
        server.watchdog = Some(Watchdog::over(&server.folder)?);
        server.create()?;
        server.start()?;
        Ok(server)
    }

    /// A server that is not running yet.
    pub(crate) fn describe(
        product: Product,
        name: &str,
        folder: PathBuf,
        port: u16,
        settings: Settings<'_>,
    ) -> Result<Self, Error> {
        let mut all = product.settings();
        for &(name, value) in settings {
            all.retain(|(known, _)| *known != name);
            all.push((name, value.to_owned()));
        }
        let binaries = Binaries::find(product)?;
        Ok(Self {
            name: name.to_owned(),
            binaries,
            folder,
            port,
            settings: all,
            pid: None,
            temporary: false,
            detached: false,
            watchdog: None,
        })
    }

    /// Of which product.
    #[must_use]
    pub const fn product(&self) -> Product {
        self.binaries.product()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port on 127.0.0.1 on which it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// How a client reaches it: `postgres://...` or `mysql://...`.
    #[must_use]
    pub fn url(&self) -> String {
        let (user, port) = (self.product().superuser(), self.port);
        match self.product() {
            Product::Postgres => format!("postgres://{user}@127.0.0.1:{port}/postgres"),
            Product::MariaDb => format!("mysql://{user}@127.0.0.1:{port}/mysql"),
        }
    }

    /// Its process, if it was started and not stopped.
    #[must_use]
    pub const fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Ends the server as a power loss would: no process of it gets to do anything more. Its data stays.
    pub fn kill(&mut self) {
        if let Some(pid) = self.pid.take() {
            process::kill(pid);
        }
    }

    /// Stops all processes of the server where they stand, as a machine that hangs; connections stay open and nothing answers.
    pub fn freeze(&self) {
        if let Some(pid) = self.pid {
            process::signal_all("STOP", pid);
        }
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        if let Some(pid) = self.pid {
            process::signal_all("CONT", pid);
        }
    }

    /// Ends it at once, but so that it tidies up what a kill would leave in the system. A frozen one hears nothing until it
    /// is thawed.
    fn quit(&mut self) {
        let Some(pid) = self.pid else {
            return;
        };
        if self.product() == Product::Postgres {
            self.thaw();
            process::signal("QUIT", &[pid]);
            process::wait_for_end(pid, QUIT_PATIENCE);
        }
        self.kill();
    }

    /// A `PostgreSQL` server that was killed leaves a piece of shared memory, whose number is in its file; the next life of the
    /// same data would take it away.
    fn free_shared_memory(&self) {
        let file = self.folder.join("data").join("postmaster.pid");
        let content = fs::read_to_string(file).unwrap_or_default();
        let numbers = content.lines().nth(6).unwrap_or_default();
        if let Some(id) = numbers.split_whitespace().nth(1) {
            let mut command = Command::new("ipcrm");
            command.args(["-m", id]).stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let _nothing_more_to_do = command.status();
        }
    }

    /// Stops it in order, without waiting for its clients.
    ///
    /// # Errors
    /// [`Error::NotReady`] if it did not stop; it is killed then.
    pub fn stop(&mut self) -> Result<(), Error> {
        let Some(pid) = self.pid.take() else {
            return Ok(());
        };
        process::signal(self.product().stop_signal(), &[pid]);
        if process::wait_for_end(pid, STOP_PATIENCE) {
            return Ok(());
        }
        process::kill(pid);
        Err(self.not_ready())
    }

    /// Starts it on the data it has, and waits until it takes connections.
    ///
    /// # Errors
    /// [`Error::PortInUse`], and [`Error::NotReady`] with the end of its log.
    pub fn start(&mut self) -> Result<(), Error> {
        if self.pid.is_some() {
            return Ok(());
        }
        self.refuse_taken_port()?;
        let started = Instant::now();
        loop {
            let log = self.open_log()?;
            let mut command = self.command(self.binaries.daemon())?;
            command.args(self.product().start_arguments(&self.folder, self.port));
            for setting in &self.settings {
                command.args(self.product().setting_argument(setting));
            }
            let errors = log
                .try_clone()
                .map_err(Error::io("copy the log's handle"))?;
            command.stdout(log).stderr(errors);
            // Ctrl-C at a terminal is for whoever started it, who then stops it in order.
            command.process_group(0);
            let doing = format!("start {}", self.binaries.daemon().display());
            let mut child = command.spawn().map_err(Error::io(doing))?;
            let pid = child.id();
            let ready = self.wait_until_ready(pid, started);
            // Whoever has ended is waited for, so that no name of a process stays behind.
            std::thread::spawn(move || child.wait());
            if ready {
                self.pid = Some(pid);
                return Ok(());
            }
            process::kill(pid);
            // After a kill the last process of the former life may hold what the new one needs.
            if started.elapsed() > START_PATIENCE || !self.may_try_again() {
                return Err(self.not_ready());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Makes the data folder.
    pub(crate) fn create(&self) -> Result<(), Error> {
        let data = self.folder.join("data");
        if data.join(self.product().mark()).exists() {
            return Ok(());
        }
        let not_empty = |entries: fs::ReadDir| entries.count() > 0;
        if fs::read_dir(&data).is_ok_and(not_empty) {
            return Err(Error::StaleFolder {
                folder: self.folder.clone(),
                why: format!("it holds no finished {} data", self.product()),
            });
        }
        let doing = format!("make {}", data.display());
        fs::create_dir_all(&data).map_err(Error::io(doing))?;
        if let Some((uid, gid)) = self.run_as()? {
            for path in [&self.folder, &data] {
                let doing = format!("give {} away", path.display());
                std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(Error::io(doing))?;
            }
        }
        let private = fs::Permissions::from_mode(0o700);
        let doing = format!("close {}", data.display());
        fs::set_permissions(&data, private).map_err(Error::io(doing))?;
        let mut command = self.command(self.binaries.installer())?;
        command.args(self.product().install_arguments(&data));
        let program = self.product().installer();
        let output = command
            .output()
            .map_err(Error::io(format!("run {program}")))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(Error::Failed {
            program: program.to_owned(),
            said: tail(&String::from_utf8_lossy(&said)),
        })
    }

    /// Leaves it running when this value is dropped.
    pub(crate) fn detach(&mut self) {
        self.detached = true;
    }

    /// Takes over a server that another process has started.
    pub(crate) fn adopt(&mut self, pid: u32) -> bool {
        let own = process::is_program(pid, self.binaries.daemon()) && process::lives(pid);
        self.pid = own.then_some(pid);
        own
    }

    /// Removes its folder.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(format!(
                "remove {}",
                self.folder.display()
            ))(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn command(&self, program: &Path) -> Result<Command, Error> {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).current_dir(&self.folder);
        command.env_remove("PGDATA").env("LC_ALL", "C");
        // A MariaDB that starts removes all temporary tables that it finds, also those of one that is just being made.
        command.env("TMPDIR", &self.folder);
        if let Some((uid, gid)) = self.run_as()? {
            command.uid(uid).gid(gid);
        }
        Ok(command)
    }

    /// The user that the server runs as; `None` is the one of this process.
    fn run_as(&self) -> Result<Option<(u32, u32)>, Error> {
        if !process::is_root() {
            return Ok(None);
        }
        let (user, product) = (self.product().system_user(), self.product());
        let found = process::user(user).ok_or(Error::NoUser { user, product })?;
        Ok(Some(found))
    }

    fn refuse_taken_port(&self) -> Result<(), Error> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        match TcpListener::bind(address) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(Error::PortInUse {
                server: self.name.clone(),
                port: self.port,
            }),
            Err(error) => Err(Error::io(format!("look at port {}", self.port))(error)),
        }
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    fn open_log(&self) -> Result<File, Error> {
        let path = self.log_path();
        let doing = format!("open {}", path.display());
        let mut options = File::options();
        options.create(true).append(true);
        options.open(&path).map_err(Error::io(doing))
    }

    fn wait_until_ready(&self, pid: u32, started: Instant) -> bool {
        while started.elapsed() < START_PATIENCE {
            if self.takes_connections(pid) {
                return true;
            }
            if !process::lives(pid) {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        false
    }

    /// `PostgreSQL` says in its file when it is ready; `MariaDB` greets whoever connects.
    fn takes_connections(&self, pid: u32) -> bool {
        if self.product() == Product::Postgres {
            let file = self.folder.join("data").join("postmaster.pid");
            let content = fs::read_to_string(file).unwrap_or_default();
            let mut lines = content.lines().map(str::trim);
            // A life that was killed has left its file.
            let own = lines.next() == Some(pid.to_string().as_str());
            return own && lines.nth(6) == Some("ready");
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
            return false;
        };
        let patience = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let mut greeting = [0; 5];
        // Three bytes of length, a number, and the version of the protocol.
        patience.is_ok() && stream.read_exact(&mut greeting).is_ok() && greeting[4] == 10
    }

    fn may_try_again(&self) -> bool {
        let log = fs::read_to_string(self.log_path()).unwrap_or_default();
        let last = tail(&log);
        last.contains("pre-existing shared memory block") || last.contains("Unable to lock")
    }

    fn not_ready(&self) -> Error {
        let log = fs::read(self.log_path()).unwrap_or_default();
        Error::NotReady {
            server: self.name.clone(),
            log: tail(&String::from_utf8_lossy(&log)),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.detached {
            return;
        }
        self.quit();
        if self.temporary {
            self.free_shared_memory();
            let _left_behind = self.remove();
        }
    }
}

/// Ports of private servers.
const PORTS: std::ops::Range<u16> = 16_500..26_000;
/// How many ports a process has before it comes to those of the next.
const PORTS_A_PROCESS: u32 = 64;

/// The end of a text, from the beginning of a line.
fn tail(text: &str) -> String {
    let text = text.trim_end();
    let start = text.len().saturating_sub(LOG_SHOWN);
    let start = (start..text.len()).find(|&at| text.is_char_boundary(at));
    let shown = &text[start.unwrap_or(0)..];
    match shown.split_once('\n') {
        Some((_, rest)) if shown.len() < text.len() => rest.to_owned(),
        Some(_) | None => shown.to_owned(),
    }
}

/// A port that nobody uses, and that nobody is likely to take before the server does, or between two of its lives: systems
/// give to whoever asks for any port one from 32768 on, and no two processes that start servers begin to look at the same
/// place soon after each other.
fn free_port(number: u32) -> Result<u16, Error> {
    let first = u32::from(PORTS.start);
    let count = u32::from(PORTS.end) - first;
    let start = std::process::id()
        .wrapping_mul(PORTS_A_PROCESS)
        .wrapping_add(number);
    let mut last = None;
    for at in 0..count {
        let port = first + start.wrapping_add(at) % count;
        let port = u16::try_from(port).expect("it is one of PORTS");
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_free) => return Ok(port),
            Err(error) => last = Some(error),
        }
    }
    let error = last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into());
    Err(Error::io("find a free port")(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_are_started_at_once_get_ports_of_their_own() {
        let ports: std::collections::BTreeSet<u16> = (0..PORTS_A_PROCESS)
            .map(|number| free_port(number).unwrap())
            .collect();
        assert!(ports.len() > PORTS_A_PROCESS as usize / 2, "{ports:?}");
        assert!(ports.iter().all(|port| PORTS.contains(port)), "{ports:?}");
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, *ports.first().unwrap())).unwrap();
        let others: Vec<u16> = (0..PORTS_A_PROCESS)
            .map(|number| free_port(number).unwrap())
            .collect();
        assert!(!others.contains(&taken.local_addr().unwrap().port()));
    }

    #[test]
    fn a_tail_begins_with_a_line_and_is_the_whole_of_a_short_text() {
        assert_eq!(tail("one\ntwo\n"), "one\ntwo");
        let long = "é".repeat(LOG_SHOWN) + "\nlast line\n";
        assert_eq!(tail(&long), "last line");
    }
}
