//! Advice: the worked examples, to the letter; what is not recognised; what is wrong with an input; and whether types
//! that are told not to coordinate are confluent together in a model that is made in another way.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is not as it must be"
)]

mod bounds;
mod errors;
mod random;

use std::path::Path;
use std::process::Command;

use checker::spec::advise::{Advice, Answer, Options, Site, advise};

pub(crate) fn advice_of(text: &str) -> Advice {
    advise(text, &Options::default()).unwrap()
}

pub(crate) fn answer<'a>(advice: &'a Advice, name: &str) -> &'a Answer {
    let mut types = advice.types.iter();
    &types.find(|it| it.name == name).unwrap().answer
}

fn example(name: &str) -> Advice {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = here.join(format!("../examples/advise/{name}.toml"));
    let advice = advice_of(&std::fs::read_to_string(path).unwrap());
    let golden = here.join(format!("tests/advise/golden/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, advice.to_string()).unwrap();
    }
    let wanted = std::fs::read_to_string(&golden).unwrap();
    assert_eq!(
        advice.to_string(),
        wanted,
        "UPDATE_GOLDEN=1 rewrites {golden:?}"
    );
    advice
}

fn of(partition: &str) -> Answer {
    Answer::SingleSite {
        site: Site::Of(partition.to_owned()),
    }
}

#[test]
fn tpc_c_needs_a_point_for_the_number_of_an_order_and_for_deliveries() {
    let advice = example("tpc-c");
    assert_eq!(*answer(&advice, "New-Order"), of("district"));
    assert_eq!(*answer(&advice, "Delivery"), of("district"));
    for free in ["Payment", "Order-Status", "Stock-Level"] {
        assert_eq!(*answer(&advice, free), Answer::NoCoordination, "{free}");
    }
    let new_order = &advice.types[0];
    let because: Vec<&str> = new_order
        .reasons
        .iter()
        .flat_map(|it| it.invariant.as_deref())
        .collect();
    assert_eq!(because.len(), 2, "only conditions 2 and 3: {because:?}");
    assert!(because[0].starts_with("condition 2") && because[1].starts_with("condition 3"));
    assert!(new_order.reasons.iter().all(|it| it.witness.is_some()));
}

#[test]
fn a_payroll_may_raise_and_not_cut_and_may_dissolve_and_not_close() {
    let advice = example("payroll");
    let headquarters = Answer::SingleSite {
        site: Site::Named("headquarters".to_owned()),
    };
    for free in [
        "hire",
        "raise a salary",
        "move to another department",
        "open a department",
        "dissolve a department",
    ] {
        assert_eq!(*answer(&advice, free), Answer::NoCoordination, "{free}");
    }
    assert_eq!(
        *answer(&advice, "hire with a number of one's choice"),
        headquarters
    );
    assert_eq!(*answer(&advice, "cut a salary"), headquarters);
    assert_eq!(*answer(&advice, "close a department"), Answer::AcrossSites);
}

#[test]
fn a_cart_coordinates_at_checkout_unless_that_has_a_manifest() {
    let advice = example("cart");
    for free in ["add an item", "delete an item", "checkout with a manifest"] {
        assert_eq!(*answer(&advice, free), Answer::NoCoordination, "{free}");
    }
    assert_eq!(*answer(&advice, "checkout"), Answer::AcrossSites);
}

#[test]
fn an_auction_takes_bids_anywhere_and_coordinates_when_it_closes() {
    let advice = example("auction");
    assert_eq!(*answer(&advice, "bid"), Answer::NoCoordination);
    assert_eq!(*answer(&advice, "close"), Answer::AcrossSites);
    let price = advice
        .invariants
        .iter()
        .find(|it| it.invariant.contains("price"))
        .unwrap();
    let instead = price.instead.as_ref().unwrap();
    assert_eq!(
        instead.types,
        ["bid", "close"],
        "or both at the auction's site"
    );
    assert_eq!(instead.site, Site::Of("auction".to_owned()));
}

/// A shop: how its stock lives, one more invariant, and what its only type does.
fn shop(lives: &str, invariant: &str, operations: &str) -> String {
    format!(
        "application = \"shop\"\n[tables.stock]\ncolumns = [\"item\", \"note\"]\ncounters = [\"left\"]\nkey = \"item\"\n{lives}\n\
         [[invariants]]\nkind = \"check\"\ntable = \"stock\"\nholds = \"left >= 0\"\n{invariant}\n\
         [[transactions]]\nname = \"it\"\noperations = [{operations}]\n"
    )
}

const BY_ITEM: &str = "lives = { by = \"item\" }";
const SELL: &str = "{ update = \"stock\", rows = \"own\", decrement = { left = 1 } }";
const NOTE: &str = "{ update = \"stock\", rows = \"own\", assign = { note = \"given\" } }";
const DELIVER: &str = "{ update = \"stock\", rows = \"own\", increment = { left = 700 } }";

#[test]
fn an_ordering_point_is_advised_only_where_the_rows_are_known_to_live() {
    let its = |text: &str| answer(&advice_of(text), "it").clone();
    assert_eq!(its(&shop(BY_ITEM, "", SELL)), of("item"));
    assert_eq!(
        its(&shop(
            "",
            "",
            "{ update = \"stock\", decrement = { left = 1 } }"
        )),
        Answer::AcrossSites
    );
    let any = "{ update = \"stock\", where = { item = \"given\" }, decrement = { left = 1 } }";
    assert_eq!(its(&shop(BY_ITEM, "", any)), Answer::AcrossSites);
    assert_eq!(its(&shop(BY_ITEM, "", DELIVER)), Answer::NoCoordination);
}

#[test]
fn amounts_far_from_the_bound_are_not_overlooked() {
    let sell = SELL.replace("left = 1", "left = 700");
    assert_eq!(
        *answer(&advice_of(&shop(BY_ITEM, "", &sell)), "it"),
        of("item")
    );
    let bound = "[[invariants]]\nkind = \"check\"\ntable = \"stock\"\nholds = \"3 * left <= 5000\"";
    assert_eq!(
        *answer(&advice_of(&shop(BY_ITEM, bound, DELIVER)), "it"),
        of("item")
    );
}

/// Parcels that have no carrier while they wait, and what happens to them.
fn mail(null: &str, types: &[(&str, &str)]) -> String {
    let text = format!(
        "application = \"mail\"\n[tables.parcels]\ncolumns = [\"id\", \"carrier\"]\nkey = \"id\"\n[tables.waiting]\n\
         columns = [\"parcel\", \"date\"]\n[[invariants]]\nname = \"carriers\"\nkind = \"null-while\"\n\
         table = \"parcels\"\ncolumn = \"carrier\"\nof = \"waiting\"\nby = \"parcel\"\n{null}\n"
    );
    types.iter().fold(text, |text, (name, operations)| {
        text + &format!("[[transactions]]\nname = \"{name}\"\noperations = [{operations}]\n")
    })
}

const POST: &str = "{ insert = \"parcels\", as = \"p\", values = { id = \"unique\", carrier = \"null\" } }, \
                    { insert = \"waiting\", values = { parcel = \"p.id\", date = \"null\" } }";
const TAKE: &str = "{ delete = \"waiting\", where = { parcel = \"$p\" } }";
const PUT: &str = "{ insert = \"waiting\", values = { parcel = \"$p\", date = \"given\" } }";

fn carrier(value: &str) -> String {
    format!(
        "{{ update = \"parcels\", where = {{ id = \"$p\" }}, assign = {{ carrier = \"{value}\" }} }}"
    )
}

fn date(value: &str) -> String {
    format!(
        "{{ update = \"waiting\", where = {{ parcel = \"$p\" }}, assign = {{ date = \"{value}\" }} }}"
    )
}

/// One that is sent and sent back at once may have no carrier and not wait, or wait and have one.
#[test]
fn a_column_that_is_null_while_a_row_is_there_asks_for_order_only_where_both_go_both_ways() {
    let rows = [
        format!("{}, {TAKE}", carrier("given")),
        format!("{}, {PUT}", carrier("null")),
    ];
    let columns = ["given", "null"].map(|it| format!("{}, {}", carrier(it), date(it)));
    for (null, [send, back]) in [("", rows), ("null = \"date\"", columns)] {
        let types = [("post", POST), ("send", &send), ("send back", &back)];
        let advice = advice_of(&mail(null, &types));
        for free in ["post", "send"] {
            let its = answer(&advice, free);
            assert_eq!(*its, Answer::NoCoordination, "{free}\n{advice}");
        }
        assert_eq!(
            *answer(&advice, "send back"),
            Answer::AcrossSites,
            "{advice}"
        );
        let reason = &advice.types[2].reasons[0];
        assert_eq!(reason.invariant.as_deref(), Some("carriers"));
        assert!(reason.witness.is_some(), "{advice}");
    }
}

/// Three tables; a table whose rows are each other's; and a row that is handed on, with its table before and after the other.
#[test]
fn models_have_rows_enough_for_what_must_be_there() {
    let depots = "application = \"mail\"\n[tables.parcels]\ncolumns = [\"id\", \"carrier\"]\nkey = \"id\"\n\
                  [tables.waiting]\ncolumns = [\"parcel\", \"depot\"]\n[tables.depots]\ncolumns = [\"id\"]\n\
                  counters = [\"n\"]\nkey = \"id\"\n[[invariants]]\nkind = \"null-while\"\ntable = \"parcels\"\n\
                  column = \"carrier\"\nof = \"waiting\"\nby = \"parcel\"\n[[transactions]]\nname = \"it\"\noperations = [\
                  { update = \"depots\", where = { id = \"$d\" }, increment = { n = 1 }, as = \"d\" }, \
                  { delete = \"waiting\", where = { depot = \"d.id\" }, pick = \"one\" }]\n";
    let nodes = "application = \"tree\"\n[tables.nodes]\ncolumns = [\"id\", \"parent\", \"leaf\"]\nkey = \"id\"\n\
                 [[invariants]]\nkind = \"null-while\"\ntable = \"nodes\"\ncolumn = \"leaf\"\nof = \"nodes\"\nby = \"parent\"\n\
                 [[transactions]]\nname = \"it\"\noperations = [{ delete = \"nodes\", where = { id = \"$n\" } }]\n";
    let hand_on = |null: &str, tables: [&str; 2]| {
        let [one, other] = tables;
        format!(
            "application = \"mail\"\n{one}{other}[[invariants]]\nkind = \"null-while\"\ntable = \"parcels\"\n\
             column = \"carrier\"\nof = \"waiting\"\nby = \"parcel\"\n{null}\n[[transactions]]\nname = \"it\"\noperations = [\
             {{ update = \"parcels\", where = {{ id = \"$a\" }}, assign = {{ carrier = \"given\" }}, as = \"x\" }}, \
             {{ update = \"parcels\", where = {{ id = \"$b\" }}, assign = {{ carrier = \"null\" }}, as = \"y\" }}, \
             {{ update = \"waiting\", where = {{ parcel = \"x.id\" }}, assign = {{ parcel = \"y.id\" }} }}]\n"
        )
    };
    let parcels = "[tables.parcels]\ncolumns = [\"id\", \"carrier\"]\nkey = \"id\"\n";
    let waiting = "[tables.waiting]\ncolumns = [\"parcel\", \"date\"]\n";
    for text in [
        depots.to_owned(),
        nodes.to_owned(),
        hand_on("", [parcels, waiting]),
        hand_on("", [waiting, parcels]),
    ] {
        let advice = advice_of(&text);
        assert_eq!(
            advice.types[0].answer,
            Answer::AcrossSites,
            "{text}{advice}"
        );
        assert!(
            advice.types[0].reasons[0].witness.is_some(),
            "{text}{advice}"
        );
    }
}

#[test]
fn a_column_that_is_null_while_a_row_is_there_is_broken_from_either_side() {
    let ready = "{ insert = \"parcels\", values = { id = \"given\", carrier = \"given\" } }";
    let one = "{ delete = \"waiting\", pick = \"one\" }";
    for (null, types, broken) in [
        (
            "",
            &[("ready", ready), ("wait", PUT)][..],
            "carrier is 1, and it has a row of waiting",
        ),
        (
            "",
            &[("take one", one)],
            "carrier is null, and it has no row of waiting",
        ),
        (
            "null = \"date\"",
            &[("post", &POST.replace("unique", "given")), ("wait", PUT)],
            "carrier is null, and its waiting.date is 1",
        ),
    ] {
        let advice = advice_of(&mail(null, types));
        let last = advice.types.last().unwrap();
        assert_eq!(last.answer, Answer::AcrossSites, "{advice}");
        let witness = last.reasons.iter().find_map(|it| it.witness.as_ref());
        let witness = witness.unwrap().to_string();
        assert!(witness.contains(broken), "{witness}");
    }
}

#[test]
fn what_is_not_recognised_coordinates() {
    let its = |invariant: &str, operations: &str| {
        let advice = advice_of(&shop(BY_ITEM, invariant, operations));
        let its = advice.types.into_iter().next().unwrap();
        assert_eq!(its.answer, Answer::AcrossSites, "{invariant} {operations}");
        its.reasons.last().unwrap().text.clone()
    };
    assert!(its("", "{ unknown = \"calls the bank\" }").contains("calls the bank"));
    assert!(its("[[invariants]]\ncustom = \"notes are polite\"", NOTE).contains("only text"));
    let of_stock = "[[invariants]]\ncustom = \"notes are polite\"\ntables = [\"stock\"]";
    assert!(its(of_stock, NOTE).contains("only text"));
    let reads = format!("{{ read = \"stock\" }}, {NOTE}");
    assert!(its("", &reads).contains("depends-on-reads"));
    let never = shop(
        BY_ITEM,
        "",
        &SELL.replace("left = 1", "left = 1, nothing = 1"),
    );
    assert!(
        advise(&never, &Options::default()).is_err(),
        "a column that is not there"
    );
}

#[test]
fn a_type_that_never_commits_in_the_model_coordinates() {
    let invariant =
        "[[invariants]]\nkind = \"equal\"\ntable = \"stock\"\ncolumn = \"note\"\nvalue = 7";
    let wrong = "{ update = \"stock\", rows = \"own\", assign = { note = 8 } }";
    let advice = advice_of(&shop(BY_ITEM, invariant, wrong));
    assert_eq!(advice.types[0].answer, Answer::AcrossSites);
    assert!(advice.types[0].reasons[0].text.contains("never commits"));
}

#[test]
fn reads_alone_and_reads_that_only_serve_invariants_are_free() {
    let reads = "{ read = \"stock\" }";
    assert_eq!(
        *answer(&advice_of(&shop(BY_ITEM, "", reads)), "it"),
        Answer::NoCoordination
    );
    let text = shop(BY_ITEM, "", &format!("{reads}, {NOTE}"));
    let text = text.replace("name = \"it\"", "name = \"it\"\ndepends-on-reads = false");
    assert_eq!(*answer(&advice_of(&text), "it"), Answer::NoCoordination);
}

fn co_check(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_co-check"));
    let output = command.arg("advise").args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn the_command_advises_in_words_as_json_and_as_markdown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.toml");
    std::fs::write(&path, shop(BY_ITEM, "", SELL)).unwrap();
    let path = path.to_str().unwrap();
    let (status, said, _) = co_check(&[path]);
    assert_eq!(status, Some(0));
    assert!(
        said.contains("it: SINGLE-SITE ORDERING POINT at the site of its own item"),
        "{said}"
    );
    assert!(!said.contains('\u{1b}'), "no colours where no terminal is");
    let (status, said, _) = co_check(&[path, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(status, Some(0));
    assert_eq!(json["types"][0]["answer"], "single-site");
    assert_eq!(json["types"][0]["reasons"][0]["witness"]["transactions"], 2);
    let (status, said, _) = co_check(&[path, "--markdown"]);
    assert_eq!(status, Some(0));
    assert!(
        said.contains("- SINGLE-SITE ORDERING POINT: one site"),
        "{said}"
    );
    assert!(
        said.starts_with("| transaction | coordination | because |\n|---|"),
        "{said}"
    );
}

#[test]
fn the_command_says_what_is_wrong_with_its_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.toml");
    std::fs::write(&path, shop(BY_ITEM, "", &SELL.replace("left", "lefd"))).unwrap();
    let path = path.to_str().unwrap();
    let (status, said, why) = co_check(&[path]);
    assert_eq!((status, said.as_str()), (Some(2), ""));
    let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        why.contains("line 14: there is no column of stock `lefd`; did you mean `left`?"),
        "{why}"
    );
    let (status, _, why) = co_check(&[path, "--bound", "0"]);
    assert!(status == Some(2) && why.contains("1 to 6"), "{why}");
    let (status, _, why) = co_check(&["nowhere.toml"]);
    assert!(status == Some(2) && why.contains("nowhere.toml"), "{why}");
}
