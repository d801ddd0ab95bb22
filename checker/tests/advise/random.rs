//! Random small applications: types that are told not to coordinate are confluent together.

use std::collections::BTreeSet;

use checker::spec::advise::{Answer, Options, advise, together};
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

const INVARIANTS: [&str; 9] = [
    "kind = \"foreign-key\"\ntable = \"child\"\ncolumn = \"of\"\nreferences = \"parent\"",
    "kind = \"unique\"\ntable = \"child\"\ncolumns = [\"id\"]",
    "kind = \"sequential\"\ntable = \"child\"\ncolumn = \"id\"\nper = [\"of\"]",
    "kind = \"check\"\ntable = \"parent\"\nholds = \"left >= 0\"",
    "kind = \"check\"\ntable = \"parent\"\nholds = \"left - members >= 0\"",
    "kind = \"view\"\ntable = \"parent\"\ncolumn = \"members\"\nequals = \"count\"\nof = \"child\"\nby = \"of\"",
    "kind = \"view\"\ntable = \"parent\"\ncolumn = \"shown\"\nequals = \"count\"\nof = \"child\"\nby = \"of\"",
    "kind = \"not-equal\"\ntable = \"child\"\ncolumn = \"kind\"\nvalue = 2",
    "kind = \"size\"\ntable = \"child\"\ncolumn = \"tags\"\nholds = \"size <= 1\"",
];

const OPERATIONS: [&str; 12] = [
    "{ insert = \"parent\", values = { id = \"unique\", left = 2 } }",
    "{ insert = \"parent\", values = { id = \"given\" } }",
    "{ insert = \"child\", values = { id = \"unique\", of = \"$p\" } }",
    "{ insert = \"child\", values = { id = 1, of = \"own\" } }",
    "{ update = \"parent\", where = { id = \"$p\" }, increment = { members = 1 } }",
    "{ update = \"parent\", where = { id = \"$p\" }, decrement = { left = 1 } }",
    "{ update = \"parent\", pick = \"one\", increment = { left = 1 } }",
    "{ update = \"child\", pick = \"one\", assign = { kind = \"given\" } }",
    "{ update = \"child\", pick = \"one\", add = { tags = \"given\" } }",
    "{ delete = \"parent\", where = { id = \"$p\" } }",
    "{ delete = \"parent\", where = { id = \"$p\" }, cascade = true }",
    "{ delete = \"child\", pick = \"lowest id\" }",
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn types_that_need_no_coordination_are_confluent_together(text in applications()) {
        let advice = advise(&text, &Options::default().with_bound(1).unwrap()).unwrap();
        let free = advice.types.iter().filter(|it| it.answer == Answer::NoCoordination);
        let free: BTreeSet<String> = free.map(|it| it.name.clone()).collect();
        let bounds = Bounds::new(2, 2, 60_000).unwrap();
        if let Some(Verdict::NotConfluent { witness, .. }) = together(&text, &free, &bounds).unwrap() {
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
    let verdict = together(&text, &both, &Bounds::new(2, 1, 60_000).unwrap()).unwrap();
    assert!(verdict.unwrap().witness().is_some());
}
