//! The transaction profiles that write: New-Order (clause 2.4.2.2), Payment (2.5.2.2) and Delivery (2.7.4.2).
//!
//! Each reads only what its replica holds. Deliveries run as they are queued: one transaction for a warehouse, which
//! delivers the oldest order of each of its districts.

use std::fmt;

use super::super::application::ReplicaId;
use super::super::lattice::Version;
use super::schema::{
    Cause, Cell, Customer, DISTRICTS, Database, District, Order, OrderKey, OrderLine, PRICES,
};
use super::{Delivers, Design};

/// A line of a New-Order's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// I_ID, counted from 1; an item that is not there rolls the transaction back.
    pub item: u8,
    /// The warehouse that supplies it.
    pub supply_warehouse: u8,
    /// How many.
    pub quantity: u8,
}

/// A transaction with its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Profile {
    /// A customer orders.
    NewOrder {
        /// Who.
        customer: Customer,
        /// What.
        lines: Vec<Wanted>,
    },
    /// A customer pays, perhaps in another district than the own.
    Payment {
        /// Where.
        district: District,
        /// Who.
        customer: Customer,
        /// H_AMOUNT.
        amount: u8,
    },
    /// The oldest order of each district of a warehouse is delivered.
    Delivery {
        /// W_ID.
        warehouse: u8,
    },
}

/// The transactions that a search runs.
#[must_use]
pub fn mix() -> Vec<Profile> {
    let [first, second, third] = DISTRICTS;
    let home = Wanted {
        item: 1,
        supply_warehouse: 1,
        quantity: 1,
    };
    let remote = Wanted {
        item: 2,
        supply_warehouse: 2,
        quantity: 3,
    };
    let unused = Wanted { item: 9, ..home };
    let order = |customer, lines: &[Wanted]| Profile::NewOrder {
        customer,
        lines: lines.to_vec(),
    };
    let payment = |district, customer, amount| Profile::Payment {
        district,
        customer,
        amount,
    };
    vec![
        order(Customer(first, 1), &[home]),
        order(Customer(first, 2), &[home, remote]),
        order(Customer(second, 1), &[home]),
        order(Customer(third, 1), &[home, unused]),
        payment(first, Customer(first, 1), 2),
        payment(third, Customer(first, 1), 4),
        Profile::Delivery { warehouse: 1 },
        Profile::Delivery { warehouse: 2 },
    ]
}

impl Profile {
    /// Runs the transaction on a replica's database; `None` if it rolls back, or may not run there.
    #[must_use]
    pub fn run(&self, design: Design, before: &Database, at: ReplicaId) -> Option<Database> {
        let mut state = before.clone();
        match self {
            Self::NewOrder { customer, lines } => state.order(*customer, lines, at)?,
            Self::Payment {
                district,
                customer,
                amount,
            } => {
                let row = next_row(state.history.iter().map(|paid| paid.row), at);
                state.pay(design, row, *customer, *district, *amount);
            }
            Self::Delivery { warehouse } => {
                if design.delivers == Delivers::AtHome && at.0 + 1 != *warehouse {
                    return None;
                }
                for district in DISTRICTS.into_iter().filter(|it| it.0 == *warehouse) {
                    state.deliver(design, district, at);
                }
            }
        }
        Some(state)
    }
}

impl Database {
    /// New-Order; `None` if an item is not there.
    fn order(&mut self, customer: Customer, wanted: &[Wanted], at: ReplicaId) -> Option<()> {
        let district = customer.0;
        let next = Cell::NextOrderId(district);
        let key = OrderKey {
            district,
            id: u8::try_from(self.cells.value(&next)).expect("few orders are made"),
            row: next_row(self.orders.iter().map(|order| order.key.row), at),
        };
        self.cells.add(next, at, 1);
        self.new_orders.insert(key);
        self.orders.insert(Order {
            key,
            customer,
            line_count: u8::try_from(wanted.len()).expect("an order has few lines"),
            all_local: wanted.iter().all(|it| it.supply_warehouse == district.0),
        });
        for (number, wanted) in (1..).zip(wanted) {
            let price = *PRICES.get(usize::from(wanted.item) - 1)?;
            self.take_from_stock(wanted, district, at);
            self.lines.insert(OrderLine {
                order: key,
                number,
                item: wanted.item,
                supply_warehouse: wanted.supply_warehouse,
                quantity: wanted.quantity,
                amount: wanted.quantity * price,
            });
        }
        Some(())
    }

    /// S_QUANTITY is decreased if at least 10 are left, else 91 more come.
    fn take_from_stock(&mut self, wanted: &Wanted, district: District, at: ReplicaId) {
        let (warehouse, item) = (wanted.supply_warehouse, wanted.item);
        let quantity = Cell::StockQuantity(warehouse, item);
        let taken = i32::from(wanted.quantity);
        let is_enough = self.cells.value(&quantity) >= i64::from(taken) + 10;
        let restocked = if is_enough { 0 } else { 91 };
        self.cells.add(quantity, at, restocked - taken);
        self.cells.add(Cell::StockYtd(warehouse, item), at, taken);
        self.cells
            .add(Cell::StockOrderCount(warehouse, item), at, 1);
        if warehouse != district.0 {
            self.cells
                .add(Cell::StockRemoteCount(warehouse, item), at, 1);
        }
    }

    /// Delivery of the oldest order of a district, if there is one.
    fn deliver(&mut self, design: Design, district: District, at: ReplicaId) {
        let mut pending = self.new_orders.live();
        let Some(oldest) = pending.find(|key| key.district == district).copied() else {
            return;
        };
        drop(pending);
        self.new_orders
            .delete_if(|key| key.is_of(&oldest, design.join));
        let orders = self
            .orders
            .iter()
            .filter(|it| it.key.is_of(&oldest, design.join));
        let customers: Vec<Customer> = orders.map(|order| order.customer).collect();
        self.carriers.insert((oldest, at.0 + 1));
        let lines: Vec<OrderLine> = self.lines_of(oldest, design.join).cloned().collect();
        let amount = lines.iter().map(|line| i32::from(line.amount)).sum();
        for line in lines {
            self.delivery_dates.insert((line.order, line.number, at));
        }
        // Two orders with one O_ID have one owner for the profile: the first row that it finds.
        if let Some(customer) = customers.first() {
            self.change_balance(design, *customer, Cause::Delivery(oldest), amount, at);
            self.cells.add(Cell::DeliveryCount(*customer), at, 1);
        }
    }
}

/// The next row that a replica writes into a table.
fn next_row(rows: impl Iterator<Item = Version>, by: ReplicaId) -> Version {
    let written = rows.filter(|row| row.by == by).count();
    let number = u8::try_from(written + 1).expect("a replica writes at most 255 rows");
    Version { by, number }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewOrder { customer, lines } => {
                write!(f, "New-Order by customer {customer}:")?;
                for (place, it) in lines.iter().enumerate() {
                    let comma = if place > 0 { "," } else { "" };
                    let (quantity, item, from) = (it.quantity, it.item, it.supply_warehouse);
                    write!(f, "{comma} {quantity} of item {item} from warehouse {from}")?;
                }
                Ok(())
            }
            Self::Payment {
                district,
                customer,
                amount,
            } => write!(
                f,
                "Payment of {amount} by customer {customer} in district {district}"
            ),
            Self::Delivery { warehouse } => write!(f, "Delivery for warehouse {warehouse}"),
        }
    }
}
