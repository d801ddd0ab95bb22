//! Which statements a client may run, and in which form.
//!
//! Transactions and sessions belong to the site: a statement that ends one, or that leaves something behind in the other,
//! is refused by its first word. So is every word that is not known to be harmless.

use participant::OperationError;

/// What may stand first. All else is refused, also what later versions of the server will know.
const ALLOWED: [&str; 21] = [
    "ALTER", "ANALYZE", "CALL", "COMMENT", "CREATE", "DELETE", "DO", "DROP", "EXPLAIN", "GRANT",
    "INSERT", "LOCK", "MERGE", "REFRESH", "REVOKE", "SELECT", "SHOW", "TABLE", "TRUNCATE",
    "UPDATE", "VALUES",
];

/// What else may, because of what comes behind it.
const OPENING: [&str; 1] = ["WITH"];

/// What to do instead of a statement that ends or divides the transaction.
const TRANSACTION: &str = "the site begins, prepares and ends the transaction: end it with the client's commit or rollback";
/// The same for all else.
const SESSION: &str = "it would leave something behind in a session that others use, or needs more than one message: use a \
                       connection of your own for it";

/// Refuses what is not for a client to run.
pub(super) fn check(text: &str) -> Result<(), OperationError> {
    if text.contains('\0') {
        return Err(OperationError::Statement {
            code: "22021".to_owned(),
            why: "a statement has no zero bytes".to_owned(),
        });
    }
    let word = first_word(text).to_ascii_uppercase();
    if ALLOWED.contains(&&*word) || OPENING.contains(&&*word) || word == "(" {
        return Ok(());
    }
    let ends = [
        "ABORT",
        "BEGIN",
        "COMMIT",
        "END",
        "PREPARE",
        "RELEASE",
        "ROLLBACK",
        "SAVEPOINT",
        "START",
    ];
    Err(OperationError::NotYours {
        instead: if ends.contains(&&*word) {
            TRANSACTION
        } else {
            SESSION
        },
        what: if word.is_empty() {
            "nothing".to_owned()
        } else {
            word
        },
    })
}

/// The first word behind spaces and comments; `(` stands for itself, because a query may begin with it.
fn first_word(text: &str) -> &str {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = behind_comment(comment);
        } else {
            break;
        }
    }
    if rest.starts_with('(') {
        return &rest[..1];
    }
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    &rest[..end.unwrap_or(rest.len())]
}

/// What stands behind a comment that has begun: they are nested.
fn behind_comment(text: &str) -> &str {
    let mut depth = 1;
    let mut rest = text;
    while depth > 0 {
        let (open, close) = (rest.find("/*"), rest.find("*/"));
        let (at, step) = match (open, close) {
            (Some(open), Some(close)) if open < close => (open, 1),
            (_, Some(close)) => (close, -1),
            (_, None) => return "",
        };
        depth += step;
        rest = &rest[at + 2..];
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_the_transaction_or_stays_in_the_session_is_refused_whatever_stands_before_it() {
        for text in [
            "COMMIT",
            "commit;",
            " -- nothing\n rollback to savepoint a",
            "/* a /* b */ c */ Prepare Transaction 'x'",
            ";;END",
            "begin isolation level serializable",
            "SAVEPOINT a",
            "abort",
            "start transaction",
            "release a",
        ] {
            let Err(OperationError::NotYours { instead, .. }) = check(text) else {
                panic!("{text}");
            };
            assert_eq!(instead, TRANSACTION, "{text}");
        }
        for text in [
            "SET search_path TO other",
            "reset all",
            "LISTEN a",
            "NOTIFY a",
            "DISCARD ALL",
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
            "COPY a FROM STDIN",
            "VACUUM",
            "",
            "/* never ends",
            "commitment",
        ] {
            let Err(OperationError::NotYours { instead, .. }) = check(text) else {
                panic!("{text}");
            };
            assert_eq!(instead, SESSION, "{text}");
        }
        assert!(matches!(
            check("SELECT '\0'"),
            Err(OperationError::Statement { .. })
        ));
    }

    #[test]
    fn what_reads_and_changes_data_is_allowed() {
        for text in [
            "SELECT 1",
            "(SELECT 1) UNION (SELECT 2)",
            "with a as (select 1) select * from a",
            "\n\t/**/update t set a = 1",
            "TABLE t",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }
}
