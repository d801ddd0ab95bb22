//! The bounded model of one invariant, decided for any split of the types into those that run freely, those that run
//! at one site, and those that are ordered with everybody.
//!
//! - **I1** *Free*: at any replica, at any time.
//! - **I2** *At a point*: each execution at the one replica that is the home of its partition, one after the other. The
//!   others learn of it when states are exchanged.
//! - **I3** *Ordered*: when all replicas hold the same state, and all hold the result before anything else happens: a
//!   global transaction that takes part at every site that holds a copy of the rows. So it gives no more than one more
//!   state to begin with.
//! - **I4** A type that never commits in the model is not judged: the verdict is unknown.

use std::collections::BTreeSet;

use serde::Serialize;

use super::database::Database;
use super::execute::execute;
use super::invariant::broken;
use super::population::{Domains, Instance};
use super::projection::Projection;
use super::report::counted;
use super::schema::Value;
use crate::spec::confluence::{
    Application, Bounds, Coverage, Outcome, ReplicaId, Verdict, Witness, commit, decide,
};

/// For each way to run a transaction at each of two replicas, how many exchanges of states are to be expected, amply.
const ROOM: usize = 32;

/// How the types of an application run.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Split {
    pub(super) free: BTreeSet<usize>,
    pub(super) at_point: BTreeSet<usize>,
    pub(super) ordered: BTreeSet<usize>,
}

/// What was searched for a "confluent".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Searched {
    /// Databases that the search began with.
    pub populations: u64,
    /// The most rows that one of them has.
    pub rows: usize,
    /// Pairs of states of two replicas whose merge was examined.
    pub pairs: u64,
    /// The most transactions that commit at each of the two replicas in this search: 1, from all populations, unless
    /// `deeply` says from how many it is more.
    pub transactions_each: u8,
    /// From how many populations, the smallest, more than one transaction commits at each replica; 0 if from none.
    pub deeply: u64,
}

impl std::fmt::Display for Searched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "confluent on all {} pairs of states that 2 replicas can hold: from {} of up to {} after 1 transaction at each",
            self.pairs,
            counted(self.populations, "database"),
            counted(self.rows, "row")
        )?;
        if self.deeply > 0 {
            write!(
                f,
                ", from the {} smallest after up to {} at each",
                self.deeply, self.transactions_each
            )?;
        }
        Ok(())
    }
}

/// What a search says.
#[derive(Debug, Clone)]
pub(super) enum Judged {
    Confluent(Searched),
    Broken(Box<Witness>),
    Unknown(String),
}

pub(super) struct Study {
    pub(super) projection: Projection,
    instances: Vec<Instance>,
    populations: Vec<Database>,
    rows: usize,
    bounds: Bounds,
}

impl Study {
    /// The model of an invariant; an error says what does not fit into one.
    pub(super) fn new(projection: Projection, bounds: Bounds) -> Result<Self, String> {
        let domains = Domains::new(&projection)?;
        let instances = domains.instances()?;
        let (populations, rows) = domains.populations()?;
        Ok(Self {
            projection,
            instances,
            populations,
            rows,
            bounds,
        })
    }

    /// Decides a split. The numbers in it are of types of the application.
    ///
    /// `quick` leaves out all but one transaction at each replica: enough to find out that a split is not confluent.
    pub(super) fn judge(&self, split: &Split, quick: bool) -> Judged {
        let initial = match self.beginnings(split) {
            Ok(initial) => initial,
            Err(why) => return Judged::Unknown(why),
        };
        let model = Bounded::new(self, split, initial);
        let mut pairs = match self.widely(split, &model) {
            Ok(pairs) => pairs,
            Err(judged) => return judged,
        };
        let is_deep = !quick && self.bounds.transactions_each() > 1;
        let deeply = if is_deep { self.deeply(&model) } else { 0 };
        let populations = model.initial.len() as u64;
        let mut transactions_each = 1;
        if deeply > 0 {
            transactions_each = self.bounds.transactions_each();
            let model = Bounded::new(self, split, model.initial[..deeply].to_vec());
            match conclude(decide(&model, &self.bounds)) {
                Ok(coverage) => pairs += coverage.pairs,
                Err(judged) => return judged,
            }
        }
        Judged::Confluent(Searched {
            populations,
            rows: self.rows,
            pairs,
            transactions_each,
            deeply: deeply as u64,
        })
    }

    /// One transaction at each replica, from all populations; as a search goes over them one by one, some at a time, so
    /// that none reaches the cap for the number of populations. Gives the number of pairs.
    fn widely(&self, split: &Split, model: &Bounded<'_>) -> Result<u64, Judged> {
        let mut pairs = 0;
        let mut idle: BTreeSet<usize> = model.running.iter().map(|it| it.of).collect();
        let each = (model.running.len() + 1).pow(2) * ROOM;
        let some = (self.bounds.max_situations() as usize / each).max(1);
        for initial in model.initial.chunks(some) {
            let model = Bounded::new(self, split, initial.to_vec());
            let verdict = decide(&model, &self.bounds.with_transactions_each(1));
            let coverage = conclude(verdict)?;
            pairs += coverage.pairs;
            for (instance, used) in model.running.iter().zip(&coverage.transactions) {
                if used.committed > 0 {
                    idle.remove(&instance.of);
                }
            }
        }
        let Some(idle) = idle.first() else {
            return Ok(pairs);
        };
        let types = &self.projection.layout.schema.types;
        let name = &types[self.projection.types[*idle].0].name;
        let rows = self.rows;
        Err(Judged::Unknown(format!(
            "{name} never commits in a database of up to {rows} rows"
        )))
    }

    /// How many of the smallest populations can be searched deeply.
    fn deeply(&self, model: &Bounded<'_>) -> usize {
        let ways = model.running.len() as u64;
        let mut each = 1_u64;
        for _ in 0..self.bounds.transactions_each() {
            each = each.saturating_mul(ways).saturating_add(1);
        }
        let room = u64::from(self.bounds.max_situations()) / 40;
        let fit = room / each.saturating_mul(each).max(1);
        usize::try_from(fit)
            .unwrap_or(usize::MAX)
            .min(model.initial.len())
    }

    /// All populations, and what one ordered transaction makes of each.
    fn beginnings(&self, split: &Split) -> Result<Vec<Database>, String> {
        let ordered = Bounded::new(self, &split.only_ordered(), Vec::new());
        let mut met: BTreeSet<Database> = self.populations.iter().cloned().collect();
        let mut all = self.populations.clone();
        for population in &self.populations {
            for transaction in 0..ordered.running.len() {
                let outcome = commit(&ordered, transaction, population, ReplicaId(0));
                if let Outcome::Committed(state) = outcome
                    && met.insert(state.clone())
                {
                    all.push(state);
                }
            }
            if all.len() > self.bounds.max_situations() as usize {
                return Err("there are too many states to begin with".to_owned());
            }
        }
        Ok(all)
    }
}

fn conclude(verdict: Verdict) -> Result<Coverage, Judged> {
    match verdict {
        Verdict::Confluent { coverage } => Ok(coverage),
        Verdict::NotConfluent { witness, .. } => Err(Judged::Broken(witness)),
        Verdict::Unknown { coverage } => Err(Judged::Unknown(format!(
            "the search reached its cap of {} situations",
            coverage.bounds.max_situations()
        ))),
        Verdict::Breach { breach } => Err(Judged::Unknown(format!("no verdict: {breach}"))),
    }
}

impl Split {
    fn only_ordered(&self) -> Self {
        Self {
            free: self.ordered.clone(),
            ..Self::default()
        }
    }
}

/// The application that is decided.
struct Bounded<'a> {
    study: &'a Study,
    /// What replicas run, each with whether it is at a point.
    running: Vec<&'a Instance>,
    at_point: Vec<bool>,
    initial: Vec<Database>,
}

impl<'a> Bounded<'a> {
    fn new(study: &'a Study, split: &Split, initial: Vec<Database>) -> Self {
        let number = |it: &&Instance| study.projection.types[it.of].0;
        let runs = |it: &&Instance| {
            split.free.contains(&number(it)) || split.at_point.contains(&number(it))
        };
        let running: Vec<&Instance> = study.instances.iter().filter(runs).collect();
        let at_point = running
            .iter()
            .map(|it| split.at_point.contains(&number(it)));
        Self {
            study,
            at_point: at_point.collect(),
            running,
            initial,
        }
    }
}

/// Where the rows of a partition live in a world of two replicas; rows that are not partitioned live at the first.
fn is_home(at: ReplicaId, partitions: &[Value]) -> bool {
    let home = |it: &Value| it.unwrap_or(0).rem_euclid(2) == i64::from(at.0);
    partitions.iter().all(home) && (!partitions.is_empty() || at.0 == 0)
}

impl Application for Bounded<'_> {
    type State = Database;

    fn initial_states(&self) -> Vec<Database> {
        self.initial.clone()
    }

    fn transactions(&self) -> Vec<String> {
        self.running.iter().map(|it| it.label.clone()).collect()
    }

    fn execute(&self, transaction: usize, state: &Database, at: ReplicaId) -> Option<Database> {
        let instance = self.running[transaction];
        let operations = &self.study.projection.types[instance.of].1;
        let (next, partitions) = execute(operations, &instance.parameters, state, at)?;
        let runs = !self.at_point[transaction] || is_home(at, &partitions);
        runs.then_some(next)
    }

    fn broken(&self, state: &Database) -> Option<String> {
        broken(&self.study.projection.rule, state)
    }
}
