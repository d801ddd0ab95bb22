//! Where boxes, arrows and labels are.
//!
//! Boxes stand around a ring of rows and columns, clockwise. Arrows join neighbours, in the gaps between rows and
//! columns; their labels stand beside them, on the outside, so that nothing covers anything:
//!
//! - **P1** Between two neighbours of a row there is room for the label, which stands above its arrow.
//! - **P2** Between two rows there are no boxes, and arrows only in the outermost columns; labels stand outside of these.
//! - **P3** A box alone in the first row stands in the middle, and its arrows turn outside of both columns' middle.
//!
//! Cycles need no more. An arrow between boxes that are no neighbours is straight, with its label in the middle.

use super::words::{MAX_LABEL, MAX_NAME, columns, elided};
use super::{Arrow, Drawing};

/// A box or a label: its middle and its size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// An arrow: where it starts, bends (if it does) and ends.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) start: (f64, f64),
    pub(super) control: (f64, f64),
    pub(super) end: (f64, f64),
    pub(super) label: Frame,
    pub(super) text: String,
}

#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) frames: Vec<Frame>,
    pub(super) routes: Vec<Route>,
    pub(super) width: f64,
    pub(super) height: f64,
}

pub(super) const LINE: f64 = 17.0;
/// How wide a letter of an operation is, of the name of a box, and of a label.
const LETTER: [f64; 3] = [7.3, 8.5, 7.9];
/// How high a label is.
const LABEL: f64 = 18.0;
/// How far rows are apart.
const BETWEEN_ROWS: f64 = 62.0;
/// How far arrows between the same two boxes are apart.
const LANE: f64 = 38.0;
/// How wide a picture may become to be less high.
const WIDE: f64 = 1300.0;

/// Where a box is on the ring.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    /// In half columns.
    column: usize,
    row: usize,
}

impl Frame {
    fn left(&self) -> f64 {
        self.x - self.width / 2.0
    }

    fn right(&self) -> f64 {
        self.x + self.width / 2.0
    }

    fn top(&self) -> f64 {
        self.y - self.height / 2.0
    }

    fn bottom(&self) -> f64 {
        self.y + self.height / 2.0
    }

    /// Where a line from the middle in this direction leaves the box.
    fn edge(&self, dx: f64, dy: f64) -> (f64, f64) {
        let across = self.width / 2.0 / dx.abs().max(1e-6);
        let down = self.height / 2.0 / dy.abs().max(1e-6);
        let scale = across.min(down);
        (self.x + dx * scale, self.y + dy * scale)
    }

    fn shift(&mut self, dx: f64, dy: f64) {
        self.x += dx;
        self.y += dy;
    }
}

impl Layout {
    pub(super) fn of(drawing: &Drawing) -> Self {
        let labels: Vec<String> = drawing.arrows.iter().enumerate().map(label).collect();
        let frames = place(drawing, &labels);
        let lanes = lanes(&drawing.arrows);
        let arrows = drawing.arrows.iter().zip(&labels).zip(&lanes);
        let middle = frames.iter().map(|frame| frame.x).sum::<f64>() / frames.len().max(1) as f64;
        let routes = arrows
            .filter(|((arrow, _), _)| arrow.from < frames.len() && arrow.to < frames.len())
            .map(|((arrow, text), lane)| {
                route(&frames[arrow.from], &frames[arrow.to], text, *lane, middle)
            })
            .collect();
        let mut layout = Self {
            frames,
            routes,
            width: 0.0,
            height: 0.0,
        };
        layout.fit();
        layout
    }

    /// Moves everything so that it begins at zero, and measures it.
    fn fit(&mut self) {
        let all = || {
            self.frames
                .iter()
                .chain(self.routes.iter().map(|it| &it.label))
        };
        let bends = || self.routes.iter().map(|it| it.control);
        let least = |of: fn(&Frame) -> f64, bend: fn((f64, f64)) -> f64| {
            all()
                .map(of)
                .chain(bends().map(bend))
                .fold(f64::MAX, f64::min)
        };
        let most = |of: fn(&Frame) -> f64, bend: fn((f64, f64)) -> f64| {
            all()
                .map(of)
                .chain(bends().map(bend))
                .fold(f64::MIN, f64::max)
        };
        if self.frames.is_empty() {
            return;
        }
        let (left, top) = (least(Frame::left, |at| at.0), least(Frame::top, |at| at.1));
        let (right, bottom) = (
            most(Frame::right, |at| at.0),
            most(Frame::bottom, |at| at.1),
        );
        (self.width, self.height) = (right - left, bottom - top);
        self.shift(-left, -top);
    }

    pub(super) fn shift(&mut self, dx: f64, dy: f64) {
        for frame in &mut self.frames {
            frame.shift(dx, dy);
        }
        for route in &mut self.routes {
            route.label.shift(dx, dy);
            for point in [&mut route.start, &mut route.control, &mut route.end] {
                *point = (point.0 + dx, point.1 + dy);
            }
        }
    }
}

fn label((number, arrow): (usize, &Arrow)) -> String {
    let about = elided(&arrow.label, MAX_LABEL);
    let text = format!("{} {} {about}", number + 1, arrow.letters);
    text.trim_end().to_owned()
}

fn label_width(text: &str) -> f64 {
    columns(text) as f64 * LETTER[2] + 8.0
}

/// How far from the middle each arrow is, in lanes, so that those between the same boxes are apart.
fn lanes(arrows: &[Arrow]) -> Vec<f64> {
    let pair = |arrow: &Arrow| (arrow.from.min(arrow.to), arrow.from.max(arrow.to));
    let lane = |(place, arrow): (usize, &Arrow)| {
        let same = |others: &[Arrow]| others.iter().filter(|it| pair(it) == pair(arrow)).count();
        same(&arrows[..place]) as f64 - (same(arrows) - 1) as f64 / 2.0
    };
    arrows.iter().enumerate().map(lane).collect()
}

/// The boxes, row by row as high as need be.
fn place(drawing: &Drawing, labels: &[String]) -> Vec<Frame> {
    let lane = lanes(&drawing.arrows).into_iter().fold(0.0, f64::max);
    let mut sizes: Vec<(f64, f64)> = drawing.boxes.iter().map(size).collect();
    for size in &mut sizes {
        size.1 = size.1.max(2.0 * lane * LANE + 26.0);
    }
    let widest = sizes.iter().map(|size| size.0).fold(0.0, f64::max);
    let highest = sizes.iter().map(|size| size.1).fold(0.0, f64::max);
    // P1.
    let label = labels.iter().map(|it| label_width(it)).fold(30.0, f64::max);
    let pitch = widest + label + 36.0;
    let extent = |columns: usize| {
        let rows = ring(sizes.len(), columns).iter().map(|it| it.row + 1).max();
        let across = (columns - 1) as f64 * pitch + widest;
        (across, rows.unwrap_or(0) as f64 * (highest + BETWEEN_ROWS))
    };
    // Screens are wider than they are high.
    let cost = |columns: usize| {
        let (across, down) = extent(columns);
        across.max(1.5 * down)
    };
    let most = (sizes.len() / 2).max(2);
    let columns = (2..=most)
        .filter(|&columns| columns == 2 || extent(columns).0 <= WIDE)
        .min_by(|one, other| cost(*one).total_cmp(&cost(*other)))
        .unwrap_or(2);
    let places = ring(sizes.len(), columns);
    let rows = places.iter().map(|it| it.row + 1).max().unwrap_or(0);
    let mut heights = vec![0.0_f64; rows];
    for (place, size) in places.iter().zip(&sizes) {
        heights[place.row] = heights[place.row].max(size.1);
    }
    let above = |row: usize| heights[..row].iter().sum::<f64>() + row as f64 * BETWEEN_ROWS;
    let frame = |(place, &(width, height)): (&Place, &(f64, f64))| Frame {
        x: place.column as f64 / 2.0 * pitch,
        y: above(place.row) + heights[place.row] / 2.0,
        width,
        height,
    };
    places.iter().zip(&sizes).map(frame).collect()
}

fn size(it: &super::Box) -> (f64, f64) {
    let name = columns(&elided(&it.name, MAX_NAME)) as f64 * LETTER[1];
    let lines = it.lines.iter().map(|line| columns(line) as f64 * LETTER[0]);
    let width = lines.fold(name, f64::max) + 24.0;
    (width.max(70.0), (it.lines.len() as f64 + 1.0) * LINE + 16.0)
}

/// So many places, clockwise from the left of the first row, in so many columns.
fn ring(count: usize, columns: usize) -> Vec<Place> {
    let at = |column: usize, row: usize| Place { column, row };
    if count <= 2 {
        return (0..count).map(|column| at(2 * column, 0)).collect();
    }
    let last = 2 * (columns - 1);
    let is_odd = count % 2 == 1;
    let (top, bottom): (Vec<usize>, Vec<usize>) = match (is_odd, columns) {
        (true, 2) => (vec![1], vec![2, 0]),
        // One place in the middle stays empty.
        _ => (
            (0..columns).map(|it| 2 * it).collect(),
            (0..columns)
                .rev()
                .filter(|it| !(is_odd && *it == columns / 2))
                .map(|it| 2 * it)
                .collect(),
        ),
    };
    let sides = (count - top.len() - bottom.len()) / 2;
    let first = top.into_iter().map(|column| at(column, 0));
    let right = (1..=sides).map(|row| at(last, row));
    let below = bottom.into_iter().map(|column| at(column, sides + 1));
    let left = (1..=sides).rev().map(|row| at(0, row));
    first.chain(right).chain(below).chain(left).collect()
}

/// From one box to another; outside is away from the middle.
fn route(from: &Frame, to: &Frame, text: &str, lane: f64, middle: f64) -> Route {
    let width = label_width(text);
    let beside = |x: f64, y: f64| {
        let away = if x < middle { -1.0 } else { 1.0 };
        (x + away * (width / 2.0 + 9.0), y)
    };
    let (start, control, end, (x, y)) = if (from.x, from.y) == (to.x, to.y) {
        let side = from.right();
        let control = (side + 50.0, from.y);
        let label = (control.0 + width / 2.0, from.y);
        ((side, from.y - 9.0), control, (side, from.y + 9.0), label)
    } else if (from.y - to.y).abs() < 1.0 {
        let y = from.y + lane * LANE;
        let (start, end) = if from.x < to.x {
            (from.right(), to.left())
        } else {
            (from.left(), to.right())
        };
        let half = f64::midpoint(start, end);
        (
            (start, y),
            (half, y),
            (end, y),
            (half, y - LABEL / 2.0 - 4.0),
        )
    } else if (from.x - to.x).abs() < 1.0 {
        let (start, end) = if from.y < to.y {
            (from.bottom(), to.top())
        } else {
            (from.top(), to.bottom())
        };
        let (x, half) = (from.x + lane * LANE, f64::midpoint(start, end));
        ((x, start), (x, half), (x, end), beside(x, half))
    } else if is_corner(from, to, middle) {
        corner(from, to, width)
    } else {
        let (dx, dy) = (to.x - from.x, to.y - from.y);
        let (start, end) = (from.edge(dx, dy), to.edge(-dx, -dy));
        let half = (f64::midpoint(start.0, end.0), f64::midpoint(start.1, end.1));
        (start, half, end, half)
    };
    let label = Frame {
        x,
        y,
        width,
        height: LABEL,
    };
    let text = text.to_owned();
    Route {
        start,
        control,
        end,
        label,
        text,
    }
}

/// Whether the upper of the two stands in the middle, and the other at the side (P3).
fn is_corner(from: &Frame, to: &Frame, middle: f64) -> bool {
    let upper = if from.y < to.y { from } else { to };
    (upper.x - middle).abs() < 1.0
}

/// A quarter turn from the side of the upper box to the top of the lower one, or back.
fn corner(from: &Frame, to: &Frame, width: f64) -> Turn {
    let (upper, lower) = if from.y < to.y {
        (from, to)
    } else {
        (to, from)
    };
    let away = if lower.x < upper.x { -1.0 } else { 1.0 };
    let above = (upper.x + away * upper.width / 2.0, upper.y);
    let below = (lower.x, lower.top());
    let bend = (lower.x, upper.y);
    let half = (
        0.25 * above.0 + 0.75 * lower.x,
        0.75 * upper.y + 0.25 * below.1,
    );
    let label = (
        half.0 + away * (width / 2.0 + 9.0),
        half.1 - LABEL / 2.0 - 8.0,
    );
    if from.y < to.y {
        (above, bend, below, label)
    } else {
        (below, bend, above, label)
    }
}

/// The start, the bend and the end of an arrow, and the middle of its label.
type Turn = ((f64, f64), (f64, f64), (f64, f64), (f64, f64));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ring_has_a_place_for_every_box_and_neighbours_share_a_row_or_a_column() {
        for count in 3..60 {
            for columns in 2..=(count / 2).max(2) {
                let places = ring(count, columns);
                assert_eq!(places.len(), count, "{count} in {columns} columns");
                for (number, place) in places.iter().enumerate() {
                    assert!(!places[..number].contains(place));
                    let next = places[(number + 1) % count];
                    let is_turn =
                        columns == 2 && count % 2 == 1 && (place.row == 0 || next.row == 0);
                    let is_near = place.row == next.row
                        || (place.column == next.column && place.row.abs_diff(next.row) == 1);
                    assert!(
                        is_turn || is_near,
                        "{count} in {columns}: {place:?} {next:?}"
                    );
                }
            }
        }
    }
}
