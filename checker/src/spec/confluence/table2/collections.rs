//! Abstract data types: sets, lists and maps, what they contain and their size.
//!
//! All three are versions with tombstones. A list orders its versions by a place, a map's versions have a key. What a
//! removal names is what it deletes: all versions of the element or key that the replica sees, or the one at a place.

use std::collections::BTreeSet;
use std::fmt;

use super::super::application::ReplicaId;
use super::super::catalogue::{About, Claim, Visitor};
use super::super::lattice::{Rows, Versioned};
use super::super::model::Model;

/// An element of a list, ordered by its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Placed {
    place: i8,
    element: char,
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.element)
    }
}

/// An entry of a map.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Entry {
    key: char,
    value: u8,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.value)
    }
}

type Set = Rows<Versioned<char>>;
type List = Rows<Versioned<Placed>>;
type Map = Rows<Versioned<Entry>>;

const SET: &str =
    "add adds a version of the element, remove deletes the versions of it that are seen";
const LIST: &str =
    "append, prepend, and a remove that deletes every occurrence of an element that is seen";
const MAP: &str = "put replaces the versions of the key that are seen, remove deletes them";

pub(super) fn visit(visitor: &mut impl Visitor) {
    for (invariant, wanted) in [("CONTAINS", true), ("NOT CONTAINS", false)] {
        let row =
            |operation, modelled| About::sql(invariant, operation, Claim::Confluent, modelled);
        let has_a = |state: &Set| state.contents().any(|it| *it == 'a');
        let set = set(wanted).explained(containing(wanted, has_a));
        visitor.visit(&row("any [set]", SET), &set);
        let has_a = |state: &List| state.contents().any(|it| it.element == 'a');
        let list = list(wanted).explained(containing(wanted, has_a));
        visitor.visit(&row("any [list]", LIST), &list);
        if wanted {
            let by_place = row("any [list]", LIST).but(
                "an element may occur twice, and the first and the last are removed by their place: each \
                 replica removes one occurrence and keeps the other",
            );
            let list = list.update("remove the first", remove_first);
            visitor.visit(&by_place, &list.update("remove the last", remove_last));
        }
        let has_a = |state: &Map| state.contents().any(|entry| entry.key == 'a');
        let with_key = map(wanted).explained(containing(wanted, has_a));
        visitor.visit(&row("any [map]", MAP), &with_key);
        if wanted {
            let by_value = row("any [map]", MAP).but(
                "the map must contain a value rather than a key: each replica removes one of two keys that \
                 have it",
            );
            visitor.visit(&by_value, &map(true).explained(has_value));
        }
    }
    visit_sizes(visitor);
}

fn visit_sizes(visitor: &mut impl Visitor) {
    let row = |operation, modelled| About::sql("SIZE =", operation, Claim::NotConfluent, modelled);
    visitor.visit(
        &row("mutation [set]", "an element is replaced by another"),
        &set_of_one(),
    );
    visitor.visit(
        &row(
            "mutation [list]",
            "the first element is replaced by another",
        ),
        &list_of_one(),
    );
    visitor.visit(
        &row(
            "mutation [map]",
            "a value is put, or the entry moves to another key",
        ),
        &map_of_one(),
    );
}

/// An invariant that wants `a` there, or wants it absent.
fn containing<S>(wanted: bool, has: impl Fn(&S) -> bool) -> impl Fn(&S) -> Option<String> {
    move |state| match (wanted, has(state)) {
        (true, false) => Some(String::from("CONTAINS a does not hold")),
        (false, true) => Some(String::from("NOT CONTAINS a does not hold")),
        (true, true) | (false, false) => None,
    }
}

/// An invariant on the size.
fn sized<S>(size: usize, count: impl Fn(&S) -> usize) -> impl Fn(&S) -> Option<String> {
    move |state| {
        let there = count(state);
        (there != size).then(|| format!("SIZE = {size} does not hold: it is {there}"))
    }
}

fn add(element: char) -> impl Fn(&mut Set, ReplicaId) {
    move |set, at| {
        set.write(element, at);
    }
}

fn remove(element: char) -> impl Fn(&mut Set, ReplicaId) {
    move |set, _| set.delete_if(|it| it.content == element)
}

/// A set that begins empty, or with `a`.
fn set(with_a: bool) -> Model<Set> {
    let mut start = Set::default();
    if with_a {
        start.write('a', ReplicaId::INITIAL);
    }
    let mut model = Model::new(start);
    for element in ['a', 'b'] {
        model = model
            .update(format!("add {element}"), add(element))
            .update(format!("remove {element}"), remove(element));
    }
    model
}

fn set_of_one() -> Model<Set> {
    let mut start = Set::default();
    start.write('a', ReplicaId::INITIAL);
    let mut model = Model::new(start);
    for (old, new) in [('a', 'b'), ('a', 'c'), ('b', 'c')] {
        let name = format!("replace {old} by {new}");
        model = model.transaction(name, move |set: &Set, at| {
            let mut next = set.clone();
            remove(old)(&mut next, at);
            add(new)(&mut next, at);
            set.contents().any(|it| *it == old).then_some(next)
        });
    }
    model.explained(sized(1, |set: &Set| {
        set.contents().collect::<BTreeSet<_>>().len()
    }))
}

fn append(element: char) -> impl Fn(&mut List, ReplicaId) {
    move |list, at| {
        let last = list.contents().last().map_or(0, |it| it.place);
        list.write(
            Placed {
                place: last + 1,
                element,
            },
            at,
        );
    }
}

fn prepend(element: char) -> impl Fn(&mut List, ReplicaId) {
    move |list, at| {
        let first = list.contents().next().map_or(0, |it| it.place);
        list.write(
            Placed {
                place: first - 1,
                element,
            },
            at,
        );
    }
}

fn remove_first(list: &mut List, _: ReplicaId) {
    let first = list.live().next().cloned();
    first.into_iter().for_each(|it| list.delete(it));
}

fn remove_last(list: &mut List, _: ReplicaId) {
    let last = list.live().last().cloned();
    last.into_iter().for_each(|it| list.delete(it));
}

/// A list that begins empty, or with `a`.
fn list(with_a: bool) -> Model<List> {
    let mut start = List::default();
    if with_a {
        append('a')(&mut start, ReplicaId::INITIAL);
    }
    let mut model = Model::new(start);
    for element in ['a', 'b'] {
        model = model
            .update(format!("append {element}"), append(element))
            .update(format!("remove every {element}"), move |list, _| {
                list.delete_if(|it| it.content.element == element);
            });
    }
    model.update("prepend b", prepend('b'))
}

fn list_of_one() -> Model<List> {
    let mut start = List::default();
    append('a')(&mut start, ReplicaId::INITIAL);
    let mut model = Model::new(start);
    for element in ['b', 'c'] {
        model = model.update(
            format!("replace the first by {element}"),
            move |list, at| {
                remove_first(list, at);
                prepend(element)(list, at);
            },
        );
    }
    model.explained(sized(1, |list: &List| list.contents().count()))
}

fn put(key: char, value: u8) -> impl Fn(&mut Map, ReplicaId) {
    move |map, at| {
        remove_key(key)(map, at);
        map.write(Entry { key, value }, at);
    }
}

fn remove_key(key: char) -> impl Fn(&mut Map, ReplicaId) {
    move |map, _| map.delete_if(|it| it.content.key == key)
}

/// A map that begins empty, or with key `a`.
fn map(with_a: bool) -> Model<Map> {
    let mut start = Map::default();
    if with_a {
        put('a', 1)(&mut start, ReplicaId::INITIAL);
    }
    Model::new(start)
        .update("put a: 1", put('a', 1))
        .update("put a: 2", put('a', 2))
        .update("put b: 1", put('b', 1))
        .update("remove key a", remove_key('a'))
        .update("remove key b", remove_key('b'))
}

fn has_value(map: &Map) -> Option<String> {
    let found = map.contents().any(|entry| entry.value == 1);
    (!found).then(|| String::from("CONTAINS the value 1 does not hold"))
}

fn map_of_one() -> Model<Map> {
    let mut start = Map::default();
    put('a', 1)(&mut start, ReplicaId::INITIAL);
    let mut model = Model::new(start).update("put a: 2", put('a', 2));
    for key in ['b', 'c'] {
        model = model.update(format!("move the entry to key {key}"), move |map, at| {
            map.delete_if(|_| true);
            map.write(Entry { key, value: 1 }, at);
        });
    }
    model.explained(sized(1, |map: &Map| {
        let keys = map.contents().map(|entry| entry.key);
        keys.collect::<BTreeSet<_>>().len()
    }))
}
