//! The twelve consistency conditions of TPC-C (clauses 3.3.2.1 to 3.3.2.12), decided over one model of its database and its
//! transactions.
//!
//! # What is modelled
//!
//! The nine tables, in small: 2 warehouses, 3 districts, 4 customers, 2 items ([`schema`]); and the three transaction
//! profiles that write: New-Order, Payment and Delivery ([`profiles`]). Order-Status and Stock-Level read only. A
//! New-Order takes its O_ID from the D_NEXT_O_ID that its replica sees, and so two replicas can give one O_ID to two
//! orders. All conditions are decided over these same ids.
//!
//! How the other columns are kept is what section 6.1 of the paper argues for ([`Design::paper`]):
//!
//! - **T1** Each order has a temporary id, unique and composed by its replica without asking. The rows of ORDER,
//!   NEW-ORDER and ORDER-LINE belong together by it; O_ID is a column that is looked up ("joining with the ID lookup
//!   table on tmpID").
//! - **T2** W_YTD, D_YTD and C_YTD_PAYMENT are counters of per-replica increments. C_BALANCE is a view: the set of changes
//!   to it, each named by the payment or the order that caused it, so that an order that two replicas deliver counts
//!   once.
//!
//! # What happens otherwise
//!
//! The search says that the ten conditions need this:
//!
//! - Without T1, if rows belong together by (warehouse, district, O_ID) as the clauses put it, two orders with one id mix
//!   their lines, and conditions 5, 6, 7, 10, 11 and 12 are not confluent either.
//! - Without T2, if C_BALANCE is a bare counter, two replicas that deliver the same order both credit the customer, and
//!   conditions 10 and 12 are not confluent. They are again if only the home site of a warehouse delivers its orders,
//!   which the paper suggests.
//! - Condition 11 says literally that ORDER has 2,100 rows more than NEW-ORDER, which is true of the initial
//!   population alone: every Delivery would break it. So it is decided as "as many as there are delivered orders", and
//!   once more literally, where no Delivery ever commits.

mod conditions;
pub mod profiles;
pub mod schema;

use super::application::{Application, ReplicaId};
use super::bounds::Bounds;
use super::catalogue::{About, Claim, Source, Visitor};
pub use conditions::Condition;
use profiles::Profile;
use schema::Database;

/// By what rows of ORDER, NEW-ORDER and ORDER-LINE belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// By the temporary id of the order (section 6.1 of the paper).
    ByRow,
    /// By warehouse, district and O_ID, as in the clauses.
    ByOrderId,
}

/// How C_BALANCE is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// The set of changes, each named by what caused it.
    ByCause,
    /// A counter of per-replica increments.
    AsCounter,
}

/// Where a Delivery may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivers {
    /// At every replica.
    Anywhere,
    /// At one replica for each warehouse: replica 0 for warehouse 1, replica 1 for warehouse 2.
    AtHome,
}

/// How the database is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Design {
    /// By what rows of orders belong together.
    pub join: Join,
    /// How C_BALANCE is kept.
    pub balance: Balance,
    /// Where a Delivery may run.
    pub delivers: Delivers,
}

impl Design {
    /// What section 6.1 of the paper argues for.
    #[must_use]
    pub const fn paper() -> Self {
        Self {
            join: Join::ByRow,
            balance: Balance::ByCause,
            delivers: Delivers::Anywhere,
        }
    }
}

/// TPC-C in one design, with one of its conditions as the invariant.
#[derive(Debug, Clone)]
pub struct TpcC {
    design: Design,
    condition: Condition,
    profiles: Vec<Profile>,
}

impl TpcC {
    /// All transactions, and this condition.
    #[must_use]
    pub fn new(design: Design, condition: Condition) -> Self {
        Self {
            design,
            condition,
            profiles: profiles::mix(),
        }
    }
}

impl Application for TpcC {
    type State = Database;

    fn initial_states(&self) -> Vec<Database> {
        vec![Database::populated(self.design)]
    }

    fn transactions(&self) -> Vec<String> {
        self.profiles.iter().map(ToString::to_string).collect()
    }

    fn execute(&self, transaction: usize, state: &Database, at: ReplicaId) -> Option<Database> {
        self.profiles[transaction].run(self.design, state, at)
    }

    fn describe(&self, state: &Database, beyond: Option<&Database>) -> String {
        let mut told = String::from(match beyond {
            None => "the initial population",
            Some(_) => "the same",
        });
        let more = match beyond {
            None => state.beyond(&Database::populated(self.design)),
            Some(earlier) => state.beyond(earlier),
        };
        schema::write_list(&mut told, &more).expect("a string takes all");
        told
    }

    fn broken(&self, state: &Database) -> Option<String> {
        self.condition.broken(self.design, state)
    }
}

const PAPER: &str = "ids from D_NEXT_O_ID; rows of an order belong together by its temporary id; C_BALANCE as a view by \
                     cause";
const BY_ORDER_ID: &str = "rows of an order belong together by warehouse, district and O_ID, and two replicas give \
                           one O_ID to two orders";
const COUNTER: &str = "C_BALANCE as a bare counter: two replicas that deliver the same order both credit the customer";
const AT_HOME: &str =
    "C_BALANCE as a bare counter, and a warehouse's orders are delivered by one replica only";
const LITERAL: &str = "literally: the difference stays what it was in the initial population, so that every Delivery \
                       is refused";

/// Shows the rows of Table 3 in their order.
pub(super) fn visit(visitor: &mut impl Visitor) {
    let paper = Design::paper();
    let by_order_id = Design {
        join: Join::ByOrderId,
        ..paper
    };
    let counter = Design {
        balance: Balance::AsCounter,
        ..paper
    };
    let at_home = Design {
        delivers: Delivers::AtHome,
        ..counter
    };
    for condition in Condition::ALL {
        let row = about(condition);
        visitor.visit(&row, &TpcC::new(paper, condition));
        if condition.joins_orders() {
            let row = row.clone().but(BY_ORDER_ID);
            visitor.visit(&row, &TpcC::new(by_order_id, condition));
        }
        if condition.has_balance() {
            let finding = row.clone().but(COUNTER);
            visitor.visit(&finding, &TpcC::new(counter, condition));
            let at_one_site = About {
                modelled: AT_HOME,
                ..row
            };
            visitor.visit(&at_one_site, &TpcC::new(at_home, condition));
        }
    }
    let literal = About {
        modelled: LITERAL,
        ..about(Condition::OrdersAreNewOrDeliveredLiterally)
    };
    let application = TpcC::new(paper, Condition::OrdersAreNewOrDeliveredLiterally);
    visitor.visit(&literal, &application);
}

fn about(condition: Condition) -> About {
    let (invariant, operation) = condition.in_table_3();
    About {
        source: Source::Table3,
        invariant,
        operation,
        claim: if condition.is_sequence() {
            Claim::NotConfluent
        } else {
            Claim::Confluent
        },
        modelled: PAPER,
        is_finding: false,
        bounds: Bounds::default().with_transactions_each(2),
    }
}
