//! What a sweep has measured, as CSV, as tables between the marks of the tuning page, and as small panels in SVG: one row for
//! each curve, one panel for each figure, a point for each value with a line from the least to the most of its rounds.

use std::fmt::Write;

use crate::picture::text;
use crate::stats::median;
use crate::sweep::{Curve, Figure, Sample};

/// One curve and what was measured for it.
pub struct Swept {
    /// What was tried.
    pub curve: &'static Curve,
    /// For each point the samples of all rounds.
    pub samples: Vec<Vec<Sample>>,
}

/// A figure over the rounds.
struct Range {
    least: f64,
    median: f64,
    most: f64,
}

impl Swept {
    /// Nothing yet.
    pub fn new(curve: &'static Curve) -> Self {
        let samples = curve.points.iter().map(|_| Vec::new()).collect();
        Self { curve, samples }
    }

    /// `None` if nothing was measured.
    fn range(&self, point: usize, figure: Figure) -> Option<Range> {
        let values = self.samples[point].iter().map(|sample| figure.of(sample));
        let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        Some(Range {
            least: values.iter().copied().reduce(f64::min)?,
            most: values.iter().copied().reduce(f64::max)?,
            median: median(values)?,
        })
    }

    /// The medians as a table in Markdown.
    fn table(&self) -> String {
        let titles: Vec<_> = self
            .curve
            .figures
            .iter()
            .map(|figure| figure.title())
            .collect();
        let mut out = format!(
            "| {} | {} |\n|---|{}\n",
            self.curve.knob,
            titles.join(" | "),
            "--:|".repeat(titles.len())
        );
        for (point, (value, _)) in self.curve.points.iter().enumerate() {
            let cells: Vec<_> = self
                .curve
                .figures
                .iter()
                .map(|figure| self.range(point, *figure))
                .map(|range| range.map_or("–".to_owned(), |range| short(range.median)))
                .collect();
            let _ = writeln!(out, "| {value} | {} |", cells.join(" | "));
        }
        out
    }
}

/// Every figure of every value: median, least and most of the rounds. The facts stand before as comments.
pub fn csv(all: &[Swept], facts: &[(&str, String)]) -> String {
    let mut out = String::new();
    for (what, value) in facts {
        let _ = writeln!(out, "# {what}: {value}");
    }
    out.push_str("curve,load,value,figure,median,least,most,rounds\n");
    for swept in all {
        for (point, (value, _)) in swept.curve.points.iter().enumerate() {
            for figure in swept.curve.figures {
                let Some(range) = swept.range(point, *figure) else {
                    continue;
                };
                let _ = writeln!(
                    out,
                    "{},{},{value},\"{}\",{:.3},{:.3},{:.3},{}",
                    swept.curve.name,
                    swept.curve.load.name,
                    figure.title(),
                    range.median,
                    range.least,
                    range.most,
                    swept.samples[point].len(),
                );
            }
        }
    }
    out
}

/// The tuning page with what lies between its marks replaced.
///
/// # Errors
/// Which mark is missing.
pub fn page(page: &str, all: &[Swept], facts: &[(&str, String)]) -> Result<String, String> {
    let told: Vec<_> = facts
        .iter()
        .map(|(what, value)| format!("- {what}: {value}\n"))
        .collect();
    let mut page = between_marks(page, "facts", &told.concat())?;
    for swept in all {
        page = between_marks(&page, swept.curve.name, &swept.table())?;
    }
    Ok(page)
}

fn between_marks(page: &str, name: &str, block: &str) -> Result<String, String> {
    let begin = format!("<!-- sweep: {name} -->\n");
    let end = "<!-- sweep: end -->";
    let missing = || format!("the tuning page has no mark {}", begin.trim_end());
    let (before, rest) = page.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(end).ok_or_else(missing)?;
    Ok(format!("{before}{begin}\n{block}\n{end}{after}"))
}

/// With as many digits as mean something.
fn short(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Units of the picture.
const LEFT: f64 = 60.0;
const TOP: f64 = 60.0;
const PANEL: (f64, f64) = (300.0, 110.0);
const GAP: f64 = 60.0;
const ROW: f64 = PANEL.1 + 76.0;
const MARKS: u32 = 4;
const LINE: &str = "#0072b2";
const WANTED: &str = "#e69f00";

/// The picture.
pub fn panels(all: &[Swept], facts: &[(&str, String)]) -> String {
    let columns = all
        .iter()
        .map(|swept| swept.curve.figures.len())
        .max()
        .unwrap_or(0);
    let width = LEFT + columns as f64 * (PANEL.0 + GAP);
    let height = TOP + all.len() as f64 * ROW;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(
        &mut out,
        (LEFT, 18.0),
        "start",
        "Medians, with the least and the most of all rounds; dashed: what was asked for",
    );
    let told: Vec<_> = facts
        .iter()
        .filter(|(what, _)| *what != "command")
        .map(|(_, value)| value.as_str())
        .collect();
    text(&mut out, (LEFT, 34.0), "start", &told.join(" · "));
    for (row, swept) in all.iter().enumerate() {
        let top = TOP + row as f64 * ROW;
        let title = format!("{}: {}", swept.curve.knob, swept.curve.load.about);
        text(&mut out, (LEFT, top + 8.0), "start", &title);
        for (column, figure) in swept.curve.figures.iter().enumerate() {
            let left = LEFT + column as f64 * (PANEL.0 + GAP);
            panel(&mut out, (left, top + 34.0), swept, *figure);
        }
    }
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, (left, top): (f64, f64), swept: &Swept, figure: Figure) {
    let points = swept.curve.points;
    let ranges: Vec<_> = (0..points.len())
        .map(|point| swept.range(point, figure))
        .collect();
    let most = ranges
        .iter()
        .flatten()
        .map(|range| range.most)
        .fold(0.0, f64::max);
    let end = round_up(most);
    let x = |point: usize| left + (point as f64 + 0.5) * PANEL.0 / points.len() as f64;
    let y = |value: f64| top + PANEL.1 * (1.0 - value / end);
    text(out, (left, top - 8.0), "start", figure.title());
    for mark in 0..=MARKS {
        let value = end * f64::from(mark) / f64::from(MARKS);
        line(
            out,
            (left, y(value)),
            (left + PANEL.0, y(value)),
            "stroke=\"#dddddd\"",
        );
        text(out, (left - 5.0, y(value) + 4.0), "end", &mark_text(value));
    }
    for (point, (value, _)) in points.iter().enumerate() {
        text(out, (x(point), top + PANEL.1 + 14.0), "middle", value);
    }
    if figure == Figure::Share {
        let wanted = points.iter().map(|(value, _)| value.parse().ok());
        polyline(
            out,
            wanted,
            x,
            y,
            &format!("stroke=\"{WANTED}\" stroke-dasharray=\"4 3\""),
        );
    }
    let medians = ranges
        .iter()
        .map(|range| range.as_ref().map(|range| range.median));
    polyline(
        out,
        medians,
        x,
        y,
        &format!("stroke=\"{LINE}\" stroke-width=\"1.5\""),
    );
    for (point, range) in ranges.iter().enumerate() {
        let Some(range) = range else { continue };
        let x = x(point);
        line(
            out,
            (x, y(range.least)),
            (x, y(range.most)),
            &format!("stroke=\"{LINE}\""),
        );
        let _ = writeln!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{LINE}\"><title>{}: {}</title></circle>",
            y(range.median),
            points[point].0,
            short(range.median)
        );
    }
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), style: &str) {
    let _ = writeln!(
        out,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" {style}/>",
        from.0, from.1, to.0, to.1
    );
}

/// Through all points that have a value.
fn polyline(
    out: &mut String,
    values: impl Iterator<Item = Option<f64>>,
    x: impl Fn(usize) -> f64,
    y: impl Fn(f64) -> f64,
    style: &str,
) {
    let places: Vec<_> = values
        .enumerate()
        .filter_map(|(point, value)| Some(format!("{:.1},{:.1}", x(point), y(value?))))
        .collect();
    let _ = writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" {style}/>",
        places.join(" ")
    );
}

/// The next of 1, 2, 4, 6, 8 and 10 times a power of ten: its quarters are short.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    let step = steps.into_iter().find(|step| step * power >= value);
    step.unwrap_or(10.0) * power
}

fn mark_text(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::{between_marks, mark_text, round_up};

    #[test]
    fn only_what_lies_between_the_marks_is_replaced() {
        let page = "a\n<!-- sweep: x -->\nold\n<!-- sweep: end -->\nb\n<!-- sweep: y -->\n<!-- sweep: end -->\n";
        let new = "a\n<!-- sweep: x -->\n\nnew\n\n<!-- sweep: end -->\nb\n<!-- sweep: y -->\n<!-- sweep: end -->\n";
        assert_eq!(between_marks(page, "x", "new\n").as_deref(), Ok(new));
        // And once more.
        assert_eq!(between_marks(new, "x", "new\n").as_deref(), Ok(new));
        assert!(between_marks(page, "z", "").is_err());
    }

    #[test]
    fn an_axis_ends_at_a_round_figure() {
        assert_eq!(round_up(0.0), 1.0);
        assert_eq!(round_up(100.0), 100.0);
        assert_eq!(round_up(101.0), 200.0);
        assert_eq!(round_up(0.3), 0.4);
        assert_eq!(
            (mark_text(50.0), mark_text(0.25)),
            ("50".to_owned(), "0.25".to_owned())
        );
    }
}
