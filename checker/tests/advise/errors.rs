//! Every error names its line, and what to write instead.

use checker::spec::advise::{Options, advise};

/// Line 3 is a table, line 6 an invariant, line 10 a transaction's operations.
fn application(table: &str, invariant: &str, operation: &str) -> String {
    format!(
        "application = \"a\"\n[tables.item]\n{table}\n\n[[invariants]]\n{invariant}\n\n[[transactions]]\nname = \"t\"\n\
         operations = [{operation}]\n"
    )
}

const TABLE: &str = "columns = [\"id\", \"name\"]";
const INVARIANT: &str = "kind = \"not-null\"\ntable = \"item\"\ncolumn = \"name\"";
const OPERATION: &str = "{ insert = \"item\", values = { id = \"unique\" } }";

fn refused(text: &str, line: usize, message: &str) {
    let error = advise(text, &Options::default()).unwrap_err();
    assert_eq!(error.line, line, "{error}\n{text}");
    assert!(error.to_string().contains(message), "{error}\n{text}");
}

#[test]
fn names_that_are_not_known_are_named_with_the_nearest() {
    let with = |operation: &str| application(TABLE, INVARIANT, operation);
    for (operation, message) in [
        ("{ insert = \"itm\", values = {} }", "did you mean `item`?"),
        (
            "{ insert = \"item\", values = { nam = \"given\" } }",
            "did you mean `name`?",
        ),
        (
            "{ insert = \"item\", value = { name = \"given\" } }",
            "needs `values",
        ),
        (
            "{ insert = \"item\", values = {}, vlues = {} }",
            "did you mean `values`?",
        ),
        (
            "{ insert = \"item\", values = { name = \"givn\" } }",
            "did you mean `given`?",
        ),
        (
            "{ insert = \"item\", values = { name = \"next\" } }",
            "is sequential",
        ),
        (
            "{ insert = \"item\", values = { name = \"computed\" } }",
            "what view",
        ),
        (
            "{ insert = \"item\", values = { name = \"x.id\" } }",
            "there is no row `x`",
        ),
        (
            "{ update = \"item\", increment = { name = 1 } }",
            "plain column",
        ),
        ("{ update = \"item\" }", "an update needs"),
        (
            "{ update = \"item\", rows = \"own\", assign = { name = 1 } }",
            "is not partitioned",
        ),
        ("{ delete = \"item\", pick = \"first\" }", "lowest COLUMN"),
        ("{ scan = \"item\" }", "`{ scan }` is no operation"),
    ] {
        refused(&with(operation), 12, message);
    }
}

#[test]
fn tables_and_invariants_are_read_strictly() {
    for (table, message) in [
        ("columns = [\"id\"]\nkey = \"ix\"", "did you mean `id`?"),
        ("columns = [\"id\"]\nlives = { at = \"x\" }", "`{ site"),
        ("columns = [\"id\"]\nkeys = \"id\"", "did you mean `key`?"),
    ] {
        refused(&application(table, INVARIANT, OPERATION), 4, message);
    }
    for (line, invariant, message) in [
        (6, "kind = \"uniqe\"", "did you mean `unique`?"),
        (
            8,
            "kind = \"check\"\ntable = \"item\"\nholds = \"nam > 0\"",
            "did you mean `name`?",
        ),
        (
            8,
            "kind = \"check\"\ntable = \"item\"\nholds = \"name\"",
            "one of >=",
        ),
        (
            8,
            "kind = \"check\"\ntable = \"item\"\nholds = \"name > 0 or name < 9\"",
            "`or` is not in the language",
        ),
        (
            8,
            "kind = \"check\"\ntable = \"item\"\nholds = \"name >= 0 and 1\"",
            "`and` is not in the language",
        ),
        (
            8,
            "kind = \"check\"\ntable = \"item\"\nholds = \"name <= 99999999999999999999\"",
            "numbers are at most",
        ),
        (
            8,
            "kind = \"foreign-key\"\ntable = \"item\"\ncolumn = \"name\"\nreferences = \"item\"",
            "needs a `key",
        ),
        (
            9,
            "kind = \"not-null\"\ntable = \"item\"\ncolumn = \"name\"\nvalue = 1",
            "no key `value`",
        ),
    ] {
        let line = line + usize::from(message.contains("needs a `key"));
        refused(&application(TABLE, invariant, OPERATION), line, message);
    }
}

#[test]
fn what_is_not_toml_and_what_is_missing_have_a_line() {
    refused("application = \"a\"\n[tables\n", 2, "not TOML");
    refused("application = 1\n", 1, "expected a text");
    refused("application = \"a\"\n", 1, "needs `tables");
    refused(
        "application = \"a\"\ntable = 1\n[tables.a]\ncolumns = []\n[[transactions]]\nname = \"t\"\noperations = []\n",
        2,
        "did you mean `tables`?",
    );
}
