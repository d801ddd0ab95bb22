//! What is driven: which engine under which rule is at each site, and which rule of commitment ordering is broken on
//! purpose.

use std::fmt;
use std::sync::Arc;

use checker::Level;
use co_core::{Certification, Reads, VoteRule};
use participant::engine::{self, EngineKind};
use participant::{Participant, Recorder};
use simulator::{Options, World};

use crate::keeper::Keeper;
use crate::orders::Order;
use crate::textbook::Rule;
use crate::watched::Watched;

/// What is at one site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum At {
    /// An engine of `participant`.
    Engine(EngineKind, VoteRule),
    /// Values under `co_core::Eco`, `co_core::Gco` or a textbook's graph.
    Kept(Order),
}

/// A rule of commitment ordering that is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trap {
    /// The classical read-only optimisation: a site at which a transaction has only read releases and forgets it as
    /// soon as it has voted.
    ForgetReaders,
    /// That, and a site is asked for its vote as soon as the work *there* is done.
    ForgetReadersEarly,
    /// An operator may abort a transaction in doubt at one site, by hand.
    AbortByHand,
}

/// One way to run transactions over two sites.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) sites: [At; 2],
    /// Votes may depend on votes that are given and not decided.
    pub(crate) dependent_votes: bool,
    pub(crate) trap: Option<Trap>,
}

impl Variant {
    /// The same at both sites.
    pub(crate) const fn uniform(name: &'static str, site: At) -> Self {
        Self::mixed(name, [site, site])
    }

    pub(crate) const fn mixed(name: &'static str, sites: [At; 2]) -> Self {
        Self {
            name,
            sites,
            dependent_votes: false,
            trap: None,
        }
    }

    pub(crate) const fn with_dependent_votes(self) -> Self {
        Self {
            dependent_votes: true,
            ..self
        }
    }

    pub(crate) const fn with(self, trap: Trap) -> Self {
        Self {
            trap: Some(trap),
            ..self
        }
    }

    /// Which site is which, up to what makes a difference: workloads do not tell sites apart, these may.
    pub(crate) fn arrangements(self) -> Vec<Self> {
        let [one, two] = self.sites;
        let mut all = vec![self];
        if one != two {
            all.push(Self {
                sites: [two, one],
                ..self
            });
        }
        all
    }

    /// What the checker is asked of everything that commits, besides serializability.
    pub(crate) fn promised(self) -> Level {
        let extended = |site: &At| matches!(site, At::Kept(_));
        if self.sites.iter().any(extended) {
            Level::ExtendedCommitmentOrdering
        } else {
            Level::CommitmentOrdering
        }
    }

    /// Whether every site votes in the order of commits, and no rule is broken.
    pub(crate) fn is_ordered(self) -> bool {
        let ordered = |site: &At| match site {
            At::Engine(_, rule) => *rule == VoteRule::Withhold,
            At::Kept(Order::Eco { all_local }) => !all_local,
            At::Kept(Order::Gco(..)) => true,
            At::Kept(Order::Textbook(rule)) => *rule == Rule::Withhold,
        };
        self.trap.is_none() && self.sites.iter().all(ordered)
    }

    /// A world with so many of its sites.
    pub(crate) fn open(self, sites: usize) -> Opened {
        let mut options = Options::new(&[], VoteRule::Withhold);
        options.dependent_votes = self.dependent_votes;
        // A site without a log takes no orders from operators.
        options.durable = self.trap == Some(Trap::AbortByHand);
        let stores: Vec<Arc<Watched>> = (0..sites).map(|_| Arc::new(Watched::new())).collect();
        let own = self
            .sites
            .iter()
            .zip(&stores)
            .map(|(site, store)| match site {
                At::Kept(order) => Some(Arc::new(Keeper::new(*order, store.clone()))),
                At::Engine(..) => None,
            });
        let own: Vec<Option<Arc<Keeper>>> = own.collect();
        let (known, storages) = (own.clone(), stores.clone());
        let open = move |site: usize, recorder: Recorder| -> Arc<dyn Participant> {
            match (&known[site], self.sites[site]) {
                (Some(keeper), _) => keeper.clone(),
                (None, At::Engine(kind, rule)) => {
                    let storage = storages[site].clone();
                    let options = engine::Options {
                        rule,
                        recorder,
                        storage,
                        ..engine::Options::default()
                    };
                    engine::open_with(kind, options)
                }
                (None, At::Kept(_)) => unreachable!("it was opened above"),
            }
        };
        let world = World::with_participants(options, sites, Box::new(open));
        Opened { world, own, stores }
    }
}

/// What a variant consists of, sites in order.
pub(crate) struct Opened {
    pub(crate) world: World,
    /// Those that record their histories themselves.
    pub(crate) own: Vec<Option<Arc<Keeper>>>,
    pub(crate) stores: Vec<Arc<Watched>>,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(kind, VoteRule::Withhold) => write!(f, "{kind}"),
            Self::Engine(kind, rule) => write!(f, "{kind} under {rule:?}"),
            Self::Kept(Order::Eco { all_local: false }) => f.write_str("eco"),
            Self::Kept(Order::Eco { all_local: true }) => f.write_str("eco, all taken for local"),
            Self::Kept(Order::Textbook(rule)) => write!(f, "textbook, {rule:?}"),
            Self::Kept(Order::Gco(reads, certification)) => {
                let reads = match reads {
                    Reads::Newest => "newest",
                    Reads::Snapshot => "snapshot",
                };
                let certification = match certification {
                    Certification::Interval => "intervals",
                    Certification::CommitOrder => "commit order",
                };
                write!(f, "gco, {reads}, {certification}")
            }
        }
    }
}
