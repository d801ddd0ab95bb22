//! Which statements a client may run, and which names stand in them.
//!
//! Transactions and sessions belong to the site: a statement that ends one, or that leaves something behind in the other, is
//! refused. So is every first word that is not known to be harmless, and what reads past locks.
//!
//! A statement is taken to pieces only as far as is needed to find words: a name that is a table's anywhere may be a column's
//! where it stands, and is looked up all the same.

use participant::OperationError;

/// What may stand first. All else is refused, also what later versions of the server will know.
const ALLOWED: [&str; 8] = [
    "(", "delete", "insert", "replace", "select", "update", "values", "with",
];
/// What ends or divides the transaction.
const ENDS: [&str; 8] = [
    "begin",
    "commit",
    "release",
    "rollback",
    "savepoint",
    "start",
    "xa",
    "end",
];
/// What changes the tables themselves.
const DEFINES: [&str; 8] = [
    "alter", "create", "drop", "grant", "optimize", "rename", "revoke", "truncate",
];
/// Functions that take or give back the locks by which the site knows its sessions.
const LOCKS: [&str; 3] = ["get_lock", "release_all_locks", "release_lock"];
/// Words that no table has as its name, unless in quotes.
const RESERVED: [&str; 40] = [
    "and", "as", "asc", "between", "by", "case", "delete", "desc", "distinct", "else", "exists",
    "for", "from", "group", "having", "in", "inner", "insert", "into", "is", "join", "left",
    "like", "limit", "not", "null", "on", "or", "order", "replace", "select", "set", "then",
    "union", "update", "values", "when", "where", "with", "key",
];

const TRANSACTION: &str = "the site begins, prepares and ends the transaction: end it with the client's commit or rollback";
const DEFINITION: &str =
    "the server changes tables outside of transactions only: use a connection of your own for it";
const SESSION: &str = "it would leave something behind in a session that others use, or does more than read and write rows: \
                       use a connection of your own for it";
const ONE: &str = "another statement stands behind it: run them one by one";
const COMMENT: &str = "a comment that the server executes stands in it: write it without";
const VARIABLES: &str =
    "variables are the session's, which others use: write values, and read no variables";
const NAMED_LOCKS: &str =
    "named locks are the session's, which others use: use a connection of your own for them";
const SKIPS: &str =
    "it reads past the locks of others, which is no serial order: leave out SKIP LOCKED";
const FILES: &str =
    "it writes a file, which no rollback takes away: read the rows and write them yourself";

/// A name in a statement.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Name {
    /// What stands before it and a dot.
    pub(super) schema: Option<String>,
    pub(super) name: String,
    /// Whether a bracket opens behind it, as behind a function's.
    pub(super) called: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    Word(String),
    /// In backticks.
    Quoted(String),
    Text,
    Symbol(char),
}

impl Token {
    fn is(&self, symbol: char) -> bool {
        *self == Self::Symbol(symbol)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Word(found) if found.eq_ignore_ascii_case(word))
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Word(name) | Self::Quoted(name) => Some(name),
            Self::Text | Self::Symbol(_) => None,
        }
    }
}

/// Refuses what is not for a client to run; the names that stand in what is.
pub(super) fn check(text: &str) -> Result<Vec<Name>, OperationError> {
    let refuse = |what: &str, instead| {
        Err(OperationError::NotYours {
            what: what.to_owned(),
            instead,
        })
    };
    let tokens = tokens(text);
    let first = match tokens.first() {
        Some(Token::Word(word)) => word.to_lowercase(),
        Some(Token::Symbol('(')) => "(".to_owned(),
        Some(Token::Symbol('\u{1}')) => return refuse("a comment", COMMENT),
        Some(Token::Quoted(_) | Token::Text | Token::Symbol(_)) => {
            return refuse("no word", SESSION);
        }
        None => return refuse("nothing", SESSION),
    };
    let what = first.to_ascii_uppercase();
    let first = first.as_str();
    if !ALLOWED.contains(&first) {
        let instead = match first {
            _ if ENDS.contains(&first) => TRANSACTION,
            _ if DEFINES.contains(&first) => DEFINITION,
            _ => SESSION,
        };
        return refuse(&what, instead);
    }
    for (at, token) in tokens.iter().enumerate() {
        let next = tokens.get(at + 1);
        match token {
            Token::Symbol(';') if next.is_some_and(|next| !next.is(';')) => {
                return refuse(&what, ONE);
            }
            Token::Symbol('@') => return refuse(&what, VARIABLES),
            Token::Symbol('\u{1}') => return refuse(&what, COMMENT),
            token if token.is_word("outfile") || token.is_word("dumpfile") => {
                return refuse(&what, FILES);
            }
            token if token.is_word("skip") && next.is_some_and(|next| next.is_word("locked")) => {
                return refuse(&what, SKIPS);
            }
            Token::Word(_) | Token::Quoted(_) | Token::Text | Token::Symbol(_) => {}
        }
    }
    let names = names(&tokens);
    if takes_locks(&names) {
        return refuse(&what, NAMED_LOCKS);
    }
    Ok(names)
}

/// Whether the statement changes nothing by itself.
pub(super) fn only_reads(text: &str) -> bool {
    let changes = ["delete", "insert", "replace", "update"];
    !matches!(tokens(text).first(), Some(first) if changes.iter().any(|it| first.is_word(it)))
}

/// Whether named locks are among what is called.
pub(super) fn takes_locks(names: &[Name]) -> bool {
    let mut called = names.iter().filter(|it| it.called);
    called.any(|it| LOCKS.contains(&&*it.name.to_lowercase()))
}

/// The names in the text of a view, a function or a trigger.
pub(super) fn names_in(text: &str) -> Vec<Name> {
    names(&tokens(text))
}

/// Each word that may be a name, once.
fn names(tokens: &[Token]) -> Vec<Name> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Some(name) = token.name() else { continue };
        let before = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at));
        let schema = match before(1) {
            Some(Token::Symbol('.')) => before(2).and_then(Token::name),
            _ => None,
        };
        let plain = schema.is_none() && matches!(token, Token::Word(_));
        let digits = name.starts_with(|c: char| c.is_ascii_digit());
        if plain && (RESERVED.contains(&&*name.to_lowercase()) || digits) {
            continue;
        }
        found.push(Name {
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
            called: tokens.get(at + 1).is_some_and(|next| next.is('(')),
        });
    }
    found.sort();
    found.dedup();
    found
}

/// The pieces of a statement, as the server sees them at the adapter's `sql_mode`.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let behind = &rest[first.len_utf8()..];
        let dashes = rest.strip_prefix("--");
        let dashes = dashes.filter(|it| it.is_empty() || it.starts_with(|c: char| c <= ' '));
        if first.is_whitespace() || first.is_control() {
            rest = behind;
        } else if let Some(comment) = dashes.or_else(|| rest.strip_prefix('#')) {
            rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = match comment
                .strip_prefix("M!")
                .or_else(|| comment.strip_prefix('!'))
            {
                Some(executed) => {
                    // Never a character of a statement: control characters are passed over.
                    tokens.push(Token::Symbol('\u{1}'));
                    executed
                }
                None => comment.split_once("*/").map_or("", |(_, rest)| rest),
            };
        } else if first == '\'' || first == '"' {
            rest = quoted(behind, first, true).1;
            tokens.push(Token::Text);
        } else if first == '`' {
            let (name, behind) = quoted(behind, '`', false);
            tokens.push(Token::Quoted(name));
            rest = behind;
        } else if is_word(first) {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        } else {
            tokens.push(Token::Symbol(first));
            rest = behind;
        }
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// What stands up to the closing quote, which is doubled where it is meant, and what stands behind that.
fn quoted(text: &str, quote: char, backslashes: bool) -> (String, &str) {
    let mut inside = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        if c == '\\' && backslashes {
            characters.next();
        } else if c == quote {
            let behind = &text[at + 1..];
            if !behind.starts_with(quote) {
                return (inside, behind);
            }
            characters.next();
            inside.push(c);
        } else {
            inside.push(c);
        }
    }
    (inside, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> &'static str {
        match check(text) {
            Err(OperationError::NotYours { instead, .. }) => instead,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn what_is_not_for_a_client_is_refused_wherever_it_stands() {
        for (text, instead) in [
            ("COMMIT", TRANSACTION),
            (" -- nothing\n xa end 'x'", TRANSACTION),
            ("# nothing\nROLLBACK", TRANSACTION),
            ("/* a */ Savepoint s", TRANSACTION),
            ("CREATE TABLE t (a INT)", DEFINITION),
            ("truncate t", DEFINITION),
            ("SET autocommit = 0", SESSION),
            ("CALL p()", SESSION),
            ("DO RELEASE_LOCK('a')", SESSION),
            ("HANDLER t OPEN", SESSION),
            ("LOCK TABLES t READ", SESSION),
            ("", SESSION),
            ("`select`", SESSION),
            ("SELECT 1; COMMIT", ONE),
            ("SELECT ';' ; SELECT 2", ONE),
            ("SELECT /*! SQL_NO_CACHE */ 1", COMMENT),
            ("SELECT /*M!100000 1, */ 1", COMMENT),
            ("SELECT 1 INTO @a", VARIABLES),
            ("SELECT @@tx_isolation", VARIABLES),
            ("SELECT release_lock ('a')", NAMED_LOCKS),
            ("SELECT `GET_LOCK`('a', 1)", NAMED_LOCKS),
            ("SELECT a FROM t FOR UPDATE skip locked", SKIPS),
            ("SELECT 1 INTO OUTFILE '/tmp/x'", FILES),
        ] {
            assert_eq!(refused(text), instead, "{text}");
        }
    }

    #[test]
    fn what_stands_in_quotes_and_comments_is_nobodys_name() {
        let texts = [
            "SELECT 'it''s; @x \\' SKIP LOCKED', \"a\\\"; `b`\" -- @y\n, 1 /* get_lock( */;",
            "(SELECT 1) UNION (SELECT 2);;",
            "WITH 1 SELECT 1--1",
        ];
        for text in texts {
            assert_eq!(check(text), Ok(Vec::new()), "{text}");
        }
    }

    #[test]
    fn names_are_found_with_what_stands_before_them() {
        let name = |schema: Option<&str>, name: &str, called| Name {
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
            called,
        };
        let found = check("SELECT A.x, f(`Odd``t`.y) FROM db . T AS a WHERE `from` = 3").unwrap();
        assert_eq!(
            found,
            [
                name(None, "A", false),
                name(None, "Odd`t", false),
                name(None, "a", false),
                name(None, "db", false),
                name(None, "f", true),
                name(None, "from", false),
                name(Some("A"), "x", false),
                name(Some("Odd`t"), "y", false),
                name(Some("db"), "T", false),
            ]
        );
    }
}
