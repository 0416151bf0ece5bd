//! Denominations and amounts.

use crate::cosmos::base::v1beta1::Coin;

/// The native denomination: 1 TRAIN = 10⁶ utrain.
pub const DENOM: &str = "utrain";
/// utrain in one TRAIN.
pub const UTRAIN_PER_TRAIN: u64 = 1_000_000;
/// Most utrain that can exist: amounts then add up in `u64` and fit CometBFT's signed powers.
pub const MAX_SUPPLY: u64 = i64::MAX as u64;

/// Why a coin is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoinError {
    /// No coin where one is needed.
    #[error("no amount was given")]
    Missing,
    /// Not the native denomination.
    #[error("denomination {0:?} is not accepted here, only \"utrain\"")]
    Denom(String),
    /// Not a decimal integer in range.
    #[error("amount {0:?} is not a whole number between 0 and {MAX_SUPPLY} utrain")]
    Amount(String),
}

/// A coin of `amount` utrain.
#[must_use]
pub fn utrain(amount: u64) -> Coin {
    Coin {
        denom: DENOM.into(),
        amount: amount.to_string(),
    }
}

/// The utrain of a coin.
///
/// # Errors
/// The coin is missing, of another denomination, or not a whole number up to [`MAX_SUPPLY`].
pub fn parse_utrain(coin: Option<&Coin>) -> Result<u64, CoinError> {
    let coin = coin.ok_or(CoinError::Missing)?;
    if coin.denom != DENOM {
        return Err(CoinError::Denom(shorten(&coin.denom)));
    }
    parse_amount(&coin.amount)
}

/// The utrain of a list of coins: empty is zero, one coin is its amount.
///
/// # Errors
/// As [`parse_utrain`]; a second coin is refused too, for it can only be of another denomination or a repetition.
pub fn parse_utrain_list(coins: &[Coin]) -> Result<u64, CoinError> {
    match coins {
        [] => Ok(0),
        [one] => parse_utrain(Some(one)),
        [_, second, ..] => Err(CoinError::Denom(shorten(&second.denom))),
    }
}

/// A whole number of utrain up to [`MAX_SUPPLY`], in the one way of writing it (no sign, no leading zero).
///
/// # Errors
/// Anything else.
pub fn parse_amount(text: &str) -> Result<u64, CoinError> {
    let wrong = || CoinError::Amount(shorten(text));
    let canonical = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
    if !canonical {
        return Err(wrong());
    }
    text.parse()
        .ok()
        .filter(|amount| *amount <= MAX_SUPPLY)
        .ok_or_else(wrong)
}

/// Parses what people write: `1000TRAIN`, `1.5train`, `2500utrain` or a bare number of utrain.
///
/// # Errors
/// Not such a text, more than six decimals of TRAIN, or beyond [`MAX_SUPPLY`].
pub fn parse_human(text: &str) -> Result<u64, CoinError> {
    let wrong = || CoinError::Amount(shorten(text));
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    if let Some(number) = lower.strip_suffix("utrain") {
        return parse_amount(number.trim());
    }
    let Some(number) = lower.strip_suffix("train") else {
        return parse_amount(&lower);
    };
    let (whole, fraction) = number.trim().split_once('.').unwrap_or((number.trim(), ""));
    if fraction.len() > 6 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let micro: u64 = format!("{fraction:0<6}").parse().map_err(|_| wrong())?;
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        parse_amount(whole).map_err(|_| wrong())?
    };
    whole
        .checked_mul(UTRAIN_PER_TRAIN)
        .and_then(|utrain| utrain.checked_add(micro))
        .filter(|amount| *amount <= MAX_SUPPLY)
        .ok_or_else(wrong)
}

/// An amount as people read it: `12.5 TRAIN`.
#[must_use]
pub fn show(utrain: u64) -> String {
    let (whole, micro) = (utrain / UTRAIN_PER_TRAIN, utrain % UTRAIN_PER_TRAIN);
    if micro == 0 {
        return format!("{whole} TRAIN");
    }
    let fraction = format!("{micro:06}");
    format!("{whole}.{} TRAIN", fraction.trim_end_matches('0'))
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_machines_write_amounts() {
        assert_eq!(parse_human("1000TRAIN"), Ok(1_000_000_000));
        assert_eq!(parse_human("1.5 train"), Ok(1_500_000));
        assert_eq!(parse_human("7utrain"), Ok(7));
        assert_eq!(parse_human("7"), Ok(7));
        assert_eq!(show(1_500_000), "1.5 TRAIN");
        assert_eq!(show(1), "0.000001 TRAIN");
        for wrong in [
            "",
            "-1",
            "+1",
            "01",
            "1.2345678train",
            "1e3",
            "9223372036854775808",
            "train x",
        ] {
            assert!(parse_human(wrong).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn only_one_native_coin_passes() {
        assert_eq!(parse_utrain(Some(&utrain(5))), Ok(5));
        assert_eq!(parse_utrain(None), Err(CoinError::Missing));
        let other = Coin {
            denom: "uatom".into(),
            amount: "5".into(),
        };
        assert_eq!(parse_utrain(Some(&other)), Err(CoinError::Denom("uatom".into())));
        assert!(parse_utrain_list(&[utrain(1), utrain(2)]).is_err());
    }
}
