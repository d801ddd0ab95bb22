//! Consistency models, which of them implies which, and which anomaly rules out which.
//!
//! The models are those that the literature on transactional isolation names: Adya's levels (PL-1 to PL-3 and
//! those in between; *Weak Consistency*, 1999, and *Generalized Isolation Level Definitions*, 2000), the atomic
//! visibility family (Cerone, Bernardi and Gotsman, 2015; Bailis et al., 2013), snapshot isolation and its strong
//! variants (Daudjee and Salem, 2006; Cerone and Gotsman, 2018), and the strong-session and real-time variants of
//! the weak levels that Elle (Kingsbury and Alvaro, VLDB 2020) adds. "Serializable" is conflict serializable.
//!
//! - **M1** [`Model::weaker`] is acyclic, and every model implies [`Model::ReadUncommitted`].
//! - **M2** If an anomaly rules out a model, it rules out every stronger one.
//! - **M3** If an anomaly implies another, it rules out at least what the other does.
//!
//! One difference to Elle's tables: there, snapshot isolation forbids `G-SI`, and single anti-dependency cycles imply
//! `GSIb`, so the two never meet; here they are one name each, and `G-single` implies `G-SIb`, which implies `G-SI`.

mod anomaly;
mod set;

pub use anomaly::Anomaly;
pub use set::{AnomalySet, ModelSet};

macro_rules! models {
    ($($(#[$doc:meta])* $variant:ident $name:literal $aliases:tt => $weaker:tt;)*) => {
        /// A consistency model.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Model {
            $($(#[$doc])* $variant,)*
        }

        impl Model {
            /// Every model, weaker ones first where one implies the other.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Other names of the same model.
            #[must_use]
            pub const fn aliases(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &$aliases,)* }
            }

            /// The models that it implies directly.
            #[must_use]
            pub const fn weaker(self) -> &'static [Self] {
                use Model::*;
                match self { $(Self::$variant => &$weaker,)* }
            }
        }
    };
}

models! {
    /// No cycle of writes alone (Adya's PL-1).
    ReadUncommitted "read-uncommitted" ["PL-1"] => [];
    /// Read uncommitted, with sessions in order.
    StrongSessionReadUncommitted "strong-session-read-uncommitted" ["strong-session-PL-1"] => [ReadUncommitted];
    /// Read uncommitted, in real time.
    StrongReadUncommitted "strong-read-uncommitted" ["strong-PL-1"] => [StrongSessionReadUncommitted];
    /// No reads of aborted or intermediate state, no circular information flow (Adya's PL-2).
    ReadCommitted "read-committed" ["PL-2"] => [ReadUncommitted];
    /// Read committed, with sessions in order.
    StrongSessionReadCommitted "strong-session-read-committed" ["strong-session-PL-2"]
        => [ReadCommitted, StrongSessionReadUncommitted];
    /// Read committed, in real time.
    StrongReadCommitted "strong-read-committed" ["strong-PL-2"] => [StrongSessionReadCommitted, StrongReadUncommitted];
    /// What was seen of a transaction once is seen of it from then on (Bailis et al.).
    MonotonicAtomicView "monotonic-atomic-view" ["MAV"] => [ReadCommitted];
    /// All of a transaction is seen, or nothing (Bailis et al.; Cerone et al.).
    ReadAtomic "read-atomic" ["RA"] => [MonotonicAtomicView];
    /// Read atomic without lost updates (ROLA).
    UpdateAtomic "update-atomic" ["ROLA"] => [ReadAtomic];
    /// No lost updates through cursors (Adya's PL-CS).
    CursorStability "cursor-stability" ["PL-CS"] => [ReadCommitted];
    /// Views grow while a transaction runs (Adya's PL-2L).
    MonotonicView "monotonic-view" ["PL-2L"] => [ReadCommitted];
    /// Each transaction sees a consistent state, at least as it is when it commits (Adya's PL-2+).
    ConsistentView "consistent-view" ["PL-2+"] => [CursorStability, MonotonicView];
    /// A consistent state that may lie ahead of the transaction's beginning (Adya's PL-FCV).
    ForwardConsistentView "forward-consistent-view" ["PL-FCV"] => [ConsistentView];
    /// Each read sees a snapshot, and snapshots grow (Adya's PL-MSR).
    MonotonicSnapshotRead "monotonic-snapshot-read" ["PL-MSR"] => [ReadCommitted];
    /// Visibility is transitive and includes the session (Cerone et al.).
    Causal "causal-cerone" ["causal", "causal-consistency", "transactional-causal"] => [ReadAtomic];
    /// What is visible is a prefix of the commit order (Cerone et al.).
    Prefix "prefix" ["prefix-consistency"] => [Causal];
    /// Snapshot isolation whose sites may commit independent transactions in different orders.
    ParallelSnapshotIsolation "parallel-snapshot-isolation" ["PSI"] => [Causal, UpdateAtomic];
    /// Reads of one snapshot, and of concurrent writers of a key one commits (Adya's PL-SI; generalized SI).
    SnapshotIsolation "snapshot-isolation" ["SI", "PL-SI"]
        => [ForwardConsistentView, MonotonicSnapshotRead, ParallelSnapshotIsolation, Prefix];
    /// Serializable but for phantoms (Adya's PL-2.99).
    RepeatableRead "repeatable-read" ["PL-2.99"] => [CursorStability, MonotonicAtomicView];
    /// Updates are serializable, and reads see a consistent state (Adya's PL-3U).
    UpdateSerializable "update-serializable" ["PL-3U"] => [ForwardConsistentView];
    /// As if transactions had run one after another (Adya's PL-3).
    Serializable "serializable" ["PL-3", "conflict-serializable", "SER"]
        => [SnapshotIsolation, RepeatableRead, UpdateSerializable];
    /// Snapshot isolation whose snapshots include the session's own past (Daudjee and Salem).
    StrongSessionSnapshotIsolation "strong-session-snapshot-isolation" ["strong-session-SI"]
        => [SnapshotIsolation, StrongSessionReadCommitted];
    /// Snapshot isolation whose snapshots include all that had committed in real time.
    StrongSnapshotIsolation "strong-snapshot-isolation" ["strong-SI"]
        => [StrongSessionSnapshotIsolation, StrongReadCommitted];
    /// Serializable in an order that respects sessions.
    StrongSessionSerializable "strong-session-serializable" ["session-serializable", "strong-session-SER"]
        => [Serializable, StrongSessionSnapshotIsolation];
    /// Serializable in an order that respects real time.
    StrictSerializable "strict-serializable" ["strong-serializable", "PL-SS", "strict-SER", "strict-1SR"]
        => [StrongSessionSerializable, StrongSnapshotIsolation];
}

impl Model {
    /// The model of this name or alias; case and the difference of `-` and `_` do not matter.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let plain = |text: &str| text.to_ascii_lowercase().replace(['_', ' '], "-");
        let wanted = plain(name);
        let named = |model: &&Self| {
            plain(model.name()) == wanted
                || model.aliases().iter().any(|&alias| plain(alias) == wanted)
        };
        Self::ALL.iter().find(named).copied()
    }

    /// It and every model that it implies.
    #[must_use]
    pub fn implied(self) -> ModelSet {
        let mut found = ModelSet::of(self);
        // `ALL` names weaker models first: one pass from the strongest on is enough.
        for model in Self::ALL.iter().rev() {
            if found.contains(*model) {
                model
                    .weaker()
                    .iter()
                    .for_each(|&weaker| found.insert(weaker));
            }
        }
        found
    }

    /// Whether it implies the other (and is not the other).
    #[must_use]
    pub fn is_stronger(self, other: Self) -> bool {
        self != other && self.implied().contains(other)
    }
}

/// What anomalies rule out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuledOut {
    /// The weakest models that cannot hold.
    pub not: ModelSet,
    /// The stronger ones, which therefore cannot hold either.
    pub also_not: ModelSet,
}

impl RuledOut {
    /// Both together.
    #[must_use]
    pub fn all(self) -> ModelSet {
        self.not.union(self.also_not)
    }
}

/// Which models cannot hold if these anomalies are there.
///
/// ```
/// use checker::models::{Anomaly, Model, rules_out};
///
/// let out = rules_out([Anomaly::G2Item]);
/// assert_eq!(out.not.iter().collect::<Vec<_>>(), [Model::RepeatableRead]);
/// assert!(out.also_not.contains(Model::Serializable));
/// assert!(!out.all().contains(Model::SnapshotIsolation), "write skew is what snapshot isolation allows");
/// ```
#[must_use]
pub fn rules_out(anomalies: impl IntoIterator<Item = Anomaly>) -> RuledOut {
    let mut all = ModelSet::default();
    for anomaly in anomalies {
        all = all.union(anomaly.rules_out());
    }
    let is_weakest = |model: &Model| !all.iter().any(|other| model.is_stronger(other));
    let not: ModelSet = all.iter().filter(is_weakest).collect();
    RuledOut {
        not,
        also_not: all.minus(not),
    }
}

/// The strongest models that are not ruled out.
#[must_use]
pub fn strongest_left(ruled_out: ModelSet) -> ModelSet {
    let left: ModelSet = Model::ALL
        .iter()
        .copied()
        .filter(|&model| !ruled_out.contains(model))
        .collect();
    left.iter()
        .filter(|model| !left.iter().any(|other| other.is_stronger(*model)))
        .collect()
}

/// The anomalies that must not be there if these models are to hold.
#[must_use]
pub fn prohibited(models: ModelSet) -> AnomalySet {
    let rules_one_out = |anomaly: &Anomaly| !anomaly.rules_out().intersection(models).is_empty();
    Anomaly::ALL.iter().copied().filter(rules_one_out).collect()
}

#[cfg(test)]
mod tests;
