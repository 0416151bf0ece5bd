//! Queries of the registry.

use trainyard_proto::{
    address::Address,
    registry::{
        QueryMembersRequest, QueryMembersResponse, QueryNodeByPeerRequest, QueryNodeRequest, QueryNodeResponse,
        QueryNodesRequest, QueryNodesResponse, QueryParamsRequest, QueryParamsResponse, Role,
    },
};

use super::{MEMBERS, NODES, PARAMS, PEERS, has_role};
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
    Ok(QueryNodeResponse { node: Some(node) })
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
    let role = request.role();
    let (nodes, pagination) = page::map(state, &NODES, request.pagination.as_ref(), |_, node| {
        (role == Role::Unspecified || has_role(&node, role)).then_some(node)
    })?;
    Ok(QueryNodesResponse { nodes, pagination })
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
