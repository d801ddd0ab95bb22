//! Checks whose bound is not 0, and how far a search says it went.

use checker::spec::advise::{Answer, Options, Site, advise};

use crate::{BY_ITEM, DELIVER, advice_of, shop};

/// Accounts with two counters, a check of both, and two types that each change a row of their own.
fn accounts(holds: &str, one: &str, other: &str) -> String {
    let update = |change: &str| format!("{{ update = \"accounts\", rows = \"own\", {change} }}");
    format!(
        "application = \"bank\"\n[tables.accounts]\ncolumns = [\"id\"]\ncounters = [\"a\", \"b\"]\nkey = \"id\"\n\
         lives = {{ by = \"id\" }}\n[[invariants]]\nkind = \"check\"\ntable = \"accounts\"\nholds = \"{holds}\"\n\
         [[transactions]]\nname = \"one\"\noperations = [{}]\n[[transactions]]\nname = \"other\"\n\
         operations = [{}]\n",
        update(one),
        update(other)
    )
}

#[test]
fn sums_of_two_counters_are_ordered_at_any_bound() {
    let down = |column: &str| format!("decrement = {{ {column} = 1 }}");
    let up = "increment = { b = 1 }";
    for (holds, one, other) in [
        ("a + b >= 100", &*down("a"), &*down("b")),
        ("a - b >= 10", &down("a"), up),
        ("2 * a + 3 * b >= 100", &down("a"), &down("b")),
        ("6 * a - 10 * b > 7", &down("a"), up),
        ("a + b != 100", &down("a"), up),
    ] {
        let advice = advice_of(&accounts(holds, one, other));
        let of = Site::Of("id".to_owned());
        for its in &advice.types {
            let site = of.clone();
            assert_eq!(its.answer, Answer::SingleSite { site }, "{holds}\n{advice}");
            assert!(its.reasons[0].witness.is_some(), "{advice}");
        }
    }
}

#[test]
fn sums_that_only_move_away_from_the_bound_are_free() {
    let down = "decrement = { a = 2 }, increment = { b = 2 }";
    let advice = advice_of(&accounts("a + b >= 100", "increment = { a = 5 }", down));
    for its in &advice.types {
        assert_eq!(its.answer, Answer::NoCoordination, "{advice}");
    }
}

#[test]
fn amounts_that_no_model_counts_to_coordinate() {
    let text = "application = \"far\"\n[tables.t]\ncolumns = []\ncounters = [\"a\", \"b\"]\n[[invariants]]\n\
                kind = \"check\"\ntable = \"t\"\nholds = \"1000000 * a + b >= 0\"\n[[transactions]]\nname = \"it\"\n\
                operations = [{ update = \"t\", decrement = { a = 5000 } }]\n";
    let advice = advice_of(text);
    assert_eq!(advice.types[0].answer, Answer::AcrossSites);
    let why = &advice.types[0].reasons[0].text;
    assert!(
        why.contains("not recognised: its bound is too far away"),
        "{why}"
    );
}

#[test]
fn a_bound_on_what_is_copied_from_a_counter_is_not_recognised() {
    let text = "application = \"copy\"\n[tables.t]\ncolumns = [\"seen\"]\ncounters = [\"a\", \"b\"]\n[[invariants]]\n\
                kind = \"check\"\ntable = \"t\"\nholds = \"b >= 0\"\n[[transactions]]\nname = \"it\"\n\
                depends-on-reads = false\noperations = [{ read = \"t\", as = \"r\" }, \
                { update = \"t\", decrement = { b = \"r.a\" } }]\n";
    let advice = advice_of(text);
    assert_eq!(advice.types[0].answer, Answer::AcrossSites);
    let why = &advice.types[0].reasons[0].text;
    assert!(why.contains("copies a counter"), "{why}");
}

#[test]
fn a_search_says_no_more_transactions_than_it_ran() {
    let text = shop(BY_ITEM, "", DELIVER);
    let searched = |bound| {
        let options = Options::default().with_bound(bound).unwrap();
        let advice = advise(&text, &options).unwrap();
        advice.invariants[0].searched.unwrap()
    };
    let two = searched(2);
    assert!(two.transactions_each == 2 && two.deeply > 0, "{two:?}");
    let six = searched(6);
    assert_eq!(
        (six.transactions_each, six.deeply),
        (1, 0),
        "no room for six"
    );
    assert!(!six.to_string().contains("up to 6"), "{six}");
    assert_eq!(searched(1).deeply, 0);
}
