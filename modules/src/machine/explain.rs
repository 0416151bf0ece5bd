//! Why things stand as they stand: each module answers for itself, in sentences; here the answers are put together.

use trainyard_proto::{
    address::Address,
    coin::show,
    explain::{
        QueryAccountRequest, QueryAccountResponse, QueryNodeRequest, QueryNodeResponse, QueryValidatorRequest,
        QueryValidatorResponse,
    },
};

use crate::{
    auth, bank,
    context::Block,
    error::Error,
    registry::{self, LEFT, NODES},
    slashing,
    staking::{self, VALIDATORS},
    state::State,
};

/// `/trainyard.explain.v1.Query/Node`.
///
/// # Errors
/// The owner is no address.
pub(super) fn node(
    state: &mut State<'_>,
    block: &Block,
    request: QueryNodeRequest,
) -> Result<QueryNodeResponse, Error> {
    let lines = registry::explain_node(state, block.height, &request.owner.parse()?)?;
    Ok(QueryNodeResponse { lines })
}

/// `/trainyard.explain.v1.Query/Validator`.
///
/// # Errors
/// No such validator.
pub(super) fn validator(
    state: &mut State<'_>,
    block: &Block,
    request: QueryValidatorRequest,
) -> Result<QueryValidatorResponse, Error> {
    let operator = Address::parse_operator(&request.validator)?;
    let validator = staking::validator(state, &operator)?;
    let mut lines = staking::explain_validator(state, &operator, &validator)?;
    lines.extend(slashing::explain_validator(state, block.time, &validator)?);
    Ok(QueryValidatorResponse { lines })
}

/// `/trainyard.explain.v1.Query/Account`: its money, its stake and what it earned, its node, its validator.
///
/// # Errors
/// The account is no address.
pub(super) fn account(
    state: &mut State<'_>,
    block: &Block,
    request: QueryAccountRequest,
) -> Result<QueryAccountResponse, Error> {
    let address: Address = request.account.parse()?;
    let balance = bank::balance(state, &address)?;
    let mut lines = vec![match auth::ACCOUNTS.get(state, &address)? {
        Some(account) => format!(
            "{address} holds {} and has signed {} transactions.",
            show(balance),
            account.sequence
        ),
        None => format!(
            "{address} holds {} and is not an account of this chain yet.",
            show(balance)
        ),
    }];
    lines.extend(staking::explain_delegator(state, block.time, &address)?);
    if VALIDATORS.get(state, &address)?.is_some() {
        let validator = address.operator();
        lines.extend(self::validator(state, block, QueryValidatorRequest { validator })?.lines);
    }
    if NODES.get(state, &address)?.is_some() || LEFT.get(state, &address)?.is_some() {
        lines.extend(registry::explain_node(state, block.height, &address)?);
    }
    Ok(QueryAccountResponse { lines })
}
