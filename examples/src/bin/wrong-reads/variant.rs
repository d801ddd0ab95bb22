//! The ways to run a transaction over databases that are compared.

use std::sync::Arc;

use adapters::ordered;
use adapters::postgres::{OpenError, Postgres, PostgresOptions};
use anyhow::bail;
use clap::ValueEnum;
use co_core::VoteRule;
use databases::{Product, Server};
use participant::engine::Options;
use participant::{Participant, Recorder};

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Variant {
    /// Snapshots, and conflicts tracked by the adapter, but nobody keeps an order: what `co` shows without its votes.
    Off,
    /// Mode `co` of the adapter: snapshots, conflicts tracked by the adapter, votes in commit order.
    Co,
}

impl Variant {
    pub(crate) const ALL: [Self; 2] = [Self::Off, Self::Co];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Co => "co",
        }
    }

    /// Whether it keeps a global order: no wrong read is allowed.
    pub(crate) const fn is_ordered(self) -> bool {
        match self {
            Self::Off => false,
            Self::Co => true,
        }
    }

    /// A participant over a server, with a table of its own.
    ///
    /// # Errors
    /// If the adapter does not open.
    pub(crate) fn open(
        self,
        server: &Server,
        site: &str,
        schema: &str,
        recorder: Recorder,
    ) -> anyhow::Result<Arc<dyn Participant>> {
        #[derive(Debug, thiserror::Error)]
        #[error(transparent)]
        enum Failed {
            Open(#[from] OpenError),
            Adapter(#[from] ordered::OpenError),
        }
        let rule = if self.is_ordered() {
            VoteRule::Withhold
        } else {
            VoteRule::LocalOnly
        };
        let engine = Options {
            rule,
            recorder,
            ..Options::default()
        };
        match server.product() {
            Product::Postgres => {
                let options = PostgresOptions {
                    schema: schema.to_owned(),
                    sessions: 32,
                    ..PostgresOptions::new(&server.url())
                };
                let site = site.to_owned();
                let connect = async move { Ok::<_, Failed>(Postgres::open(&site, options).await?) };
                Ok(Arc::new(ordered::open(engine, 1, connect)?))
            }
            Product::MariaDb => bail!("no adapter for MariaDB yet"),
        }
    }
}
