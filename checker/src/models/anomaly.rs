//! Anomalies by their established names, what they imply and what they rule out.

use super::words::{definition, source};
use super::{AnomalySet, Model, ModelSet};

macro_rules! anomalies {
    ($($(#[doc = $doc:literal])* $variant:ident $name:literal => $implies:tt, not $models:tt;)*) => {
        /// Something that a consistency model forbids, by its established name.
        ///
        /// Cycle anomalies are named by their edges: ww (write-write), wr (write-read) and rw (read-write, an
        /// anti-dependency). `-item` says that every anti-dependency is one on a key, not on a predicate; `-process`
        /// and `-realtime` that the cycle needs the order of a session, or of real time.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Anomaly {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Anomaly {
            /// What it is, in a sentence or two.
            #[must_use]
            pub fn definition(self) -> String {
                definition(self.doc())
            }

            /// Who named it, and where.
            #[must_use]
            pub fn source(self) -> String {
                source(self.doc())
            }

            const fn doc(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc, "\n",)*),)* }
            }

            /// Every anomaly.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name, as in the literature and in Elle.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The anomalies that it directly implies.
            #[must_use]
            const fn implies(self) -> &'static [Self] {
                use Anomaly::*;
                match self { $(Self::$variant => &$implies,)* }
            }

            /// The models that forbid it by definition.
            #[must_use]
            const fn forbidden_by(self) -> &'static [Model] {
                use Model::*;
                match self { $(Self::$variant => &$models,)* }
            }
        }
    };
}

anomalies! {
    /// A cycle of ww edges: transactions wrote over each other in both directions (dirty write).
    ///
    /// Source: Adya, Weak Consistency, 1999.
    G0 "G0" => [G1c, G0Process], not [ReadUncommitted];
    /// G0 with the order of a session: the cycle needs an edge from a transaction to a later one of its session.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    G0Process "G0-process" => [G1cProcess, G0Realtime], not [StrongSessionReadUncommitted];
    /// G0 with real time: the cycle needs an edge from a transaction that had ended to one that began later.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    G0Realtime "G0-realtime" => [G1cRealtime], not [StrongReadUncommitted];
    /// Any of G1a, G1b and G1c.
    ///
    /// Source: Adya, Weak Consistency, 1999.
    G1 "G1" => [G1Process], not [ReadCommitted];
    /// G1c with the order of a session, or any of G1.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    G1Process "G1-process" => [G1Realtime], not [StrongSessionSnapshotIsolation];
    /// G1c with real time, or any of G1.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    G1Realtime "G1-realtime" => [], not [StrongSnapshotIsolation];
    /// A committed transaction read what an aborted one wrote (aborted read).
    ///
    /// Source: Adya, Weak Consistency, 1999.
    G1a "G1a" => [G1], not [];
    /// A committed transaction read what another wrote and then wrote over (intermediate read).
    ///
    /// Source: Adya, Weak Consistency, 1999.
    G1b "G1b" => [G1], not [];
    /// A cycle of ww and wr edges, with a wr edge: information flowed in a circle.
    ///
    /// Source: Adya, Weak Consistency, 1999.
    G1c "G1c" => [G1, G1cProcess], not [];
    /// G1c with the order of a session: the cycle needs an edge from a transaction to a later one of its session.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    G1cProcess "G1c-process" => [G1Process, G1cRealtime], not [StrongSessionReadCommitted];
    /// G1c with real time: the cycle needs an edge from a transaction that had ended to one that began later.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    G1cRealtime "G1c-realtime" => [G1Realtime], not [StrongReadCommitted];
    /// A cycle with exactly one rw edge: a transaction read a state in which a part of what it depends on is missing.
    ///
    /// Source: Adya, Weak Consistency, 1999.
    GSingle "G-single" => [GNonadjacent, GSIb, GSingleProcess], not [ConsistentView];
    /// G-single with the order of a session: the cycle needs an edge from a transaction to a later one of its session.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    GSingleProcess "G-single-process" => [GNonadjacentProcess, GSingleRealtime], not [];
    /// G-single with real time: the cycle needs an edge from a transaction that had ended to one that began later.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    GSingleRealtime "G-single-realtime" => [GNonadjacentRealtime], not [];
    /// A cycle with exactly one rw edge, and that on a key, not on a predicate.
    ///
    /// Source: Adya, Weak Consistency, 1999; Kingsbury and Alvaro, Elle, VLDB 2020.
    GSingleItem "G-single-item" => [GSingle, GSingleItemProcess, GNonadjacentItem], not [];
    /// G-single-item with the order of a session: the cycle needs an edge from a transaction to a later one of its
    /// session.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    GSingleItemProcess "G-single-item-process"
        => [GSingleProcess, GSingleItemRealtime, GNonadjacentItemProcess], not [];
    /// G-single-item with real time: the cycle needs an edge from a transaction that had ended to one that began later.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    GSingleItemRealtime "G-single-item-realtime" => [GSingleRealtime, GNonadjacentItemRealtime], not [];
    /// A cycle with rw edges, none of which follows another: what snapshot isolation never shows.
    ///
    /// Source: Cerone and Gotsman, Analysing Snapshot Isolation, 2018; Kingsbury and Alvaro, Elle, VLDB 2020.
    GNonadjacent "G-nonadjacent" => [G2, GNonadjacentProcess], not [SnapshotIsolation];
    /// G-nonadjacent with the order of a session: the cycle needs an edge from a transaction to a later one of its
    /// session.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    GNonadjacentProcess "G-nonadjacent-process"
        => [G2Process, GNonadjacentRealtime], not [StrongSessionSnapshotIsolation];
    /// G-nonadjacent with real time: the cycle needs an edge from a transaction that had ended to one that began later.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    GNonadjacentRealtime "G-nonadjacent-realtime" => [G2Realtime], not [StrongSnapshotIsolation];
    /// A cycle with rw edges on keys only, none of which follows another.
    ///
    /// Source: Cerone and Gotsman, Analysing Snapshot Isolation, 2018; Kingsbury and Alvaro, Elle, VLDB 2020.
    GNonadjacentItem "G-nonadjacent-item" => [GNonadjacent, G2Item, GNonadjacentItemProcess], not [];
    /// G-nonadjacent-item with the order of a session: the cycle needs an edge from a transaction to a later one of its
    /// session.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    GNonadjacentItemProcess "G-nonadjacent-item-process"
        => [GNonadjacentProcess, G2ItemProcess, GNonadjacentItemRealtime], not [];
    /// G-nonadjacent-item with real time: the cycle needs an edge from a transaction that had ended to one that began
    /// later.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    GNonadjacentItemRealtime "G-nonadjacent-item-realtime" => [G2ItemRealtime, GNonadjacentRealtime], not [];
    /// A cycle with rw edges: each transaction precedes the next, and the last the first.
    ///
    /// Source: Adya, Weak Consistency, 1999.
    G2 "G2" => [G2Process], not [Serializable];
    /// G2 with the order of a session: the cycle needs an edge from a transaction to a later one of its session.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    G2Process "G2-process" => [G2Realtime], not [StrongSessionSerializable];
    /// G2 with real time: the cycle needs an edge from a transaction that had ended to one that began later.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    G2Realtime "G2-realtime" => [], not [StrictSerializable];
    /// A cycle with rw edges, all of them on keys, not on predicates.
    ///
    /// Source: Adya, Weak Consistency, 1999.
    G2Item "G2-item" => [G2, G2ItemProcess], not [RepeatableRead];
    /// G2-item with the order of a session: the cycle needs an edge from a transaction to a later one of its session.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    G2ItemProcess "G2-item-process" => [G2Process, G2ItemRealtime], not [];
    /// G2-item with real time: the cycle needs an edge from a transaction that had ended to one that began later.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    G2ItemRealtime "G2-item-realtime" => [G2Realtime], not [];
    /// Two transactions read overlapping state and each wrote what the other read.
    ///
    /// Source: Berenson et al., SIGMOD 1995.
    WriteSkew "write-skew" => [G2], not [];
    /// Two committed transactions read the same version of a key and both wrote the key, so that one of the updates is
    /// lost.
    ///
    /// Source: Berenson et al., SIGMOD 1995.
    LostUpdate "lost-update" => [WriteSkew, G2Item], not [CursorStability, UpdateAtomic];
    /// A read contradicts what its own transaction read or wrote before.
    ///
    /// Source: Cerone, Bernardi and Gotsman, CONCUR 2015 (axiom INT); Kingsbury and Alvaro, Elle, VLDB 2020.
    Internal "internal" => [], not [ReadAtomic];
    /// A committed write builds on what an aborted transaction wrote.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    DirtyUpdate "dirty-update" => [G1a], not [];
    /// Two reads of a list show orders that no one history of the list explains.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    IncompatibleOrder "incompatible-order" => [G1a], not [];
    /// A list was read with an element twice that was appended once.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    DuplicateElements "duplicate-elements" => [], not [ReadUncommitted];
    /// What is known of the version order of a key is a cycle.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    CyclicVersions "cyclic-versions" => [], not [ReadUncommitted];
    /// A value was read that nobody wrote.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    GarbageRead "garbage-read" => [], not [ReadUncommitted];
    /// A transaction read what it wrote only later.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    FutureRead "future-read" => [G1c], not [];
    /// A read of a predicate missed a version, although every version matches.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    PredicateReadMiss "predicate-read-miss" => [], not [Serializable];
    /// A cycle of one anti-dependency and of writes, all of one key: an update was lost between a read through a cursor
    /// and the write (G-cursor).
    ///
    /// Source: Adya, Weak Consistency, 1999.
    GCursor "G-cursor" => [], not [CursorStability];
    /// A read is older than what its transaction had seen already: a cycle with one anti-dependency from a single read
    /// (G-monotonic).
    ///
    /// Source: Adya, Weak Consistency, 1999.
    GMonotonic "G-monotonic" => [], not [MonotonicView];
    /// A read of a transaction is of a snapshot that does not include what an earlier read of it saw (G-MSR).
    ///
    /// Source: Adya, Weak Consistency, 1999.
    GMsr "G-MSR" => [], not [MonotonicSnapshotRead];
    /// Either a dependency on a transaction that had not committed when this one began, or G-SIb.
    ///
    /// Source: Adya, Weak Consistency, 1999.
    GSI "G-SI" => [], not [SnapshotIsolation];
    /// A snapshot misses effects that it should have: a cycle with exactly one rw edge, with the orders of begins and
    /// commits.
    ///
    /// Source: Adya, Weak Consistency, 1999.
    GSIb "G-SIb" => [GSI], not [ForwardConsistentView];
    /// A cycle of the transactions that write and of one that reads, with anti-dependencies (G-update).
    ///
    /// Source: Adya, Weak Consistency, 1999.
    GUpdate "G-update" => [], not [UpdateSerializable];
    /// A cycle that read uncommitted forbids exists, and the search for the cycle itself ran out of its budget.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    Pl1CycleExists "PL-1-cycle-exists" => [], not [ReadUncommitted];
    /// A cycle that read committed forbids exists, and the search for the cycle itself ran out of its budget.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    Pl2CycleExists "PL-2-cycle-exists" => [], not [ReadCommitted];
    /// A cycle that repeatable read forbids exists, and the search for the cycle itself ran out of its budget.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    Pl299CycleExists "PL-2.99-cycle-exists" => [], not [RepeatableRead];
    /// A cycle that snapshot isolation forbids exists, and the search for the cycle itself ran out of its budget.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    PlSiCycleExists "PL-SI-cycle-exists" => [], not [SnapshotIsolation];
    /// A cycle that serializability forbids exists, and the search for the cycle itself ran out of its budget.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    Pl3CycleExists "PL-3-cycle-exists" => [], not [Serializable];
    /// A cycle that strong session read uncommitted forbids exists, and the search for the cycle itself ran out of its
    /// budget.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    StrongSessionPl1CycleExists "strong-session-PL-1-cycle-exists" => [], not [StrongSessionReadUncommitted];
    /// A cycle that strong session read committed forbids exists, and the search for the cycle itself ran out of its
    /// budget.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    StrongSessionPl2CycleExists "strong-session-PL-2-cycle-exists" => [], not [StrongSessionReadCommitted];
    /// A cycle that strong session snapshot isolation forbids exists, and the search for the cycle itself ran out of
    /// its budget.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    StrongSessionSiCycleExists "strong-session-snapshot-isolation-cycle-exists"
        => [], not [StrongSessionSnapshotIsolation];
    /// A cycle that strong session serializability forbids exists, and the search for the cycle itself ran out of its
    /// budget.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    StrongSessionSerCycleExists "strong-session-serializable-cycle-exists" => [], not [StrongSessionSerializable];
    /// A cycle that read uncommitted in real time forbids exists, and the search for the cycle itself ran out of its
    /// budget.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    StrongPl1CycleExists "strong-PL-1-cycle-exists" => [], not [StrongReadUncommitted];
    /// A cycle that read committed in real time forbids exists, and the search for the cycle itself ran out of its
    /// budget.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    StrongPl2CycleExists "strong-PL-2-cycle-exists" => [], not [StrongReadCommitted];
    /// A cycle that strong snapshot isolation forbids exists, and the search for the cycle itself ran out of its
    /// budget.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    StrongSiCycleExists "strong-snapshot-isolation-cycle-exists" => [], not [StrongSnapshotIsolation];
    /// A cycle that strict serializability forbids exists, and the search for the cycle itself ran out of its budget.
    ///
    /// Source: Kingsbury and Alvaro, Elle, VLDB 2020.
    PlSsCycleExists "PL-SS-cycle-exists" => [], not [StrictSerializable];
}

impl Anomaly {
    /// The anomaly of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|anomaly| anomaly.name() == name)
            .copied()
    }

    /// It and every anomaly that it implies.
    #[must_use]
    pub fn implied(self) -> AnomalySet {
        let mut found = AnomalySet::of(self);
        let mut left = vec![self];
        while let Some(anomaly) = left.pop() {
            for &next in anomaly.implies() {
                if !found.contains(next) {
                    found.insert(next);
                    left.push(next);
                }
            }
        }
        found
    }

    /// Every anomaly that implies it, and itself.
    #[must_use]
    pub fn implying(self) -> AnomalySet {
        Self::ALL
            .iter()
            .copied()
            .filter(|anomaly| anomaly.implied().contains(self))
            .collect()
    }

    /// Every model that cannot hold if it is there (M2).
    #[must_use]
    pub fn rules_out(self) -> ModelSet {
        let mut forbidding = ModelSet::default();
        for anomaly in self.implied().iter() {
            anomaly
                .forbidden_by()
                .iter()
                .for_each(|&model| forbidding.insert(model));
        }
        let falls = |model: &Model| !model.implied().intersection(forbidding).is_empty();
        Model::ALL.iter().copied().filter(falls).collect()
    }

    /// That a cycle which the model forbids exists, without saying where.
    #[must_use]
    pub const fn cycle_exists(model: Model) -> Option<Self> {
        Some(match model {
            Model::ReadUncommitted => Self::Pl1CycleExists,
            Model::ReadCommitted => Self::Pl2CycleExists,
            Model::RepeatableRead => Self::Pl299CycleExists,
            Model::SnapshotIsolation => Self::PlSiCycleExists,
            Model::Serializable => Self::Pl3CycleExists,
            Model::StrongSessionReadUncommitted => Self::StrongSessionPl1CycleExists,
            Model::StrongSessionReadCommitted => Self::StrongSessionPl2CycleExists,
            Model::StrongSessionSnapshotIsolation => Self::StrongSessionSiCycleExists,
            Model::StrongSessionSerializable => Self::StrongSessionSerCycleExists,
            Model::StrongReadUncommitted => Self::StrongPl1CycleExists,
            Model::StrongReadCommitted => Self::StrongPl2CycleExists,
            Model::StrongSnapshotIsolation => Self::StrongSiCycleExists,
            Model::StrictSerializable => Self::PlSsCycleExists,
            Model::MonotonicAtomicView
            | Model::ReadAtomic
            | Model::UpdateAtomic
            | Model::CursorStability
            | Model::MonotonicView
            | Model::ConsistentView
            | Model::ForwardConsistentView
            | Model::MonotonicSnapshotRead
            | Model::Causal
            | Model::Prefix
            | Model::ParallelSnapshotIsolation
            | Model::UpdateSerializable => return None,
        })
    }
}
