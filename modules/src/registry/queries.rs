//! Queries of the registry.

use trainyard_proto::{
    address::Address,
    registry::{
        QueryMembersRequest, QueryMembersResponse, QueryNodeByPeerRequest, QueryNodeRequest, QueryNodeResponse,
        QueryNodesRequest, QueryNodesResponse, QueryParamsRequest, QueryParamsResponse, QueryPenaltiesRequest,
        QueryPenaltiesResponse, QueryUnbondingRequest, QueryUnbondingResponse, Role, Unbonding,
    },
};

use super::{BY_ROLE, MEMBERS, NODES, PARAMS, PEERS, PENALTIES, Rules, UNBONDING, UNBONDING_OF, node, role_key};
use crate::{
    error::{Error, SdkError},
    page,
    state::State,
};

/// `/trainyard.registry.v1.Query/Node`.
///
/// # Errors
/// Not registered.
pub fn query_node(state: &mut State<'_>, request: QueryNodeRequest) -> Result<QueryNodeResponse, Error> {
    let owner: Address = request.owner.parse()?;
    let node = NODES
        .get(state, &owner)?
        .ok_or_else(|| SdkError::NotFound(format!("node {owner} not found")))?;
    let rules = Rules::read(state)?;
    Ok(QueryNodeResponse {
        renew_from: rules.after_statement(&node, 1),
        lapses_at: rules.lapses_at(&node),
        node: Some(node),
    })
}

/// `/trainyard.registry.v1.Query/NodeByPeer`.
///
/// # Errors
/// No node has this peer id.
pub fn query_node_by_peer(state: &mut State<'_>, request: QueryNodeByPeerRequest) -> Result<QueryNodeResponse, Error> {
    let owner = PEERS
        .get(state, &request.peer_id)?
        .and_then(|owner| <[u8; 20]>::try_from(owner).ok());
    let owner = owner.ok_or_else(|| SdkError::NotFound(format!("no node has peer id {:?}", request.peer_id)))?;
    query_node(
        state,
        QueryNodeRequest {
            owner: Address(owner).to_string(),
        },
    )
}

/// `/trainyard.registry.v1.Query/Nodes`.
///
/// # Errors
/// The page is not valid.
pub fn query_nodes(state: &mut State<'_>, request: QueryNodesRequest) -> Result<QueryNodesResponse, Error> {
    let page = request.pagination.as_ref();
    let (nodes, pagination) = match request.role() {
        Role::Unspecified => page::map(state, &NODES, page, |_, node| Some(node))?,
        role => {
            let (owners, next) = page::under(state, &BY_ROLE, &role_key(role), page, |(_, owner), _| Some(*owner))?;
            let nodes: Result<_, _> = owners.iter().map(|owner| node(state, owner)).collect();
            (nodes?, next)
        }
    };
    Ok(QueryNodesResponse { nodes, pagination })
}

/// `/trainyard.registry.v1.Query/Penalties`: none of a node that never had one.
///
/// # Errors
/// The page is not valid.
pub fn query_penalties(state: &mut State<'_>, request: QueryPenaltiesRequest) -> Result<QueryPenaltiesResponse, Error> {
    let owner: Address = request.owner.parse()?;
    let (penalties, pagination) = page::under(state, &PENALTIES, &owner, request.pagination.as_ref(), |_, penalty| {
        Some(penalty)
    })?;
    Ok(QueryPenaltiesResponse { penalties, pagination })
}

/// `/trainyard.registry.v1.Query/Unbonding`.
///
/// # Errors
/// The store failed.
pub fn query_unbonding(state: &mut State<'_>, request: QueryUnbondingRequest) -> Result<QueryUnbondingResponse, Error> {
    let owner: Address = request.owner.parse()?;
    let mut unbonding = Vec::new();
    for ((_, completes_at), _) in UNBONDING_OF.under(state, &owner, usize::MAX)? {
        unbonding.push(Unbonding {
            owner: request.owner.clone(),
            amount: UNBONDING.get(state, &(completes_at, owner))?.unwrap_or(0),
            completes_at,
        });
    }
    Ok(QueryUnbondingResponse { unbonding })
}

/// `/trainyard.registry.v1.Query/Members`.
///
/// # Errors
/// The page is not valid.
pub fn query_members(state: &mut State<'_>, request: QueryMembersRequest) -> Result<QueryMembersResponse, Error> {
    let (members, pagination) = page::map(state, &MEMBERS, request.pagination.as_ref(), |owner, _| {
        Some(owner.to_string())
    })?;
    Ok(QueryMembersResponse { members, pagination })
}

/// `/trainyard.registry.v1.Query/Params`.
///
/// # Errors
/// The store failed.
pub fn query_params(state: &mut State<'_>, _: QueryParamsRequest) -> Result<QueryParamsResponse, Error> {
    Ok(QueryParamsResponse {
        params: Some(PARAMS.get(state)?),
    })
}
