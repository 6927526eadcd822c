//! Medians, and ratios to the reference of the same round.

use crate::plan::{REFERENCE, Scenario, Server};
use crate::round::Turn;

/// What a table is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Figure {
    /// Processor time of the server per message.
    Cpu,
    /// Messages per second.
    Rate,
    /// The median latency.
    P50,
    /// The latency of the slowest hundredth.
    P99,
    /// The latency of the slowest thousandth.
    P999,
    /// The fewest messages of a connection, as a share of the most.
    Fairness,
}

impl Figure {
    /// Every one of which a ratio says something, in the order of the tables.
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Rate, Self::P50, Self::P99, Self::P999];

    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Cpu => "server CPU per message",
            Self::Rate => "messages per second",
            Self::P50 => "latency, p50",
            Self::P99 => "latency, p99",
            Self::P999 => "latency, p99.9",
            Self::Fairness => "fewest messages of a connection, as a share of the most",
        }
    }

    /// This figure of a turn.
    pub fn of(self, turn: &Turn) -> f64 {
        match self {
            Self::Cpu => turn.cpu_ns,
            Self::Rate => turn.rate,
            Self::P50 => turn.p50_ns,
            Self::P99 => turn.p99_ns,
            Self::P999 => turn.p999_ns,
            Self::Fairness => turn.fairness,
        }
    }
}

/// Everything that was measured.
#[derive(Default)]
pub struct Results {
    /// One for each server under each scenario, in the order of measuring.
    pub cells: Vec<Cell>,
}

/// One server under one scenario.
pub struct Cell {
    /// The load.
    pub scenario: &'static Scenario,
    /// The program.
    pub server: &'static Server,
    /// One for each round.
    pub turns: Vec<Turn>,
}

impl Results {
    /// Adds the turn of the next round.
    pub fn add(&mut self, scenario: &'static Scenario, server: &'static Server, turn: Turn) {
        let known = self
            .cells
            .iter_mut()
            .find(|cell| cell.scenario.name == scenario.name && cell.server.name == server.name);
        match known {
            Some(cell) => cell.turns.push(turn),
            None => self.cells.push(Cell {
                scenario,
                server,
                turns: vec![turn],
            }),
        }
    }

    /// What was measured for this server under this scenario.
    pub fn cell(&self, scenario: &str, server: &str) -> Option<&Cell> {
        self.cells
            .iter()
            .find(|cell| cell.scenario.name == scenario && cell.server.name == server)
    }

    /// The scenarios that were run, in order.
    pub fn scenarios(&self) -> Vec<&'static Scenario> {
        let mut seen: Vec<&'static Scenario> = Vec::new();
        for cell in &self.cells {
            if !seen.iter().any(|known| known.name == cell.scenario.name) {
                seen.push(cell.scenario);
            }
        }
        seen
    }

    /// The servers that were run, in order.
    pub fn servers(&self) -> Vec<&'static Server> {
        let mut seen: Vec<&'static Server> = Vec::new();
        for cell in &self.cells {
            if !seen.iter().any(|known| known.name == cell.server.name) {
                seen.push(cell.server);
            }
        }
        seen
    }

    /// The median over the rounds of the ratio to the reference of the same round.
    pub fn ratio(&self, scenario: &str, server: &str, figure: Figure) -> Option<f64> {
        median(self.ratios(scenario, server, figure)?)
    }

    /// How far that median may be off: the half of an interval that holds the true one 19 times of 20.
    pub fn doubt(&self, scenario: &str, server: &str, figure: Figure) -> Option<f64> {
        doubt(self.ratios(scenario, server, figure)?)
    }

    fn ratios(&self, scenario: &str, server: &str, figure: Figure) -> Option<Vec<f64>> {
        let ours = self.cell(scenario, server)?;
        let reference = self.cell(scenario, REFERENCE)?;
        let pairs = ours.turns.iter().zip(&reference.turns);
        Some(
            pairs
                .map(|(ours, theirs)| figure.of(ours) / figure.of(theirs))
                .collect(),
        )
    }

    /// The median over the rounds of the figure itself.
    pub fn absolute(&self, scenario: &str, server: &str, figure: Figure) -> Option<f64> {
        let cell = self.cell(scenario, server)?;
        median(cell.turns.iter().map(|turn| figure.of(turn)).collect())
    }
}

/// The middle one of the finite values; of an even number, the mean of the two.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[half]),
        _ => Some(values[half - 1].midpoint(values[half])),
    }
}

/// 1.57 times the distance of the quartiles, over the root of how many there are: the notch of McGill, Tukey and Larsen
/// (1978), which asks nothing of how the values are spread, as long as their middle is smooth.
pub fn doubt(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let upper = values.split_off(values.len() / 2);
    // Without the middle one, of an odd number.
    let upper = upper[upper.len() - values.len()..].to_vec();
    let count = (values.len() + upper.len()) as f64;
    Some(1.57 * (median(upper)? - median(values)?) / count.sqrt())
}

#[cfg(test)]
mod tests {
    use super::{doubt, median};

    #[test]
    fn the_median_leaves_out_what_is_no_number() {
        assert_eq!(median(vec![3.0, f64::NAN, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn the_doubt_is_that_of_the_quartiles() {
        assert_eq!(doubt(vec![1.0]), None);
        assert_eq!(doubt(vec![2.0; 9]), Some(0.0));
        let values = (1..=16).map(f64::from).collect();
        assert_eq!(doubt(values), Some(1.57 * 8.0 / 4.0));
        // 2 and 6 are the quartiles, without the 4.
        let odd = doubt(vec![7.0, 1.0, 5.0, 4.0, 3.0, 2.0, 6.0]);
        assert_eq!(odd, Some(1.57 * 4.0 / 6.0_f64.sqrt()));
    }
}
