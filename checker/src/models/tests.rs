//! The tables agree with themselves and, where it is present, with the published facts.

use super::{Anomaly, AnomalySet, Model, ModelSet, prohibited, rules_out, strongest_left};

#[test]
fn the_lattice_has_no_cycle_and_one_bottom() {
    for &model in Model::ALL {
        for &weaker in model.weaker() {
            assert!(
                !weaker.implied().contains(model),
                "{model:?} and {weaker:?} imply each other"
            );
            assert!(
                (weaker as u32) < (model as u32),
                "ALL names {weaker:?} after {model:?}"
            );
        }
        assert!(
            model.implied().contains(Model::ReadUncommitted),
            "{model:?}"
        );
        assert!(
            Model::StrictSerializable.implied().contains(model),
            "{model:?}"
        );
    }
}

/// What is documented is what is explained.
#[test]
fn each_has_a_definition_and_a_source() {
    let models = Model::ALL
        .iter()
        .map(|it| (it.name(), it.definition(), it.source()));
    let anomalies = Anomaly::ALL
        .iter()
        .map(|it| (it.name(), it.definition(), it.source()));
    for (name, definition, source) in models.chain(anomalies) {
        assert!(definition.len() > 15, "{name}: {definition}");
        assert!(definition.ends_with('.'), "{name}: {definition}");
        assert!(!definition.contains("Source:"), "{name}: {definition}");
        assert!(source.len() > 10, "{name}: {source}");
        assert!(!source.ends_with('.'), "{name}: {source}");
    }
    assert_eq!(
        Model::Serializable.definition(),
        "As if the transactions had run one after another, in some order (no G1, no G2)."
    );
    assert_eq!(Anomaly::G1a.source(), "Adya, Weak Consistency, 1999");
}

#[test]
fn names_and_aliases_are_unique_and_parse() {
    let mut seen = std::collections::HashSet::new();
    for &model in Model::ALL {
        for name in std::iter::once(model.name()).chain(model.aliases().iter().copied()) {
            assert!(seen.insert(name.to_lowercase()), "{name} twice");
            assert_eq!(Model::parse(name), Some(model));
            assert_eq!(Model::parse(&name.to_uppercase()), Some(model));
        }
    }
    assert_eq!(Model::parse("serialisable"), None);
    for &anomaly in Anomaly::ALL {
        assert_eq!(Anomaly::parse(anomaly.name()), Some(anomaly));
    }
}

#[test]
fn what_implies_rules_out_at_least_as_much() {
    for &anomaly in Anomaly::ALL {
        assert!(
            !anomaly.rules_out().is_empty(),
            "{anomaly:?} rules out nothing"
        );
        assert!(
            anomaly.rules_out().contains(Model::StrictSerializable),
            "{anomaly:?}"
        );
        for implied in anomaly.implied().iter() {
            assert!(
                implied.rules_out().is_subset(anomaly.rules_out()),
                "{anomaly:?} implies {implied:?}"
            );
        }
    }
}

#[test]
fn without_anomalies_everything_is_left() {
    let left = strongest_left(rules_out([]).all());
    assert_eq!(left.names(), ["strict-serializable"]);
    let left = strongest_left(rules_out([Anomaly::G2Item]).all());
    assert!(left.contains(Model::StrongSnapshotIsolation), "{left:?}");
    assert!(left.contains(Model::UpdateSerializable), "{left:?}");
}

#[test]
fn the_tables_are_the_published_ones() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/design/anomalies.tsv"
    );
    let Ok(text) = std::fs::read_to_string(path) else {
        #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
        {
            eprintln!("SKIPPED: {path} is not here, the tables are not compared with it");
        }
        return;
    };
    let (anomalies, models) = text.split_once("== prohibited-by\n").expect("two parts");
    let models_of = |names: &str| -> ModelSet {
        names
            .split_whitespace()
            .map(|name| Model::parse(name).expect(name))
            .collect()
    };
    // Names that the published table uses for the same thing in two ways, never connected.
    let odd = ["GSI", "GSIa", "GSIb"];
    let anomalies_of = |names: &str| -> AnomalySet {
        let named = names.split_whitespace().filter(|name| !odd.contains(name));
        named
            .map(|name| Anomaly::parse(name).expect(name))
            .collect()
    };
    let ours = AnomalySet::from_iter([Anomaly::GSIb, Anomaly::GSI]);
    let mut compared = 0;
    for line in anomalies.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let Some(anomaly) = Anomaly::parse(fields[0]) else {
            assert!(odd.contains(&fields[0]), "{} is missing", fields[0]);
            continue;
        };
        let out = rules_out([anomaly]);
        assert_eq!(out.not, models_of(fields[1]), "{anomaly:?}");
        assert_eq!(out.also_not, models_of(fields[2]), "{anomaly:?}");
        let theirs = fields
            .get(3)
            .map_or_else(AnomalySet::default, |names| anomalies_of(names));
        assert_eq!(
            anomaly.implied().minus(AnomalySet::of(anomaly)).minus(ours),
            theirs.minus(ours),
            "{anomaly:?}"
        );
        compared += 1;
    }
    assert_eq!(
        compared + 1,
        Anomaly::ALL.len(),
        "all but garbage-read, which it does not have"
    );
    for line in models.lines() {
        let (model, theirs) = line.split_once('\t').expect("a model and its anomalies");
        let model = Model::parse(model).expect(model);
        let extra = AnomalySet::of(Anomaly::GarbageRead);
        let mine = prohibited(ModelSet::of(model)).minus(extra);
        // Implied by G-single here, unconnected there.
        assert_eq!(mine, anomalies_of(theirs), "{model:?}");
        compared += 1;
    }
    assert!(compared > 70, "{compared} rows");
}
