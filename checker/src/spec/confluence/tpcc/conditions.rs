//! The consistency conditions of clause 3.3.2, numbered as there and in Table 3 of the paper.

use super::schema::{
    CUSTOMERS, Cell, Customer, DISTRICTS, Database, District, OrderKey, WAREHOUSES,
};
use super::{Design, Join};

/// A consistency condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Condition {
    /// 1: W_YTD = sum(D_YTD), for each warehouse.
    WarehouseYtdIsSumOfDistricts,
    /// 2: D_NEXT_O_ID - 1 = max(O_ID) = max(NO_O_ID), for each district; the latter if it has new orders.
    OrderIdsAreSequential,
    /// 3: max(NO_O_ID) - min(NO_O_ID) + 1 = the number of rows in NEW-ORDER, for each district that has new orders.
    NewOrderIdsAreSequential,
    /// 4: sum(O_OL_CNT) = the number of rows in ORDER-LINE, for each district.
    DistrictLineCount,
    /// 5: O_CARRIER_ID is null if and only if the order has a row in NEW-ORDER.
    CarrierUnlessPending,
    /// 6: O_OL_CNT = the number of the order's rows in ORDER-LINE.
    OrderLineCount,
    /// 7: OL_DELIVERY_D is null if and only if the order's O_CARRIER_ID is.
    DeliveryDateWithCarrier,
    /// 8: W_YTD = sum(H_AMOUNT), for each warehouse.
    WarehouseYtdIsSumOfHistory,
    /// 9: D_YTD = sum(H_AMOUNT), for each district.
    DistrictYtdIsSumOfHistory,
    /// 10: C_BALANCE = sum(OL_AMOUNT) - sum(H_AMOUNT), for each customer, over the lines that are delivered.
    BalanceIsDeliveredLessPaid,
    /// 11: (rows in ORDER) - (rows in NEW-ORDER) = the number of delivered orders, for each district.
    OrdersAreNewOrDelivered,
    /// 12: C_BALANCE + C_YTD_PAYMENT = sum(OL_AMOUNT), for each customer, over the lines that are delivered.
    BalanceAndPaymentsAreDelivered,
    /// 11 as it is written: (rows in ORDER) - (rows in NEW-ORDER) = the number of orders that were delivered in the
    /// initial population, which the clause gives as 2100 and which is 1 here.
    OrdersAreNewOrDeliveredLiterally,
}

impl Condition {
    /// The twelve, in their order.
    pub const ALL: [Self; 12] = [
        Self::WarehouseYtdIsSumOfDistricts,
        Self::OrderIdsAreSequential,
        Self::NewOrderIdsAreSequential,
        Self::DistrictLineCount,
        Self::CarrierUnlessPending,
        Self::OrderLineCount,
        Self::DeliveryDateWithCarrier,
        Self::WarehouseYtdIsSumOfHistory,
        Self::DistrictYtdIsSumOfHistory,
        Self::BalanceIsDeliveredLessPaid,
        Self::OrdersAreNewOrDelivered,
        Self::BalanceAndPaymentsAreDelivered,
    ];

    /// The informal description and the transactions, as Table 3 of the paper has them.
    #[must_use]
    pub const fn in_table_3(self) -> (&'static str, &'static str) {
        match self {
            Self::WarehouseYtdIsSumOfDistricts => {
                ("1. YTD wh sales = sum(YTD district sales)", "P")
            }
            Self::OrderIdsAreSequential => ("2. Per-district order IDs are sequential", "N, D"),
            Self::NewOrderIdsAreSequential => {
                ("3. New order IDs are sequentially assigned", "N, D")
            }
            Self::DistrictLineCount => ("4. Per-district, item order count = roll-up", "N"),
            Self::CarrierUnlessPending => ("5. Order carrier is set iff order is pending", "N, D"),
            Self::OrderLineCount => ("6. Per-order item count = line item roll-up", "N"),
            Self::DeliveryDateWithCarrier => ("7. Delivery date set iff carrier ID set", "D"),
            Self::WarehouseYtdIsSumOfHistory => ("8. YTD wh = sum(historical wh)", "D"),
            Self::DistrictYtdIsSumOfHistory => ("9. YTD district = sum(historical district)", "P"),
            Self::BalanceIsDeliveredLessPaid => {
                ("10. Customer balance matches expenditures", "P, D")
            }
            Self::OrdersAreNewOrDelivered | Self::OrdersAreNewOrDeliveredLiterally => {
                ("11. Orders reference New-Orders table", "N")
            }
            Self::BalanceAndPaymentsAreDelivered => {
                ("12. Per-customer balance = cust. expenditures", "P, D")
            }
        }
    }

    /// What is wrong with the database, with the numbers.
    #[must_use]
    pub fn broken(self, design: Design, state: &Database) -> Option<String> {
        let join = design.join;
        let each_district = |broken: fn(&Database, District) -> Option<String>| {
            DISTRICTS.into_iter().find_map(|it| broken(state, it))
        };
        match self {
            Self::WarehouseYtdIsSumOfDistricts => WAREHOUSES
                .into_iter()
                .find_map(|it| warehouse_and_districts(state, it)),
            Self::OrderIdsAreSequential => each_district(order_ids),
            Self::NewOrderIdsAreSequential => each_district(new_order_ids),
            Self::DistrictLineCount => each_district(district_lines),
            Self::CarrierUnlessPending => carriers(state, join),
            Self::OrderLineCount => order_lines(state, join),
            Self::DeliveryDateWithCarrier => delivery_dates(state, join),
            Self::WarehouseYtdIsSumOfHistory => WAREHOUSES
                .into_iter()
                .find_map(|it| warehouse_and_history(state, it)),
            Self::DistrictYtdIsSumOfHistory => each_district(district_and_history),
            Self::BalanceIsDeliveredLessPaid => CUSTOMERS
                .into_iter()
                .find_map(|it| balance_and_history(state, design, it)),
            Self::OrdersAreNewOrDelivered => DISTRICTS
                .into_iter()
                .find_map(|it| orders_and_new_orders(state, it, delivered(state, it, join))),
            Self::BalanceAndPaymentsAreDelivered => CUSTOMERS
                .into_iter()
                .find_map(|it| balance_and_payments(state, design, it)),
            Self::OrdersAreNewOrDeliveredLiterally => DISTRICTS
                .into_iter()
                .find_map(|it| orders_and_new_orders(state, it, 1)),
        }
    }

    /// Whether it is about sequences of ids: the two that the paper says need coordination.
    pub(super) const fn is_sequence(self) -> bool {
        matches!(
            self,
            Self::OrderIdsAreSequential | Self::NewOrderIdsAreSequential
        )
    }

    /// Whether it speaks of rows that belong to the same order.
    pub(super) const fn joins_orders(self) -> bool {
        matches!(
            self,
            Self::CarrierUnlessPending
                | Self::OrderLineCount
                | Self::DeliveryDateWithCarrier
                | Self::OrdersAreNewOrDelivered
        ) || self.has_balance()
    }

    /// Whether it speaks of C_BALANCE.
    pub(super) const fn has_balance(self) -> bool {
        matches!(
            self,
            Self::BalanceIsDeliveredLessPaid | Self::BalanceAndPaymentsAreDelivered
        )
    }
}

fn equal(left: (&str, i64), right: (&str, i64), of: &str) -> Option<String> {
    let (left, is) = left;
    let (right, must_be) = right;
    (is != must_be).then(|| format!("{left} = {right} does not hold for {of}: {is} and {must_be}"))
}

fn count<T>(rows: impl Iterator<Item = T>) -> i64 {
    rows.map(|_| 1).sum()
}

fn warehouse_and_districts(state: &Database, warehouse: u8) -> Option<String> {
    let districts = DISTRICTS.into_iter().filter(|it| it.0 == warehouse);
    let sum = districts
        .map(|it| state.cells.value(&Cell::DistrictYtd(it)))
        .sum();
    let ytd = state.cells.value(&Cell::WarehouseYtd(warehouse));
    equal(
        ("W_YTD", ytd),
        ("sum(D_YTD)", sum),
        &format!("warehouse {warehouse}"),
    )
}

fn new_orders_of(state: &Database, district: District) -> impl Iterator<Item = &OrderKey> {
    state
        .new_orders
        .live()
        .filter(move |it| it.district == district)
}

fn order_ids(state: &Database, district: District) -> Option<String> {
    let of = format!("district {district}");
    let last = (
        "D_NEXT_O_ID - 1",
        state.cells.value(&Cell::NextOrderId(district)) - 1,
    );
    let keys = state.orders.iter().map(|order| order.key);
    let ids = keys
        .filter(|key| key.district == district)
        .map(|key| i64::from(key.id));
    let highest = new_orders_of(state, district)
        .map(|key| i64::from(key.id))
        .max();
    equal(last, ("max(O_ID)", ids.max().unwrap_or(0)), &of)
        .or_else(|| equal(last, ("max(NO_O_ID)", highest?), &of))
}

fn new_order_ids(state: &Database, district: District) -> Option<String> {
    let ids = || new_orders_of(state, district).map(|key| i64::from(key.id));
    let span = ids().max()? - ids().min()? + 1;
    let left = ("max(NO_O_ID) - min(NO_O_ID) + 1", span);
    let right = ("the number of rows in NEW-ORDER", count(ids()));
    equal(left, right, &format!("district {district}"))
}

fn district_lines(state: &Database, district: District) -> Option<String> {
    let orders = state.orders.iter().filter(|it| it.key.district == district);
    let lines = state
        .lines
        .iter()
        .filter(|it| it.order.district == district);
    let counted = orders.map(|order| i64::from(order.line_count)).sum();
    let right = ("the number of rows in ORDER-LINE", count(lines));
    equal(
        ("sum(O_OL_CNT)", counted),
        right,
        &format!("district {district}"),
    )
}

fn carriers(state: &Database, join: Join) -> Option<String> {
    let wrong = state.orders.iter().find(|order| {
        let is_new = state
            .new_orders
            .live()
            .any(|key| key.is_of(&order.key, join));
        is_new == state.has_carrier(&order.key, join)
    })?;
    let (there, key) = if state.has_carrier(&wrong.key, join) {
        ("is set, and a row in NEW-ORDER is there", wrong.key)
    } else {
        ("is null, and there is no row in NEW-ORDER", wrong.key)
    };
    let rule = "O_CARRIER_ID is null if and only if NEW-ORDER has the order";
    Some(format!("{rule} does not hold for order {key}: it {there}"))
}

fn order_lines(state: &Database, join: Join) -> Option<String> {
    state.orders.iter().find_map(|order| {
        let left = ("O_OL_CNT", i64::from(order.line_count));
        let lines = count(state.lines_of(order.key, join));
        let right = ("the number of its rows in ORDER-LINE", lines);
        equal(left, right, &format!("order {}", order.key))
    })
}

fn delivery_dates(state: &Database, join: Join) -> Option<String> {
    let wrong = state
        .lines
        .iter()
        .find(|line| state.is_delivered(line, join) != state.has_carrier(&line.order, join))?;
    let (number, key) = (wrong.number, wrong.order);
    let rule = "OL_DELIVERY_D is null if and only if O_CARRIER_ID is";
    Some(format!(
        "{rule} does not hold for line {number} of order {key}"
    ))
}

fn warehouse_and_history(state: &Database, warehouse: u8) -> Option<String> {
    let rows = state
        .history
        .iter()
        .filter(|paid| paid.district.0 == warehouse);
    let paid = rows.map(|paid| i64::from(paid.amount)).sum();
    let ytd = state.cells.value(&Cell::WarehouseYtd(warehouse));
    equal(
        ("W_YTD", ytd),
        ("sum(H_AMOUNT)", paid),
        &format!("warehouse {warehouse}"),
    )
}

fn district_and_history(state: &Database, district: District) -> Option<String> {
    let rows = state
        .history
        .iter()
        .filter(|paid| paid.district == district);
    let paid = rows.map(|paid| i64::from(paid.amount)).sum();
    let ytd = state.cells.value(&Cell::DistrictYtd(district));
    equal(
        ("D_YTD", ytd),
        ("sum(H_AMOUNT)", paid),
        &format!("district {district}"),
    )
}

/// Sum of OL_AMOUNT over the delivered lines of the customer's orders.
fn delivered_to(state: &Database, join: Join, customer: Customer) -> i64 {
    let orders = state
        .orders
        .iter()
        .filter(|order| order.customer == customer);
    let lines = orders.flat_map(|order| state.lines_of(order.key, join));
    let delivered = lines.filter(|line| state.is_delivered(line, join));
    delivered.map(|line| i64::from(line.amount)).sum()
}

fn balance_and_history(state: &Database, design: Design, customer: Customer) -> Option<String> {
    let rows = state.history.iter().filter(|it| it.customer == customer);
    let paid: i64 = rows.map(|it| i64::from(it.amount)).sum();
    let right = delivered_to(state, design.join, customer) - paid;
    let left = ("C_BALANCE", state.balance(design, customer));
    let right = ("sum(OL_AMOUNT) - sum(H_AMOUNT)", right);
    equal(left, right, &format!("customer {customer}"))
}

fn balance_and_payments(state: &Database, design: Design, customer: Customer) -> Option<String> {
    let paid = state.cells.value(&Cell::YtdPayment(customer));
    let left = state.balance(design, customer) + paid;
    let right = delivered_to(state, design.join, customer);
    equal(
        ("C_BALANCE + C_YTD_PAYMENT", left),
        ("sum(OL_AMOUNT)", right),
        &format!("customer {customer}"),
    )
}

fn delivered(state: &Database, district: District, join: Join) -> i64 {
    let orders = state.orders.iter().filter(|it| it.key.district == district);
    count(orders.filter(|order| state.has_carrier(&order.key, join)))
}

fn orders_and_new_orders(state: &Database, district: District, delivered: i64) -> Option<String> {
    let orders = count(state.orders.iter().filter(|it| it.key.district == district));
    let left = orders - count(new_orders_of(state, district));
    equal(
        ("(rows in ORDER) - (rows in NEW-ORDER)", left),
        ("the number of delivered orders", delivered),
        &format!("district {district}"),
    )
}
