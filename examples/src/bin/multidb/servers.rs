//! The database servers of a demonstration: one for each site that needs one, started from what is installed, private, and
//! gone with this process, however that ends.

use anyhow::Context as _;
use databases::Server;

use crate::cluster::ProcessInfo;
use crate::progress::say;
use crate::site::{Kind, Site, Sites};

/// Running servers.
#[derive(Debug)]
pub(crate) struct Servers {
    all: Vec<(Site, Server)>,
}

impl Servers {
    /// Starts what the sites need.
    ///
    /// # Errors
    /// If one does not start; says what to install if it is not there.
    pub(crate) async fn start(sites: Sites) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for site in sites.all() {
            let Kind::Server(product) = site.kind() else {
                continue;
            };
            say(&format!(
                "multidb: starting a {product} server for site {site}"
            ));
            let server = tokio::task::spawn_blocking(move || Server::private(product, &[])).await;
            let server = server.context("the thread that starts the server stopped")?;
            let server = server
                .with_context(|| format!("the {product} server of site {site} does not start"))?;
            all.push((site, server));
        }
        Ok(Self { all })
    }

    /// Where a site's server is reached.
    pub(crate) fn url(&self, site: Site) -> Option<String> {
        let server = self.all.iter().find(|(of, _)| *of == site);
        server.map(|(_, server)| server.url())
    }

    /// Their processes, for reports.
    pub(crate) fn processes(&self) -> impl Iterator<Item = ProcessInfo> {
        self.all.iter().map(|(site, server)| ProcessInfo {
            name: format!("{} server of {site}", server.product()),
            pid: server.pid().unwrap_or_default(),
            address: format!("127.0.0.1:{}", server.port()),
        })
    }
}
