//! Pictures of witnesses: well-formed, nothing on anything else, and one as it is.

use std::collections::BTreeMap;

use checker::spec::Options;
use checker::spec::diagram::{Diagram, Kind, Lane, Mark};
use checker::spec::rows::rows;

fn mark(lane: usize, kind: Kind, label: &str, later: bool) -> Mark {
    Mark {
        lane,
        kind,
        label: label.to_owned(),
        later,
    }
}

fn diagram() -> Diagram {
    let lane = |name: &str, node| Lane {
        name: name.to_owned(),
        node,
    };
    Diagram {
        title: "a <register> & \"more\"".to_owned(),
        lanes: vec![lane("p", 0), lane("left", 1), lane("right", 1)],
        events: vec![
            mark(0, Kind::Call, "write(dog) \u{2192} ok", false),
            mark(0, Kind::Send, "to left", false),
            mark(2, Kind::Internal, "lock </text> & ]]>", false),
            mark(1, Kind::Receive, "from p", false),
            mark(1, Kind::Send, "to right", false),
            mark(2, Kind::Invoke, "read", true),
            mark(2, Kind::Receive, "from left", true),
            mark(2, Kind::Respond, "read \u{2192} dog", true),
            mark(0, Kind::Send, "to right", true),
        ],
        messages: vec![[1, 3], [4, 6]],
        sentences: vec![
            "Admitted before: <nothing>".to_owned(),
            "  & no more".to_owned(),
        ],
    }
}

/// Diagrams of the register, of all shapes that there are, and one with much of everything.
fn diagrams() -> Vec<Diagram> {
    let options = Options::default();
    let mut all: Vec<Diagram> = rows()
        .iter()
        .flat_map(|row| {
            row.judge(&options)
                .filter_map(|it| it.witness)
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(!all.is_empty());
    let mut long = diagram();
    for (place, event) in long.events.iter_mut().enumerate() {
        event.label.push_str(&"w\u{6570}&".repeat(place * 7));
    }
    long.title = "title ".repeat(60);
    long.sentences.push("word<".repeat(200));
    let mut empty = diagram();
    empty.events.clear();
    empty.messages.clear();
    all.extend([diagram(), long, empty]);
    all
}

/// A tag or a text of an XML file. Panics where it is not well-formed.
fn read_xml(xml: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut open: Vec<String> = Vec::new();
    let mut tags = Vec::new();
    let mut rest = xml.trim_end();
    while !rest.is_empty() {
        let Some(tag) = rest.strip_prefix('<') else {
            let end = rest
                .find('<')
                .unwrap_or_else(|| panic!("text after the end: {rest}"));
            let text = &rest[..end];
            assert!(
                !text.contains('>') || open.last().unwrap() == "style",
                "{text}"
            );
            for entity in text.split('&').skip(1) {
                let name = entity.split_once(';').unwrap().0;
                assert!(["amp", "lt", "gt", "quot"].contains(&name), "{text}");
            }
            rest = &rest[end..];
            continue;
        };
        let (tag, after) = tag.split_once('>').unwrap();
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let alone = tag.ends_with('/');
        let tag = tag.trim_end_matches('/');
        let (name, mut words) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut attributes = BTreeMap::new();
        while let Some((key, value)) = words.split_once("=\"") {
            let (value, more) = value.split_once('"').unwrap();
            assert!(!value.contains('<'));
            assert!(
                attributes
                    .insert(key.trim().to_owned(), value.to_owned())
                    .is_none()
            );
            words = more;
        }
        assert_eq!(words.trim(), "");
        tags.push((name.to_owned(), attributes));
        if !alone {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?}");
    tags
}

#[test]
fn svgs_are_well_formed_and_need_nothing_from_elsewhere() {
    for diagram in diagrams() {
        let svg = diagram.svg();
        let tags = read_xml(&svg);
        assert_eq!(tags[0].0, "svg");
        assert_eq!(svg.matches("http").count(), 1, "the name space");
        assert!(!svg.contains("<script") && !svg.contains("url("));
        assert!(svg.contains("prefers-color-scheme:dark"));
        let boxes = diagram
            .events
            .iter()
            .filter(|it| !matches!(it.kind, Kind::Send | Kind::Receive));
        let drawn = tags.iter().filter(|(_, it)| it.get("rx").is_some()).count();
        assert_eq!(drawn, boxes.count());
        let heads = tags
            .iter()
            .filter(|(_, it)| it.get("class").is_some_and(|it| it == "h"));
        assert_eq!(heads.count(), diagram.messages.len());
    }
}

#[test]
fn no_box_is_on_another_and_all_is_on_the_page() {
    for diagram in diagrams() {
        let tags = read_xml(&diagram.svg());
        let number = |tag: &BTreeMap<String, String>, key: &str| tag[key].parse::<f64>().unwrap();
        let (width, height) = (number(&tags[0].1, "width"), number(&tags[0].1, "height"));
        let mut areas: Vec<[f64; 4]> = Vec::new();
        for (name, tag) in &tags {
            if name == "circle" {
                let (x, y, r) = (number(tag, "cx"), number(tag, "cy"), number(tag, "r"));
                areas.push([x - r, y - r, x + r, y + r]);
            } else if tag.contains_key("rx") {
                let (x, y) = (number(tag, "x"), number(tag, "y"));
                areas.push([x, y, x + number(tag, "width"), y + number(tag, "height")]);
            } else if name == "text" {
                let (x, y) = (number(tag, "x"), number(tag, "y"));
                assert!(x >= 0.0 && x < width && y > 0.0 && y < height, "{tag:?}");
            }
        }
        assert_eq!(areas.len(), diagram.events.len());
        let cut = tags
            .iter()
            .find(|(_, tag)| tag.get("class").is_some_and(|it| it == "z"));
        let cut = cut.map_or(f64::INFINITY, |(_, tag)| number(tag, "x"));
        let at = diagram.events.iter().map(|event| event.later);
        let mut later: Vec<bool> = at.collect();
        // Boxes and dots are drawn in the order of the events.
        for (place, one) in areas.iter().enumerate() {
            assert!(one[0] > 0.0 && one[1] > 0.0 && one[2] < width && one[3] < height);
            assert_eq!(
                one[0] > cut,
                std::mem::take(&mut later[place]),
                "{one:?} and the cut {cut}"
            );
            for other in &areas[place + 1..] {
                let apart = one[2] < other[0]
                    || other[2] < one[0]
                    || one[3] < other[1]
                    || other[3] < one[1];
                assert!(apart, "{one:?} {other:?}");
            }
        }
        for [send, receive] in &diagram.messages {
            assert!(
                areas[*receive][0] > areas[*send][2],
                "messages go to the right"
            );
        }
    }
}

#[test]
fn labels_fit_into_their_boxes() {
    for diagram in diagrams() {
        let svg = diagram.svg();
        for line in svg.lines().filter(|line| line.contains("class=\"o\"")) {
            let text = line.split_once('>').unwrap().1.replace("</text>", "");
            let text = text
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&amp;", "&");
            let columns: usize = text
                .chars()
                .map(|it| if it == '\u{6570}' { 2 } else { 1 })
                .sum();
            // Letters of one width are 0.6 of their size wide.
            let needed = columns as f64 * 13.0 * 0.6;
            let before = svg.split(line).next().unwrap().lines().last().unwrap();
            let tag = &read_xml(before)[0].1;
            assert!(tag["width"].parse::<f64>().unwrap() > needed, "{text}");
        }
    }
}

#[test]
fn a_text_diagram_as_it_is() {
    assert_eq!(diagram().text(), include_str!("register.txt"));
}

#[test]
fn dot_has_every_event_and_every_message() {
    for diagram in diagrams() {
        let dot = diagram.dot();
        for event in 0..diagram.events.len() {
            assert_eq!(dot.matches(&format!("  e{event} [label=")).count(), 1);
        }
        for [send, receive] in &diagram.messages {
            assert!(dot.contains(&format!("  e{send} -> e{receive} [style=bold")));
        }
        let dashed = diagram.events.iter().filter(|event| event.later).count();
        assert_eq!(dot.matches("style=dashed").count(), dashed);
    }
}
