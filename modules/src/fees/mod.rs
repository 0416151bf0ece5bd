//! The base fee: the least price of gas in the next block, which follows demand.
//!
//! | key | value |
//! |---|---|
//! | `fees/base_fee` | millionths of a utrain per unit of gas, for the next block |
//! | `fees/params` | [`Params`] |
//!
//! Messages: by governance `UpdateParams`. Event: `base_fee`, when it changes.
//!
//! A transaction pays at least base fee × gas limit, rounded up, or does not run ([`crate::machine::ante`]). What it pays goes to
//! the fee collector as a whole. After every block the base fee moves by
//!
//! ```text
//! base fee × (gas of the block − target) / target / change_denominator
//! ```
//!
//! rounded down in size, but by at least 1 unless the block held exactly the target, and stays between its bounds. The gas of
//! a block is the sum of the gas *limits* of the transactions that paid: limits are what blocks are filled by and what fees are
//! paid for, so whoever takes room that it does not use pays for the crowding too.

use serde::{Deserialize, Serialize};
use trainyard_proto::{
    coin::DENOM,
    fees::{
        MsgUpdateParams, MsgUpdateParamsResponse, Params, QueryBaseFeeRequest, QueryBaseFeeResponse,
        QueryParamsRequest, QueryParamsResponse,
    },
};

use crate::{
    context::{Ctx, Event},
    error::{Error, SdkError},
    governed::update_params,
    state::{Item, State},
};

/// Least price of gas in the next block, millionths of a utrain.
pub const BASE_FEE: Item<u64> = Item::new("fees/base_fee");
/// Parameters.
pub const PARAMS: Item<Params> = Item::new("fees/params");

/// A price as wallets write it: `0.000100utrain` for 100 millionths of a utrain.
#[must_use]
pub fn price(micro: u64) -> String {
    format!("{}.{:06}{DENOM}", micro / 1_000_000, micro % 1_000_000)
}

/// The base fee after a block of `gas`.
#[must_use]
pub fn next(base_fee: u64, gas: u64, params: &Params) -> u64 {
    let Params {
        min_base_fee,
        max_base_fee,
        target_gas,
        change_denominator,
    } = *params;
    // Below 2¹²⁸; zeroes, which the checks of the parameters keep out, would not divide.
    let step = u128::from(base_fee) * u128::from(gas.abs_diff(target_gas))
        / u128::from(target_gas.max(1))
        / u128::from(change_denominator.max(1));
    let step = u64::try_from(step).unwrap_or(u64::MAX).max(1);
    let moved = match gas.cmp(&target_gas) {
        std::cmp::Ordering::Less => base_fee.saturating_sub(step),
        std::cmp::Ordering::Equal => base_fee,
        std::cmp::Ordering::Greater => base_fee.saturating_add(step),
    };
    moved.max(min_base_fee).min(max_base_fee)
}

/// Moves the base fee; `gas` are the limits of all transactions of the block that paid.
///
/// # Errors
/// The store failed.
pub fn end_block(ctx: &mut Ctx<'_, '_>, gas: u64) -> Result<(), Error> {
    let params = PARAMS.get(ctx.state)?;
    let before = BASE_FEE.get(ctx.state)?;
    let after = next(before, gas, &params);
    if after != before {
        BASE_FEE.set(ctx.state, &after)?;
        ctx.emit(
            Event::new("base_fee")
                .with("gas_price", price(after))
                .with("block_gas", gas),
        );
    }
    Ok(())
}

update_params!(MsgUpdateParams, MsgUpdateParamsResponse, check_params, PARAMS);

/// The base fee and its parameters at genesis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Genesis {
    /// Parameters.
    pub params: Params,
    /// Least price of gas in the first block, millionths of a utrain; it is brought between the parameters' bounds.
    pub base_fee: u64,
}

impl Default for Genesis {
    fn default() -> Self {
        Self {
            params: default_params(),
            base_fee: 0,
        }
    }
}

/// 0.0001 to 100 utrain per unit of gas, half of what a block holds at most, an eighth per block.
#[must_use]
pub fn default_params() -> Params {
    Params {
        min_base_fee: 100,
        max_base_fee: 100_000_000,
        target_gas: 200_000_000,
        change_denominator: 8,
    }
}

fn check_params(params: &Params) -> Result<(), Error> {
    let Params {
        min_base_fee,
        max_base_fee,
        target_gas,
        change_denominator,
    } = *params;
    let wrong = |log: String| Err(SdkError::InvalidRequest(log).into());
    if min_base_fee > max_base_fee {
        return wrong(format!(
            "fees min_base_fee is {min_base_fee}, at most max_base_fee, {max_base_fee}"
        ));
    }
    // Fees are utrain in 64 bits: this price times the largest gas limit still is one.
    if max_base_fee > 1_000_000_000_000 {
        return wrong(format!("fees max_base_fee is {max_base_fee}, at most 1000000000000"));
    }
    if target_gas == 0 {
        return wrong("fees target_gas is 0, expected at least 1".into());
    }
    if change_denominator < 2 {
        return wrong(format!(
            "fees change_denominator is {change_denominator}, expected at least 2"
        ));
    }
    Ok(())
}

/// Writes base fee and parameters.
///
/// # Errors
/// What is not valid.
pub fn init(state: &mut State<'_>, genesis: &Genesis) -> Result<(), Error> {
    check_params(&genesis.params)?;
    PARAMS.set(state, &genesis.params)?;
    let Params {
        min_base_fee,
        max_base_fee,
        ..
    } = genesis.params;
    BASE_FEE.set(state, &genesis.base_fee.max(min_base_fee).min(max_base_fee))
}

/// The inverse of [`init`].
///
/// # Errors
/// The store failed.
pub fn export(state: &mut State<'_>) -> Result<Genesis, Error> {
    Ok(Genesis {
        params: PARAMS.get(state)?,
        base_fee: BASE_FEE.get(state)?,
    })
}

/// `/trainyard.fees.v1.Query/BaseFee`.
///
/// # Errors
/// The store failed.
pub fn query_base_fee(state: &mut State<'_>, _: QueryBaseFeeRequest) -> Result<QueryBaseFeeResponse, Error> {
    let base_fee = BASE_FEE.get(state)?;
    Ok(QueryBaseFeeResponse {
        base_fee,
        gas_price: price(base_fee),
    })
}

/// `/trainyard.fees.v1.Query/Params`.
///
/// # Errors
/// The store failed.
pub fn query_params(state: &mut State<'_>, _: QueryParamsRequest) -> Result<QueryParamsResponse, Error> {
    Ok(QueryParamsResponse {
        params: Some(PARAMS.get(state)?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_base_fee_moves_with_the_gas_of_blocks() {
        let params = Params {
            min_base_fee: 100,
            max_base_fee: 5_000,
            target_gas: 1_000,
            change_denominator: 8,
        };
        let after = |base_fee, gas| next(base_fee, gas, &params);
        assert_eq!(after(800, 1_000), 800);
        assert_eq!(after(800, 2_000), 900);
        assert_eq!(after(800, 1_500), 850);
        assert_eq!(after(800, 0), 700);
        // The least step is 1, so that it gets away from any value.
        assert_eq!((after(800, 1_001), after(800, 999)), (801, 799));
        // Bounds.
        assert_eq!((after(100, 0), after(101, 0)), (100, 100));
        assert_eq!((after(4_900, 2_000), after(5_000, 9_000)), (5_000, 5_000));
        assert_eq!(after(u64::MAX, u64::MAX), 5_000);
        // Bounds that were moved take hold at once.
        assert_eq!((after(0, 0), after(9_999, 1_000)), (100, 5_000));
        // Off.
        let off = Params {
            min_base_fee: 0,
            max_base_fee: 0,
            ..params
        };
        assert_eq!(next(800, 9_000, &off), 0);
    }

    #[test]
    fn parameters_have_bounds() {
        let with = |change: fn(&mut Params)| {
            let mut params = default_params();
            change(&mut params);
            check_params(&params)
        };
        assert_eq!(with(|_| ()), Ok(()));
        assert_eq!(with(|p| (p.min_base_fee, p.max_base_fee) = (0, 0)), Ok(()));
        for wrong in [
            with(|p| p.min_base_fee = p.max_base_fee + 1),
            with(|p| p.max_base_fee = u64::MAX),
            with(|p| p.target_gas = 0),
            with(|p| p.change_denominator = 1),
        ] {
            assert_eq!(wrong.unwrap_err().code, 18);
        }
    }

    #[test]
    fn prices_are_written_with_six_places() {
        assert_eq!(price(100), "0.000100utrain");
        assert_eq!(price(25_000_001), "25.000001utrain");
    }

    proptest! {
        #[test]
        fn nothing_overflows_and_bounds_hold(base_fee: u64, gas: u64, min: u64, target: u64, denominator: u64) {
            let params = Params {
                min_base_fee: min / 2,
                max_base_fee: min,
                target_gas: target,
                change_denominator: denominator,
            };
            let after = next(base_fee, gas, &params);
            prop_assert!((min / 2..=min).contains(&after));
        }
    }
}
