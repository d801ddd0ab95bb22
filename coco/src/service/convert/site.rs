//! What clients and sites say to each other.

use co_core::{Gtid, Priority, Stamp};

use super::{MalformedWire, cause_of, cause_to_wire, stamp_of};
use crate::service::site::{
    Execute, ExecuteAnswer, ExecuteOutcome, NewLocal, Operation, OperationReply, Range, Row,
    SiteStatistics, SiteTxn, Table,
};
use crate::service::wire;

pub(crate) fn execute_to_wire(request: Execute) -> wire::ExecuteRequest {
    use wire::execute_request::Txn;
    let txn = match request.txn {
        SiteTxn::Global(gtid) => Txn::Gtid(gtid.0),
        SiteTxn::Local(name) => Txn::Local(name),
        SiteTxn::NewLocal => Txn::NewLocal(true),
    };
    wire::ExecuteRequest {
        txn: Some(txn),
        begin_priority: request.begin.map(|priority| priority.0),
        operations: request
            .operations
            .into_iter()
            .map(operation_to_wire)
            .collect(),
    }
}

pub(crate) fn execute_of(request: wire::ExecuteRequest) -> Result<Execute, MalformedWire> {
    use wire::execute_request::Txn;
    let txn = match request
        .txn
        .ok_or(MalformedWire::Missing("execute_request.txn"))?
    {
        Txn::Gtid(gtid) => SiteTxn::Global(Gtid(gtid)),
        Txn::Local(name) => SiteTxn::Local(name),
        Txn::NewLocal(true) => SiteTxn::NewLocal,
        Txn::NewLocal(false) => return Err(MalformedWire::Missing("execute_request.txn")),
    };
    Ok(Execute {
        txn,
        begin: request.begin_priority.map(Priority),
        operations: request
            .operations
            .into_iter()
            .map(operation_of)
            .collect::<Result<_, _>>()?,
    })
}

fn operation_to_wire(operation: Operation) -> wire::Operation {
    use wire::operation::Operation as Wire;
    let operation = match operation {
        Operation::Get(key) => Wire::Get(key),
        Operation::Put(key, value) => Wire::Put(wire::KeyValue { key, value }),
        Operation::Delete(key) => Wire::Delete(key),
        Operation::Scan(range) => Wire::Scan(range_to_wire(range)),
        Operation::Increment(key, by) => Wire::Increment(wire::Increment { key, by }),
        Operation::Declare(keys) => Wire::Declare(wire::Keys { keys }),
        Operation::Sql(statement) => Wire::Sql(statement),
    };
    wire::Operation {
        operation: Some(operation),
    }
}

fn operation_of(operation: wire::Operation) -> Result<Operation, MalformedWire> {
    use wire::operation::Operation as Wire;
    Ok(
        match operation
            .operation
            .ok_or(MalformedWire::Missing("operation"))?
        {
            Wire::Get(key) => Operation::Get(key),
            Wire::Put(wire::KeyValue { key, value }) => Operation::Put(key, value),
            Wire::Delete(key) => Operation::Delete(key),
            Wire::Scan(range) => Operation::Scan(range_of(range)),
            Wire::Increment(wire::Increment { key, by }) => Operation::Increment(key, by),
            Wire::Declare(wire::Keys { keys }) => Operation::Declare(keys),
            Wire::Sql(statement) => Operation::Sql(statement),
        },
    )
}

pub(crate) fn range_to_wire(range: Range) -> wire::KeyRange {
    wire::KeyRange {
        low: range.low,
        high: range.high,
    }
}

pub(crate) fn range_of(range: wire::KeyRange) -> Range {
    Range {
        low: range.low,
        high: range.high,
    }
}

pub(crate) fn execute_answer_to_wire(answer: ExecuteAnswer) -> wire::ExecuteReply {
    use wire::execute_reply::Outcome;
    let outcome = match answer.outcome {
        ExecuteOutcome::Results(results) => {
            let results = results.into_iter().map(result_to_wire).collect();
            Outcome::Results(wire::Results { results })
        }
        ExecuteOutcome::Aborted(cause) => Outcome::Aborted(wire::Aborted {
            cause: cause_to_wire(cause),
        }),
        ExecuteOutcome::Refused(refused) => Outcome::Refused(refused.into()),
    };
    wire::ExecuteReply {
        local: answer.local.map_or(0, |local| local.name),
        local_priority: answer.local.map_or(0, |local| local.priority.0),
        outcome: Some(outcome),
    }
}

pub(crate) fn execute_answer_of(reply: wire::ExecuteReply) -> Result<ExecuteAnswer, MalformedWire> {
    use wire::execute_reply::Outcome;
    let outcome = match reply
        .outcome
        .ok_or(MalformedWire::Missing("execute_reply.outcome"))?
    {
        Outcome::Results(results) => {
            let results = results
                .results
                .into_iter()
                .map(result_of)
                .collect::<Result<_, _>>()?;
            ExecuteOutcome::Results(results)
        }
        Outcome::Aborted(aborted) => {
            ExecuteOutcome::Aborted(cause_of(aborted.cause, "aborted.cause")?)
        }
        Outcome::Refused(refused) => ExecuteOutcome::Refused(refused.into()),
    };
    // Names of local transactions begin at one.
    let local = (reply.local != 0).then_some(NewLocal {
        name: reply.local,
        priority: Priority(reply.local_priority),
    });
    Ok(ExecuteAnswer { local, outcome })
}

fn result_to_wire(reply: OperationReply) -> wire::OperationResult {
    use wire::operation_result::Result as Wire;
    let result = match reply {
        OperationReply::Value(value) => Wire::Value(wire::OptionalValue { value }),
        OperationReply::Rows(rows) => Wire::Rows(rows_to_wire(rows)),
        OperationReply::Done => Wire::Done(true),
        OperationReply::Table(table) => Wire::Table(table_to_wire(table)),
    };
    wire::OperationResult {
        result: Some(result),
    }
}

fn result_of(result: wire::OperationResult) -> Result<OperationReply, MalformedWire> {
    use wire::operation_result::Result as Wire;
    Ok(
        match result
            .result
            .ok_or(MalformedWire::Missing("operation_result"))?
        {
            Wire::Value(value) => OperationReply::Value(value.value),
            Wire::Rows(rows) => OperationReply::Rows(rows_of(rows)),
            Wire::Done(_) => OperationReply::Done,
            Wire::Table(table) => OperationReply::Table(table_of(table)?),
        },
    )
}

fn table_to_wire(table: Table) -> wire::Table {
    let row = |cells: Vec<Option<String>>| wire::TableRow {
        cells: cells.into_iter().map(|text| wire::Cell { text }).collect(),
    };
    wire::Table {
        columns: table.columns,
        rows: table.rows.into_iter().map(row).collect(),
        affected: table.affected,
    }
}

/// A row has a cell for each column.
fn table_of(table: wire::Table) -> Result<Table, MalformedWire> {
    let width = table.columns.len();
    let row = |row: wire::TableRow| {
        let cells: Vec<_> = row.cells.into_iter().map(|cell| cell.text).collect();
        if cells.len() == width {
            Ok(cells)
        } else {
            Err(MalformedWire::Missing("table.rows.cells"))
        }
    };
    Ok(Table {
        rows: table.rows.into_iter().map(row).collect::<Result<_, _>>()?,
        columns: table.columns,
        affected: table.affected,
    })
}

pub(crate) fn rows_to_wire(rows: Vec<Row>) -> wire::Rows {
    let row = |(key, value)| wire::KeyValue { key, value };
    wire::Rows {
        rows: rows.into_iter().map(row).collect(),
    }
}

pub(crate) fn rows_of(rows: wire::Rows) -> Vec<Row> {
    rows.rows
        .into_iter()
        .map(|row| (row.key, row.value))
        .collect()
}

pub(crate) fn query_of(request: wire::QueryRequest) -> Result<(Stamp, Range), MalformedWire> {
    let range = request
        .range
        .ok_or(MalformedWire::Missing("query_request.range"))?;
    let stamp = stamp_of(request.stamp, "query_request.stamp")?;
    Ok((stamp, range_of(range)))
}

pub(crate) fn site_statistics_to_wire(statistics: SiteStatistics) -> wire::SiteStatisticsReply {
    wire::SiteStatisticsReply {
        engine: statistics.engine,
        votes_requested: statistics.votes_requested,
        votes_withheld: statistics.votes_withheld,
        local_cycles: statistics.local_cycles,
        overtaken: statistics.overtaken,
        in_flight: statistics.in_flight,
    }
}

pub(crate) fn site_statistics_of(reply: wire::SiteStatisticsReply) -> SiteStatistics {
    SiteStatistics {
        engine: reply.engine,
        votes_requested: reply.votes_requested,
        votes_withheld: reply.votes_withheld,
        local_cycles: reply.local_cycles,
        overtaken: reply.overtaken,
        in_flight: reply.in_flight,
    }
}
