use std::time::Instant;
use co_core::{VoteRule, Reads, Certification};
use participant::engine::EngineKind::{Mvcc, Optimistic, Sco, Shared, Ss2pl};
use crate::explore::{Search, explore};
use crate::extended::Order;
use crate::print::witness;
use crate::variant::*;
use crate::workload::*;

#[test]
fn scratch() {
    let b = |transactions, operations, keys, only, giving_up| Bound { transactions, operations, keys, sites: 2, giving_up, only };
    for (n, b) in [("2x2 all", b(2, (2,2), 3, Only::All, false)), ("2x2 all 2 keys", b(2, (2,2), 2, Only::All, false)), ("2x2 cont", b(2, (2,2), 2, Only::Contended, true)), ("2x2-3 cont", b(2,(2,3),3,Only::Contended, false)), ("3x2 circ", b(3,(2,2),3,Only::Circles,false))] {
        let t = Instant::now();
        println!("{n}: {} {:?}", b.workloads().len(), t.elapsed());
    }
    let w = VoteRule::Withhold;
    let e = |k| At::Engine(k, w);
    for (nth, bound) in [(1, b(2, (2,2), 3, Only::All, false)), (10, b(2,(2,3),3,Only::Contended, false)), (10, b(3,(2,2),3,Only::Circles,false))] {
    for v in [Variant::uniform("ss2pl", e(Ss2pl)), Variant::uniform("mvcc", e(Mvcc)), 
      Variant::uniform("gco", At::Extended(Order::Gco(Reads::Snapshot, Certification::Interval))),
      ] {
        let t = Instant::now();
        let (mut hist, mut pairs, mut max) = (0, 0, 0);
        let mut tally = crate::explore::Tally::default();
        let mut shown = false;
        for workload in bound.workloads().iter().step_by(nth) {
            let ex = explore(v, workload, Search::Sleeping);
            tally.add(ex.tally);
            match ex.admitted.decide() {
                Ok(c) => { hist += c.histories; pairs += c.pairs; max = max.max(c.histories); }
                Err(f) => { if !shown { println!("{}", witness(v, &workload, &ex, &f)); shown = true; } }
            }
        }
        println!("{} histories {hist} pairs {pairs} max {max} {tally:?} {:?}", v.name, t.elapsed());
    }}
}
