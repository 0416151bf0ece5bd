//! What delegations earn: the part of distribution that must know their shares.

use trainyard_proto::{
    address::Address,
    coin::utrain,
    cosmos::distribution::v1beta1::{
        DelegationDelegatorReward, MsgWithdrawDelegatorReward, MsgWithdrawDelegatorRewardResponse,
        QueryDelegationRewardsRequest, QueryDelegationRewardsResponse, QueryDelegationTotalRewardsRequest,
        QueryDelegationTotalRewardsResponse, QueryDelegatorValidatorsRequest, QueryDelegatorValidatorsResponse,
        QueryValidatorDistributionInfoRequest, QueryValidatorDistributionInfoResponse,
    },
    dec::Dec,
};

use super::{DELEGATIONS, POWERS, VALIDATORS, commission_rate, delegation, shares, validator};
use crate::{
    context::{Ctx, Handler},
    distribution::{self, DistributionError, Earner, REWARDS},
    error::Error,
    page,
    state::State,
};

impl Handler for MsgWithdrawDelegatorReward {
    type Response = MsgWithdrawDelegatorRewardResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.delegator_address.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        Address::parse_operator(&self.validator_address)?;
        Ok(())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgWithdrawDelegatorRewardResponse, Error> {
        let (delegator, operator) = (self.signer()?, Address::parse_operator(&self.validator_address)?);
        let shares = must_have(ctx.state, &delegator, &operator)?;
        let paid = distribution::settle(ctx, delegator, operator, shares)?;
        let amount = if paid == 0 { Vec::new() } else { vec![utrain(paid)] };
        Ok(MsgWithdrawDelegatorRewardResponse { amount })
    }
}

/// Shares of a delegation that must exist.
fn must_have(state: &mut State<'_>, delegator: &Address, operator: &Address) -> Result<Dec, Error> {
    let shares = delegation(state, delegator, operator)?;
    if shares.is_zero() {
        let (delegator, validator) = (*delegator, operator.operator());
        return Err(DistributionError::NoDelegation { delegator, validator }.into());
    }
    Ok(shares)
}

/// The validators that share in the fees of the epoch that ends: those that voted in it and are not jailed.
pub(super) fn earners(state: &mut State<'_>) -> Result<Vec<Earner>, Error> {
    let mut earners = Vec::new();
    for (operator, power) in POWERS.all(state)? {
        let Some(validator) = VALIDATORS.get(state, &operator)?.filter(|v| !v.jailed) else {
            continue;
        };
        earners.push(Earner {
            operator,
            power,
            shares: shares(&validator)?,
            commission_rate: commission_rate(&validator)?,
        });
    }
    Ok(earners)
}

/// `/cosmos.distribution.v1beta1.Query/DelegationRewards`.
///
/// # Errors
/// No such delegation.
pub fn query_delegation_rewards(
    state: &mut State<'_>,
    request: QueryDelegationRewardsRequest,
) -> Result<QueryDelegationRewardsResponse, Error> {
    let delegator = request.delegator_address.parse()?;
    let operator = Address::parse_operator(&request.validator_address)?;
    let shares = must_have(state, &delegator, &operator)?;
    Ok(QueryDelegationRewardsResponse {
        rewards: distribution::owed(state, &delegator, &operator, shares)?.coins(),
    })
}

/// `/cosmos.distribution.v1beta1.Query/DelegationTotalRewards`, over at most [`page::MAX_LIMIT`] delegations.
///
/// # Errors
/// The address is none.
pub fn query_total_rewards(
    state: &mut State<'_>,
    request: QueryDelegationTotalRewardsRequest,
) -> Result<QueryDelegationTotalRewardsResponse, Error> {
    let delegator: Address = request.delegator_address.parse()?;
    let mut rewards = Vec::new();
    let mut total = Dec::ZERO;
    for ((_, operator), shares) in DELEGATIONS.under(state, &delegator, page::MAX_LIMIT)? {
        let owed = distribution::owed(state, &delegator, &operator, shares)?;
        total = total.checked_add(owed).unwrap_or(total);
        rewards.push(DelegationDelegatorReward {
            validator_address: operator.operator(),
            reward: owed.coins(),
        });
    }
    let total = total.coins();
    Ok(QueryDelegationTotalRewardsResponse { rewards, total })
}

/// `/cosmos.distribution.v1beta1.Query/DelegatorValidators`, at most [`page::MAX_LIMIT`].
///
/// # Errors
/// The address is none.
pub fn query_delegator_validators(
    state: &mut State<'_>,
    request: QueryDelegatorValidatorsRequest,
) -> Result<QueryDelegatorValidatorsResponse, Error> {
    let delegator: Address = request.delegator_address.parse()?;
    let found = DELEGATIONS.under(state, &delegator, page::MAX_LIMIT)?;
    Ok(QueryDelegatorValidatorsResponse {
        validators: found
            .into_iter()
            .map(|((_, operator), _)| operator.operator())
            .collect(),
    })
}

/// `/cosmos.distribution.v1beta1.Query/ValidatorDistributionInfo`.
///
/// # Errors
/// No such validator.
pub fn query_validator_distribution(
    state: &mut State<'_>,
    request: QueryValidatorDistributionInfoRequest,
) -> Result<QueryValidatorDistributionInfoResponse, Error> {
    let operator = Address::parse_operator(&request.validator_address)?;
    validator(state, &operator)?;
    let own = delegation(state, &operator, &operator)?;
    Ok(QueryValidatorDistributionInfoResponse {
        operator_address: operator.to_string(),
        self_bond_rewards: distribution::owed(state, &operator, &operator, own)?.coins(),
        commission: REWARDS.get(state, &operator)?.unwrap_or_default().commission.coins(),
    })
}
