//! The processes of one run: a coordinator and the sites.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::args::{Options, Ordering};
use crate::process::{Child, Supervisor};
use crate::servers::Servers;
use crate::site::{Kind, Site};

/// Running processes, and where they write.
#[derive(Debug)]
pub(crate) struct Cluster {
    coordinator: Child,
    participants: Vec<(Site, Child)>,
    histories: Vec<(Site, PathBuf)>,
    /// They run longer.
    servers: Vec<ProcessInfo>,
}

/// A process, for reports.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProcessInfo {
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) address: String,
}

impl Cluster {
    /// Starts all processes; they write below `folder`, which exists, and have tables of their own in `servers`.
    ///
    /// # Errors
    /// When one of them does not start; the others are stopped.
    pub(crate) async fn start(
        supervisor: &Supervisor,
        options: &Options,
        servers: &Servers,
        ordering: Ordering,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let port = options.port;
        let log = folder.join("coordinator");
        let listen = format!("127.0.0.1:{port}");
        let mut args: Vec<OsString> = ["coco", "serve", "--exit-with-parent"]
            .map(Into::into)
            .into();
        args.extend([
            "--listen".into(),
            listen.into(),
            "--data".into(),
            log.into(),
        ]);
        let coordinator = Child::start(supervisor, "the coordinator".to_owned(), &args).await?;
        let uri = format!("http://{}", coordinator.address());
        let mut participants = Vec::new();
        let mut histories = Vec::new();
        for site in options.sites().all() {
            let history = folder.join(format!("{site}.hist"));
            let mut args = what_runs(site, ordering, servers);
            args.extend(site_args(site, ordering, &uri, &history));
            let name = match site.kind() {
                Kind::Engine(_) => format!("participant {site} ({})", site.engine()),
                Kind::Server(_) => format!("adapter {site} ({})", site.engine()),
            };
            participants.push((site, Child::start(supervisor, name, &args).await?));
            histories.push((site, history));
        }
        Ok(Self {
            coordinator,
            participants,
            histories,
            servers: servers.processes().collect(),
        })
    }

    /// Where the coordinator is reached.
    pub(crate) fn uri(&self) -> String {
        format!("http://{}", self.coordinator.address())
    }

    /// The processes, coordinator first, servers last.
    pub(crate) fn processes(&self) -> Vec<ProcessInfo> {
        let info = |child: &Child| ProcessInfo {
            name: child.name().to_owned(),
            pid: child.pid(),
            address: child.address().to_owned(),
        };
        let children = self.children().map(info);
        children.chain(self.servers.iter().cloned()).collect()
    }

    /// Waits until a process ends, which none should, and says which and how.
    pub(crate) fn death(&self) -> impl Future<Output = anyhow::Error> + Send + use<> {
        let mut deaths: JoinSet<anyhow::Error> = self.children().map(Child::death).collect();
        async move {
            match deaths.join_next().await {
                Some(Ok(death)) => death,
                Some(Err(error)) => anyhow::Error::new(error).context("watching the processes"),
                None => anyhow::anyhow!("there are no processes"),
            }
        }
    }

    /// Ends all processes in order, participants first, so that the coordinator can still serve them,
    /// and returns the histories, which are complete now.
    ///
    /// # Errors
    /// When one of them fails at its end.
    pub(crate) async fn stop(self) -> anyhow::Result<Vec<(Site, PathBuf)>> {
        for (_, participant) in self.participants {
            participant.stop().await?;
        }
        self.coordinator.stop().await?;
        Ok(self.histories)
    }

    fn children(&self) -> impl Iterator<Item = &Child> {
        let participants = self.participants.iter().map(|(_, child)| child);
        std::iter::once(&self.coordinator).chain(participants)
    }
}

/// The command that runs a site, and over what. With ordering off an adapter goes on refusing what is wrong at its own
/// site, and has those who fight over a key take turns: two of them show fewer wrong reads than other engines do.
fn what_runs(site: Site, ordering: Ordering, servers: &Servers) -> Vec<OsString> {
    let words: Vec<String> = match site.kind() {
        Kind::Engine(engine) => ["participant", "serve", "--engine", engine.name()]
            .map(str::to_owned)
            .into(),
        Kind::Server(_) => {
            let url = servers.url(site).expect("every such site has a server");
            let schema = format!("multidb_{}", ordering.word());
            let words = ["adapter", "serve", "--database", &url, "--schema", &schema];
            // A site that dies ends the demonstration: nothing need be remembered.
            let words = words.into_iter().chain(["--volatile"]);
            words.map(str::to_owned).collect()
        }
    };
    words.into_iter().map(Into::into).collect()
}

/// What every site is told.
fn site_args(site: Site, ordering: Ordering, uri: &str, history: &Path) -> Vec<OsString> {
    let words = [
        "--name",
        site.name(),
        "--coordinator",
        uri,
        "--listen",
        "127.0.0.1:0",
        "--ordering",
        ordering.word(),
        "--exit-with-parent",
        "--history",
    ];
    let mut args: Vec<OsString> = words.map(Into::into).into();
    args.push(history.into());
    args
}

/// Makes the folder of one run.
///
/// # Errors
/// When it cannot be made or holds a run already.
pub(crate) fn make_folder(data: &Path, ordering: Ordering) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(data).with_context(|| {
        format!(
            "cannot make the data folder {}: choose one that can be written",
            data.display()
        )
    })?;
    let folder = data.join(ordering.word());
    std::fs::create_dir(&folder).with_context(|| {
        if folder.exists() {
            format!(
                "{} holds an earlier run: remove it or choose another --data",
                folder.display()
            )
        } else {
            format!(
                "cannot write to the data folder {}: choose one that can be written",
                data.display()
            )
        }
    })?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_holds_one_run_of_each_kind() {
        let data = tempfile::tempdir().unwrap();
        let inside = data.path().join("new/deeper");
        assert!(make_folder(&inside, Ordering::Off).unwrap().is_dir());
        assert!(make_folder(&inside, Ordering::On).unwrap().is_dir());
        let error = make_folder(&inside, Ordering::On).unwrap_err();
        assert!(error.to_string().contains("earlier run"), "{error}");
    }

    #[test]
    fn a_file_is_no_data_folder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = make_folder(file.path(), Ordering::On).unwrap_err();
        assert!(
            error.to_string().contains("cannot make the data folder"),
            "{error}"
        );
    }
}
