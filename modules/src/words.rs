//! Numbers in the sentences that explain things.

use trainyard_proto::dec::Dec;

/// `part` of `whole` as `12.5 %`, rounded down to a hundredth of a percent.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    let points = u128::from(part) * 10_000 / u128::from(whole.max(1));
    let text = format!("{}.{:02}", points / 100, points % 100);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A fraction as `12.5 %`, rounded down to a hundredth of a percent.
#[must_use]
pub fn percent_of(fraction: Dec) -> String {
    let points = fraction.mul_down(Dec::whole(10_000)).and_then(Dec::floor);
    percent(points.unwrap_or(u64::MAX), 10_000)
}

/// A decimal without the zeros at its end.
#[must_use]
pub fn plain(number: Dec) -> String {
    let text = number.to_string();
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(percent(1, 8), "12.5 %");
        assert_eq!(percent(100, 10_000), "1 %");
        assert_eq!(percent(2, 3), "66.66 %");
        assert_eq!((percent(5, 5), percent(0, 0)), ("100 %".into(), "0 %".into()));
        assert_eq!(percent_of("0.05".parse().unwrap()), "5 %");
        assert_eq!(plain("10".parse().unwrap()), "10");
        assert_eq!(plain("1.25".parse().unwrap()), "1.25");
    }
}
