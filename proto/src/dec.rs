//! Fixed-point decimals with 18 places, as the SDK computes with them: rates, shares, parts of a utrain.
//!
//! There are two ways of writing one. On the wire stand *atomics*, the number times 10¹⁸ without a point
//! (`"50000000000000000"` is 5 %), which is what every Cosmos wallet sends and reads. People, and the genesis file, read and
//! write a point (`0.05`): that is what [`fmt::Display`] and [`FromStr`] do.
//!
//! Nothing rounds by itself: a function's name says which way it goes, and what does not fit is `None`.

use std::{fmt, str::FromStr};

use prost::{
    DecodeError, Message,
    bytes::{Buf, BufMut},
    encoding::{DecodeContext, WireType},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{coin::DENOM, cosmos::base::v1beta1::DecCoin};

/// Digits behind the point.
pub const PLACES: usize = 18;
/// Atomics in 1.
const ONE: u128 = 1_000_000_000_000_000_000;

/// A number from 0 to about 3.4 × 10²⁰ in steps of 10⁻¹⁸.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dec(u128);

/// Why a text is no [`Dec`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct DecError {
    text: String,
    expected: &'static str,
}

impl DecError {
    fn new(text: &str, expected: &'static str) -> Self {
        let text = text.chars().take(80).collect();
        Self { text, expected }
    }
}

impl Dec {
    /// 0.
    pub const ZERO: Self = Self(0);
    /// 1.
    pub const ONE: Self = Self(ONE);

    /// A whole number.
    #[must_use]
    pub const fn whole(number: u64) -> Self {
        // Below 2⁶⁴ × 2⁶⁰.
        Self(number as u128 * ONE)
    }

    /// `numerator / denominator`, rounded down; `None` for a denominator of 0.
    #[must_use]
    pub fn ratio(numerator: u64, denominator: u64) -> Option<Self> {
        Self::whole(numerator).0.checked_div(u128::from(denominator)).map(Self)
    }

    /// The whole part; `None` from 2⁶⁴ on.
    #[must_use]
    pub fn floor(self) -> Option<u64> {
        u64::try_from(self.0 / ONE).ok()
    }

    /// Whether this is 0.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference; `None` below 0.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The difference, or 0 below it.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The product, rounded down.
    #[must_use]
    pub fn mul_down(self, other: Self) -> Option<Self> {
        mul_div(self.0, other.0, ONE).map(|(quotient, _)| Self(quotient))
    }

    /// The product, rounded up.
    #[must_use]
    pub fn mul_up(self, other: Self) -> Option<Self> {
        let (quotient, rest) = mul_div(self.0, other.0, ONE)?;
        quotient.checked_add(u128::from(rest > 0)).map(Self)
    }

    /// The quotient, rounded down; `None` also for a divisor of 0.
    #[must_use]
    pub fn div_down(self, other: Self) -> Option<Self> {
        mul_div(self.0, ONE, other.0).map(|(quotient, _)| Self(quotient))
    }

    /// `self · numerator / denominator`, rounded once, down; `None` also for a denominator of 0.
    #[must_use]
    pub fn mul_div_down(self, numerator: Self, denominator: Self) -> Option<Self> {
        mul_div(self.0, numerator.0, denominator.0).map(|(quotient, _)| Self(quotient))
    }

    /// As [`Dec::mul_div_down`], rounded up.
    #[must_use]
    pub fn mul_div_up(self, numerator: Self, denominator: Self) -> Option<Self> {
        let (quotient, rest) = mul_div(self.0, numerator.0, denominator.0)?;
        quotient.checked_add(u128::from(rest > 0)).map(Self)
    }

    /// As on the wire: times 10¹⁸, without a point.
    #[must_use]
    pub fn atomics(self) -> String {
        self.0.to_string()
    }

    /// Reads what [`Dec::atomics`] writes; an empty text is 0, as protobuf leaves it out.
    ///
    /// # Errors
    /// Anything but decimal digits without leading zeros, or more than fits.
    pub fn from_atomics(text: &str) -> Result<Self, DecError> {
        let wrong = || DecError::new(text, "a decimal as it stands on the wire: times 10^18, without a point");
        if text.is_empty() {
            return Ok(Self::ZERO);
        }
        if text != "0" && (text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit())) {
            return Err(wrong());
        }
        text.parse().map(Self).map_err(|_| wrong())
    }

    /// Parts of utrain as the SDK lists them: no coin for 0.
    #[must_use]
    pub fn coins(self) -> Vec<DecCoin> {
        if self.is_zero() {
            return Vec::new();
        }
        vec![DecCoin {
            denom: DENOM.into(),
            amount: self.atomics(),
        }]
    }
}

/// `a · b / c` rounded down, and the rest; `None` where it does not fit or `c` is 0.
fn mul_div(a: u128, b: u128, c: u128) -> Option<(u128, u128)> {
    const LOW: u128 = u64::MAX as u128;
    if let Some(product) = a.checked_mul(b) {
        return Some((product.checked_div(c)?, product.checked_rem(c)?));
    }
    // The product in two words, from four products of half words.
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> 64);
    let carried = a0 * b1 + (middle & LOW);
    let (high, low) = (
        a1 * b1 + (middle >> 64) + (carried >> 64),
        (carried << 64) | (low & LOW),
    );
    if high >= c {
        return None;
    }
    // Long division, a bit at a time.
    let (mut rest, mut quotient) = (high, 0);
    for bit in (0..128).rev() {
        let over = rest >> 127 == 1;
        rest = (rest << 1) | ((low >> bit) & 1);
        quotient <<= 1;
        if over || rest >= c {
            rest = rest.wrapping_sub(c);
            quotient |= 1;
        }
    }
    Some((quotient, rest))
}

impl fmt::Display for Dec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:0PLACES$}", self.0 / ONE, self.0 % ONE)
    }
}

impl FromStr for Dec {
    type Err = DecError;

    /// Reads `2`, `0.05`, `.5`, `1.000000000000000001`.
    fn from_str(text: &str) -> Result<Self, DecError> {
        let wrong = || DecError::new(text, "a decimal number with at most 18 places, like 0.05");
        let (whole, places) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if text.len() > 60 || places.len() > PLACES || (whole.is_empty() && places.is_empty()) {
            return Err(wrong());
        }
        if !digits(whole) || !digits(places) {
            return Err(wrong());
        }
        format!("{whole}{places:0<PLACES$}")
            .parse()
            .map(Self)
            .map_err(|_| wrong())
    }
}

impl Serialize for Dec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Dec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// As a message: a `google.protobuf.StringValue` with the atomics.
impl Message for Dec {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        self.wire().encode_raw(buffer);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        let mut text = String::new();
        Message::merge_field(&mut text, tag, wire_type, buffer, context)?;
        if tag == 1 {
            *self = Self::from_atomics(&text).map_err(|e| DecodeError::new(e.to_string()))?;
        }
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.wire().encoded_len()
    }

    fn clear(&mut self) {
        *self = Self::ZERO;
    }
}

impl Dec {
    fn wire(self) -> String {
        if self.is_zero() { String::new() } else { self.atomics() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dec(text: &str) -> Dec {
        text.parse().unwrap()
    }

    #[test]
    fn rounding_goes_where_the_name_says() {
        let third = Dec::ratio(1, 3).unwrap();
        assert_eq!(third.to_string(), "0.333333333333333333");
        assert_eq!(third.mul_down(Dec::whole(3)), Some(dec("0.999999999999999999")));
        assert_eq!(third.mul_up(dec("0.5")), Some(dec("0.166666666666666667")));
        assert_eq!(Dec::ONE.div_down(Dec::whole(3)), Some(third));
        assert_eq!(
            Dec::whole(10).mul_div_down(Dec::ONE, Dec::whole(3)),
            Some(dec("3.333333333333333333"))
        );
        assert_eq!(
            Dec::whole(10).mul_div_up(Dec::ONE, Dec::whole(3)),
            Some(dec("3.333333333333333334"))
        );
        assert_eq!(dec("2.999999999999999999").floor(), Some(2));
    }

    #[test]
    fn what_does_not_fit_is_none() {
        let most = Dec(u128::MAX);
        assert_eq!(most.checked_add(Dec(1)), None);
        assert_eq!(Dec::ZERO.checked_sub(Dec(1)), None);
        assert_eq!(most.mul_down(dec("1.000000000000000001")), None);
        assert_eq!(most.mul_down(Dec::ONE), Some(most));
        assert_eq!(
            (most.div_down(Dec::ZERO), Dec::ZERO.div_down(Dec::ZERO), most.floor()),
            (None, None, None)
        );
        assert_eq!(Dec::ratio(1, 0), None);
    }

    #[test]
    fn texts_are_read_in_one_way_only() {
        assert_eq!(dec("0.05").atomics(), "50000000000000000");
        assert_eq!(Dec::from_atomics("50000000000000000"), Ok(dec(".05")));
        assert_eq!(
            (Dec::from_atomics(""), Dec::from_atomics("0")),
            (Ok(Dec::ZERO), Ok(Dec::ZERO))
        );
        for wrong in [
            "01",
            "0.05",
            "-1",
            "+1",
            " 1",
            "1e3",
            "340282366920938463463374607431768211456",
        ] {
            assert!(Dec::from_atomics(wrong).is_err(), "{wrong:?} was read");
        }
        let long = "1".repeat(61);
        for wrong in [
            "",
            ".",
            "-1",
            "+1",
            "1e3",
            "1.0000000000000000001",
            "340282366920938463464",
            &long,
        ] {
            assert!(wrong.parse::<Dec>().is_err(), "{wrong:?} was read");
        }
    }

    #[test]
    fn a_message_of_a_decimal_is_that_of_its_atomics() {
        let value = dec("1.5");
        assert_eq!(value.encode_to_vec(), "1500000000000000000".to_string().encode_to_vec());
        assert_eq!(Dec::decode(value.encode_to_vec().as_slice()), Ok(value));
        assert_eq!(
            (Dec::ZERO.encode_to_vec(), Dec::decode(&[][..])),
            (Vec::new(), Ok(Dec::ZERO))
        );
        assert!(Dec::decode("1.5".to_string().encode_to_vec().as_slice()).is_err());
    }

    /// Against schoolbook multiplication and division in digits of 16 bits.
    #[test]
    fn wide_products_divide_as_on_paper() {
        let paper = |a: u128, b: u128, c: u128| {
            let digits = |n: u128| (0..8).map(|i| (n >> (16 * i)) & 0xffff).collect::<Vec<_>>();
            let (a, b) = (digits(a), digits(b));
            let mut product = [0u128; 16];
            for i in 0..8 {
                for j in 0..8 {
                    product[i + j] += a[i] * b[j];
                }
            }
            for i in 0..15 {
                product[i + 1] += product[i] >> 16;
                product[i] &= 0xffff;
            }
            // The divisor is below 2¹¹², so that a rest and one more digit fit.
            let (mut rest, mut quotient, mut fits) = (0u128, 0u128, true);
            for digit in product.iter().rev() {
                rest = (rest << 16) | digit;
                fits &= quotient >> 112 == 0;
                quotient = (quotient << 16) | (rest / c);
                rest %= c;
            }
            fits.then_some((quotient, rest))
        };
        let mut seed = 7u128;
        for round in 0..20_000u32 {
            let mut next = || {
                seed = seed
                    .wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645)
                    .wrapping_add(1);
                seed >> (round % 97)
            };
            let (a, b, c) = (next(), next(), (next() >> 16).max(1));
            assert_eq!(mul_div(a, b, c), paper(a, b, c), "{a} · {b} / {c}");
        }
    }
}
