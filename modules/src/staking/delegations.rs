//! Messages of delegators.

use trainyard_proto::{
    address::Address,
    coin,
    cosmos::staking::v1beta1::{
        MsgDelegate, MsgDelegateResponse, MsgUndelegate, MsgUndelegateResponse, UnbondingDelegationEntry,
    },
    dec::Dec,
};

use super::{
    DELEGATIONS, DELEGATORS, PARAMS, QUEUE, StakingError, UNBONDING, VALIDATORS, delegation, positive, set_stake,
    shares, timestamp, tokens, validator, worth,
};
use crate::{
    bank::{self, transfer},
    context::{Ctx, Event, Handler},
    distribution,
    error::Error,
    page,
};

/// Settles a delegation and gives it another number of shares.
fn set_shares(ctx: &mut Ctx<'_, '_>, delegator: Address, operator: Address, from: Dec, to: Dec) -> Result<(), Error> {
    distribution::settle(ctx, delegator, operator, from)?;
    if to.is_zero() {
        DELEGATIONS.remove(ctx.state, &(delegator, operator))?;
        DELEGATORS.remove(ctx.state, &(operator, delegator))?;
        return distribution::forget(ctx.state, delegator, operator);
    }
    DELEGATIONS.set(ctx.state, &(delegator, operator), &to)?;
    DELEGATORS.set(ctx.state, &(operator, delegator), &true)
}

/// Moves `amount` utrain of `delegator` under a validator; returns the shares issued for it, rounded down.
pub(super) fn delegate(
    ctx: &mut Ctx<'_, '_>,
    delegator: Address,
    operator: Address,
    amount: u64,
) -> Result<Dec, Error> {
    let mut validator = validator(ctx.state, &operator)?;
    let (held, all) = (tokens(&validator)?, shares(&validator)?);
    let issued = if all.is_zero() {
        Some(Dec::whole(amount))
    } else {
        Dec::whole(amount).mul_div_down(all, Dec::whole(held))
    };
    let sum = issued.and_then(|issued| all.checked_add(issued));
    let (Some(issued), Some(sum)) = (issued.filter(|issued| !issued.is_zero()), sum) else {
        return Err(StakingError::WorthlessShares(operator.operator(), amount).into());
    };
    transfer(ctx, delegator, Address::of_module(bank::BONDED_POOL), amount)?;
    let before = delegation(ctx.state, &delegator, &operator)?;
    let after = before
        .checked_add(issued)
        .ok_or_else(|| Error::fatal("a delegation exceeds all shares"))?;
    set_shares(ctx, delegator, operator, before, after)?;
    // Tokens are what exists: below the supply, which is below i64::MAX.
    set_stake(&mut validator, held.saturating_add(amount), sum);
    VALIDATORS.set(ctx.state, &operator, &validator)?;
    Ok(issued)
}

/// Takes `amount` utrain off a delegation and its validator; the money is then the caller's to move.
fn unbond(ctx: &mut Ctx<'_, '_>, delegator: Address, operator: Address, amount: u64) -> Result<(), Error> {
    let mut validator = validator(ctx.state, &operator)?;
    let (held, all) = (tokens(&validator)?, shares(&validator)?);
    let own = delegation(ctx.state, &delegator, &operator)?;
    let have = worth(&validator, own)?;
    if amount > have {
        let validator = operator.operator();
        return Err(StakingError::NotEnoughDelegated {
            delegator,
            validator,
            have,
            need: amount,
        }
        .into());
    }
    let cost = if amount == have {
        own
    } else {
        let cost = Dec::whole(amount).mul_div_up(all, Dec::whole(held));
        cost.map_or(own, |cost| cost.min(own))
    };
    set_shares(ctx, delegator, operator, own, own.saturating_sub(cost))?;
    set_stake(&mut validator, held.saturating_sub(amount), all.saturating_sub(cost));
    VALIDATORS.set(ctx.state, &operator, &validator)
}

impl Handler for MsgDelegate {
    type Response = MsgDelegateResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.delegator_address.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        Address::parse_operator(&self.validator_address)?;
        positive(self.amount.as_ref()).map(drop)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgDelegateResponse, Error> {
        let amount = positive(self.amount.as_ref())?;
        let delegator = self.signer()?;
        let operator = Address::parse_operator(&self.validator_address)?;
        let issued = delegate(ctx, delegator, operator, amount)?;
        ctx.emit(
            Event::new("delegate")
                .with("validator", &self.validator_address)
                .with("delegator", delegator)
                .with("amount", format!("{amount}{}", coin::DENOM))
                .with("new_shares", issued),
        );
        Ok(MsgDelegateResponse {})
    }
}

impl Handler for MsgUndelegate {
    type Response = MsgUndelegateResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.delegator_address.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        Address::parse_operator(&self.validator_address)?;
        positive(self.amount.as_ref()).map(drop)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgUndelegateResponse, Error> {
        let need = positive(self.amount.as_ref())?;
        let delegator = self.signer()?;
        let operator = Address::parse_operator(&self.validator_address)?;
        unbond(ctx, delegator, operator, need)?;
        // CometBFT stops when a validator set becomes empty, so the last stake cannot leave.
        let params = PARAMS.get(ctx.state)?;
        if super::block::total_power(ctx.state, &params)? == 0 {
            return Err(StakingError::LastPower(need).into());
        }
        let entries = UNBONDING.under(ctx.state, &(delegator, operator), page::MAX_LIMIT)?;
        if entries.len() >= usize::try_from(params.max_entries).unwrap_or(usize::MAX) {
            let (found, max) = (entries.len(), params.max_entries);
            let validator = operator.operator();
            return Err(StakingError::TooManyEntries {
                delegator,
                validator,
                found,
                max,
            }
            .into());
        }
        let wait = params
            .unbonding_time
            .map_or(0, |d| u64::try_from(d.seconds).unwrap_or(0));
        let completes = ctx.block.time.saturating_add(wait);
        let key = (delegator, operator, ctx.block.height);
        let so_far = UNBONDING
            .get(ctx.state, &key)?
            .map_or(Ok(0), |entry| coin::parse_amount(&entry.balance))?;
        let balance = so_far.saturating_add(need).to_string();
        let completion_time = timestamp(completes);
        let entry = UnbondingDelegationEntry {
            creation_height: i64::try_from(ctx.block.height).unwrap_or(i64::MAX),
            completion_time: Some(completion_time),
            initial_balance: balance.clone(),
            balance,
            ..Default::default()
        };
        UNBONDING.set(ctx.state, &key, &entry)?;
        QUEUE.set(ctx.state, &(completes, key), &true)?;
        let (bonded, not_bonded) = (
            Address::of_module(bank::BONDED_POOL),
            Address::of_module(bank::NOT_BONDED_POOL),
        );
        transfer(ctx, bonded, not_bonded, need)?;
        ctx.emit(
            Event::new("unbond")
                .with("validator", &self.validator_address)
                .with("delegator", delegator)
                .with("amount", format!("{need}{}", coin::DENOM))
                .with("completion_time", completion_time.seconds),
        );
        Ok(MsgUndelegateResponse {
            completion_time: Some(completion_time),
            amount: Some(coin::utrain(need)),
        })
    }
}
