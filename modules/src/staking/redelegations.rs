//! Stake on its way from validator to validator, without a wait. Until it would have been free, it answers for its source.

use trainyard_proto::{
    address::Address,
    coin::parse_amount,
    cosmos::staking::v1beta1::{BondStatus, MsgBeginRedelegate, MsgBeginRedelegateResponse, RedelegationEntry},
};

use super::{
    PARAMS, REDELEGATED_FROM, REDELEGATION_QUEUE, REDELEGATIONS, RedelegationKey, StakingError,
    delegations::{issue, keep_power, unbond, wait},
    forget_if_empty, next_id, pool_of, positive, validator,
};
use crate::{
    bank::transfer,
    context::{Ctx, Event, Handler, Value, rfc3339, timestamp, unix_seconds},
    error::Error,
    state::State,
};

impl Handler for MsgBeginRedelegate {
    type Response = MsgBeginRedelegateResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.delegator_address.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        let from = Address::parse_operator(&self.validator_src_address)?;
        if from == Address::parse_operator(&self.validator_dst_address)? {
            return Err(StakingError::SelfRedelegation(self.validator_src_address.clone()).into());
        }
        positive(self.amount.as_ref()).map(drop)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgBeginRedelegateResponse, Error> {
        let amount = positive(self.amount.as_ref())?;
        let delegator = self.signer()?;
        let source = Address::parse_operator(&self.validator_src_address)?;
        let destination = Address::parse_operator(&self.validator_dst_address)?;
        let (from, to) = (validator(ctx.state, &source)?, validator(ctx.state, &destination)?);
        if !REDELEGATIONS.under(ctx.state, &(delegator, source), 1)?.is_empty() {
            let validator = self.validator_src_address.clone();
            return Err(StakingError::TransitiveRedelegation { delegator, validator }.into());
        }
        if to.status() != BondStatus::Bonded {
            keep_power(ctx, &from, amount)?;
        }
        unbond(ctx, delegator, source, amount)?;
        transfer_between(ctx, pool_of(&from), pool_of(&to), amount)?;
        let issued = issue(ctx, delegator, destination, amount)?;
        let completion_time = match wait(ctx, &from)? {
            Some((completes, began)) => {
                let entry = RedelegationEntry {
                    creation_height: began,
                    completion_time: Some(timestamp(completes)),
                    initial_balance: amount.to_string(),
                    shares_dst: issued.atomics(),
                    unbonding_id: next_id(ctx.state)?,
                    ..Default::default()
                };
                let key = (delegator, destination, (source, entry.unbonding_id));
                check_room(ctx, delegator, destination, source)?;
                put_redelegation(ctx.state, key, &entry)?;
                timestamp(completes)
            }
            None => {
                forget_if_empty(ctx, source)?;
                timestamp(ctx.block.time)
            }
        };
        ctx.emit(
            Event::new("redelegate")
                .with("source_validator", &self.validator_src_address)
                .with("destination_validator", &self.validator_dst_address)
                .with("amount", Value::Utrain(amount))
                .with("completion_time", rfc3339(unix_seconds(Some(&completion_time)))),
        );
        Ok(MsgBeginRedelegateResponse {
            completion_time: Some(completion_time),
        })
    }
}

fn check_room(ctx: &mut Ctx<'_, '_>, delegator: Address, to: Address, from: Address) -> Result<(), Error> {
    let max = PARAMS.get(ctx.state)?.max_entries;
    let limit = usize::try_from(max).unwrap_or(usize::MAX);
    let found = REDELEGATIONS.under(ctx.state, &(delegator, to, from), limit)?.len();
    if found >= limit {
        return Err(StakingError::TooManyRedelegations {
            delegator,
            source_validator: from.operator(),
            destination: to.operator(),
            found,
            max,
        }
        .into());
    }
    Ok(())
}

fn transfer_between(ctx: &mut Ctx<'_, '_>, from: Address, to: Address, amount: u64) -> Result<(), Error> {
    if from == to {
        Ok(())
    } else {
        transfer(ctx, from, to, amount)
    }
}

/// Writes a new entry with its index and its place in the queue.
pub(super) fn put_redelegation(
    state: &mut State<'_>,
    key: RedelegationKey,
    entry: &RedelegationEntry,
) -> Result<(), Error> {
    parse_amount(&entry.initial_balance)?;
    let (delegator, destination, (source, id)) = key;
    REDELEGATIONS.set(state, &key, entry)?;
    REDELEGATED_FROM.set(state, &(source, id), &[delegator.0, destination.0].concat())?;
    REDELEGATION_QUEUE.set(state, &(unix_seconds(entry.completion_time.as_ref()), key), &true)
}

/// Removes an entry with its index and its place in the queue.
pub(super) fn remove_redelegation(
    state: &mut State<'_>,
    key: RedelegationKey,
    entry: &RedelegationEntry,
) -> Result<(), Error> {
    let (_, _, (source, id)) = key;
    REDELEGATIONS.remove(state, &key)?;
    REDELEGATED_FROM.remove(state, &(source, id))?;
    REDELEGATION_QUEUE.remove(state, &(unix_seconds(entry.completion_time.as_ref()), key))
}
