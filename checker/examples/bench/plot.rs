//! Time against size, both logarithmic, as SVG.

use std::fmt::Write as _;

use crate::Point;
use crate::work::Work;

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 540.0;
/// The corners of the field of the plot.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 620.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 480.0;
/// Decades: sizes from 10^3 on, times from a millisecond on.
const SIZES: (i32, i32) = (3, 6);
const TIMES: (i32, i32) = (-3, 2);

/// Colours that are told apart by people who do not see all of them (Okabe and Ito).
const COLOURS: [&str; 5] = ["#0072b2", "#d55e00", "#cc79a7", "#009e73", "#e69f00"];

/// Draws all points, a line for each kind.
pub(crate) fn draw(points: &[Point]) -> String {
    let mut svg = String::new();
    frame(&mut svg);
    for (place, (work, colour)) in Work::ALL.iter().zip(COLOURS).enumerate() {
        let line: Vec<(f64, f64)> = points
            .iter()
            .filter(|point| point.work == *work)
            .filter_map(|point| {
                let seconds = point.measured.as_ref()?.wall();
                Some((x(f64::from(point.txns)), y(seconds)))
            })
            .collect();
        let path: Vec<String> = line.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        push(
            &mut svg,
            format_args!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join(" ")
            ),
        );
        for (x, y) in line {
            let circle =
                format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
            push(&mut svg, circle);
        }
        let at = 80.0 + 24.0 * f64::from(u32::try_from(place).unwrap_or(0));
        push(
            &mut svg,
            format_args!(
                "<line x1=\"640\" x2=\"664\" y1=\"{at}\" y2=\"{at}\" stroke=\"{colour}\" stroke-width=\"3\"/>\
                 <text x=\"672\" y=\"{}\">{}</text>",
                at + 4.0,
                work.name()
            ),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Axes, their decades, the guide of linear growth, and words.
fn frame(svg: &mut String) {
    push(
        svg,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"28\" font-size=\"16\">Reading and judging, by the size of the history</text>"
        ),
    );
    for decade in SIZES.0..=SIZES.1 {
        let at = x(10_f64.powi(decade));
        push(
            svg,
            format_args!(
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\" stroke=\"#ddd\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                BOTTOM + 20.0,
                ["1,000", "10,000", "100,000", "1,000,000"]
                    [usize::try_from(decade - SIZES.0).unwrap_or(0)]
            ),
        );
    }
    for decade in TIMES.0..=TIMES.1 {
        let at = y(10_f64.powi(decade));
        let label = match decade {
            -3 => "1 ms",
            -2 => "10 ms",
            -1 => "0.1 s",
            0 => "1 s",
            1 => "10 s",
            _ => "100 s",
        };
        push(
            svg,
            format_args!(
                "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 8.0,
                at + 4.0
            ),
        );
    }
    // Ten microseconds a transaction.
    let (from, to) = (x(1e3), x(1e6));
    push(
        svg,
        format_args!(
            "<line x1=\"{from:.1}\" y1=\"{:.1}\" x2=\"{to:.1}\" y2=\"{:.1}\" stroke=\"#888\" stroke-dasharray=\"6 5\"/>\
             <line x1=\"640\" x2=\"664\" y1=\"210\" y2=\"210\" stroke=\"#888\" stroke-dasharray=\"6 5\"/>\
             <text x=\"672\" y=\"214\">10 µs a transaction</text>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">transactions of eight operations</text>",
            y(1e-2),
            y(1e1),
            f64::midpoint(LEFT, RIGHT),
            BOTTOM + 44.0
        ),
    );
}

fn x(size: f64) -> f64 {
    let (first, last) = (f64::from(SIZES.0), f64::from(SIZES.1));
    LEFT + (size.log10() - first) / (last - first) * (RIGHT - LEFT)
}

fn y(seconds: f64) -> f64 {
    let (first, last) = (f64::from(TIMES.0), f64::from(TIMES.1));
    let place = (seconds.log10().clamp(first, last) - first) / (last - first);
    BOTTOM - place * (BOTTOM - TOP)
}

fn push(svg: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(svg, "{line}").expect("writing to a string cannot fail");
}
