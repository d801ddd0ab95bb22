//! Runs one request as one transaction and notes what it saw.

use anyhow::anyhow;

use crate::database::{Answer, Op, Range, Stop, Transaction};
use crate::invariants::{self, Impossible};
use crate::schema;
use crate::site::{Pair, Site};
use crate::workload::{Account, Half, Request, Sizes};

/// Which counts a committed request has raised.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Raised {
    /// A counter at both sites of a pair.
    Counter(Pair, u32),
    /// The twin counts of a site.
    Twin(Site, u32),
}

/// What a request did and saw; it counts only if the transaction commits.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Seen {
    /// A rule that was broken before its eyes.
    pub(crate) impossible: Option<Impossible>,
    /// What it raised, and by how much.
    pub(crate) raised: Option<(Raised, i64)>,
}

/// Runs `request` in `txn`, which is not committed yet.
pub(crate) async fn perform<T: Transaction>(
    txn: &mut T,
    request: Request,
    sizes: Sizes,
    tag: &str,
) -> Result<Seen, Stop> {
    let impossible = match request {
        Request::Transfer { from, to, amount } => transfer(txn, from, to, amount).await?,
        Request::Audit => audit(txn, sizes).await?,
        Request::Take { half, other_first } => take(txn, half, other_first, tag).await?,
        Request::Restore { half } => {
            set(txn, half, 1, tag).await?;
            None
        }
        Request::Look { pair, register } => {
            let halves = at_each(txn, pair, schema::register(pair, register), [0, 1]).await?;
            invariants::registers(pair, register, halves)
        }
        Request::Insert { pair, row } => {
            let op = Op::Put(schema::row(pair, row), tag.as_bytes().to_vec());
            at_both(txn, pair, op).await?;
            None
        }
        Request::Remove { pair, row } => {
            at_both(txn, pair, Op::Delete(schema::row(pair, row))).await?;
            None
        }
        Request::Count { pair } => count(txn, pair).await?,
        Request::Increment { pair, counter, by } => {
            at_both(txn, pair, Op::Increment(schema::counter(pair, counter), by)).await?;
            let raised = Some((Raised::Counter(pair, counter), by));
            return Ok(Seen {
                impossible: None,
                raised,
            });
        }
        Request::Compare { pair, counter } => {
            let counts = at_each(txn, pair, schema::counter(pair, counter), [0, 1]).await?;
            invariants::counters(pair, counter, counts)
        }
        Request::LocalIncrement { site, twin, by } => {
            let ops = [false, true].map(|right| Op::Increment(schema::twin(twin, right), by));
            txn.execute(site, ops.to_vec()).await?;
            let raised = Some((Raised::Twin(site, twin), by));
            return Ok(Seen {
                impossible: None,
                raised,
            });
        }
        Request::LocalCompare { site, twin } => compare_twins(txn, site, twin).await?,
        Request::LocalCount { site, pair } => recount(txn, site, pair).await?,
    };
    Ok(Seen {
        impossible,
        raised: None,
    })
}

async fn transfer<T: Transaction>(
    txn: &mut T,
    from: Account,
    to: Account,
    amount: i64,
) -> Result<Option<Impossible>, Stop> {
    let available = number(txn, from.site, schema::account(from.number)).await?;
    let held = number(txn, to.site, schema::account(to.number)).await?;
    if available >= amount {
        let take = Op::Put(
            schema::account(from.number),
            schema::encode(available - amount),
        );
        let give = Op::Put(schema::account(to.number), schema::encode(held + amount));
        txn.execute(from.site, vec![take]).await?;
        txn.execute(to.site, vec![give]).await?;
    }
    let overdrawn = invariants::balance(from, available);
    Ok(overdrawn.or_else(|| invariants::balance(to, held)))
}

async fn audit<T: Transaction>(txn: &mut T, sizes: Sizes) -> Result<Option<Impossible>, Stop> {
    let mut found = 0;
    for site in sizes.sites.all() {
        for (_, value) in scan(txn, site, schema::accounts()).await? {
            found += decode(Some(&value))?;
        }
    }
    Ok(invariants::total(schema::grand_total(sizes), found))
}

async fn count<T: Transaction>(txn: &mut T, pair: Pair) -> Result<Option<Impossible>, Stop> {
    let [first, second] = pair.sites();
    let left = keys(txn, first, schema::rows(pair)).await?;
    let right = keys(txn, second, schema::rows(pair)).await?;
    Ok(invariants::rows(pair, [&left, &right]))
}

async fn compare_twins<T: Transaction>(
    txn: &mut T,
    site: Site,
    twin: u32,
) -> Result<Option<Impossible>, Stop> {
    let left = number(txn, site, schema::twin(twin, false)).await?;
    let right = number(txn, site, schema::twin(twin, true)).await?;
    Ok(invariants::twins(site, twin, [left, right]))
}

async fn recount<T: Transaction>(
    txn: &mut T,
    site: Site,
    pair: Pair,
) -> Result<Option<Impossible>, Stop> {
    let first = keys(txn, site, schema::rows(pair)).await?;
    let second = keys(txn, site, schema::rows(pair)).await?;
    Ok(invariants::recount(site, pair, [&first, &second]))
}

async fn take<T: Transaction>(
    txn: &mut T,
    half: Half,
    other_first: bool,
    tag: &str,
) -> Result<Option<Impossible>, Stop> {
    let Half {
        pair,
        register,
        side,
        ..
    } = half;
    let first = if other_first { 1 - side } else { side };
    let key = schema::register(pair, register);
    let halves = at_each(txn, pair, key, [first, 1 - first]).await?;
    if halves == [1, 1] {
        set(txn, half, 0, tag).await?;
    }
    Ok(invariants::registers(pair, register, halves))
}

/// Sets one half of a register pair and leaves a note of who did.
async fn set<T: Transaction>(txn: &mut T, half: Half, value: i64, tag: &str) -> Result<(), Stop> {
    let Half {
        pair,
        register,
        side,
        note,
    } = half;
    let set = Op::Put(schema::register(pair, register), schema::encode(value));
    let sign = Op::Put(schema::note(note), tag.as_bytes().to_vec());
    txn.execute(pair.sites()[side], vec![set, sign]).await?;
    Ok(())
}

/// Reads a number at both sites of a pair, in the given order.
async fn at_each<T: Transaction>(
    txn: &mut T,
    pair: Pair,
    key: schema::Key,
    order: [usize; 2],
) -> Result<[i64; 2], Stop> {
    let mut numbers = [0; 2];
    for half in order {
        numbers[half] = number(txn, pair.sites()[half], key.clone()).await?;
    }
    Ok(numbers)
}

/// Does the same at both sites of a pair.
async fn at_both<T: Transaction>(txn: &mut T, pair: Pair, op: Op) -> Result<(), Stop> {
    let [first, second] = pair.sites();
    txn.execute(first, vec![op.clone()]).await?;
    txn.execute(second, vec![op]).await?;
    Ok(())
}

/// Reads a number.
async fn number<T: Transaction>(txn: &mut T, site: Site, key: schema::Key) -> Result<i64, Stop> {
    match one(txn.execute(site, vec![Op::Get(key)]).await?)? {
        Answer::Value(value) => decode(value.as_deref()),
        other @ (Answer::Rows(_) | Answer::Done) => Err(unexpected(&other)),
    }
}

/// The keys of a range.
async fn keys<T: Transaction>(
    txn: &mut T,
    site: Site,
    range: Range,
) -> Result<Vec<schema::Key>, Stop> {
    Ok(scan(txn, site, range)
        .await?
        .into_iter()
        .map(|(key, _)| key)
        .collect())
}

/// The rows of a range.
pub(crate) async fn scan<T: Transaction>(
    txn: &mut T,
    site: Site,
    range: Range,
) -> Result<Vec<(schema::Key, Vec<u8>)>, Stop> {
    match one(txn.execute(site, vec![Op::Scan(range)]).await?)? {
        Answer::Rows(rows) => Ok(rows),
        other @ (Answer::Value(_) | Answer::Done) => Err(unexpected(&other)),
    }
}

/// A stored number, or the complaint that it is none.
pub(crate) fn decode(value: Option<&[u8]>) -> Result<i64, Stop> {
    schema::decode(value)
        .ok_or_else(|| Stop::Failed(anyhow!("a site returned {value:?}, which is no number")))
}

fn one(answers: Vec<Answer>) -> Result<Answer, Stop> {
    let count = answers.len();
    let mut answers = answers.into_iter();
    match (answers.next(), answers.next()) {
        (Some(answer), None) => Ok(answer),
        _ => Err(Stop::Failed(anyhow!(
            "a site gave {count} answers to one operation"
        ))),
    }
}

fn unexpected(answer: &Answer) -> Stop {
    Stop::Failed(anyhow!(
        "a site answered {answer:?} to an operation of another kind"
    ))
}
