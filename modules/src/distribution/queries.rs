//! Queries of distribution, under the SDK's names. Those about delegations are in `staking/rewards.rs`.

use trainyard_proto::{
    address::Address,
    cosmos::distribution::v1beta1::{
        self as sdk, QueryCommunityPoolRequest, QueryCommunityPoolResponse, QueryDelegatorWithdrawAddressRequest,
        QueryDelegatorWithdrawAddressResponse, QueryParamsRequest, QueryParamsResponse,
        QueryValidatorCommissionRequest, QueryValidatorCommissionResponse, QueryValidatorOutstandingRewardsRequest,
        QueryValidatorOutstandingRewardsResponse, QueryValidatorSlashesRequest, QueryValidatorSlashesResponse,
        ValidatorAccumulatedCommission, ValidatorOutstandingRewards,
    },
    dec::Dec,
};

use super::{DUST, DistributionError, PARAMS, REWARDS, Rewards, SLASHES, sound, withdraw_address};
use crate::{bank, error::Error, page, state::State};

/// `/cosmos.distribution.v1beta1.Query/Params`.
///
/// # Errors
/// The store failed.
pub fn query_params(state: &mut State<'_>, _: QueryParamsRequest) -> Result<QueryParamsResponse, Error> {
    let params = PARAMS.get(state)?;
    Ok(QueryParamsResponse {
        params: Some(sdk::Params {
            community_tax: params.community_tax.atomics(),
            withdraw_addr_enabled: params.withdraw_addr_enabled,
            ..Default::default()
        }),
    })
}

fn rewards(state: &mut State<'_>, validator: &str) -> Result<Rewards, Error> {
    let rewards = REWARDS.get(state, &Address::parse_operator(validator)?)?;
    Ok(rewards.ok_or_else(|| DistributionError::NoValidator(validator.into()))?)
}

/// `/cosmos.distribution.v1beta1.Query/ValidatorOutstandingRewards`.
///
/// # Errors
/// No such validator.
pub fn query_outstanding(
    state: &mut State<'_>,
    request: QueryValidatorOutstandingRewardsRequest,
) -> Result<QueryValidatorOutstandingRewardsResponse, Error> {
    let rewards = rewards(state, &request.validator_address)?.outstanding.coins();
    Ok(QueryValidatorOutstandingRewardsResponse {
        rewards: Some(ValidatorOutstandingRewards { rewards }),
    })
}

/// `/cosmos.distribution.v1beta1.Query/ValidatorCommission`.
///
/// # Errors
/// No such validator.
pub fn query_commission(
    state: &mut State<'_>,
    request: QueryValidatorCommissionRequest,
) -> Result<QueryValidatorCommissionResponse, Error> {
    let commission = rewards(state, &request.validator_address)?.commission.coins();
    Ok(QueryValidatorCommissionResponse {
        commission: Some(ValidatorAccumulatedCommission { commission }),
    })
}

/// `/cosmos.distribution.v1beta1.Query/DelegatorWithdrawAddress`.
///
/// # Errors
/// The address is none.
pub fn query_withdraw_address(
    state: &mut State<'_>,
    request: QueryDelegatorWithdrawAddressRequest,
) -> Result<QueryDelegatorWithdrawAddressResponse, Error> {
    let to = withdraw_address(state, &request.delegator_address.parse()?)?;
    Ok(QueryDelegatorWithdrawAddressResponse {
        withdraw_address: to.to_string(),
    })
}

/// `/cosmos.distribution.v1beta1.Query/CommunityPool`: the treasury's account and the dust.
///
/// # Errors
/// The store failed.
pub fn query_community_pool(
    state: &mut State<'_>,
    _: QueryCommunityPoolRequest,
) -> Result<QueryCommunityPoolResponse, Error> {
    let treasury = Dec::whole(bank::balance(state, &Address::of_module(bank::TREASURY))?);
    let pool = sound(treasury.checked_add(DUST.get(state)?), "the community's pool")?;
    Ok(QueryCommunityPoolResponse { pool: pool.coins() })
}

/// `/cosmos.distribution.v1beta1.Query/ValidatorSlashes` between two heights; an ending height of 0 is the last.
///
/// # Errors
/// The page is not valid.
pub fn query_slashes(
    state: &mut State<'_>,
    request: QueryValidatorSlashesRequest,
) -> Result<QueryValidatorSlashesResponse, Error> {
    let operator = Address::parse_operator(&request.validator_address)?;
    let last = if request.ending_height == 0 {
        u64::MAX
    } else {
        request.ending_height
    };
    let heights = request.starting_height..=last;
    let found = page::under(
        state,
        &SLASHES,
        &operator,
        request.pagination.as_ref(),
        |(_, height, _), event| heights.contains(height).then_some(event),
    );
    let (slashes, pagination) = found?;
    Ok(QueryValidatorSlashesResponse { slashes, pagination })
}
