//! The registry at genesis. The bonds' money lies in the balance of the module's account (bank).

use serde::{Deserialize, Serialize};
use trainyard_proto::{
    address::Address,
    coin::UTRAIN_PER_TRAIN,
    registry::{Node, Params, Unbonding},
};

use super::{MEMBERS, NODES, PARAMS, PEERS, UNBONDING};
use crate::{
    error::{Error, SdkError},
    state::State,
};

/// Nodes, bonds on their way back, parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Genesis {
    /// Parameters.
    pub params: Params,
    /// Nodes.
    pub nodes: Vec<Node>,
    /// Bonds on their way back.
    pub unbonding: Vec<Unbonding>,
    /// Accounts that governance admitted.
    pub members: Vec<String>,
}

impl Default for Genesis {
    fn default() -> Self {
        Self {
            params: default_params(),
            nodes: Vec::new(),
            unbonding: Vec::new(),
            members: Vec::new(),
        }
    }
}

/// PROTOCOL §11.
#[must_use]
pub fn default_params() -> Params {
    Params {
        min_worker_bond: 100 * UTRAIN_PER_TRAIN,
        min_evaluator_bond: 1000 * UTRAIN_PER_TRAIN,
        unbonding_blocks: 400,
        initial_reputation: 50,
        allow_listed: false,
    }
}

pub(super) fn check_params(params: &Params) -> Result<(), Error> {
    let Params {
        min_worker_bond: _,
        min_evaluator_bond: _,
        unbonding_blocks,
        initial_reputation,
        allow_listed: _,
    } = params;
    if *unbonding_blocks == 0 {
        return Err(SdkError::InvalidRequest("registry unbonding_blocks is 0, expected at least 1".into()).into());
    }
    if *initial_reputation > 100 {
        let log = format!("registry initial_reputation is {initial_reputation}, at most 100");
        return Err(SdkError::InvalidRequest(log).into());
    }
    Ok(())
}

/// Writes nodes, queue and parameters.
///
/// # Errors
/// What is not valid.
pub fn init(state: &mut State<'_>, genesis: &Genesis) -> Result<(), Error> {
    check_params(&genesis.params)?;
    PARAMS.set(state, &genesis.params)?;
    for node in &genesis.nodes {
        let owner: Address = node.owner.parse()?;
        NODES.set(state, &owner, node)?;
        PEERS.set(state, &node.peer_id, &owner.0.to_vec())?;
    }
    for Unbonding {
        owner,
        amount,
        completes_at,
    } in &genesis.unbonding
    {
        UNBONDING.set(state, &(*completes_at, owner.parse()?), amount)?;
    }
    for owner in &genesis.members {
        MEMBERS.set(state, &owner.parse()?, &true)?;
    }
    Ok(())
}

/// The inverse of [`init`].
///
/// # Errors
/// The store failed.
pub fn export(state: &mut State<'_>) -> Result<Genesis, Error> {
    let unbonding = UNBONDING
        .all(state)?
        .into_iter()
        .map(|((completes_at, owner), amount)| Unbonding {
            owner: owner.to_string(),
            amount,
            completes_at,
        });
    Ok(Genesis {
        params: PARAMS.get(state)?,
        unbonding: unbonding.collect(),
        nodes: NODES.all(state)?.into_iter().map(|(_, node)| node).collect(),
        members: MEMBERS
            .all(state)?
            .into_iter()
            .map(|(owner, _)| owner.to_string())
            .collect(),
    })
}
