//! Queries of permissions, under the SDK's names.

use trainyard_proto::{
    address::Address,
    cosmos::authz::v1beta1::{
        Grant, GrantAuthorization, QueryGranteeGrantsRequest, QueryGranteeGrantsResponse, QueryGranterGrantsRequest,
        QueryGranterGrantsResponse, QueryGrantsRequest, QueryGrantsResponse,
    },
};

use super::{AuthzError, GRANTS, Key, RECEIVED};
use crate::{error::Error, page, state::State};

/// `/cosmos.authz.v1beta1.Query/Grants`: between two accounts, for one kind of message or all.
///
/// # Errors
/// An address or the page is not valid, or there is no grant of the message that was asked for.
pub fn query_grants(state: &mut State<'_>, request: QueryGrantsRequest) -> Result<QueryGrantsResponse, Error> {
    let (granter, grantee): (Address, Address) = (request.granter.parse()?, request.grantee.parse()?);
    if !request.msg_type_url.is_empty() {
        let key: Key = (granter, grantee, request.msg_type_url);
        let Some(grant) = GRANTS.get(state, &key)? else {
            let message = key.2.chars().take(100).collect();
            return Err(AuthzError::NoGrant {
                granter,
                grantee,
                message,
            }
            .into());
        };
        return Ok(QueryGrantsResponse {
            grants: vec![grant],
            pagination: None,
        });
    }
    let part = (granter, grantee);
    let (grants, pagination) = page::under(state, &GRANTS, &part, request.pagination.as_ref(), |_, grant| {
        Some(grant)
    })?;
    Ok(QueryGrantsResponse { grants, pagination })
}

fn named(key: &Key, grant: Grant) -> GrantAuthorization {
    GrantAuthorization {
        granter: key.0.to_string(),
        grantee: key.1.to_string(),
        authorization: grant.authorization,
        expiration: grant.expiration,
    }
}

/// `/cosmos.authz.v1beta1.Query/GranterGrants`: all that an account gave.
///
/// # Errors
/// The address or the page is not valid.
pub fn query_granter_grants(
    state: &mut State<'_>,
    request: QueryGranterGrantsRequest,
) -> Result<QueryGranterGrantsResponse, Error> {
    let granter: Address = request.granter.parse()?;
    let (grants, pagination) = page::under(state, &GRANTS, &granter, request.pagination.as_ref(), |key, grant| {
        Some(named(key, grant))
    })?;
    Ok(QueryGranterGrantsResponse { grants, pagination })
}

/// `/cosmos.authz.v1beta1.Query/GranteeGrants`: all that an account got.
///
/// # Errors
/// The address or the page is not valid.
pub fn query_grantee_grants(
    state: &mut State<'_>,
    request: QueryGranteeGrantsRequest,
) -> Result<QueryGranteeGrantsResponse, Error> {
    let grantee: Address = request.grantee.parse()?;
    let (keys, pagination) = page::under(state, &RECEIVED, &grantee, request.pagination.as_ref(), |key, _| {
        Some((key.1, key.0, key.2.clone()))
    })?;
    let mut grants = Vec::new();
    for key in keys {
        if let Some(grant) = GRANTS.get(state, &key)? {
            grants.push(named(&key, grant));
        }
    }
    Ok(QueryGranteeGrantsResponse { grants, pagination })
}
