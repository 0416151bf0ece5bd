//! The registry at genesis. The bonds' money lies in the balance of the module's account (bank).

use serde::{Deserialize, Serialize};
use trainyard_proto::{
    address::Address,
    coin::UTRAIN_PER_TRAIN,
    registry::{Node, Params, Penalty, Unbonding},
};

use super::{
    LEFT, MEMBERS, NODES, PARAMS, PEERS, PENALTIES, UNBONDING, bonds::set_unbonding, conduct::MAX_REPUTATION, set_roles,
};
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
    /// Nodes that have left.
    pub left: Vec<Node>,
    /// Penalties of both.
    pub penalties: Vec<Penalty>,
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
            left: Vec::new(),
            penalties: Vec::new(),
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
        missed_duty_bp: 100,
        missed_reputation: 10,
        max_missed: 3,
        missed_window: 1_000,
        jail_blocks: 200,
        clean_reputation: 1,
        capability_epochs: 1,
    }
}

pub(super) fn check_params(params: &Params) -> Result<(), Error> {
    let Params {
        min_worker_bond: _,
        min_evaluator_bond: _,
        unbonding_blocks,
        initial_reputation,
        allow_listed: _,
        missed_duty_bp,
        missed_reputation,
        max_missed,
        missed_window,
        jail_blocks,
        clean_reputation,
        capability_epochs,
    } = params;
    let bad = |log: String| Err(SdkError::InvalidRequest(log).into());
    for (name, found) in [
        ("unbonding_blocks", *unbonding_blocks),
        ("max_missed", u64::from(*max_missed)),
        ("missed_window", *missed_window),
        ("jail_blocks", *jail_blocks),
        ("capability_epochs", *capability_epochs),
    ] {
        if found == 0 {
            return bad(format!("registry {name} is 0, expected at least 1"));
        }
    }
    for (name, found, most) in [
        ("initial_reputation", *initial_reputation, MAX_REPUTATION),
        ("missed_reputation", *missed_reputation, MAX_REPUTATION),
        ("clean_reputation", *clean_reputation, MAX_REPUTATION),
        ("missed_duty_bp", *missed_duty_bp, 10_000),
    ] {
        if found > most {
            return bad(format!("registry {name} is {found}, at most {most}"));
        }
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
        set_roles(state, &owner, &[], &node.roles)?;
        PEERS.set(state, &node.peer_id, &owner.0.to_vec())?;
    }
    for node in &genesis.left {
        LEFT.set(state, &node.owner.parse()?, node)?;
    }
    for penalty in &genesis.penalties {
        PENALTIES.set(state, &(penalty.owner.parse()?, penalty.number), penalty)?;
    }
    for Unbonding {
        owner,
        amount,
        completes_at,
    } in &genesis.unbonding
    {
        set_unbonding(state, *completes_at, &owner.parse()?, *amount)?;
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
        left: LEFT.all(state)?.into_iter().map(|(_, node)| node).collect(),
        penalties: PENALTIES.all(state)?.into_iter().map(|(_, penalty)| penalty).collect(),
        members: MEMBERS
            .all(state)?
            .into_iter()
            .map(|(owner, _)| owner.to_string())
            .collect(),
    })
}
