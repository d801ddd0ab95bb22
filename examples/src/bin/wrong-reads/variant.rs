//! The ways to run a transaction over databases that are compared.

use std::sync::Arc;

use adapters::{Mode, SiteOptions, open_site};
use clap::ValueEnum;
use co_core::VoteRule;
use databases::{Product, Server};
use participant::{Participant, Recorder};

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Variant {
    /// Two-phase commit over serializable databases, which is what transaction managers do. MariaDB keeps its read locks
    /// until the decision, as in `lock`.
    Plain,
    /// Mode `co` without its order: each site is serializable, and votes without waiting.
    Off,
    /// Mode `co`: conflicts tracked by the adapter, votes in commit order.
    Co,
    /// Row locks until the decision.
    Lock,
    /// Locks on keys that are declared first (PostgreSQL).
    Advisory,
    /// One transaction at a time at each site (PostgreSQL).
    Serial,
}

impl Variant {
    pub(crate) const ALL: [Self; 6] = [
        Self::Plain,
        Self::Off,
        Self::Co,
        Self::Lock,
        Self::Advisory,
        Self::Serial,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain 2PC",
            Self::Off => "co, order off",
            Self::Co => "co",
            Self::Lock => "lock",
            Self::Advisory => "advisory",
            Self::Serial => "serial",
        }
    }

    /// Whether it keeps a global order: no wrong read is allowed.
    pub(crate) const fn is_ordered(self) -> bool {
        match self {
            Self::Plain | Self::Off => false,
            Self::Co | Self::Lock | Self::Advisory | Self::Serial => true,
        }
    }

    /// Whether transactions have to say which keys they need.
    pub(crate) const fn declares(self) -> bool {
        matches!(self, Self::Advisory)
    }

    /// Whether a site over such a server can say what it has read and written: where reads leave no locks it cannot.
    pub(crate) fn records(self, product: Product) -> bool {
        self != Self::Plain || product == Product::MariaDb
    }

    /// Whether there is an adapter for it.
    pub(crate) fn is_there(self, product: Product) -> bool {
        self.mode(product).is_some()
    }

    fn mode(self, product: Product) -> Option<Mode> {
        match (self, product) {
            (Self::Off | Self::Co, _) => Some(Mode::Co),
            (Self::Plain, _) => Some(Mode::Plain),
            (Self::Lock, _) => Some(Mode::Lock),
            (Self::Advisory, Product::Postgres) => Some(Mode::Advisory),
            (Self::Serial, Product::Postgres) => Some(Mode::Serial),
            (Self::Advisory | Self::Serial, Product::MariaDb) => None,
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
        let mode = self
            .mode(server.product())
            .ok_or_else(|| anyhow::anyhow!("no such mode over {}", server.product()))?;
        let rule = if self.is_ordered() {
            VoteRule::Withhold
        } else {
            VoteRule::LocalOnly
        };
        let options = SiteOptions {
            mode,
            schema: schema.to_owned(),
            sessions: 32,
            rule,
            recorder,
            ..SiteOptions::new(site, &server.url())
        };
        Ok(open_site(options)?)
    }
}
