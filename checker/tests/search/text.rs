//! Reads `r|w(key,value,session,txn)`: a transaction is a run of lines with one session and number; -1 is a write of an
//! aborted transaction; 0 that nobody wrote is the initial value.

use std::collections::HashSet;

use checker::observed::{Observed, ObservedBuilder, Outcome};

pub(crate) fn read(text: &str, name: &str) -> Observed {
    let lines: Vec<(bool, [&str; 4])> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let fields = line.trim().trim_end_matches(')');
            let (kind, fields) = fields.split_once('(').unwrap();
            let fields: Vec<&str> = fields.split(',').map(str::trim).collect();
            (kind == "w", fields.try_into().unwrap())
        })
        .collect();
    let zeros: HashSet<&str> = lines
        .iter()
        .filter(|(w, f)| *w && f[1] == "0")
        .map(|(_, f)| f[0])
        .collect();
    let mut builder = ObservedBuilder::new(name);
    for (at, (write, [key, value, session, txn])) in lines.iter().enumerate() {
        let place = builder.key(key).unwrap();
        if *write {
            let value = builder.value(value).unwrap();
            builder.write(place, value).unwrap();
        } else {
            let value = if *value == "0" && !zeros.contains(key) {
                None
            } else {
                Some(builder.value(value).unwrap())
            };
            builder.read(place, value).unwrap();
        }
        let next = lines
            .get(at + 1)
            .map(|(_, [_, _, session, txn])| (*session, *txn));
        if *txn == "-1" || next != Some((*session, *txn)) {
            let outcome = if *txn == "-1" {
                Outcome::Aborted
            } else {
                Outcome::Committed
            };
            let session = session.parse().unwrap();
            builder
                .end(Some(session), outcome, None, u32::try_from(at + 1).unwrap())
                .unwrap();
        }
    }
    builder.finish()
}
