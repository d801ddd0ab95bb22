//! Every witness of every row is replayed through the application, and no shorter one exists.

use checker::spec::confluence::{
    About, Application, Branch, Deed, Outcome, ReplicaId, Semilattice, Step, Verdict, Visitor,
    commit, visit_rows,
};

use super::oracle::try_all;
use super::rows::all;

/// Runs one step on the states of all replicas.
fn replay<A: Application>(application: &A, states: &mut [A::State], step: &Step) {
    let at = usize::from(step.replica);
    states[at] = match &step.deed {
        Deed::Commits(name) => {
            let names = application.transactions();
            let transaction = names.iter().position(|it| it == name).unwrap();
            match commit(
                application,
                transaction,
                &states[at],
                ReplicaId(step.replica),
            ) {
                Outcome::Committed(state) => state,
                other @ (Outcome::AbortedItself | Outcome::Refused(_)) => {
                    panic!("{name} does not commit: {other:?}")
                }
            }
        }
        Deed::ReceivesFrom(from) => states[at].merge(&states[usize::from(*from)]),
    };
    assert_eq!(application.broken(&states[at]), None, "after {step}");
}

/// Replays witnesses, and looks for shorter ones.
struct Replaying {
    visited: usize,
    replayed: usize,
}

impl Visitor for Replaying {
    fn visit<A: Application>(&mut self, about: &About, application: &A) {
        let row = &all()[self.visited];
        self.visited += 1;
        assert_eq!(row.about, *about, "rows come in one order");
        let Verdict::NotConfluent { witness, coverage } = &row.result else {
            return;
        };
        let name = format!("{} / {}", about.invariant, about.operation);
        let initial = application.initial_states().remove(0);
        let mut states = vec![initial; usize::from(coverage.bounds.replicas())];
        witness
            .reached_by
            .iter()
            .for_each(|it| replay(application, &mut states, it));
        let [left, right] = [&witness.left, &witness.right].map(|it| usize::from(it.replica));
        assert_eq!(
            states[left], states[right],
            "{name}: the ancestor is common"
        );
        let ancestor = states[left].clone();
        assert_eq!(application.describe(&ancestor, None), witness.ancestor);
        for Branch {
            replica,
            steps,
            state,
        } in [&witness.left, &witness.right]
        {
            assert!(!steps.is_empty(), "{name}");
            for step in steps {
                assert!(matches!(step.deed, Deed::Commits(_)), "{name}: {step}");
                replay(application, &mut states, step);
            }
            let held = &states[usize::from(*replica)];
            assert_eq!(application.describe(held, Some(&ancestor)), *state);
        }
        let merged = states[left].merge(&states[right]);
        assert_eq!(
            application.describe(&merged, Some(&ancestor)),
            witness.merged
        );
        assert_eq!(
            application.broken(&merged).as_deref(),
            Some(&*witness.broken),
            "{name}"
        );

        let fewer = witness.transactions - 1;
        let tried = try_all(
            application,
            2,
            about.bounds.transactions_each().into(),
            fewer,
        );
        assert_eq!(tried.fewest, None, "{name} has a shorter witness");
        self.replayed += 1;
    }
}

#[test]
fn witnesses_replay_and_are_the_shortest() {
    let mut replaying = Replaying {
        visited: 0,
        replayed: 0,
    };
    visit_rows(&mut replaying);
    // 8 lines of Table 2 and 4 findings there; 2 conditions of TPC-C, 6 findings by order id and 2 by counters.
    assert_eq!(replaying.replayed, 8 + 4 + 2 + 6 + 2);
}
