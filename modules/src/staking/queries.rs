//! Queries of staking, under the SDK's names.

use trainyard_proto::{
    address::Address,
    coin::utrain,
    cosmos::staking::v1beta1::{
        Delegation, DelegationResponse, Pool, QueryDelegationRequest, QueryDelegationResponse,
        QueryDelegatorDelegationsRequest, QueryDelegatorDelegationsResponse, QueryParamsRequest, QueryParamsResponse,
        QueryPoolRequest, QueryPoolResponse, QueryUnbondingDelegationRequest, QueryUnbondingDelegationResponse,
        QueryValidatorRequest, QueryValidatorResponse, QueryValidatorsRequest, QueryValidatorsResponse,
        UnbondingDelegation,
    },
    dec::Dec,
};

use super::{DELEGATIONS, PARAMS, StakingError, UNBONDING, VALIDATORS, validator, worth};
use crate::{
    bank,
    error::{Error, SdkError},
    page,
    state::State,
};

/// `/cosmos.staking.v1beta1.Query/Validators`.
///
/// # Errors
/// The page is not valid.
pub fn query_validators(
    state: &mut State<'_>,
    request: QueryValidatorsRequest,
) -> Result<QueryValidatorsResponse, Error> {
    let (validators, pagination) = page::map(state, &VALIDATORS, request.pagination.as_ref(), |_, validator| {
        let status = validator.status().as_str_name();
        (request.status.is_empty() || request.status == status).then_some(validator)
    })?;
    Ok(QueryValidatorsResponse { validators, pagination })
}

/// `/cosmos.staking.v1beta1.Query/Validator`.
///
/// # Errors
/// No such validator.
pub fn query_validator(state: &mut State<'_>, request: QueryValidatorRequest) -> Result<QueryValidatorResponse, Error> {
    let operator = Address::parse_operator(&request.validator_addr)?;
    let validator = VALIDATORS.get(state, &operator)?;
    Ok(QueryValidatorResponse {
        validator: Some(validator.ok_or(StakingError::NoValidator(request.validator_addr))?),
    })
}

fn response(
    state: &mut State<'_>,
    delegator: Address,
    operator: Address,
    shares: Dec,
) -> Result<DelegationResponse, Error> {
    let worth = worth(&validator(state, &operator)?, shares)?;
    Ok(DelegationResponse {
        delegation: Some(Delegation {
            delegator_address: delegator.to_string(),
            validator_address: operator.operator(),
            shares: shares.atomics(),
        }),
        balance: Some(utrain(worth)),
    })
}

/// `/cosmos.staking.v1beta1.Query/Delegation`.
///
/// # Errors
/// No such delegation.
pub fn query_delegation(
    state: &mut State<'_>,
    request: QueryDelegationRequest,
) -> Result<QueryDelegationResponse, Error> {
    let delegator: Address = request.delegator_addr.parse()?;
    let operator = Address::parse_operator(&request.validator_addr)?;
    let shares = DELEGATIONS.get(state, &(delegator, operator))?.ok_or_else(|| {
        SdkError::NotFound(format!(
            "delegation of {delegator} to {} not found",
            operator.operator()
        ))
    })?;
    Ok(QueryDelegationResponse {
        delegation_response: Some(response(state, delegator, operator, shares)?),
    })
}

/// `/cosmos.staking.v1beta1.Query/DelegatorDelegations`, all on one page: a delegator has few.
///
/// # Errors
/// The address is none.
pub fn query_delegator_delegations(
    state: &mut State<'_>,
    request: QueryDelegatorDelegationsRequest,
) -> Result<QueryDelegatorDelegationsResponse, Error> {
    let delegator: Address = request.delegator_addr.parse()?;
    let mut delegation_responses = Vec::new();
    for ((_, operator), shares) in DELEGATIONS.under(state, &delegator, page::MAX_LIMIT)? {
        delegation_responses.push(response(state, delegator, operator, shares)?);
    }
    Ok(QueryDelegatorDelegationsResponse {
        delegation_responses,
        pagination: Some(Default::default()),
    })
}

/// `/cosmos.staking.v1beta1.Query/UnbondingDelegation`.
///
/// # Errors
/// No such entry.
pub fn query_unbonding(
    state: &mut State<'_>,
    request: QueryUnbondingDelegationRequest,
) -> Result<QueryUnbondingDelegationResponse, Error> {
    let delegator: Address = request.delegator_addr.parse()?;
    let operator = Address::parse_operator(&request.validator_addr)?;
    let entries = UNBONDING.under(state, &(delegator, operator), page::MAX_LIMIT)?;
    let entries: Vec<_> = entries.into_iter().map(|(_, entry)| entry).collect();
    if entries.is_empty() {
        return Err(SdkError::NotFound(format!(
            "{delegator} has nothing unbonding from {}",
            operator.operator()
        ))
        .into());
    }
    Ok(QueryUnbondingDelegationResponse {
        unbond: Some(UnbondingDelegation {
            delegator_address: delegator.to_string(),
            validator_address: operator.operator(),
            entries,
        }),
    })
}

/// `/cosmos.staking.v1beta1.Query/Params`.
///
/// # Errors
/// The store failed.
pub fn query_params(state: &mut State<'_>, _: QueryParamsRequest) -> Result<QueryParamsResponse, Error> {
    Ok(QueryParamsResponse {
        params: Some(PARAMS.get(state)?),
    })
}

/// `/cosmos.staking.v1beta1.Query/Pool`.
///
/// # Errors
/// The store failed.
pub fn query_pool(state: &mut State<'_>, _: QueryPoolRequest) -> Result<QueryPoolResponse, Error> {
    let mut pool = |name| bank::balance(state, &Address::of_module(name));
    Ok(QueryPoolResponse {
        pool: Some(Pool {
            bonded_tokens: pool(bank::BONDED_POOL)?.to_string(),
            not_bonded_tokens: pool(bank::NOT_BONDED_POOL)?.to_string(),
        }),
    })
}
