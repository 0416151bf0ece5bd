//! Queries of staking, under the SDK's names.

use trainyard_proto::{
    address::Address,
    coin::utrain,
    cosmos::staking::v1beta1::{
        Delegation, DelegationResponse, Pool, QueryDelegationRequest, QueryDelegationResponse,
        QueryDelegatorDelegationsRequest, QueryDelegatorDelegationsResponse, QueryDelegatorUnbondingDelegationsRequest,
        QueryDelegatorUnbondingDelegationsResponse, QueryDelegatorValidatorRequest, QueryDelegatorValidatorResponse,
        QueryDelegatorValidatorsRequest, QueryDelegatorValidatorsResponse, QueryHistoricalInfoRequest,
        QueryHistoricalInfoResponse, QueryParamsRequest, QueryParamsResponse, QueryPoolRequest, QueryPoolResponse,
        QueryRedelegationsRequest, QueryRedelegationsResponse, QueryUnbondingDelegationRequest,
        QueryUnbondingDelegationResponse, QueryValidatorDelegationsRequest, QueryValidatorDelegationsResponse,
        QueryValidatorRequest, QueryValidatorResponse, QueryValidatorUnbondingDelegationsRequest,
        QueryValidatorUnbondingDelegationsResponse, QueryValidatorsRequest, QueryValidatorsResponse, Redelegation,
        RedelegationEntryResponse, RedelegationResponse, UnbondingDelegation,
    },
    dec::Dec,
};

use super::{
    DELEGATIONS, DELEGATORS, HISTORY, PARAMS, REDELEGATIONS, StakingError, UNBONDING, UNBONDING_FROM, VALIDATORS,
    delegation, shares, validator, worth,
};
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

/// `/cosmos.staking.v1beta1.Query/ValidatorDelegations`.
///
/// # Errors
/// The page is not valid.
pub fn query_validator_delegations(
    state: &mut State<'_>,
    request: QueryValidatorDelegationsRequest,
) -> Result<QueryValidatorDelegationsResponse, Error> {
    let operator = Address::parse_operator(&request.validator_addr)?;
    let found = page::under(
        state,
        &DELEGATORS,
        &operator,
        request.pagination.as_ref(),
        |(_, delegator), _| Some(*delegator),
    );
    let (delegators, pagination) = found?;
    let mut delegation_responses = Vec::new();
    for delegator in delegators {
        let shares = delegation(state, &delegator, &operator)?;
        delegation_responses.push(response(state, delegator, operator, shares)?);
    }
    Ok(QueryValidatorDelegationsResponse {
        delegation_responses,
        pagination,
    })
}

/// `/cosmos.staking.v1beta1.Query/DelegatorUnbondingDelegations`, all on one page.
///
/// # Errors
/// The address is none.
pub fn query_delegator_unbonding(
    state: &mut State<'_>,
    request: QueryDelegatorUnbondingDelegationsRequest,
) -> Result<QueryDelegatorUnbondingDelegationsResponse, Error> {
    let delegator: Address = request.delegator_addr.parse()?;
    let mut unbonding_responses: Vec<UnbondingDelegation> = Vec::new();
    for ((_, operator, _), entry) in UNBONDING.under(state, &delegator, page::MAX_LIMIT)? {
        let validator_address = operator.operator();
        match unbonding_responses.last_mut() {
            Some(last) if last.validator_address == validator_address => last.entries.push(entry),
            _ => unbonding_responses.push(UnbondingDelegation {
                delegator_address: delegator.to_string(),
                validator_address,
                entries: vec![entry],
            }),
        }
    }
    Ok(QueryDelegatorUnbondingDelegationsResponse {
        unbonding_responses,
        pagination: Some(Default::default()),
    })
}

/// `/cosmos.staking.v1beta1.Query/ValidatorUnbondingDelegations`, in the order of their beginning; several of one delegator may
/// stand apart.
///
/// # Errors
/// The page is not valid.
pub fn query_validator_unbonding(
    state: &mut State<'_>,
    request: QueryValidatorUnbondingDelegationsRequest,
) -> Result<QueryValidatorUnbondingDelegationsResponse, Error> {
    let operator = Address::parse_operator(&request.validator_addr)?;
    let found = page::under(
        state,
        &UNBONDING_FROM,
        &operator,
        request.pagination.as_ref(),
        |(_, id), delegator| Some((*id, delegator)),
    );
    let (entries, pagination) = found?;
    let mut unbonding_responses: Vec<UnbondingDelegation> = Vec::new();
    for (id, delegator) in entries {
        let damaged = || Error::fatal(format!("unbonding {id} from {} is damaged", operator.operator()));
        let delegator = Address(<[u8; 20]>::try_from(delegator).map_err(|_| damaged())?);
        let entry = UNBONDING.get(state, &(delegator, operator, id))?.ok_or_else(damaged)?;
        let delegator_address = delegator.to_string();
        match unbonding_responses.last_mut() {
            Some(last) if last.delegator_address == delegator_address => last.entries.push(entry),
            _ => unbonding_responses.push(UnbondingDelegation {
                delegator_address,
                validator_address: operator.operator(),
                entries: vec![entry],
            }),
        }
    }
    Ok(QueryValidatorUnbondingDelegationsResponse {
        unbonding_responses,
        pagination,
    })
}

/// `/cosmos.staking.v1beta1.Query/DelegatorValidators`: the validators that a delegator delegates to.
///
/// # Errors
/// The page is not valid.
pub fn query_delegators_validators(
    state: &mut State<'_>,
    request: QueryDelegatorValidatorsRequest,
) -> Result<QueryDelegatorValidatorsResponse, Error> {
    let delegator: Address = request.delegator_addr.parse()?;
    let found = page::under(
        state,
        &DELEGATIONS,
        &delegator,
        request.pagination.as_ref(),
        |(_, operator), _| Some(*operator),
    );
    let (operators, pagination) = found?;
    let mut validators = Vec::new();
    for operator in operators {
        validators.push(validator(state, &operator)?);
    }
    Ok(QueryDelegatorValidatorsResponse { validators, pagination })
}

/// `/cosmos.staking.v1beta1.Query/DelegatorValidator`: one of them.
///
/// # Errors
/// The delegator does not delegate to it.
pub fn query_delegators_validator(
    state: &mut State<'_>,
    request: QueryDelegatorValidatorRequest,
) -> Result<QueryDelegatorValidatorResponse, Error> {
    let delegator: Address = request.delegator_addr.parse()?;
    let operator = Address::parse_operator(&request.validator_addr)?;
    if DELEGATIONS.get(state, &(delegator, operator))?.is_none() {
        let log = format!("delegation of {delegator} to {} not found", operator.operator());
        return Err(SdkError::NotFound(log).into());
    }
    Ok(QueryDelegatorValidatorResponse {
        validator: Some(validator(state, &operator)?),
    })
}

/// `/cosmos.staking.v1beta1.Query/Redelegations` of a delegator, all on one page; source and destination may be left out.
///
/// # Errors
/// An address is none.
pub fn query_redelegations(
    state: &mut State<'_>,
    request: QueryRedelegationsRequest,
) -> Result<QueryRedelegationsResponse, Error> {
    let delegator: Address = request.delegator_addr.parse()?;
    let wanted = |text: &str, found: &str| text.is_empty() || text == found;
    let mut redelegation_responses = Vec::new();
    for ((_, to, (from, _)), entry) in REDELEGATIONS.under(state, &delegator, page::MAX_LIMIT)? {
        let (source, destination) = (from.operator(), to.operator());
        if !wanted(&request.src_validator_addr, &source) || !wanted(&request.dst_validator_addr, &destination) {
            continue;
        }
        let issued = Dec::from_atomics(&entry.shares_dst).map_err(|e| Error::fatal(e.to_string()))?;
        let to = VALIDATORS.get(state, &to)?;
        // What was issued may be more than the destination still has.
        let all = to.as_ref().map_or(Ok(Dec::ZERO), shares)?;
        let balance = to.map_or(Ok(0), |to| worth(&to, issued.min(all)))?;
        redelegation_responses.push(RedelegationResponse {
            redelegation: Some(Redelegation {
                delegator_address: delegator.to_string(),
                validator_src_address: source,
                validator_dst_address: destination,
                entries: Vec::new(),
            }),
            entries: vec![RedelegationEntryResponse {
                redelegation_entry: Some(entry),
                balance: balance.to_string(),
            }],
        });
    }
    Ok(QueryRedelegationsResponse {
        redelegation_responses,
        pagination: Some(Default::default()),
    })
}

/// `/cosmos.staking.v1beta1.Query/HistoricalInfo`.
///
/// # Errors
/// Nothing is kept of that height.
pub fn query_history(
    state: &mut State<'_>,
    request: QueryHistoricalInfoRequest,
) -> Result<QueryHistoricalInfoResponse, Error> {
    let height = u64::try_from(request.height).unwrap_or(0);
    let hist = HISTORY.get(state, &height)?;
    Ok(QueryHistoricalInfoResponse {
        hist: Some(hist.ok_or(StakingError::NoHistory(request.height))?),
    })
}
