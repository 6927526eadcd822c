//! What was measured, as tables for people and JSON for programs.

use std::fmt::Write;

use crate::plan::REFERENCE;
use crate::round::Turn;
use crate::stats::{Figure, Results};

/// Tables in Markdown: a ratio for each figure, how evenly connections were served, the reference in absolute terms, what
/// polling costs an idle server.
pub fn tables(results: &Results, facts: &[(&str, String)]) -> String {
    let mut out = String::from("# Tidegate and its peers on the same work\n\n");
    for (what, value) in facts {
        let _ = writeln!(out, "- {what}: {value}");
    }
    let rounds = results.cells.iter().map(|cell| cell.turns.len()).max();
    let _ = writeln!(
        out,
        "\nEcho servers with one I/O thread, bound to one processor; the load comes from another. They take turns within a\n\
         round; each ratio is the median over {} rounds of the ratio to `{REFERENCE}` of the same round, and ± how far it may\n\
         be off (95 %). `tidegate` has 3 handlers that pass on every event, and its loop in the main thread, as the others\n\
         have; in `tidegate-group` it has the thread of a group. `raw-thread` is `raw` with a second thread that does nothing.\n\
         Processor time is user and system, by the scheduler's account.\n",
        rounds.unwrap_or(0)
    );
    let loads = results.scenarios();
    for scenario in &loads {
        let _ = writeln!(out, "- {}: {}", scenario.name, scenario.about);
    }
    for figure in Figure::ALL {
        let _ = writeln!(out, "\n**{}, ratio to `{REFERENCE}`**\n", figure.title());
        ratio_table(&mut out, results, figure);
    }
    let _ = writeln!(
        out,
        "\n**{} (median)**\n\nWhere more is in flight than sockets hold, a server may go on with a few connections while the others wait.\n\
         Its p50 is that of the few then.\n",
        Figure::Fairness.title()
    );
    fairness_table(&mut out, results);
    let _ = writeln!(out, "\n**`{REFERENCE}`, absolute (median)**\n");
    absolute_table(&mut out, results);
    idle_table(&mut out, results);
    out
}

fn heading(out: &mut String, first: &str, names: &[&str]) {
    let _ = writeln!(out, "| {first} | {} |", names.join(" | "));
    let _ = writeln!(out, "|---|{}", "--:|".repeat(names.len()));
}

/// The names of the scenarios under load.
fn loaded(results: &Results) -> Vec<&'static str> {
    let scenarios = results.scenarios().into_iter();
    scenarios
        .filter(|scenario| !scenario.is_idle)
        .map(|scenario| scenario.name)
        .collect()
}

fn ratio_table(out: &mut String, results: &Results, figure: Figure) {
    let names = loaded(results);
    heading(out, "server", &names);
    for server in results.servers() {
        let cells = names.iter().map(|scenario| {
            let ratio = results.ratio(scenario, server.name, figure);
            let doubt = results.doubt(scenario, server.name, figure);
            match ratio.zip(doubt.filter(|doubt| *doubt > 0.0)) {
                Some((ratio, doubt)) => format!("{ratio:.2} ± {doubt:.2}"),
                None => ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
            }
        });
        let cells: Vec<_> = cells.collect();
        let _ = writeln!(out, "| {} | {} |", server.name, cells.join(" | "));
    }
}

fn fairness_table(out: &mut String, results: &Results) {
    let names = loaded(results);
    heading(out, "server", &names);
    for server in results.servers() {
        let cells = names.iter().map(|scenario| {
            let share = results.absolute(scenario, server.name, Figure::Fairness);
            share.map_or("–".to_owned(), |share| format!("{share:.2}"))
        });
        let cells: Vec<_> = cells.collect();
        let _ = writeln!(out, "| {} | {} |", server.name, cells.join(" | "));
    }
}

fn absolute_table(out: &mut String, results: &Results) {
    let names = loaded(results);
    heading(out, "", &names);
    let mut row = |title: &str, value: &dyn Fn(&str) -> Option<f64>, digits: usize| {
        let cells = names
            .iter()
            .map(|name| value(name).map_or("–".to_owned(), |value| format!("{value:.digits$}")));
        let cells: Vec<_> = cells.collect();
        let _ = writeln!(out, "| {title} | {} |", cells.join(" | "));
    };
    let of = |figure| move |name: &str| results.absolute(name, REFERENCE, figure);
    row(
        "CPU µs per message",
        &|name| of(Figure::Cpu)(name).map(|ns| ns / 1e3),
        2,
    );
    row(
        "thousand messages/s",
        &|name| of(Figure::Rate)(name).map(|rate| rate / 1e3),
        1,
    );
    row(
        "p50 µs",
        &|name| of(Figure::P50)(name).map(|ns| ns / 1e3),
        1,
    );
    row(
        "p99 µs",
        &|name| of(Figure::P99)(name).map(|ns| ns / 1e3),
        1,
    );
    row(
        "p99 / p50",
        &|name| {
            of(Figure::P99)(name)
                .zip(of(Figure::P50)(name))
                .map(|(high, middle)| high / middle)
        },
        2,
    );
    row(
        "p99 / p50 of tidegate",
        &|name| {
            let high = results.absolute(name, "tidegate", Figure::P99)?;
            Some(high / results.absolute(name, "tidegate", Figure::P50)?)
        },
        2,
    );
}

/// Percent of a processor that an idle server uses.
fn idle_table(out: &mut String, results: &Results) {
    let Some(idle) = results.scenarios().into_iter().find(|load| load.is_idle) else {
        return;
    };
    let _ = writeln!(
        out,
        "\n**Processor time of an idle second, percent (median)**\n"
    );
    heading(out, "server", &["percent"]);
    for server in results.servers() {
        if let Some(ns) = results.absolute(idle.name, server.name, Figure::Cpu) {
            let _ = writeln!(out, "| {} | {:.2} |", server.name, ns / 1e7);
        }
    }
}

/// Everything as JSON: the facts, and for each scenario and server each turn and the median ratios.
pub fn json(results: &Results, facts: &[(&str, String)]) -> String {
    let mut out = String::from("{\n");
    for (what, value) in facts {
        let _ = writeln!(out, "  {}: {},", quoted(what), quoted(value));
    }
    let _ = writeln!(out, "  \"reference\": {},", quoted(REFERENCE));
    out.push_str("  \"results\": [");
    for (at, cell) in results.cells.iter().enumerate() {
        out.push_str(if at == 0 { "\n" } else { ",\n" });
        let (scenario, server) = (cell.scenario.name, cell.server.name);
        let _ = write!(
            out,
            "    {{\"scenario\": {}, \"server\": {}, \"ratio\": {{",
            quoted(scenario),
            quoted(server)
        );
        let names = ["cpu", "rate", "p50", "p99", "p999"];
        for (at, (figure, name)) in Figure::ALL.into_iter().zip(names).enumerate() {
            let ratio = results.ratio(scenario, server, figure);
            let comma = if at == 0 { "" } else { ", " };
            let doubt = results.doubt(scenario, server, figure);
            let _ = write!(
                out,
                "{comma}\"{name}\": {}, \"{name}_doubt\": {}",
                number(ratio, 4),
                number(doubt, 4)
            );
        }
        let turns: Vec<_> = cell.turns.iter().map(turn).collect();
        let _ = write!(
            out,
            "}}, \"turns\": [\n      {}]}}",
            turns.join(",\n      ")
        );
    }
    out.push_str("\n  ]\n}\n");
    out
}

fn turn(turn: &Turn) -> String {
    format!(
        "{{\"cpu_ns\": {:.1}, \"per_second\": {:.0}, \"p50_ns\": {:.0}, \"p99_ns\": {:.0}, \"p999_ns\": {:.0}, \
         \"fewest_of_most\": {:.3}}}",
        turn.cpu_ns, turn.rate, turn.p50_ns, turn.p99_ns, turn.p999_ns, turn.fairness
    )
}

/// JSON has no word for what is no number.
fn number(value: Option<f64>, digits: usize) -> String {
    match value {
        Some(value) if value.is_finite() => format!("{value:.digits$}"),
        _ => "null".to_owned(),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn text_is_quoted_for_json() {
        assert_eq!(quoted("a \"b\"\\\n"), r#""a \"b\"\\\u000a""#);
    }
}
