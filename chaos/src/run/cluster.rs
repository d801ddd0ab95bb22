//! The coordinators and sites of a run: what each is started with, and which life it is in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use super::Options;
use crate::lives;
use crate::server::{Server, Spec, ports};

/// How long a server may take to recover. Far more than any log here needs.
const START: Duration = Duration::from_secs(60);

/// What a node is.
#[derive(Clone, Debug)]
enum Role {
    Coordinator { id: usize },
    Site { name: String },
}

/// A server and its lives.
#[derive(Debug)]
pub(super) struct Node {
    role: Role,
    folder: PathBuf,
    fixed: Vec<String>,
    pub(super) lives: u64,
    server: Option<Server>,
    ready: bool,
}

impl Node {
    pub(super) fn is_coordinator(&self) -> bool {
        matches!(self.role, Role::Coordinator { .. })
    }

    pub(super) fn is_up(&self) -> bool {
        self.server.is_some()
    }

    pub(super) fn site(&self) -> Option<&str> {
        match &self.role {
            Role::Site { name } => Some(name),
            Role::Coordinator { .. } => None,
        }
    }

    pub(super) fn log_file(&self) -> PathBuf {
        self.folder.join(format!("{}.stderr", self.name()))
    }

    fn name(&self) -> String {
        match &self.role {
            Role::Coordinator { id } => format!("coordinator-{id}"),
            Role::Site { name } => format!("site-{name}"),
        }
    }

    /// Begins the next life.
    pub(super) fn spawn(&mut self) -> Result<()> {
        self.lives += 1;
        let mut arguments = self.fixed.clone();
        if let Some(site) = self.site() {
            let history = lives::file(&self.folder, site, self.lives);
            arguments.extend(["--history".to_owned(), history.display().to_string()]);
        }
        let spec = Spec {
            name: format!("{} (life {})", self.name(), self.lives),
            arguments,
            log: self.log_file(),
        };
        self.server = Some(Server::spawn(&spec)?);
        self.ready = false;
        Ok(())
    }

    /// Waits until it is ready.
    pub(super) async fn ready(&mut self) -> Result<()> {
        if let Some(server) = self.server.as_mut().filter(|_| !self.ready) {
            server.ready(START).await?;
            self.ready = true;
        }
        Ok(())
    }

    pub(super) async fn kill(&mut self) -> Result<()> {
        match self.server.take() {
            Some(server) => server.kill().await,
            None => Ok(()),
        }
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        self.server.as_ref().map_or(Ok(()), |it| it.signal(signal))
    }

    pub(super) async fn end(&mut self) -> Result<()> {
        match self.server.take() {
            Some(server) => server.end(START).await,
            None => Ok(()),
        }
    }
}

/// All servers of a run.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
    /// Where the coordinators are.
    pub(super) coordinators: Vec<String>,
    /// The sites, in order.
    pub(super) sites: Vec<String>,
}

impl Cluster {
    pub(super) fn new(options: &Options, folder: &Path) -> Result<Self> {
        let ports = ports(options.coordinators)?;
        let coordinators: Vec<String> = ports
            .iter()
            .map(|port| format!("http://127.0.0.1:{port}"))
            .collect();
        let mut nodes = Vec::new();
        for (id, port) in ports.iter().enumerate() {
            let data = folder.join(format!("coordinator-{id}"));
            let mut fixed = words(&format!(
                "coordinator serve --json --exit-with-parent --log-level warn --listen 127.0.0.1:{port} --id {id} \
                 --vote-timeout-ms 1000 --idle-timeout-ms 2000"
            ));
            fixed.extend(["--data".to_owned(), data.display().to_string()]);
            for (peer, uri) in coordinators.iter().enumerate().filter(|(it, _)| *it != id) {
                fixed.extend(["--peer".to_owned(), format!("{peer}={uri}")]);
            }
            nodes.push(node(Role::Coordinator { id }, folder, fixed));
        }
        let mut sites = Vec::new();
        for (index, engine) in options.sites.iter().enumerate() {
            let name = site_name(index);
            let data = folder.join(format!("site-{name}"));
            let mut fixed = words(&format!(
                "participant serve --json --exit-with-parent --log-level warn --name {name} --engine {engine} \
                 --ordering {} --idle-timeout-ms 1500 --operation-timeout-ms 1000 --store {}",
                if options.ordering { "on" } else { "off" },
                options.store
            ));
            if options.store == super::Store::Fjall {
                // Small, so that logs are cut while processes are killed.
                fixed.extend(words("--checkpoint-bytes 262144"));
            }
            fixed.extend(["--data".to_owned(), data.display().to_string()]);
            for (id, uri) in coordinators.iter().enumerate() {
                fixed.extend(["--coordinator".to_owned(), format!("{id}={uri}")]);
            }
            nodes.push(node(Role::Site { name: name.clone() }, folder, fixed));
            sites.push(name);
        }
        Ok(Self {
            nodes,
            coordinators,
            sites,
        })
    }

    /// Starts what does not run, and waits until all is ready.
    pub(super) async fn up(&mut self) -> Result<()> {
        for node in self.nodes.iter_mut().filter(|node| !node.is_up()) {
            node.spawn()?;
        }
        for node in &mut self.nodes {
            node.ready().await?;
        }
        Ok(())
    }

    /// Ends everything in good order: the sites first, which tell the coordinators what they know.
    pub(super) async fn end(&mut self) -> Result<()> {
        for node in self.nodes.iter_mut().rev() {
            node.end().await?;
        }
        Ok(())
    }
}

fn node(role: Role, folder: &Path, fixed: Vec<String>) -> Node {
    Node {
        role,
        folder: folder.to_path_buf(),
        fixed,
        lives: 0,
        server: None,
        ready: false,
    }
}

/// A, B, C and so on.
fn site_name(index: usize) -> String {
    let letter = u8::try_from(index % 26).unwrap_or_default();
    let name = char::from(b'A' + letter).to_string();
    if index < 26 {
        name
    } else {
        format!("{name}{}", index / 26)
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
