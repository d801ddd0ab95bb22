//! Anomalies by their established names, what they imply and what they rule out.

use super::{AnomalySet, Model, ModelSet};

macro_rules! anomalies {
    ($($(#[$doc:meta])* $variant:ident $name:literal => $implies:tt, not $models:tt;)*) => {
        /// Something that a consistency model forbids, by its established name.
        ///
        /// Cycle anomalies are named by their edges: ww (write-write), wr (write-read) and rw (read-write, an
        /// anti-dependency). `-item` says that every anti-dependency is one on a key, not on a predicate; `-process`
        /// and `-realtime` that the cycle needs the order of a session, or of real time.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Anomaly {
            $($(#[$doc])* $variant,)*
        }

        impl Anomaly {
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
    /// A cycle of ww edges.
    G0 "G0" => [G1c, G0Process], not [ReadUncommitted];
    /// G0 with the order of a session.
    G0Process "G0-process" => [G1cProcess, G0Realtime], not [StrongSessionReadUncommitted];
    /// G0 with real time.
    G0Realtime "G0-realtime" => [G1cRealtime], not [StrongReadUncommitted];
    /// Any of G1a, G1b and G1c.
    G1 "G1" => [G1Process], not [ReadCommitted];
    /// G1 with the order of a session.
    G1Process "G1-process" => [G1Realtime], not [StrongSessionSnapshotIsolation];
    /// G1 with real time.
    G1Realtime "G1-realtime" => [], not [StrongSnapshotIsolation];
    /// A committed transaction read what an aborted one wrote.
    G1a "G1a" => [G1], not [];
    /// A committed transaction read what another wrote and then wrote over.
    G1b "G1b" => [G1], not [];
    /// A cycle of ww and wr edges, with a wr edge.
    G1c "G1c" => [G1, G1cProcess], not [];
    /// G1c with the order of a session.
    G1cProcess "G1c-process" => [G1Process, G1cRealtime], not [StrongSessionReadCommitted];
    /// G1c with real time.
    G1cRealtime "G1c-realtime" => [G1Realtime], not [StrongReadCommitted];
    /// A cycle with exactly one rw edge.
    GSingle "G-single" => [GNonadjacent, GSIb, GSingleProcess], not [ConsistentView];
    /// G-single with the order of a session.
    GSingleProcess "G-single-process" => [GNonadjacentProcess, GSingleRealtime], not [];
    /// G-single with real time.
    GSingleRealtime "G-single-realtime" => [GNonadjacentRealtime], not [];
    /// A cycle with exactly one rw edge, and that on a key.
    GSingleItem "G-single-item" => [GSingle, GSingleItemProcess, GNonadjacentItem], not [];
    /// G-single-item with the order of a session.
    GSingleItemProcess "G-single-item-process"
        => [GSingleProcess, GSingleItemRealtime, GNonadjacentItemProcess], not [];
    /// G-single-item with real time.
    GSingleItemRealtime "G-single-item-realtime" => [GSingleRealtime, GNonadjacentItemRealtime], not [];
    /// A cycle in which no rw edge follows another.
    GNonadjacent "G-nonadjacent" => [G2, GNonadjacentProcess], not [SnapshotIsolation];
    /// G-nonadjacent with the order of a session.
    GNonadjacentProcess "G-nonadjacent-process"
        => [G2Process, GNonadjacentRealtime], not [StrongSessionSnapshotIsolation];
    /// G-nonadjacent with real time.
    GNonadjacentRealtime "G-nonadjacent-realtime" => [G2Realtime], not [StrongSnapshotIsolation];
    /// A cycle in which no rw edge follows another, and all are on keys.
    GNonadjacentItem "G-nonadjacent-item" => [GNonadjacent, G2Item, GNonadjacentItemProcess], not [];
    /// G-nonadjacent-item with the order of a session.
    GNonadjacentItemProcess "G-nonadjacent-item-process"
        => [GNonadjacentProcess, G2ItemProcess, GNonadjacentItemRealtime], not [];
    /// G-nonadjacent-item with real time.
    GNonadjacentItemRealtime "G-nonadjacent-item-realtime" => [G2ItemRealtime, GNonadjacentRealtime], not [];
    /// A cycle with rw edges.
    G2 "G2" => [G2Process], not [Serializable];
    /// G2 with the order of a session.
    G2Process "G2-process" => [G2Realtime], not [StrongSessionSerializable];
    /// G2 with real time.
    G2Realtime "G2-realtime" => [], not [StrictSerializable];
    /// A cycle with rw edges, all of them on keys.
    G2Item "G2-item" => [G2, G2ItemProcess], not [RepeatableRead];
    /// G2-item with the order of a session.
    G2ItemProcess "G2-item-process" => [G2Process, G2ItemRealtime], not [];
    /// G2-item with real time.
    G2ItemRealtime "G2-item-realtime" => [G2Realtime], not [];
    /// Two transactions read overlapping state and each wrote what the other read.
    WriteSkew "write-skew" => [G2], not [];
    /// Two committed transactions read the same version of a key and both wrote the key.
    LostUpdate "lost-update" => [WriteSkew, G2Item], not [CursorStability, UpdateAtomic];
    /// A read contradicts what its own transaction read or wrote before.
    Internal "internal" => [], not [ReadAtomic];
    /// A committed write builds on what an aborted transaction wrote.
    DirtyUpdate "dirty-update" => [G1a], not [];
    /// Two reads of a list show orders that no one history of the list explains.
    IncompatibleOrder "incompatible-order" => [G1a], not [];
    /// A list was read with an element twice that was appended once.
    DuplicateElements "duplicate-elements" => [], not [ReadUncommitted];
    /// What is known of the version order of a key is a cycle.
    CyclicVersions "cyclic-versions" => [], not [ReadUncommitted];
    /// A value was read that nobody wrote.
    GarbageRead "garbage-read" => [], not [ReadUncommitted];
    /// A transaction read what it wrote only later.
    FutureRead "future-read" => [G1c], not [];
    /// A read of a predicate missed a version, although every version matches.
    PredicateReadMiss "predicate-read-miss" => [], not [Serializable];
    /// Adya's G-cursor.
    GCursor "G-cursor" => [], not [CursorStability];
    /// Adya's G-monotonic.
    GMonotonic "G-monotonic" => [], not [MonotonicView];
    /// Adya's G-MSR.
    GMsr "G-MSR" => [], not [MonotonicSnapshotRead];
    /// Adya's G-SI.
    GSI "G-SI" => [], not [SnapshotIsolation];
    /// Adya's G-SIb, the missed effects of snapshot isolation.
    GSIb "G-SIb" => [GSI], not [ForwardConsistentView];
    /// Adya's G-update.
    GUpdate "G-update" => [], not [UpdateSerializable];
    /// Some cycle that read uncommitted forbids exists; it was not located.
    Pl1CycleExists "PL-1-cycle-exists" => [], not [ReadUncommitted];
    /// Some cycle that read committed forbids exists.
    Pl2CycleExists "PL-2-cycle-exists" => [], not [ReadCommitted];
    /// Some cycle that repeatable read forbids exists.
    Pl299CycleExists "PL-2.99-cycle-exists" => [], not [RepeatableRead];
    /// Some cycle that snapshot isolation forbids exists.
    PlSiCycleExists "PL-SI-cycle-exists" => [], not [SnapshotIsolation];
    /// Some cycle that serializability forbids exists.
    Pl3CycleExists "PL-3-cycle-exists" => [], not [Serializable];
    /// Some cycle that strong session read uncommitted forbids exists.
    StrongSessionPl1CycleExists "strong-session-PL-1-cycle-exists" => [], not [StrongSessionReadUncommitted];
    /// Some cycle that strong session read committed forbids exists.
    StrongSessionPl2CycleExists "strong-session-PL-2-cycle-exists" => [], not [StrongSessionReadCommitted];
    /// Some cycle that strong session snapshot isolation forbids exists.
    StrongSessionSiCycleExists "strong-session-snapshot-isolation-cycle-exists"
        => [], not [StrongSessionSnapshotIsolation];
    /// Some cycle that strong session serializability forbids exists.
    StrongSessionSerCycleExists "strong-session-serializable-cycle-exists" => [], not [StrongSessionSerializable];
    /// Some cycle that read uncommitted in real time forbids exists.
    StrongPl1CycleExists "strong-PL-1-cycle-exists" => [], not [StrongReadUncommitted];
    /// Some cycle that read committed in real time forbids exists.
    StrongPl2CycleExists "strong-PL-2-cycle-exists" => [], not [StrongReadCommitted];
    /// Some cycle that strong snapshot isolation forbids exists.
    StrongSiCycleExists "strong-snapshot-isolation-cycle-exists" => [], not [StrongSnapshotIsolation];
    /// Some cycle that strict serializability forbids exists.
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
