//! Queries of allowances, under the SDK's names.

use trainyard_proto::{
    address::Address,
    cosmos::feegrant::v1beta1::{
        QueryAllowanceRequest, QueryAllowanceResponse, QueryAllowancesByGranterRequest,
        QueryAllowancesByGranterResponse, QueryAllowancesRequest, QueryAllowancesResponse,
    },
};

use super::{ALLOWANCES, FeegrantError, GIVEN};
use crate::{error::Error, page, state::State};

/// `/cosmos.feegrant.v1beta1.Query/Allowance`.
///
/// # Errors
/// No such allowance.
pub fn query_allowance(state: &mut State<'_>, request: QueryAllowanceRequest) -> Result<QueryAllowanceResponse, Error> {
    let (granter, grantee): (Address, Address) = (request.granter.parse()?, request.grantee.parse()?);
    let allowance = ALLOWANCES.get(state, &(grantee, granter))?;
    Ok(QueryAllowanceResponse {
        allowance: Some(allowance.ok_or(FeegrantError::None { granter, grantee })?),
    })
}

/// `/cosmos.feegrant.v1beta1.Query/Allowances`: all that an account got.
///
/// # Errors
/// The address or the page is not valid.
pub fn query_allowances(
    state: &mut State<'_>,
    request: QueryAllowancesRequest,
) -> Result<QueryAllowancesResponse, Error> {
    let grantee: Address = request.grantee.parse()?;
    let (allowances, pagination) =
        page::under(state, &ALLOWANCES, &grantee, request.pagination.as_ref(), |_, grant| {
            Some(grant)
        })?;
    Ok(QueryAllowancesResponse { allowances, pagination })
}

/// `/cosmos.feegrant.v1beta1.Query/AllowancesByGranter`: all that an account gave.
///
/// # Errors
/// The address or the page is not valid.
pub fn query_allowances_by_granter(
    state: &mut State<'_>,
    request: QueryAllowancesByGranterRequest,
) -> Result<QueryAllowancesByGranterResponse, Error> {
    let granter: Address = request.granter.parse()?;
    let (grantees, pagination) = page::under(state, &GIVEN, &granter, request.pagination.as_ref(), |key, _| {
        Some(key.1)
    })?;
    let mut allowances = Vec::new();
    for grantee in grantees {
        allowances.extend(ALLOWANCES.get(state, &(grantee, granter))?);
    }
    Ok(QueryAllowancesByGranterResponse { allowances, pagination })
}
