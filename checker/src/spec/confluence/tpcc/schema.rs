//! The tables of TPC-C as a join semilattice.
//!
//! Columns that are only ever added to are counters ([`Cell`]). Rows that are inserted once are growing sets. NEW-ORDER,
//! whose rows are deleted, has tombstones. O_CARRIER_ID and OL_DELIVERY_D, which are null until a Delivery, are the sets of
//! values that were written into them: empty is null. W_TAX, names, addresses and the like never change and are in no
//! condition; they are left out.

use std::fmt;

use super::super::application::{ReplicaId, Semilattice};
use super::super::lattice::{Counters, Grow, Rows, Version};
use super::{Balance, Design, Join};

/// The warehouses.
pub const WAREHOUSES: [u8; 2] = [1, 2];

/// The districts: two of warehouse 1, one of warehouse 2.
pub const DISTRICTS: [District; 3] = [District(1, 1), District(1, 2), District(2, 1)];

/// The customers: two of the first district, one of each other.
pub const CUSTOMERS: [Customer; 4] = [
    Customer(DISTRICTS[0], 1),
    Customer(DISTRICTS[0], 2),
    Customer(DISTRICTS[1], 1),
    Customer(DISTRICTS[2], 1),
];

/// I_PRICE of the items 1 and 2; there is no other item.
pub const PRICES: [u8; 2] = [3, 5];

/// A district: D_W_ID and D_ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct District(pub u8, pub u8);

/// A customer: the district, and C_ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Customer(pub District, pub u8);

/// Which order a row of ORDER, NEW-ORDER or ORDER-LINE is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderKey {
    /// The district.
    pub district: District,
    /// O_ID, from D_NEXT_O_ID.
    pub id: u8,
    /// The temporary id: unique.
    pub row: Version,
}

impl OrderKey {
    /// Whether rows with these keys belong together.
    #[must_use]
    pub fn is_of(&self, other: &Self, join: Join) -> bool {
        match join {
            Join::ByRow => self.row == other.row,
            Join::ByOrderId => (self.district, self.id) == (other.district, other.id),
        }
    }
}

/// A column that is added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cell {
    /// W_YTD.
    WarehouseYtd(u8),
    /// D_YTD.
    DistrictYtd(District),
    /// D_NEXT_O_ID.
    NextOrderId(District),
    /// C_BALANCE, if it is a counter.
    Balance(Customer),
    /// C_YTD_PAYMENT.
    YtdPayment(Customer),
    /// C_PAYMENT_CNT.
    PaymentCount(Customer),
    /// C_DELIVERY_CNT.
    DeliveryCount(Customer),
    /// S_QUANTITY of an item (second) in a warehouse (first).
    StockQuantity(u8, u8),
    /// S_YTD.
    StockYtd(u8, u8),
    /// S_ORDER_CNT.
    StockOrderCount(u8, u8),
    /// S_REMOTE_CNT.
    StockRemoteCount(u8, u8),
}

/// A row of ORDER, without O_CARRIER_ID.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Order {
    /// Which order.
    pub key: OrderKey,
    /// O_C_ID.
    pub customer: Customer,
    /// O_OL_CNT.
    pub line_count: u8,
    /// O_ALL_LOCAL.
    pub all_local: bool,
}

/// A row of ORDER-LINE, without OL_DELIVERY_D.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderLine {
    /// Of which order.
    pub order: OrderKey,
    /// OL_NUMBER.
    pub number: u8,
    /// OL_I_ID.
    pub item: u8,
    /// OL_SUPPLY_W_ID.
    pub supply_warehouse: u8,
    /// OL_QUANTITY.
    pub quantity: u8,
    /// OL_AMOUNT.
    pub amount: u8,
}

/// A row of HISTORY.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct History {
    /// HISTORY has no primary key: this makes the row unique.
    pub row: Version,
    /// Who paid.
    pub customer: Customer,
    /// Where.
    pub district: District,
    /// H_AMOUNT.
    pub amount: u8,
}

/// What changed a C_BALANCE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The payment with this row in HISTORY.
    Payment(Version),
    /// The delivery of this order.
    Delivery(OrderKey),
}

/// The database at one replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Database {
    /// The columns that are added to.
    pub cells: Counters<Cell>,
    /// C_BALANCE, if it is a view: the changes.
    pub balances: Grow<(Customer, Cause, i16)>,
    /// HISTORY.
    pub history: Grow<History>,
    /// ORDER.
    pub orders: Grow<Order>,
    /// O_CARRIER_ID: what was written for which order.
    pub carriers: Grow<(OrderKey, u8)>,
    /// NEW-ORDER; the oldest order of a district is the first of its rows.
    pub new_orders: Rows<OrderKey>,
    /// ORDER-LINE.
    pub lines: Grow<OrderLine>,
    /// OL_DELIVERY_D: who wrote a date for which order's line.
    pub delivery_dates: Grow<(OrderKey, u8, ReplicaId)>,
}

impl Database {
    /// The initial population of clause 4.3.3.1, in small.
    ///
    /// Each district has a delivered order (amount 0) and one that is not delivered; each customer has paid 10. The
    /// first district's orders are of its two customers.
    #[must_use]
    pub fn populated(design: Design) -> Self {
        let mut state = Self::default();
        for (place, customer) in (1..).zip(CUSTOMERS) {
            let row = initial(place);
            state.pay(design, row, customer, customer.0, 10);
        }
        for (place, district) in (1..).zip(DISTRICTS) {
            let mut of_district = CUSTOMERS.into_iter().filter(|it| it.0 == district);
            let first = of_district.next().unwrap_or(Customer(district, 1));
            let second = of_district.next().unwrap_or(first);
            let delivered = state.load_order(district, 1, 2 * place, first, 0);
            state.carriers.insert((delivered, 1));
            state
                .delivery_dates
                .insert((delivered, 1, ReplicaId::INITIAL));
            let pending = state.load_order(district, 2, 2 * place + 1, second, 4);
            state.new_orders.insert(pending);
            let next = Cell::NextOrderId(district);
            state.cells.add(next, ReplicaId::INITIAL, 3);
        }
        for warehouse in WAREHOUSES {
            for item in [1, 2] {
                let quantity = Cell::StockQuantity(warehouse, item);
                state.cells.add(quantity, ReplicaId::INITIAL, 12);
            }
        }
        state
    }

    fn load_order(
        &mut self,
        district: District,
        id: u8,
        place: u8,
        customer: Customer,
        amount: u8,
    ) -> OrderKey {
        let key = OrderKey {
            district,
            id,
            row: initial(place),
        };
        self.orders.insert(Order {
            key,
            customer,
            line_count: 1,
            all_local: true,
        });
        self.lines.insert(OrderLine {
            order: key,
            number: 1,
            item: 1,
            supply_warehouse: district.0,
            quantity: 5,
            amount,
        });
        key
    }

    /// A payment, as the profile writes it.
    pub(super) fn pay(
        &mut self,
        design: Design,
        row: Version,
        customer: Customer,
        district: District,
        amount: u8,
    ) {
        let (by, paid) = (row.by, i32::from(amount));
        self.cells.add(Cell::WarehouseYtd(district.0), by, paid);
        self.cells.add(Cell::DistrictYtd(district), by, paid);
        self.cells.add(Cell::YtdPayment(customer), by, paid);
        self.cells.add(Cell::PaymentCount(customer), by, 1);
        self.change_balance(design, customer, Cause::Payment(row), -paid, by);
        self.history.insert(History {
            row,
            customer,
            district,
            amount,
        });
    }

    /// Adds to C_BALANCE.
    pub(super) fn change_balance(
        &mut self,
        design: Design,
        customer: Customer,
        cause: Cause,
        amount: i32,
        by: ReplicaId,
    ) {
        match design.balance {
            Balance::ByCause => {
                let amount = i16::try_from(amount).expect("amounts are small");
                self.balances.insert((customer, cause, amount));
            }
            Balance::AsCounter => self.cells.add(Cell::Balance(customer), by, amount),
        }
    }

    /// C_BALANCE.
    #[must_use]
    pub fn balance(&self, design: Design, customer: Customer) -> i64 {
        match design.balance {
            Balance::ByCause => {
                let changes = self.balances.iter().filter(|it| it.0 == customer);
                changes.map(|it| i64::from(it.2)).sum()
            }
            Balance::AsCounter => self.cells.value(&Cell::Balance(customer)),
        }
    }

    /// Whether O_CARRIER_ID of the order is set.
    #[must_use]
    pub fn has_carrier(&self, order: &OrderKey, join: Join) -> bool {
        self.carriers.iter().any(|(key, _)| key.is_of(order, join))
    }

    /// Whether OL_DELIVERY_D of the line is set.
    #[must_use]
    pub fn is_delivered(&self, line: &OrderLine, join: Join) -> bool {
        let mut dates = self.delivery_dates.iter();
        dates.any(|(key, number, _)| *number == line.number && key.is_of(&line.order, join))
    }

    /// The lines of an order.
    pub fn lines_of(&self, order: OrderKey, join: Join) -> impl Iterator<Item = &OrderLine> {
        let lines = self.lines.iter();
        lines.filter(move |line| line.order.is_of(&order, join))
    }
}

/// A row of the initial population.
const fn initial(number: u8) -> Version {
    Version {
        by: ReplicaId::INITIAL,
        number,
    }
}

impl Semilattice for Database {
    fn merge(&self, other: &Self) -> Self {
        Self {
            cells: self.cells.union(&other.cells),
            balances: self.balances.union(&other.balances),
            history: self.history.union(&other.history),
            orders: self.orders.union(&other.orders),
            carriers: self.carriers.union(&other.carriers),
            new_orders: self.new_orders.union(&other.new_orders),
            lines: self.lines.union(&other.lines),
            delivery_dates: self.delivery_dates.union(&other.delivery_dates),
        }
    }
}

impl fmt::Display for District {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl fmt::Display for Customer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl fmt::Display for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} ({})", self.id, self.district, self.row)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WarehouseYtd(warehouse) => write!(f, "W_YTD({warehouse})"),
            Self::DistrictYtd(district) => write!(f, "D_YTD({district})"),
            Self::NextOrderId(district) => write!(f, "D_NEXT_O_ID({district})"),
            Self::Balance(customer) => write!(f, "C_BALANCE({customer})"),
            Self::YtdPayment(customer) => write!(f, "C_YTD_PAYMENT({customer})"),
            Self::PaymentCount(customer) => write!(f, "C_PAYMENT_CNT({customer})"),
            Self::DeliveryCount(customer) => write!(f, "C_DELIVERY_CNT({customer})"),
            Self::StockQuantity(warehouse, item) => write!(f, "S_QUANTITY({warehouse}.{item})"),
            Self::StockYtd(warehouse, item) => write!(f, "S_YTD({warehouse}.{item})"),
            Self::StockOrderCount(warehouse, item) => write!(f, "S_ORDER_CNT({warehouse}.{item})"),
            Self::StockRemoteCount(warehouse, item) => {
                write!(f, "S_REMOTE_CNT({warehouse}.{item})")
            }
        }
    }
}

/// What differs from the initial population; see [`Database::beyond`].
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let design = Design::paper();
        write!(f, "the initial population")?;
        write_list(f, &self.beyond(&Self::populated(design)))
    }
}

/// What is said after a state that the reader knows.
pub(super) fn write_list(f: &mut impl fmt::Write, told: &[String]) -> fmt::Result {
    if told.is_empty() {
        return Ok(());
    }
    write!(f, " and {}", told.join(", "))
}

impl Database {
    /// What this database has and an earlier one has not: rows, values, and the columns that a condition speaks of.
    #[must_use]
    pub fn beyond(&self, earlier: &Self) -> Vec<String> {
        let mut told = Vec::new();
        for order in self.orders.iter().filter(|it| !earlier.orders.contains(it)) {
            let (key, customer, count) = (order.key, order.customer, order.line_count);
            let lines = if count == 1 { "line" } else { "lines" };
            told.push(format!(
                "ORDER {key} for customer {customer} with {count} {lines}"
            ));
        }
        let pending = |state: &Self| state.new_orders.live().copied().collect::<Grow<_>>();
        let (now, before) = (pending(self), pending(earlier));
        let new = now.iter().filter(|key| !before.contains(key));
        told.extend(new.map(|key| format!("NEW-ORDER {key}")));
        let gone = before.iter().filter(|key| !now.contains(key));
        told.extend(gone.map(|key| format!("no NEW-ORDER {key}")));
        let carriers = self.carriers.iter();
        for (key, carrier) in carriers.filter(|it| !earlier.carriers.contains(it)) {
            told.push(format!("O_CARRIER_ID = {carrier} for order {key}"));
        }
        for paid in self
            .history
            .iter()
            .filter(|it| !earlier.history.contains(it))
        {
            let (row, customer, amount) = (paid.row, paid.customer, paid.amount);
            told.push(format!("HISTORY {customer} paid {amount} ({row})"));
        }
        let changes = self.balances.iter();
        for (customer, cause, amount) in changes.filter(|it| !earlier.balances.contains(it)) {
            told.push(format!("C_BALANCE({customer}) {amount:+} for {cause}"));
        }
        let cells = self.cells.touched().filter(|cell| cell.is_shown());
        let changed = cells.filter(|cell| self.cells.value(cell) != earlier.cells.value(cell));
        told.extend(changed.map(|cell| format!("{cell} = {}", self.cells.value(cell))));
        told
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Payment(row) => write!(f, "payment {row}"),
            Self::Delivery(order) => write!(f, "order {order}"),
        }
    }
}

impl Cell {
    /// Whether a condition speaks of the column.
    const fn is_shown(&self) -> bool {
        match self {
            Self::WarehouseYtd(_)
            | Self::DistrictYtd(_)
            | Self::NextOrderId(_)
            | Self::Balance(_)
            | Self::YtdPayment(_) => true,
            Self::PaymentCount(_)
            | Self::DeliveryCount(_)
            | Self::StockQuantity(..)
            | Self::StockYtd(..)
            | Self::StockOrderCount(..)
            | Self::StockRemoteCount(..) => false,
        }
    }
}
