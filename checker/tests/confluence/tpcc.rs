//! TPC-C: that the model is one, and what its conditions see.

use checker::spec::confluence::tpcc::profiles::{Profile, mix};
use checker::spec::confluence::tpcc::schema::{Cell, DISTRICTS, Database};
use checker::spec::confluence::tpcc::{Balance, Condition, Delivers, Design, Join, TpcC};
use checker::spec::confluence::{ReplicaId, Semilattice, decide};

use super::bounds;

const HERE: ReplicaId = ReplicaId(0);

fn run(design: Design, state: &Database, profile: &Profile) -> Database {
    profile.run(design, state, HERE).unwrap()
}

fn holds(design: Design, state: &Database) {
    for condition in Condition::ALL {
        assert_eq!(condition.broken(design, state), None, "{condition:?}");
    }
}

/// Serially, one replica keeps all twelve conditions in every design: what breaks them is divergence alone.
#[test]
fn one_replica_alone_keeps_all_conditions() {
    let paper = Design::paper();
    let by_order_id = Design {
        join: Join::ByOrderId,
        ..paper
    };
    let counter = Design {
        balance: Balance::AsCounter,
        ..paper
    };
    for design in [paper, by_order_id, counter] {
        let mut state = Database::populated(design);
        holds(design, &state);
        for round in 0..3 {
            for profile in mix() {
                let is_rolled_back = profile.to_string().contains("item 9");
                let next = profile.run(design, &state, HERE);
                assert_eq!(next.is_none(), is_rolled_back, "{profile} in round {round}");
                state = next.unwrap_or(state);
                holds(design, &state);
            }
        }
        assert_eq!(state.cells.value(&Cell::NextOrderId(DISTRICTS[0])), 9);
    }
}

/// Each condition is seen to fail when its part of a profile is left out.
#[test]
fn each_condition_sees_a_column_that_is_wrong() {
    let design = Design::paper();
    let good = mix()
        .iter()
        .filter(|it| !it.to_string().contains("item 9"))
        .fold(Database::populated(design), |state, profile| {
            run(design, &state, profile)
        });
    let extra_order = || {
        let mut state = good.clone();
        let mut order = state.orders.iter().next().unwrap().clone();
        order.line_count += 1;
        state.orders.insert(order);
        state
    };
    let with_cell = |cell| {
        let mut state = good.clone();
        state.cells.add(cell, HERE, 1);
        state
    };
    let one_pending = || run(design, &Database::populated(design), &mix()[0]);
    let carrier_early = || {
        let mut state = one_pending();
        let key = *state.new_orders.live().last().unwrap();
        state.carriers.insert((key, 7));
        state
    };
    let gap = || {
        let mut state = run(design, &one_pending(), &mix()[0]);
        let middle = *state.new_orders.live().nth(1).unwrap();
        state.new_orders.delete(middle);
        state
    };
    let cases = [
        (1, with_cell(Cell::WarehouseYtd(1))),
        (2, with_cell(Cell::NextOrderId(DISTRICTS[0]))),
        (3, gap()),
        (4, extra_order()),
        (5, carrier_early()),
        (6, extra_order()),
        (7, carrier_early()),
        (8, with_cell(Cell::WarehouseYtd(2))),
        (9, with_cell(Cell::DistrictYtd(DISTRICTS[2]))),
        (10, {
            let mut state = good.clone();
            let (customer, cause, amount) = *state.balances.iter().next().unwrap();
            state.balances.insert((customer, cause, amount + 1));
            state
        }),
        (11, gap()),
        (
            12,
            with_cell(Cell::YtdPayment(
                checker::spec::confluence::tpcc::schema::CUSTOMERS[0],
            )),
        ),
    ];
    for (number, state) in cases {
        let condition = Condition::ALL[number - 1];
        assert!(condition.in_table_3().0.starts_with(&format!("{number}. ")));
        let broken = condition.broken(design, &state);
        assert!(broken.is_some(), "condition {number} holds of {state}");
    }
}

#[test]
fn stock_is_taken_as_the_profile_says() {
    let design = Design::paper();
    let start = Database::populated(design);
    // From 12, the first order of 3 leaves less than 10: 91 come. Then there is enough.
    let orders = &mix()[1];
    let once = run(design, &start, orders);
    let quantity = Cell::StockQuantity(2, 2);
    assert_eq!(once.cells.value(&quantity), 12 - 3 + 91);
    assert_eq!(run(design, &once, orders).cells.value(&quantity), 100 - 3);
    assert_eq!(once.cells.value(&Cell::StockRemoteCount(2, 2)), 1);
    assert_eq!(once.cells.value(&Cell::StockRemoteCount(1, 1)), 0);
}

/// Deliveries at two replicas of the same order: the carrier is set twice, the balance once.
#[test]
fn an_order_that_two_replicas_deliver_is_paid_for_once() {
    let delivery = Profile::Delivery { warehouse: 1 };
    let credit = |design: Design| {
        let start = Database::populated(design);
        let [left, right] = [0, 1].map(|it| delivery.run(design, &start, ReplicaId(it)).unwrap());
        let merged = left.merge(&right);
        let customer = checker::spec::confluence::tpcc::schema::CUSTOMERS[1];
        merged.balance(design, customer) - start.balance(design, customer)
    };
    assert_eq!(credit(Design::paper()), 4);
    let counter = Design {
        balance: Balance::AsCounter,
        ..Design::paper()
    };
    assert_eq!(credit(counter), 8);
    let at_home = Design {
        delivers: Delivers::AtHome,
        ..counter
    };
    let start = Database::populated(at_home);
    assert!(delivery.run(at_home, &start, ReplicaId(1)).is_none());
}

/// The conditions are decided over ids that do collide: without that, 2 and 3 would be confluent as well.
#[test]
fn two_replicas_give_one_order_id_twice() {
    let design = Design::paper();
    let start = Database::populated(design);
    let [left, right] = [0, 1].map(|it| mix()[0].run(design, &start, ReplicaId(it)).unwrap());
    let merged = left.merge(&right);
    let ids: Vec<u8> = merged
        .orders
        .iter()
        .filter(|order| order.key.district == DISTRICTS[0])
        .map(|order| order.key.id)
        .collect();
    assert_eq!(ids, [1, 2, 3, 3]);
}

#[test]
fn three_replicas_agree_on_the_conditions() {
    for condition in Condition::ALL {
        let verdict = decide(&TpcC::new(Design::paper(), condition), &bounds(3, 1));
        let (name, _) = condition.in_table_3();
        let is_sequence = name.starts_with("2. ") || name.starts_with("3. ");
        assert_eq!(
            verdict.is_confluent(),
            Some(!is_sequence),
            "{name}: {verdict}"
        );
    }
}

#[test]
fn a_witness_says_what_differs_in_a_few_words() {
    let application = TpcC::new(Design::paper(), Condition::OrderIdsAreSequential);
    let verdict = decide(&application, &bounds(2, 2)).to_string();
    let expected = "\
not confluent
  both replicas hold the initial population
  replica 0 commits: New-Order by customer 1.1.1: 1 of item 1 from warehouse 1
    and holds the same and ORDER 3 of 1.1 (r0#1) for customer 1.1.1 with 1 line, \
NEW-ORDER 3 of 1.1 (r0#1), D_NEXT_O_ID(1.1) = 4
  replica 1 commits: New-Order by customer 1.1.1: 1 of item 1 from warehouse 1
    and holds the same and ORDER 3 of 1.1 (r1#1) for customer 1.1.1 with 1 line, \
NEW-ORDER 3 of 1.1 (r1#1), D_NEXT_O_ID(1.1) = 4
  merged:  the same and ORDER 3 of 1.1 (r0#1) for customer 1.1.1 with 1 line, \
ORDER 3 of 1.1 (r1#1) for customer 1.1.1 with 1 line, NEW-ORDER 3 of 1.1 (r0#1), \
NEW-ORDER 3 of 1.1 (r1#1), D_NEXT_O_ID(1.1) = 5
  broken:  D_NEXT_O_ID - 1 = max(O_ID) does not hold for district 1.1: 4 and 3";
    assert_eq!(verdict, expected);
}
