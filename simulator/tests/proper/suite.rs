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
    for (n, b) in [("2x2 all", b(2, (2,2), 3, Only::All, true)), ("2x2 cont", b(2, (2,2), 2, Only::Contended, true)), ("2x2-3 cont", b(2,(2,3),3,Only::Contended, false)), ("3x2 circ", b(3,(2,2),3,Only::Circles,false))] {
        let t = Instant::now();
        println!("{n}: {} {:?}", b.workloads().len(), t.elapsed());
    }
    let w = VoteRule::Withhold;
    let e = |k| At::Engine(k, w);
    for v in [Variant::uniform("ss2pl", e(Ss2pl)), Variant::uniform("sco", e(Sco)), Variant::uniform("optimistic", e(Optimistic)), Variant::uniform("mvcc", e(Mvcc)), Variant::uniform("shared", e(Shared)), Variant::uniform("shared dep", e(Shared)).with_dependent_votes(),
      Variant::uniform("eco", At::Extended(Order::Eco{all_local:false})), Variant::uniform("gco", At::Extended(Order::Gco(Reads::Snapshot, Certification::Interval))),
      Variant::uniform("lo", At::Engine(Sco, VoteRule::LocalOnly)),
      ] {
        let t = Instant::now();
        let (mut hist, mut pairs, mut max) = (0, 0, 0);
        let mut tally = crate::explore::Tally::default();
        let mut shown = false;
        for workload in b(2, (2,2), 2, Only::Contended, true).workloads() {
            let ex = explore(v, &workload, Search::Sleeping);
            tally.add(ex.tally);
            match ex.admitted.decide() {
                Ok(c) => { hist += c.histories; pairs += c.pairs; max = max.max(c.histories); }
                Err(f) => { if !shown { println!("{}", witness(v, &workload, &ex, &f)); shown = true; } }
            }
        }
        println!("{} histories {hist} pairs {pairs} max {max} {tally:?} {:?}", v.name, t.elapsed());
    }
}
