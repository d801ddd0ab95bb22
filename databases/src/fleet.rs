//! The servers that stay: two of each product, on ports of their own, until they are taken down.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::product::Product;
use crate::server::Server;

/// The port of the first server, unless `CO_DATABASES_PORT` says otherwise; the others follow.
const FIRST_PORT: u16 = 15_431;

/// Name and product of each server.
const MEMBERS: [(&str, Product); 4] = [
    ("pga", Product::Postgres),
    ("pgb", Product::Postgres),
    ("mya", Product::MariaDb),
    ("myb", Product::MariaDb),
];

/// Two servers of each product.
#[derive(Debug)]
pub struct Fleet {
    folder: PathBuf,
    first_port: u16,
}

/// One server of the fleet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its name: `pga`, `pgb`, `mya` or `myb`.
    pub name: &'static str,
    /// Of which product.
    pub product: Product,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Whether it runs.
    pub state: MemberState,
}

/// Whether a server of the fleet runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MemberState {
    /// It runs; clients reach it by this address.
    Up(String),
    /// It does not.
    Down,
    /// Its product is not installed.
    NotInstalled(String),
}

impl Fleet {
    /// The fleet of this machine: in `CO_DATABASES_FOLDER` or a folder for temporary files, from `CO_DATABASES_PORT` on.
    ///
    /// # Errors
    /// If that variable is no port.
    pub fn of_machine() -> Result<Self, String> {
        let folder = std::env::var_os("CO_DATABASES_FOLDER").map(PathBuf::from);
        let folder = folder.unwrap_or_else(|| std::env::temp_dir().join("co-databases"));
        let first_port = match std::env::var("CO_DATABASES_PORT") {
            Err(_) => FIRST_PORT,
            Ok(port) => {
                let highest = u16::MAX - 3;
                let number = port
                    .parse()
                    .ok()
                    .filter(|port| (1..=highest).contains(port));
                number.ok_or_else(|| {
                    format!("CO_DATABASES_PORT is `{port}`, not a port from 1 to {highest}")
                })?
            }
        };
        Ok(Self::in_folder(folder, first_port))
    }

    /// A fleet in this folder, on this port and the three after it.
    #[must_use]
    pub const fn in_folder(folder: PathBuf, first_port: u16) -> Self {
        Self { folder, first_port }
    }

    /// Where its data is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts all that are not running; `progress` is told the name of each before. A product that is not installed is left out.
    ///
    /// # Errors
    /// The first one that does not start; those before it run.
    pub fn up(&self, mut progress: impl FnMut(&str)) -> Result<Vec<Member>, Error> {
        for index in 0..MEMBERS.len() {
            let mut server = match self.server(index) {
                Err(error) if error.is_missing() => continue,
                other => other?,
            };
            if self.adopt(&mut server) {
                continue;
            }
            progress(server.name());
            server.create()?;
            server.start()?;
            server.detach();
            let pid = server.pid().unwrap_or_default();
            let file = self.pid_file(server.name());
            let doing = format!("write {}", file.display());
            fs::write(&file, pid.to_string()).map_err(Error::io(doing))?;
        }
        Ok(self.status())
    }

    /// Stops all that run; with `remove`, their data goes as well. Says which ran.
    ///
    /// # Errors
    /// If one does not stop (it is killed then), or its folder cannot be removed.
    pub fn down(&self, remove: bool) -> Result<Vec<&'static str>, Error> {
        let mut stopped = Vec::new();
        for (index, (name, _)) in MEMBERS.into_iter().enumerate() {
            let mut server = match self.server(index) {
                Err(error) if error.is_missing() => continue,
                other => other?,
            };
            if self.adopt(&mut server) {
                server.stop()?;
                stopped.push(name);
            }
            let _was_not_there = fs::remove_file(self.pid_file(name));
            if remove {
                server.remove()?;
            }
        }
        if remove {
            // Whatever else is in there is not the fleet's.
            let _not_empty = fs::remove_dir(&self.folder);
        }
        Ok(stopped)
    }

    /// What runs now.
    #[must_use]
    pub fn status(&self) -> Vec<Member> {
        let members = MEMBERS.into_iter().enumerate();
        members
            .map(|(index, (name, product))| {
                let state = match self.server(index) {
                    Err(error) => MemberState::NotInstalled(error.to_string()),
                    Ok(mut server) => match self.adopt(&mut server) {
                        true => MemberState::Up(server.url()),
                        false => MemberState::Down,
                    },
                };
                let port = self.port(index);
                Member {
                    name,
                    product,
                    port,
                    state,
                }
            })
            .collect()
    }

    fn port(&self, index: usize) -> u16 {
        self.first_port + u16::try_from(index).unwrap_or(0)
    }

    /// A member, whether it runs or not; dropping it stops nothing.
    fn server(&self, index: usize) -> Result<Server, Error> {
        let (name, product) = MEMBERS[index];
        let folder = self.folder.join(name);
        let mut server = Server::describe(product, name, folder, self.port(index), &[])?;
        server.detach();
        Ok(server)
    }

    fn pid_file(&self, name: &str) -> PathBuf {
        self.folder.join(name).join("fleet.pid")
    }

    /// Whether the member runs, started by this program or an earlier one.
    fn adopt(&self, server: &mut Server) -> bool {
        let pid = fs::read_to_string(self.pid_file(server.name()));
        let pid = pid.ok().and_then(|pid| pid.trim().parse().ok());
        pid.is_some_and(|pid| server.adopt(pid))
    }
}
