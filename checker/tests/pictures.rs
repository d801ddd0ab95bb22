//! Pictures of cycles: nothing covers anything, and nothing leaves the paper, whatever the cycle and its names.
//!
//! Where boxes, labels, arrows and heads are is read from the SVG.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "tests fail by panicking, and are no interface"
)]

use checker::observed::{Edge, Observed, ObservedBuilder, TxnIndex, Why};
use checker::svg::{Arrow, Box as Txn, Drawing};
use checker::{Level, judge, parse::read_history};

/// Left, top, right and bottom.
type Area = [f64; 4];

/// What a picture consists of.
#[derive(Debug)]
struct Picture {
    paper: Area,
    boxes: Vec<Area>,
    labels: Vec<Area>,
    heads: Vec<Area>,
    /// Start, bend and end of each arrow.
    lines: Vec<[f64; 6]>,
    /// Where each text is, in columns of the narrowest letters that are used.
    texts: Vec<(f64, f64, String, String)>,
}

fn attribute(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!(" {name}=\""))?;
    Some(rest.split_once('"').unwrap().0.to_owned())
}

fn number(line: &str, name: &str) -> Option<f64> {
    attribute(line, name)?.parse().ok()
}

fn numbers(path: &str) -> Vec<f64> {
    path.split(|letter: char| !letter.is_ascii_digit() && letter != '.' && letter != '-')
        .filter_map(|word| word.parse().ok())
        .collect()
}

impl Picture {
    fn of(svg: &str) -> Self {
        let size = |name| number(svg.lines().next().unwrap(), name).unwrap();
        let mut picture = Self {
            paper: [0.0, 0.0, size("width"), size("height")],
            boxes: Vec::new(),
            labels: Vec::new(),
            heads: Vec::new(),
            lines: Vec::new(),
            texts: Vec::new(),
        };
        for line in svg.lines() {
            let class = attribute(line, "class").unwrap_or_default();
            if line.starts_with("<rect") {
                let at = |name| number(line, name);
                let (Some(x), Some(y)) = (at("x"), at("y")) else {
                    continue;
                };
                let area = [x, y, x + at("width").unwrap(), y + at("height").unwrap()];
                match class.as_str() {
                    "b" => picture.boxes.push(area),
                    _ => picture.labels.push(area),
                }
            } else if line.starts_with("<path") {
                let at = numbers(&attribute(line, "d").unwrap());
                if class.starts_with("a ") {
                    picture.lines.push(at.try_into().unwrap());
                } else {
                    let (across, down) = (at.iter().step_by(2), at.iter().skip(1).step_by(2));
                    let least =
                        |all: &mut dyn Iterator<Item = &f64>| all.fold(f64::MAX, |a, b| a.min(*b));
                    let most =
                        |all: &mut dyn Iterator<Item = &f64>| all.fold(f64::MIN, |a, b| a.max(*b));
                    picture.heads.push([
                        least(&mut across.clone()),
                        least(&mut down.clone()),
                        most(&mut across.clone()),
                        most(&mut down.clone()),
                    ]);
                }
            } else if line.starts_with("<text") {
                let words = line.split_once('>').unwrap().1.replace("</text>", "");
                let (x, y) = (number(line, "x").unwrap(), number(line, "y").unwrap());
                picture.texts.push((x, y, class, words));
            }
        }
        picture
    }

    /// Whatever covers another.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut compare = |what: &str, one: &[Area], other: &[Area]| {
            let itself = std::ptr::eq(one, other);
            for (a, first) in one.iter().enumerate() {
                for (b, second) in other.iter().enumerate() {
                    if (!itself || a < b) && overlap(first, second) {
                        faults.push(format!("{what} {a} and {b}: {first:?} {second:?}"));
                    }
                }
            }
        };
        compare("boxes", &self.boxes, &self.boxes);
        compare("box and label", &self.boxes, &self.labels);
        compare("box and head", &self.boxes, &self.heads);
        compare("labels", &self.labels, &self.labels);
        compare("label and head", &self.labels, &self.heads);
        compare("heads", &self.heads, &self.heads);
        for (number, line) in self.lines.iter().enumerate() {
            // The first and the last point touch the boxes that are joined.
            for step in 1..100 {
                let point = along(line, f64::from(step) / 100.0);
                let dot = [point[0], point[1], point[0], point[1]];
                for area in self.boxes.iter().chain(&self.labels) {
                    if overlap(&dot, area) {
                        faults.push(format!("arrow {number} at {point:?} and {area:?}"));
                        break;
                    }
                }
            }
        }
        let all = [&self.boxes, &self.labels, &self.heads];
        for area in all.into_iter().flatten() {
            let [left, top, right, bottom] = *area;
            if left < 0.0 || top < 36.0 || right > self.paper[2] || bottom > self.paper[3] {
                faults.push(format!("off the paper, or in the title: {area:?}"));
            }
        }
        faults.extend(self.texts.iter().filter_map(|text| self.misplaced(text)));
        faults
    }

    /// Letters of one width are 0.6 of their size wide; others at least half of it, on average.
    fn misplaced(&self, (x, y, class, words): &(f64, f64, String, String)) -> Option<String> {
        let count = words.replace("&quot;", "\"").chars().count() as f64;
        let (per, areas): (f64, &[Area]) = match class.split(' ').next().unwrap() {
            "n" => (14.0 * 0.6, &self.boxes),
            "o" => (12.0 * 0.6, &self.boxes),
            "l" => (13.0 * 0.6, &self.labels),
            "s" => (14.0 * 0.5, &[]),
            "t" => (17.0 * 0.55, &[]),
            _ => (12.0 * 0.5, &[]),
        };
        let left = if class.starts_with('l') {
            x - count * per / 2.0
        } else {
            *x
        };
        let right = left + count * per;
        let fits =
            |area: &Area| left >= area[0] && right <= area[2] && *y > area[1] && *y < area[3];
        let is_in = if areas.is_empty() {
            fits(&self.paper)
        } else {
            areas.iter().any(fits)
        };
        (!is_in).then(|| format!("text {words:?} from {left} to {right} at {y}"))
    }

    /// Twice the area that the boxes in their order run around: above zero if that is clockwise.
    fn turn(&self) -> f64 {
        let middle = |area: &Area| ((area[0] + area[2]) / 2.0, (area[1] + area[3]) / 2.0);
        let next = self.boxes.iter().cycle().skip(1);
        let both = self.boxes.iter().zip(next);
        both.map(|(one, other)| {
            let ((ax, ay), (bx, by)) = (middle(one), middle(other));
            ax * by - bx * ay
        })
        .sum()
    }
}

fn overlap(one: &Area, other: &Area) -> bool {
    let slack = 0.15;
    one[0] < other[2] - slack
        && other[0] < one[2] - slack
        && one[1] < other[3] - slack
        && other[1] < one[3] - slack
}

/// A point of a quadratic curve.
fn along(line: &[f64; 6], t: f64) -> [f64; 2] {
    let at = |first: f64, bend: f64, last: f64| {
        (1.0 - t) * (1.0 - t) * first + 2.0 * t * (1.0 - t) * bend + t * t * last
    };
    [at(line[0], line[2], line[4]), at(line[1], line[3], line[5])]
}

fn check(what: &str, drawing: &Drawing) {
    let svg = drawing.to_svg();
    if let Ok(folder) = std::env::var("PICTURES") {
        let name = what.replace(' ', "-");
        std::fs::write(format!("{folder}/{name}.svg"), &svg).unwrap();
    }
    let picture = Picture::of(&svg);
    assert_eq!(picture.boxes.len(), drawing.boxes.len(), "{what}");
    assert_eq!(picture.labels.len(), drawing.arrows.len(), "{what}");
    let faults = picture.faults();
    assert!(
        faults.is_empty(),
        "{what}: {} faults\n{}",
        faults.len(),
        faults[..faults.len().min(12)].join("\n")
    );
    if drawing.boxes.len() > 2 {
        assert!(picture.turn() > 0.0, "{what} runs against the clock");
    }
}

/// A cycle of so many transactions: each reads what the one before it wrote, but for the first.
fn history(
    count: u32,
    key: impl Fn(u32) -> String,
    value: impl Fn(u32) -> String,
) -> (Observed, Vec<Edge>) {
    let mut builder = ObservedBuilder::new("a ring");
    let mut edges = Vec::new();
    for txn in 0..count {
        let before = (txn + count - 1) % count;
        let reader = (
            builder.key(&key(before)).unwrap(),
            builder.value(&value(before)).unwrap(),
        );
        let writer = (
            builder.key(&key(txn)).unwrap(),
            builder.value(&value(txn)).unwrap(),
        );
        let read = (txn > 0).then_some(reader.1);
        builder.read(reader.0, read).unwrap();
        // Boxes of different heights.
        for more in 0..txn % 4 {
            let key = builder.key(&format!("other{more}")).unwrap();
            builder.read(key, None).unwrap();
        }
        builder.write(writer.0, writer.1).unwrap();
        let outcome = checker::observed::Outcome::Committed;
        builder.end(Some(txn), outcome, None, txn + 1).unwrap();
        let (from, to) = (TxnIndex(before), TxnIndex(txn));
        let (key, value) = reader;
        let why = match txn {
            0 => Why::ReadWrite {
                key,
                read: None,
                wrote: value,
            },
            5 => Why::Session,
            9 => Why::Realtime,
            _ => Why::WriteRead { key, value },
        };
        edges.push(Edge { from, to, why });
    }
    (builder.finish(), edges)
}

#[test]
fn nothing_covers_anything_in_cycles_of_2_to_30() {
    for count in 2..=30 {
        let (history, cycle) = history(count, |it| format!("k{it}"), |it| (it + 100).to_string());
        let drawing = Drawing::of_cycle(&history, "G-single", &cycle, &[]);
        check(&format!("ring {count}"), &drawing);
    }
}

#[test]
fn long_names_keep_their_ends_and_values_are_not_lost() {
    let long =
        |it| format!("a-very-long-table-name/with-an-even-longer-row-name/and-a-column/{it}");
    let title = format!("G-single in {}.edn", "a-long-name-".repeat(20));
    for count in [2, 3, 5, 6, 12, 30] {
        let (history, cycle) = history(count, long, |it| (it + 1000).to_string());
        let drawing = Drawing::of_cycle(&history, &title, &cycle, &[]);
        check(&format!("long {count}"), &drawing);
        for it in &drawing.boxes {
            let txn = it.name.split("  ").next().unwrap().replace('T', "");
            let words = it.lines.last().unwrap();
            assert!(words.starts_with("write  a-very-long"), "{words}");
            let end = format!("/{txn} = {}", 1000 + txn.parse::<u32>().unwrap());
            assert!(words.ends_with(&end), "{words}");
        }
        let svg = drawing.to_svg();
        assert!(
            svg.contains("…row-name") || svg.contains("/1</text>"),
            "labels keep their ends"
        );
        let (history, cycle) = self::history(count, long, |it| long(it + 500));
        check(
            &format!("longer {count}"),
            &Drawing::of_cycle(&history, &title, &cycle, &[]),
        );
    }
}

#[test]
fn a_box_without_room_for_all_shows_what_its_arrows_are_about() {
    let mut builder = ObservedBuilder::new("many operations");
    let mut reader = builder.txn();
    for key in 0..20 {
        reader = reader.read(format!("noise{key}"), None::<u64>);
    }
    reader
        .read("x", None::<u64>)
        .write("y", 7)
        .committed()
        .unwrap();
    builder
        .txn()
        .read("y", Some(7))
        .write("x", 8)
        .committed()
        .unwrap();
    let (x, y) = (builder.key("x").unwrap(), builder.key("y").unwrap());
    let (seven, eight) = (builder.value("7").unwrap(), builder.value("8").unwrap());
    let (one, other) = (TxnIndex(0), TxnIndex(1));
    let read = None;
    let cycle = [
        Edge {
            from: one,
            to: other,
            why: Why::WriteRead {
                key: y,
                value: seven,
            },
        },
        Edge {
            from: other,
            to: one,
            why: Why::ReadWrite {
                key: x,
                read,
                wrote: eight,
            },
        },
    ];
    let drawing = Drawing::of_cycle(&builder.finish(), "G-single", &cycle, &[]);
    let lines = drawing.boxes[0].lines.join("\n");
    assert!(
        lines.contains("read   x = initial\nwrite  y = 7\nand 14 more"),
        "{lines}"
    );
    check("many operations", &drawing);
}

#[test]
fn boxes_of_sites_say_what_was_done_there() {
    for count in [2, 3, 6, 20] {
        let mut text = String::from("co-history 1 Amsterdam\n");
        for txn in 1..=count {
            let next = txn % count + 1;
            text += &format!("c G{txn} {txn} {txn} r:account{next}@0 w:account{txn}\n");
        }
        text += &format!("end {count}\n");
        let site = read_history(text.as_bytes(), "ring.hist").unwrap();
        let report = judge(&[site], Level::Serializability);
        let cycle = report.cycle().unwrap();
        assert_eq!(cycle.steps.len(), count);
        let drawing = Drawing::of_steps("A cycle", &cycle.steps);
        check(&format!("sites {count}"), &drawing);
        let lines = &drawing.boxes[0].lines;
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("read   account") && line.ends_with("initial")),
            "{lines:?}"
        );
        assert!(
            lines.iter().any(
                |line| line.starts_with("write  account") && line.contains("@ Amsterdam  seq ")
            ),
            "{lines:?}"
        );
    }
}

#[test]
fn long_sentences_use_the_width_of_the_paper_and_no_more() {
    let txn = |name: &str| Txn {
        name: name.to_owned(),
        lines: vec!["write  x = 1".to_owned()],
    };
    let arrow = |from, to, sentence: String| Arrow {
        from,
        to,
        letters: "ww",
        label: "x".to_owned(),
        sentence,
    };
    let boxes = vec![txn("T1"), txn("T2")];
    let words = "which T1 had read before T2 wrote it ".repeat(12);
    let arrows = vec![arrow(0, 1, words), arrow(1, 0, "x".repeat(500))];
    let title = "x".repeat(300);
    let drawing = Drawing {
        title,
        boxes,
        arrows,
    };
    check("sentences", &drawing);
    let picture = Picture::of(&drawing.to_svg());
    let longest = picture
        .texts
        .iter()
        .filter(|text| text.2 == "s")
        .map(|text| text.3.len());
    assert!(longest.max().unwrap() > 80);
}
