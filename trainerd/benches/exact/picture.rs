//! The ratios as a picture: for everything that libtorch has too, a bar for each number of threads, on a scale where 1 is equal.
//! Its colours suit light and dark pages, and its background is the page's.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::Row;

const LABELS: f64 = 270.0;
const UNIT: f64 = 220.0;
/// Bars end here; the number beside them does not.
const MOST: f64 = 2.5;
const LINE: f64 = 28.0;
const BAR: f64 = 10.0;
const TOP: f64 = 66.0;
const TITLES: [&str; 3] = ["Whole steps of training", "Convolutions", "Products of matrices"];

/// A name with its ratios, and whether each is on one thread.
type Line<'a> = (&'a str, Vec<(bool, f64)>);

/// Which title a row stands under.
fn group(name: &str) -> Option<usize> {
    let starts = [("step", 0), ("conv", 1), ("matmul", 2), ("attention", 2)];
    starts
        .iter()
        .find(|(start, _)| name.starts_with(start))
        .map(|(_, group)| *group)
}

/// An SVG file of all ratios of times.
pub(crate) fn draw(rows: &[Row]) -> String {
    // By group and place of the first row of a name: the name and its ratios on one and on two threads.
    let mut lines: BTreeMap<(usize, usize), Line<'_>> = BTreeMap::new();
    let mut places: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        let (Some(group), Some(ratio), Some((name, threads))) =
            (group(&row.name), row.ratio(), row.name.rsplit_once(", "))
        else {
            continue;
        };
        let place = *places.entry(name).or_insert((group, at));
        let line = lines
            .entry(place)
            .or_insert((name.trim_start_matches("step "), Vec::new()));
        line.1.push((threads.starts_with('1'), ratio));
    }
    let mut body = String::new();
    let mut y = TOP;
    let mut last = None;
    for ((group, _), (name, bars)) in lines {
        if last != Some(group) {
            last = Some(group);
            let _ = writeln!(
                body,
                "<text x=\"8\" y=\"{}\" class=\"title\">{}</text>",
                y + 20.0,
                TITLES[group]
            );
            y += LINE + 4.0;
        }
        let _ = writeln!(
            body,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>",
            LABELS - 8.0,
            y + 15.0
        );
        for (number, (single, ratio)) in bars.into_iter().enumerate() {
            let (y, width) = (y + 1.0 + number as f64 * (BAR + 1.0), UNIT * ratio.min(MOST));
            let class = if single { "one" } else { "two" };
            let _ = writeln!(
                body,
                "<rect x=\"{LABELS}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" class=\"{class}\"/>\
                 <text x=\"{:.1}\" y=\"{}\" class=\"small\">{ratio:.2}</text>",
                LABELS + width + 5.0,
                y + 9.0
            );
        }
        y += LINE;
    }
    let (width, height) = (LABELS + UNIT * MOST + 40.0, y + 16.0);
    let mut scale = String::new();
    for at in [0.5, 1.0, 1.5, 2.0, 2.5] {
        let (x, class) = (LABELS + UNIT * at, if at == 1.0 { "equal" } else { "grid" });
        let _ = writeln!(
            scale,
            "<line x1=\"{x}\" y1=\"{TOP}\" x2=\"{x}\" y2=\"{}\" class=\"{class}\"/>\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{at}</text>",
            height - 8.0,
            TOP - 6.0
        );
    }
    let middle = LABELS + 90.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"12\" role=\"img\" aria-label=\"Speed of the exact engine against libtorch\">\n\
         <style>text{{fill:#6e7781}} .title{{font-weight:bold;font-size:14px}} .small{{font-size:10px}} \
         .grid{{stroke:#8c959f;stroke-opacity:.3}} .equal{{stroke:#8c959f;stroke-width:1.5}} .one{{fill:#2f81c7}} \
         .two{{fill:#d08236}} @media (prefers-color-scheme:dark){{text{{fill:#a5aeb8}}}}</style>\n\
         <text x=\"8\" y=\"18\" class=\"title\">libtorch's time / ours on the same cores: 1 is equal, longer is faster</text>\n\
         <rect x=\"{LABELS}\" y=\"29\" width=\"12\" height=\"{BAR}\" class=\"one\"/><text x=\"{}\" y=\"38\">1 thread</text>\n\
         <rect x=\"{middle}\" y=\"29\" width=\"12\" height=\"{BAR}\" class=\"two\"/><text x=\"{}\" y=\"38\">2 threads</text>\n\
         {scale}{body}</svg>\n",
        LABELS + 18.0,
        middle + 18.0
    )
}
