//! Messages of delegators.

use trainyard_proto::{
    address::Address,
    coin,
    cosmos::staking::v1beta1::{
        BondStatus, MsgCancelUnbondingDelegation, MsgCancelUnbondingDelegationResponse, MsgDelegate,
        MsgDelegateResponse, MsgUndelegate, MsgUndelegateResponse, UnbondingDelegationEntry, Validator,
    },
    dec::Dec,
};

use super::{
    DELEGATIONS, DELEGATORS, PARAMS, POWER_REDUCTION, QUEUE, REDELEGATIONS, StakingError, UNBONDING, UNBONDING_FROM,
    UnbondingKey, delegation, forget_if_empty, next_id, pool_of, positive, self_delegation, set_stake, shares, store,
    tokens, validator, worth,
};
use crate::{
    bank::{self, transfer},
    context::{Ctx, Event, Handler, Value, rfc3339, timestamp, unix_seconds, whole_seconds},
    distribution,
    error::Error,
    page,
    state::State,
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

/// Moves `amount` utrain of `delegator` under a validator; returns the shares issued for it.
pub(super) fn delegate(
    ctx: &mut Ctx<'_, '_>,
    delegator: Address,
    operator: Address,
    amount: u64,
) -> Result<Dec, Error> {
    let pool = pool_of(&validator(ctx.state, &operator)?);
    transfer(ctx, delegator, pool, amount)?;
    issue(ctx, delegator, operator, amount)
}

/// Adds `amount` utrain, which the caller has moved, to a validator and a delegation; returns the shares issued, rounded down.
pub(super) fn issue(ctx: &mut Ctx<'_, '_>, delegator: Address, operator: Address, amount: u64) -> Result<Dec, Error> {
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
    let before = delegation(ctx.state, &delegator, &operator)?;
    let after = before
        .checked_add(issued)
        .ok_or_else(|| Error::fatal("a delegation exceeds all shares"))?;
    set_shares(ctx, delegator, operator, before, after)?;
    // Tokens are what exists: below the supply, which is below i64::MAX.
    set_stake(&mut validator, held.saturating_add(amount), sum);
    store(ctx.state, &operator, &validator)?;
    Ok(issued)
}

/// Takes `amount` utrain off a delegation and its validator; the money is then the caller's to move. An operator that goes
/// below what it promised to delegate to itself is jailed.
pub(super) fn unbond(ctx: &mut Ctx<'_, '_>, delegator: Address, operator: Address, amount: u64) -> Result<(), Error> {
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
    if delegator == operator && validator.status() != BondStatus::Unbonded {
        let (own, least) = self_delegation(ctx.state, &operator, &validator)?;
        validator.jailed |= own < least;
    }
    store(ctx.state, &operator, &validator)
}

/// CometBFT stops when a validator set becomes empty, so the last unit of power cannot leave the bonded pool.
pub(super) fn keep_power(ctx: &mut Ctx<'_, '_>, from: &Validator, amount: u64) -> Result<(), Error> {
    let bonded = bank::balance(ctx.state, &Address::of_module(bank::BONDED_POOL))?;
    if from.status() == BondStatus::Bonded && bonded.saturating_sub(amount) < POWER_REDUCTION {
        return Err(StakingError::LastPower(amount).into());
    }
    Ok(())
}

/// When stake taken from a validator now is free, and the height from which on it answers for the validator; `None` when it
/// is free at once.
pub(super) fn wait(ctx: &mut Ctx<'_, '_>, from: &Validator) -> Result<Option<(u64, i64)>, Error> {
    Ok(match from.status() {
        BondStatus::Bonded => {
            let seconds = whole_seconds(PARAMS.get(ctx.state)?.unbonding_time.as_ref());
            let height = i64::try_from(ctx.block.height).unwrap_or(i64::MAX);
            Some((ctx.block.time.saturating_add(seconds), height))
        }
        BondStatus::Unbonding => Some((unix_seconds(from.unbonding_time.as_ref()), from.unbonding_height)),
        _ => None,
    })
}

/// As [`wait`], of one delegator: what came to the validator by redelegation waits until the last of it would have been free at
/// its source, for which it answers until then. A validator out of the set would otherwise be a way around every wait and slash.
fn wait_of(ctx: &mut Ctx<'_, '_>, delegator: Address, from: &Validator) -> Result<Option<(u64, i64)>, Error> {
    let operator = Address::parse_operator(&from.operator_address)?;
    let arrived = REDELEGATIONS.under(ctx.state, &(delegator, operator), usize::MAX)?;
    let ends = arrived
        .iter()
        .map(|(_, entry)| unix_seconds(entry.completion_time.as_ref()));
    let last = ends.filter(|end| *end > ctx.block.time).max();
    let height = i64::try_from(ctx.block.height).unwrap_or(i64::MAX);
    Ok(match (wait(ctx, from)?, last) {
        (Some((completes, began)), last) => Some((completes.max(last.unwrap_or(0)), began)),
        (None, Some(last)) => Some((last, height)),
        (None, None) => None,
    })
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
                .with("amount", Value::Utrain(amount))
                .with("new_shares", issued.to_string()),
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
        let from = validator(ctx.state, &operator)?;
        keep_power(ctx, &from, need)?;
        unbond(ctx, delegator, operator, need)?;
        let completion_time = match wait_of(ctx, delegator, &from)? {
            Some((completes, began)) => {
                queue(ctx, delegator, operator, need, completes, began)?;
                if from.status() == BondStatus::Bonded {
                    transfer(ctx, pool_of(&from), Address::of_module(bank::NOT_BONDED_POOL), need)?;
                }
                timestamp(completes)
            }
            None => {
                transfer(ctx, pool_of(&from), delegator, need)?;
                timestamp(ctx.block.time)
            }
        };
        forget_if_empty(ctx, operator)?;
        ctx.emit(
            Event::new("unbond")
                .with("validator", &self.validator_address)
                .with("delegator", delegator)
                .with("amount", Value::Utrain(need))
                .with("completion_time", rfc3339(unix_seconds(Some(&completion_time)))),
        );
        Ok(MsgUndelegateResponse {
            completion_time: Some(completion_time),
            amount: Some(coin::utrain(need)),
        })
    }
}

/// Puts money on its way back. What leaves at one height and arrives at one time is one entry.
fn queue(
    ctx: &mut Ctx<'_, '_>,
    delegator: Address,
    operator: Address,
    amount: u64,
    completes: u64,
    began: i64,
) -> Result<(), Error> {
    let entries = UNBONDING.under(ctx.state, &(delegator, operator), page::MAX_LIMIT)?;
    let found = entries.len();
    let completion_time = Some(timestamp(completes));
    let same =
        |entry: &UnbondingDelegationEntry| entry.creation_height == began && entry.completion_time == completion_time;
    if let Some((key, mut entry)) = entries.into_iter().find(|(_, entry)| same(entry)) {
        let add = |text: &str| Ok::<_, Error>(coin::parse_amount(text)?.saturating_add(amount).to_string());
        entry.initial_balance = add(&entry.initial_balance)?;
        entry.balance = add(&entry.balance)?;
        return UNBONDING.set(ctx.state, &key, &entry);
    }
    let max = PARAMS.get(ctx.state)?.max_entries;
    if found >= usize::try_from(max).unwrap_or(usize::MAX) {
        let validator = operator.operator();
        return Err(StakingError::TooManyEntries {
            delegator,
            validator,
            found,
            max,
        }
        .into());
    }
    let id = next_id(ctx.state)?;
    let entry = UnbondingDelegationEntry {
        creation_height: began,
        completion_time,
        initial_balance: amount.to_string(),
        balance: amount.to_string(),
        unbonding_id: id,
        ..Default::default()
    };
    put_unbonding(ctx.state, (delegator, operator, id), &entry)
}

/// Writes a new entry with its index and its place in the queue.
pub(super) fn put_unbonding(
    state: &mut State<'_>,
    key: UnbondingKey,
    entry: &UnbondingDelegationEntry,
) -> Result<(), Error> {
    UNBONDING.set(state, &key, entry)?;
    UNBONDING_FROM.set(state, &(key.1, key.2), &key.0.0.to_vec())?;
    QUEUE.set(state, &(unix_seconds(entry.completion_time.as_ref()), key), &true)
}

/// Removes an entry with its index and its place in the queue.
pub(super) fn remove_unbonding(
    state: &mut State<'_>,
    key: UnbondingKey,
    entry: &UnbondingDelegationEntry,
) -> Result<(), Error> {
    UNBONDING.remove(state, &key)?;
    UNBONDING_FROM.remove(state, &(key.1, key.2))?;
    QUEUE.remove(state, &(unix_seconds(entry.completion_time.as_ref()), key))
}

impl Handler for MsgCancelUnbondingDelegation {
    type Response = MsgCancelUnbondingDelegationResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.delegator_address.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        Address::parse_operator(&self.validator_address)?;
        positive(self.amount.as_ref()).map(drop)
    }

    /// What is on its way back, and was not slashed meanwhile, goes back to its validator.
    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgCancelUnbondingDelegationResponse, Error> {
        let need = positive(self.amount.as_ref())?;
        let delegator = self.signer()?;
        let operator = Address::parse_operator(&self.validator_address)?;
        let to = validator(ctx.state, &operator)?;
        if to.jailed {
            return Err(StakingError::Jailed(self.validator_address.clone()).into());
        }
        let entries = UNBONDING.under(ctx.state, &(delegator, operator), page::MAX_LIMIT)?;
        let now = ctx.block.time;
        let entry = entries.into_iter().find(|(_, entry)| {
            entry.creation_height == self.creation_height && unix_seconds(entry.completion_time.as_ref()) > now
        });
        let Some((key, mut entry)) = entry else {
            let (validator, height) = (self.validator_address.clone(), self.creation_height);
            return Err(StakingError::NoUnbonding {
                delegator,
                validator,
                height,
            }
            .into());
        };
        let have = coin::parse_amount(&entry.balance)?;
        let Some(left) = have.checked_sub(need) else {
            return Err(StakingError::NotEnoughUnbonding { have, need }.into());
        };
        if left == 0 {
            remove_unbonding(ctx.state, key, &entry)?;
        } else {
            entry.balance = left.to_string();
            UNBONDING.set(ctx.state, &key, &entry)?;
        }
        if to.status() == BondStatus::Bonded {
            transfer(ctx, Address::of_module(bank::NOT_BONDED_POOL), pool_of(&to), need)?;
        }
        issue(ctx, delegator, operator, need)?;
        ctx.emit(
            Event::new("cancel_unbonding_delegation")
                .with("amount", Value::Utrain(need))
                .with("validator", &self.validator_address)
                .with("delegator", delegator)
                .with("creation_height", self.creation_height),
        );
        Ok(MsgCancelUnbondingDelegationResponse {})
    }
}
