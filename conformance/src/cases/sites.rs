//! Two sites under two-phase commit, the kit being the coordinator: each site is right by itself, and the
//! checker judges both together. Names as in the theory.

use super::{Case, Script};
use crate::engine::Engine;

static SCRIPTS: [Script; 11] = [
    Script {
        mixed: &[("r1(x@A) w1(y@B) c1", "r2(y@B) w2(x@A) c2")],
        ..two("G1", "each reads at one site what the other writes there")
    },
    Script {
        mixed: &[("w1(x@A) w1(y@B) c1", "w2(y@B) w2(x@A) c2")],
        ..two("G2", "a deadlock of writes over two sites")
    },
    Script {
        mixed: &[("r1(x@A) w1(y@B) c1", "w2(y@B) w2(x@A) c2")],
        ..two(
            "G3",
            "a cycle of a conflict at one site and a wait at the other",
        )
    },
    Script {
        schedules: &[
            "r1(a@A) wL3(a@A) wL3(b@A) cL3 r2(b@A) r2(c@B) w1(c@B) c1 c2",
            "r1(a@A) wL3(a@A) wL3(b@A) cL3 r2(b@A) r2(c@B) w1(c@B) c2 c1",
            "r2(c@B) w1(c@B) r1(a@A) wL3(a@A) wL3(b@A) cL3 r2(b@A) c2 c1",
            "r1(a@A) wL3(a@A) r2(c@B) w1(c@B) wL3(b@A) r2(b@A) c1 cL3 c2",
        ],
        ..two(
            "G4",
            "two global transactions that only a local one connects",
        )
    },
    Script {
        schedules: &[
            "rL4(p@A) w3(p@A) r3(z@B) c3 w1(q@A) w1(z@B) c1 wL4(q@A) cL4",
            "rL4(p@A) w3(p@A) r3(z@B) w1(q@A) w1(z@B) p3 p1 c1 c3 wL4(q@A) cL4",
        ],
        ..two(
            "G5",
            "a local transaction that connects two after they have committed",
        )
    },
    Script {
        schedules: &[
            "r1(x@A) p1@A w2(x@A) w2(y@B) c2 r1(y@B) c1",
            "r1(x@A) r1(z@A) p1@A w2(x@A) c2 w1(y@B) c1",
            "s1(a..c@A) p1@A w2(b@A) w2(y@B) c2 r1(y@B) c1",
            "r1(x@A) p1@A w2(x@A) w2(y@B) c2 s1(x..z@B) c1",
        ],
        ..two(
            "G6",
            "a site that was only read from keeps the read marks to the decision",
        )
    },
    Script {
        schedules: &[
            "r1(y@B) w2(y@B) rL3(v@A) w1(v@A) r2(l@A) wL3(l@A) c1 c2 cL3",
            "r1(y@B) w2(y@B) rL3(v@A) w1(v@A) r2(l@A) wL3(l@A) cL3 c2 c1",
            "r1(y@B) w2(y@B) rL3(v@A) w1(v@A) r2(l@A) wL3(l@A) c2 c1 cL3",
            "r1(y@B) w2(y@B) r2(l@A) wL3(l@A) rL3(v@A) w1(v@A) c2 cL3 c1",
        ],
        ..two(
            "G7",
            "a local transaction between two global ones that meet elsewhere",
        )
    },
    Script {
        schedules: &[
            "w1(x@A) w1(y@B) p1 r2(x@A) w2(z@B) c1 c2",
            "w1(x@A) p1 r2(x@A) w2(y@A) p2 c1 c2",
            "w1(x@A) w1(y@B) p1 r2(x@A) r2(y@B) c2 c1",
            "w1(b@A) w1(y@B) p1 s2(a..c@A) w2(z@B) c2 c1",
        ],
        ..two("G8", "a read that comes after the vote of a writer")
    },
    Script {
        schedules: &[
            "r1(x@A) w1(y@B) p1 w2(x@A) c2 c1",
            "s1(a..c@A) w1(y@B) p1 w2(b@A) c2 c1",
            "r1(x@A) w1(y@B) p1 w2(x@A) c2 a1",
            "w1(x@A) w1(y@B) p1 w2(x@A) w2(y@B) c2 c1",
            "w1(x@A) w1(y@B) p1 r2(x@A) r2(y@B) c2 a1",
        ],
        ..two(
            "in-doubt",
            "what is in doubt keeps its writes, read marks and range marks",
        )
    },
    Script {
        schedules: &[
            "w1(x@A) w1(y@B) p1 a1 r2(x@A) r2(y@B) c2",
            "w1(x@A) w1(y@B) p1@A a1 r2(x@A) r2(y@B) c2",
            "w1(x@A) w1(y@B) c1 r2(x@A) r2(y@B) c2",
        ],
        ..two(
            "all-or-nothing",
            "a transaction ends in the same way at both sites",
        )
    },
    Script {
        mixed: &[
            ("s1(a..c@A) w1(b@B) c1", "s2(a..c@B) w2(b@A) c2"),
            ("r1(x@A) r1(y@B) c1", "w2(x@A) w2(y@B) c2"),
        ],
        ..two("fork", "readers and scans over both sites see one order")
    },
];

const fn two(id: &'static str, title: &'static str) -> Script {
    Script {
        id,
        title,
        sites: 2,
        schedules: &[],
        mixed: &[],
        least: 1,
    }
}

pub(super) fn cases<E: Engine>() -> Vec<Case<E>> {
    SCRIPTS.iter().map(Script::case).collect()
}
