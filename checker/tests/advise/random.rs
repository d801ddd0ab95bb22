//! Random small applications: types that are told not to coordinate are confluent together.

use std::collections::BTreeSet;

use checker::spec::advise::{Advice, Answer, Options, Running, advise, together};
use checker::spec::confluence::{Bounds, Verdict};
use proptest::prelude::*;
use proptest::sample::subsequence;

const TABLES: &str = r#"
application = "random"
[tables.parent]
columns = ["id", "shown"]
counters = ["left", "members"]
key = "id"
lives = { site = "x" }
[tables.child]
columns = ["id", "of", "kind"]
sets = ["tags"]
lives = { by = "of" }
"#;

const INVARIANTS: [&str; 14] = [
    "kind = \"foreign-key\"\ntable = \"child\"\ncolumn = \"of\"\nreferences = \"parent\"",
    "kind = \"unique\"\ntable = \"child\"\ncolumns = [\"id\"]",
    "kind = \"sequential\"\ntable = \"child\"\ncolumn = \"id\"\nper = [\"of\"]",
    "kind = \"check\"\ntable = \"parent\"\nholds = \"left >= 0\"",
    "kind = \"check\"\ntable = \"parent\"\nholds = \"left - members >= 0\"",
    "kind = \"view\"\ntable = \"parent\"\ncolumn = \"members\"\nequals = \"count\"\nof = \"child\"\nby = \"of\"",
    "kind = \"view\"\ntable = \"parent\"\ncolumn = \"shown\"\nequals = \"count\"\nof = \"child\"\nby = \"of\"",
    "kind = \"null-while\"\ntable = \"parent\"\ncolumn = \"shown\"\nof = \"child\"\nby = \"of\"",
    "kind = \"null-while\"\ntable = \"parent\"\ncolumn = \"shown\"\nof = \"child\"\nby = \"of\"\nnull = \"kind\"",
    "kind = \"not-equal\"\ntable = \"child\"\ncolumn = \"kind\"\nvalue = 2",
    "kind = \"size\"\ntable = \"child\"\ncolumn = \"tags\"\nholds = \"size <= 1\"",
    "kind = \"check\"\ntable = \"parent\"\nholds = \"left + members >= 100\"",
    "kind = \"check\"\ntable = \"parent\"\nholds = \"2 * left + 3 * members >= 240\"",
    "kind = \"check\"\ntable = \"parent\"\nholds = \"left - members >= 18\"",
];

const OPERATIONS: [&str; 18] = [
    "{ insert = \"parent\", values = { id = \"unique\", left = 2 } }",
    "{ insert = \"parent\", values = { id = \"given\" } }",
    "{ insert = \"child\", values = { id = \"unique\", of = \"$p\" } }",
    "{ insert = \"child\", values = { id = 1, of = \"own\" } }",
    "{ update = \"parent\", where = { id = \"$p\" }, increment = { members = 1 } }",
    "{ update = \"parent\", where = { id = \"$p\" }, decrement = { left = 1 } }",
    "{ update = \"parent\", pick = \"one\", increment = { left = 1 } }",
    "{ update = \"child\", pick = \"one\", assign = { kind = \"given\" } }",
    "{ update = \"child\", where = { of = \"$p\" }, assign = { kind = \"null\" } }",
    "{ update = \"parent\", where = { id = \"$p\" }, assign = { shown = \"given\" } }",
    "{ update = \"parent\", where = { id = \"$p\" }, assign = { shown = \"null\" } }",
    "{ update = \"child\", pick = \"one\", add = { tags = \"given\" } }",
    "{ delete = \"parent\", where = { id = \"$p\" } }",
    "{ delete = \"parent\", where = { id = \"$p\" }, cascade = true }",
    "{ delete = \"child\", pick = \"lowest id\" }",
    "{ insert = \"parent\", values = { id = \"unique\", left = 60, members = 41 } }",
    "{ update = \"parent\", decrement = { members = 1 } }",
    "{ update = \"parent\", decrement = { left = 2 }, increment = { members = 1 } }",
];

fn applications() -> impl Strategy<Value = String> {
    let invariants = subsequence(INVARIANTS.to_vec(), 1..=3);
    let operations = || subsequence(OPERATIONS.to_vec(), 1..=2);
    (invariants, prop::collection::vec(operations(), 2..=3)).prop_map(|(invariants, types)| {
        let mut text = TABLES.to_owned();
        for invariant in invariants {
            text += &format!("[[invariants]]\n{invariant}\n");
        }
        for (number, operations) in types.iter().enumerate() {
            let operations = operations.join(", ");
            text +=
                &format!("[[transactions]]\nname = \"t{number}\"\noperations = [{operations}]\n");
        }
        text
    })
}

/// Ordered types run behind a barrier: they see all that ran before, and all that runs later sees them.
fn as_advised(advice: &Advice) -> Running {
    let mut running = Running::default();
    for its in &advice.types {
        let types = match its.answer {
            Answer::NoCoordination => &mut running.free,
            Answer::SingleSite { .. } => continue,
            Answer::AcrossSites => &mut running.across_sites,
        };
        types.insert(its.name.clone());
    }
    running
}

/// A check of two counters: factors, how it compares, the bound; and by how much each of two types moves each counter.
type Check = ([i64; 2], &'static str, i64, [[i64; 2]; 2]);

fn checks() -> impl Strategy<Value = Check> {
    let factor = || prop_oneof![1..=6_i64, -6..=-1_i64];
    let amounts = || [-30..=30_i64, -30..=30_i64];
    (
        [factor(), factor()],
        prop::sample::select(vec![">=", ">", "<=", "<", "!="]),
        -900..=900_i64,
        [amounts(), amounts()],
    )
        .prop_filter("each type moves something", |(.., types)| {
            types.iter().all(|it| *it != [0, 0])
        })
}

fn application((factors, sign, bound, types): &Check) -> String {
    let mut text = format!(
        "application = \"random\"\n[tables.t]\ncolumns = [\"id\"]\ncounters = [\"a\", \"b\"]\n[[invariants]]\n\
         kind = \"check\"\ntable = \"t\"\nholds = \"{} * a {} {} * b {sign} {bound}\"\n",
        factors[0].abs(),
        if (factors[0] < 0) == (factors[1] < 0) {
            "+"
        } else {
            "-"
        },
        factors[1].abs(),
    );
    for (number, amounts) in types.iter().enumerate() {
        let changes = |wanted: bool| {
            let all = ["a", "b"].into_iter().zip(amounts);
            let all = all.filter(|(_, it)| **it != 0 && (**it > 0) == wanted);
            let all = all.map(|(column, it)| format!("{column} = {}", it.abs()));
            all.collect::<Vec<_>>().join(", ")
        };
        let (more, less) = (changes(true), changes(false));
        let mut change = Vec::new();
        for (how, which) in [("increment", more), ("decrement", less)] {
            if !which.is_empty() {
                change.push(format!("{how} = {{ {which} }}"));
            }
        }
        let change = change.join(", ");
        text += &format!(
            "[[transactions]]\nname = \"t{number}\"\noperations = [{{ update = \"t\", {change} }}]\n"
        );
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Two executions of a type that moves a sum towards its bound break it from somewhere, and no others do.
    #[test]
    fn a_type_is_free_only_if_it_moves_no_sum_towards_its_bound(check in checks()) {
        let (factors, sign, _, types) = &check;
        // The first factor is written as it is without its sign: the sum is negated where that is negative.
        let first = factors[0].signum();
        let text = application(&check);
        let advice = advise(&text, &Options::default().with_bound(1).unwrap()).unwrap();
        for (its, amounts) in advice.types.iter().zip(types) {
            let step = first * (factors[0] * amounts[0] + factors[1] * amounts[1]);
            let is_free = its.answer == Answer::NoCoordination;
            match *sign {
                ">=" | ">" => prop_assert_eq!(is_free, step >= 0, "{}\n{}", text, advice),
                "<=" | "<" => prop_assert_eq!(is_free, step <= 0, "{}\n{}", text, advice),
                _ => prop_assert!(!is_free || step == 0, "{}\n{}", text, advice),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn types_that_run_as_advised_are_confluent_together(text in applications()) {
        let advice = advise(&text, &Options::default().with_bound(1).unwrap()).unwrap();
        let bounds = Bounds::new(2, 2, 60_000).unwrap();
        if let Some(Verdict::NotConfluent { witness, .. }) = together(&text, &as_advised(&advice), &bounds).unwrap() {
            prop_assert!(false, "{text}\n{advice}\n{witness}");
        }
    }
}

/// What changes columns that are null while other rows are there, and those rows.
const LINKED: [&str; 8] = [
    "{ insert = \"parent\", values = { id = \"given\", shown = \"given\" } }",
    "{ insert = \"parent\", as = \"p\", values = { id = \"unique\", shown = \"null\" } }, \
     { insert = \"child\", values = { id = \"unique\", of = \"p.id\", kind = \"null\" } }",
    "{ insert = \"child\", values = { id = \"unique\", of = \"$p\", kind = \"given\" } }",
    "{ update = \"parent\", where = { id = \"$p\" }, assign = { shown = \"given\" } }",
    "{ update = \"child\", where = { of = \"$p\" }, assign = { kind = \"given\" } }",
    "{ update = \"child\", pick = \"one\", assign = { of = \"given\" } }",
    "{ delete = \"child\", where = { of = \"$p\" } }",
    "{ delete = \"child\", pick = \"one\" }",
];

fn linked() -> impl Strategy<Value = String> {
    let operations = || subsequence(LINKED.to_vec(), 1..=2);
    let types = prop::collection::vec(operations(), 2..=3);
    (prop::sample::select(INVARIANTS[7..=8].to_vec()), types).prop_map(|(invariant, types)| {
        let mut text = format!("{TABLES}[[invariants]]\n{invariant}\n");
        for (number, operations) in types.iter().enumerate() {
            let operations = operations.join(", ");
            text +=
                &format!("[[transactions]]\nname = \"t{number}\"\noperations = [{operations}]\n");
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_keeps_columns_null_runs_as_advised_and_is_confluent_together(text in linked()) {
        let advice = advise(&text, &Options::default().with_bound(1).unwrap()).unwrap();
        let bounds = Bounds::new(2, 2, 60_000).unwrap();
        if let Some(Verdict::NotConfluent { witness, .. }) = together(&text, &as_advised(&advice), &bounds).unwrap() {
            prop_assert!(false, "{text}\n{advice}\n{witness}");
        }
    }
}

/// The whole model can say no: without advice, it does.
#[test]
fn the_whole_model_finds_what_breaks() {
    let text = format!(
        "{TABLES}[[invariants]]\n{}\n[[transactions]]\nname = \"t\"\noperations = [{}]\n[[transactions]]\nname = \"u\"\n\
         operations = [{}]\n",
        INVARIANTS[3],
        OPERATIONS[1].replace("given\" }", "given\", left = 2 }"),
        OPERATIONS[5].replace("left = 1", "left = 2")
    );
    let both = BTreeSet::from(["t".to_owned(), "u".to_owned()]);
    let free = Running {
        free: both,
        ..Running::default()
    };
    let verdict = together(&text, &free, &Bounds::new(2, 1, 60_000).unwrap()).unwrap();
    assert!(verdict.unwrap().witness().is_some());
}

/// Behind the barrier, too: what is ordered opens the row that the free type then empties twice.
#[test]
fn the_whole_model_goes_on_behind_a_transaction_that_is_ordered() {
    let text = format!(
        "{TABLES}[[invariants]]\n{}\n[[transactions]]\nname = \"open\"\noperations = [{}]\n[[transactions]]\n\
         name = \"fill\"\noperations = [{}]\n[[transactions]]\nname = \"empty\"\noperations = [{}]\n",
        INVARIANTS[3],
        OPERATIONS[1],
        "{ update = \"parent\", increment = { left = 1 } }",
        "{ update = \"parent\", where = { id = 1 }, decrement = { left = 3 } }",
    );
    let names = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
    let running = |across: &[&str]| Running {
        free: names(&["fill", "empty"]),
        across_sites: names(across),
    };
    let bounds = Bounds::new(2, 1, 60_000).unwrap();
    let verdict = |across: &[&str]| together(&text, &running(across), &bounds).unwrap().unwrap();
    assert!(matches!(verdict(&[]), Verdict::Confluent { .. }));
    assert!(
        verdict(&["fill"]).witness().is_some(),
        "three fill it, the last of them ordered"
    );
}
