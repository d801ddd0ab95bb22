//! The table as a picture: a row of panels for each setting, commits, aborts and wrong reads beside each other.

use std::fmt::Write as _;

use crate::run::{Cell, Measured};

const PANEL: (f64, f64) = (250.0, 120.0);
const GAP: (f64, f64) = (60.0, 70.0);
const LEFT: f64 = 150.0;
const TOP: f64 = 60.0;
/// Colours that stay apart for the colour-blind (Okabe and Ito), in the order of the variants.
const COLOURS: [&str; 7] = [
    "#d55e00", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#000000",
];

/// What a panel shows: its title, and the value of a cell.
type Aspect = (&'static str, fn(&Cell) -> f64);

const ASPECTS: [Aspect; 3] = [
    ("commits/s", |cell| cell.commits_per_second),
    ("aborts, % of attempts", Cell::abort_percent),
    ("wrong reads, % of commits", Cell::wrong_percent),
];

pub(crate) fn svg(measured: &Measured) -> String {
    let mut settings: Vec<(&str, u32)> = Vec::new();
    let mut variants: Vec<&str> = Vec::new();
    for cell in &measured.cells {
        let setting = (cell.sites.as_str(), cell.pairs);
        if !settings.contains(&setting) {
            settings.push(setting);
        }
        if !variants.contains(&cell.variant) {
            variants.push(cell.variant);
        }
    }
    let width = LEFT + 3.0 * (PANEL.0 + GAP.0);
    let rows = u32::try_from(settings.len()).map_or(0.0, f64::from);
    let height = TOP + rows * (PANEL.1 + GAP.1);
    let mut svg = String::new();
    write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    )
    .expect("a string takes all");
    legend(&mut svg, &variants);
    let mut y = TOP;
    for setting in settings {
        let cells: Vec<&Cell> = measured
            .cells
            .iter()
            .filter(|cell| (cell.sites.as_str(), cell.pairs) == setting)
            .collect();
        let middle = y + PANEL.1 / 2.0;
        text(&mut svg, 10.0, middle - 8.0, "start", setting.0);
        let pairs = format!("{} pairs", setting.1);
        text(&mut svg, 10.0, middle + 10.0, "start", &pairs);
        let mut x = LEFT;
        for aspect in ASPECTS {
            panel(&mut svg, (x, y), aspect, &cells, &variants);
            x += PANEL.0 + GAP.0;
        }
        y += PANEL.1 + GAP.1;
    }
    svg.push_str("</svg>\n");
    svg
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
    )
    .expect("a string takes all");
}

fn colour(at: usize) -> &'static str {
    COLOURS[at % COLOURS.len()]
}

fn legend(svg: &mut String, variants: &[&str]) {
    let mut x = LEFT;
    for (at, variant) in variants.iter().enumerate() {
        writeln!(
            svg,
            "<rect x=\"{x}\" y=\"14\" width=\"12\" height=\"12\" fill=\"{}\"/>",
            colour(at)
        )
        .expect("a string takes all");
        text(svg, x + 18.0, 24.0, "start", variant);
        x += 110.0;
    }
}

/// Groups of bars, one group for each number of clients.
fn panel(
    svg: &mut String,
    (x, y): (f64, f64),
    (title, value): Aspect,
    cells: &[&Cell],
    variants: &[&str],
) {
    let most = cells.iter().map(|cell| value(cell)).fold(0.0_f64, f64::max);
    let scale = if most > 0.0 { PANEL.1 / most } else { 0.0 };
    text(svg, x, y - 18.0, "start", title);
    let base = y + PANEL.1;
    writeln!(
        svg,
        "<line x1=\"{x}\" y1=\"{base}\" x2=\"{:.1}\" y2=\"{base}\" stroke=\"#444\"/>",
        x + PANEL.0
    )
    .expect("a string takes all");
    let mut clients: Vec<usize> = cells.iter().map(|cell| cell.clients).collect();
    clients.dedup();
    clients.sort_unstable();
    clients.dedup();
    let count = |n: usize| u32::try_from(n).map_or(1.0, f64::from);
    let group = PANEL.0 / count(clients.len().max(1));
    let bar = 0.8 * group / count(variants.len().max(1));
    for (at, number) in clients.iter().enumerate() {
        let left = x + count(at) * group;
        let label = format!("{number} clients");
        text(svg, left + group / 2.0, base + 16.0, "middle", &label);
        for (place, variant) in variants.iter().enumerate() {
            let of = |cell: &&&Cell| cell.clients == *number && cell.variant == *variant;
            let Some(cell) = cells.iter().find(of) else {
                continue;
            };
            let (shown, bar_x) = (value(cell), left + 0.1 * group + count(place) * bar);
            let height = shown * scale;
            writeln!(
                svg,
                "<rect x=\"{bar_x:.1}\" y=\"{:.1}\" width=\"{bar:.1}\" height=\"{height:.1}\" fill=\"{}\">\
                 <title>{variant}, {number} clients: {shown:.2} {title}</title></rect>",
                base - height,
                colour(place)
            )
            .expect("a string takes all");
            let label = if shown >= 100.0 || shown == 0.0 {
                format!("{shown:.0}")
            } else if shown >= 1.0 {
                format!("{shown:.1}")
            } else {
                format!("{shown:.2}")
            };
            writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"8\">{label}</text>",
                bar_x + bar / 2.0,
                base - height - 2.0
            )
            .expect("a string takes all");
        }
    }
}
