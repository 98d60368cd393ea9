//! From single calls to one number a row.

use serde::{Deserialize, Serialize};

use crate::roles::ClientReport;

/// One row in one round.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) calls_per_second: f64,
}

impl Round {
    /// Sums up what a client measured.
    pub(crate) fn of(client: ClientReport) -> Self {
        let calls = client.nanoseconds.len();
        Self::new(client.nanoseconds, calls, client.seconds)
    }

    /// Sums up samples of single calls, and `calls` in `seconds`, which may be more than samples.
    pub(crate) fn new(mut nanoseconds: Vec<u64>, calls: usize, seconds: f64) -> Self {
        nanoseconds.sort_unstable();
        let microseconds = |share: f64| {
            let index = (nanoseconds.len() as f64 * share) as usize;
            nanoseconds[index.min(nanoseconds.len() - 1)] as f64 / 1e3
        };
        Self {
            p50_us: microseconds(0.50),
            p99_us: microseconds(0.99),
            calls_per_second: calls as f64 / seconds,
        }
    }
}

/// The median; of an even number of values, the mean of the middle two.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 {
        values[half]
    } else {
        (values[half - 1] + values[half]) / 2.0
    }
}

/// The median of `value` over the rounds.
pub(crate) fn typical(rounds: &[Round], value: impl Fn(&Round) -> f64) -> f64 {
    median(rounds.iter().map(value))
}

/// How many times slower a call is than `baseline`'s: p50 against p50 within each round, then the
/// median. Rounds are minutes apart on a shared machine; two rows of one round are not.
pub(crate) fn ratio(rounds: &[Round], baseline: &[Round]) -> f64 {
    median(
        rounds
            .iter()
            .zip(baseline)
            .map(|(round, base)| round.p50_us / base.p50_us),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn a_slow_round_does_not_change_the_ratio() {
        let round = |p50_us| Round {
            p50_us,
            p99_us: 0.0,
            calls_per_second: 0.0,
        };
        let rows = [10.0, 40.0, 12.0].map(round);
        let base = [5.0, 20.0, 6.0].map(round);
        assert_eq!(ratio(&rows, &base), 2.0);
    }

    #[test]
    fn percentiles_are_of_the_sorted_calls() {
        let nanoseconds = (1..=100).rev().map(|n| n * 1000).collect();
        let round = Round::of(ClientReport {
            nanoseconds,
            seconds: 0.5,
            allocations: None,
        });
        assert_eq!(
            (round.p50_us, round.p99_us, round.calls_per_second),
            (51.0, 100.0, 200.0)
        );
    }
}
