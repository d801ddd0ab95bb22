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
mod words;

use words::{definition, source};

pub use anomaly::Anomaly;
pub use set::{AnomalySet, ModelSet};

macro_rules! models {
    ($($(#[doc = $doc:literal])* $variant:ident $name:literal $aliases:tt => $weaker:tt;)*) => {
        /// A consistency model.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Model {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Model {
            /// What it says, in a sentence or two.
            #[must_use]
            pub fn definition(self) -> String {
                definition(self.doc())
            }

            /// Who defined it, and where.
            #[must_use]
            pub fn source(self) -> String {
                source(self.doc())
            }

            const fn doc(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc, "\n",)*),)* }
            }

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
    /// Writes are not interleaved: there is no cycle of the order of versions alone (G0).
    ///
    /// Source: Adya, Weak Consistency, 1999, PL-1.
    ReadUncommitted "read-uncommitted" ["PL-1"] => [];
    /// Read uncommitted in an order that respects sessions: no cycle of the orders of versions and of sessions.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020; after Daudjee and Salem.
    StrongSessionReadUncommitted "strong-session-read-uncommitted" ["strong-session-PL-1"] => [ReadUncommitted];
    /// Read uncommitted in an order that respects real time: no cycle of the order of versions and of real time.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020; after Daudjee and Salem.
    StrongReadUncommitted "strong-read-uncommitted" ["strong-PL-1"] => [StrongSessionReadUncommitted];
    /// No reads of aborted or intermediate state, and no circular flow of information (G1a, G1b, G1c).
    ///
    /// Source: Adya, Weak Consistency, 1999, PL-2.
    ReadCommitted "read-committed" ["PL-2"] => [ReadUncommitted];
    /// Read committed in an order that respects sessions.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020; after Daudjee and Salem.
    StrongSessionReadCommitted "strong-session-read-committed" ["strong-session-PL-2"]
        => [ReadCommitted, StrongSessionReadUncommitted];
    /// Read committed in an order that respects real time.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020; after Daudjee and Salem.
    StrongReadCommitted "strong-read-committed" ["strong-PL-2"] => [StrongSessionReadCommitted, StrongReadUncommitted];
    /// Once a transaction has seen something of another, it sees all of it from then on.
    ///
    /// Source: Bailis et al., Highly Available Transactions, VLDB 2013.
    MonotonicAtomicView "monotonic-atomic-view" ["MAV"] => [ReadCommitted];
    /// A transaction sees all of what another wrote, or nothing of it.
    ///
    /// Source: Bailis et al., RAMP, SIGMOD 2014; Cerone, Bernardi and Gotsman, CONCUR 2015.
    ReadAtomic "read-atomic" ["RA"] => [MonotonicAtomicView];
    /// Read atomic without lost updates: who reads a key and writes it has read the version before its own.
    ///
    /// Source: Cerone, Bernardi and Gotsman, CONCUR 2015; Liu et al., ROLA, 2018.
    UpdateAtomic "update-atomic" ["ROLA"] => [ReadAtomic];
    /// Read committed, and nobody loses an update to a key between reading it through a cursor and writing it
    /// (G-cursor).
    ///
    /// Source: Adya, Weak Consistency, 1999, PL-CS.
    CursorStability "cursor-stability" ["PL-CS"] => [ReadCommitted];
    /// What a transaction sees of the others only grows while it runs (G-monotonic).
    ///
    /// Source: Adya, Weak Consistency, 1999, PL-2L.
    MonotonicView "monotonic-view" ["PL-2L"] => [ReadCommitted];
    /// Each transaction sees a consistent state: if it sees a transaction, it sees all that this one depends on
    /// (G-single).
    ///
    /// Source: Adya, Weak Consistency, 1999, PL-2+.
    ConsistentView "consistent-view" ["PL-2+"] => [CursorStability, MonotonicView];
    /// A consistent state that may lie ahead of where the transaction began (G-SIb).
    ///
    /// Source: Adya, Weak Consistency, 1999, PL-FCV.
    ForwardConsistentView "forward-consistent-view" ["PL-FCV"] => [ConsistentView];
    /// Each read sees a snapshot, and the snapshots of one transaction grow (G-MSR).
    ///
    /// Source: Adya, Weak Consistency, 1999, PL-MSR.
    MonotonicSnapshotRead "monotonic-snapshot-read" ["PL-MSR"] => [ReadCommitted];
    /// Who sees a transaction sees all that this one saw: visibility is transitive and includes the own session.
    ///
    /// Source: Cerone, Bernardi and Gotsman, CONCUR 2015.
    Causal "causal-cerone" ["causal", "causal-consistency"] => [ReadAtomic];
    /// What a transaction sees is a beginning of one order of commits, the same for everybody.
    ///
    /// Source: Cerone, Bernardi and Gotsman, CONCUR 2015.
    Prefix "prefix" ["prefix-consistency"] => [Causal];
    /// Snapshot isolation whose sites may see independent transactions commit in different orders.
    ///
    /// Source: Sovran et al., SOSP 2011; Cerone, Bernardi and Gotsman, CONCUR 2015.
    ParallelSnapshotIsolation "parallel-snapshot-isolation" ["PSI"] => [Causal, UpdateAtomic];
    /// All reads of a transaction are of one snapshot, and of two concurrent writers of a key one commits.
    ///
    /// Source: Berenson et al., SIGMOD 1995; Adya, Weak Consistency, 1999, PL-SI.
    SnapshotIsolation "snapshot-isolation" ["SI", "PL-SI"]
        => [ForwardConsistentView, MonotonicSnapshotRead, ParallelSnapshotIsolation, Prefix];
    /// Serializable but for phantoms: no cycle whose anti-dependencies are all on keys (G2-item).
    ///
    /// Source: Adya, Weak Consistency, 1999, PL-2.99.
    RepeatableRead "repeatable-read" ["PL-2.99"] => [CursorStability, MonotonicAtomicView];
    /// The transactions that write are serializable, and each that reads sees a consistent state of them (G-update).
    ///
    /// Source: Adya, Weak Consistency, 1999, PL-3U.
    UpdateSerializable "update-serializable" ["PL-3U"] => [ForwardConsistentView];
    /// As if the transactions had run one after another, in some order (no G1, no G2).
    ///
    /// Source: Adya, Weak Consistency, 1999, PL-3.
    Serializable "serializable" ["PL-3", "conflict-serializable", "SER"]
        => [SnapshotIsolation, RepeatableRead, UpdateSerializable];
    /// Snapshot isolation whose snapshots include all that the own session did before.
    ///
    /// Source: Daudjee and Salem, VLDB 2006.
    StrongSessionSnapshotIsolation "strong-session-snapshot-isolation" ["strong-session-SI"]
        => [SnapshotIsolation, StrongSessionReadCommitted];
    /// Snapshot isolation whose snapshots include all that had committed in real time before.
    ///
    /// Source: Daudjee and Salem, VLDB 2006.
    StrongSnapshotIsolation "strong-snapshot-isolation" ["strong-SI"]
        => [StrongSessionSnapshotIsolation, StrongReadCommitted];
    /// As if the transactions had run one after another, in an order that keeps each session's own.
    ///
    /// Source: Daudjee and Salem, ICDE 2004.
    StrongSessionSerializable "strong-session-serializable" ["session-serializable", "strong-session-SER"]
        => [Serializable, StrongSessionSnapshotIsolation];
    /// As if the transactions had run one after another, in an order that keeps real time: who ended before another
    /// began comes before it.
    ///
    /// Source: Papadimitriou 1979; Herlihy and Wing 1990; Adya, Weak Consistency, 1999, PL-SS.
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
