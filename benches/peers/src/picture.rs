//! Bars as SVG: one panel for each figure, one group for each scenario, one bar for each server, all as ratios to the
//! reference, which is a line. Text and rectangles only, so that any viewer shows it.

use std::fmt::Write;

use crate::plan::{REFERENCE, Server};
use crate::stats::{Figure, Results};

const PANELS: [Figure; 4] = [Figure::Cpu, Figure::Rate, Figure::P50, Figure::P99];
/// Bars end here, and say their figure.
const RATIO_MAX: f64 = 2.5;

/// Units of the picture.
const BAR: f64 = 9.0;
const GAP: f64 = 16.0;
const PANEL: f64 = 190.0;
const LEFT: f64 = 50.0;
const TOP: f64 = 70.0;
const TITLE: f64 = 34.0;

/// The picture.
pub fn bars(results: &Results, facts: &[(&str, String)]) -> String {
    let scenarios: Vec<_> = results
        .scenarios()
        .into_iter()
        .filter(|scenario| !scenario.is_idle)
        .collect();
    let servers: Vec<_> = results.servers();
    let group = servers.len() as f64 * BAR + GAP;
    let width = (LEFT + scenarios.len() as f64 * group + GAP).max(900.0);
    let height = TOP + PANELS.len() as f64 * (PANEL + TITLE + 24.0) + 20.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(
        &mut out,
        (LEFT, 18.0),
        "start",
        &format!("Ratios to {REFERENCE}; shorter is better but for messages per second"),
    );
    let told: Vec<_> = facts
        .iter()
        .filter(|(what, _)| *what != "command")
        .map(|(_, value)| value.as_str())
        .collect();
    text(&mut out, (LEFT, 34.0), "start", &told.join(" · "));
    legend(&mut out, &servers);
    for (row, figure) in PANELS.into_iter().enumerate() {
        let top = TOP + row as f64 * (PANEL + TITLE + 24.0) + TITLE;
        let base = top + PANEL;
        text(&mut out, (LEFT, top - 10.0), "start", figure.title());
        for mark in [0.0, 0.5, 1.0, 1.5, 2.0, 2.5] {
            let y = base - mark / RATIO_MAX * PANEL;
            let colour = if mark == 1.0 { "#333333" } else { "#dddddd" };
            let _ = writeln!(
                out,
                "<line x1=\"{LEFT}\" x2=\"{width:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\"/>"
            );
            text(
                &mut out,
                (LEFT - 6.0, y + 4.0),
                "end",
                &format!("{mark:.1}"),
            );
        }
        for (at, scenario) in scenarios.iter().enumerate() {
            let left = LEFT + GAP / 2.0 + at as f64 * group;
            for (place, server) in servers.iter().enumerate() {
                if let Some(ratio) = results.ratio(scenario.name, server.name, figure) {
                    let x = left + place as f64 * BAR;
                    bar(&mut out, (x, base), ratio, server);
                }
            }
            let middle = left + (group - GAP) / 2.0;
            text(&mut out, (middle, base + 14.0), "middle", scenario.name);
        }
    }
    out.push_str("</svg>\n");
    out
}

fn legend(out: &mut String, servers: &[&Server]) {
    let mut x = LEFT;
    for server in servers {
        let Server { name, colour, .. } = server;
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"46\" width=\"10\" height=\"10\" fill=\"{colour}\"/>"
        );
        text(out, (x + 14.0, 55.0), "start", name);
        x += 30.0 + 6.2 * name.len() as f64;
    }
}

fn bar(out: &mut String, (x, base): (f64, f64), ratio: f64, server: &Server) {
    let Server { name, colour, .. } = server;
    let height = ratio.min(RATIO_MAX) / RATIO_MAX * PANEL;
    let y = base - height;
    let width = BAR - 1.0;
    let _ = writeln!(
        out,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\">\
         <title>{name}: {ratio:.2}</title></rect>"
    );
    if ratio > RATIO_MAX {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"8\" text-anchor=\"middle\">{ratio:.1}</text>",
            x + width / 2.0,
            y - 2.0
        );
    }
}

/// A line of text. `anchor` is what SVG calls text-anchor.
pub(crate) fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let words = words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}
