//! Workers and evaluators: who they are, how to reach them, what they have at stake.
//!
//! | key | value |
//! |---|---|
//! | `registry/node/{owner}` | [`Node`] |
//! | `registry/peer/{peer id}` | owner (20 bytes): a peer id belongs to one node |
//! | `registry/unbonding/{height}{owner}` | utrain on its way back |
//! | `registry/member/{owner}` | an account that governance admitted |
//! | `registry/params` | [`Params`] |
//!
//! Messages: `Register`, `Update`, `Leave`; by governance `UpdateMembers`, `UpdateParams`. Bonds lie in the module's account [`bank::NODE_BONDS`]. Events: `node_registered`,
//! `node_updated`, `node_left`, `bond_returned`, `member_admitted`, `member_dismissed`.
//!
//! Membership is open, or allow-listed by the parameter of that name: then only members register, join jobs and are drawn.
//! Whoever is dismissed finishes what it is engaged in, as every node must before it leaves.

mod block;
mod genesis;
mod members;
mod msgs;
mod queries;

pub use block::end_block;
pub use genesis::{Genesis, default_params, export, init};
pub use members::{admitted, members};
pub use queries::{query_members, query_node, query_node_by_peer, query_nodes, query_params};
use trainyard_proto::{
    address::Address,
    registry::{Node, Params, Role},
};

use crate::{
    bank,
    error::{Error, coded},
    state::{Item, Map, State},
};

/// Nodes by owner.
pub const NODES: Map<Address, Node> = Map::new("registry/node/");
/// Owners by peer id.
pub const PEERS: Map<String, Vec<u8>> = Map::new("registry/peer/");
/// Bonds on their way back, by completion height and owner.
pub const UNBONDING: Map<(u64, Address), u64> = Map::new("registry/unbonding/");
/// Accounts that governance admitted.
pub const MEMBERS: Map<Address, bool> = Map::new("registry/member/");
/// Parameters.
pub const PARAMS: Item<Params> = Item::new("registry/params");

/// Errors of the registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum RegistryError {
    #[error("{0} is registered already; use update")]
    Registered(Address),
    #[error("{0} is not registered")]
    NotRegistered(Address),
    #[error("bond is {found}utrain, a node with these roles needs at least {need}utrain")]
    BondTooLow { found: u64, need: u64 },
    #[error("peer id {peer:?} belongs to {owner}")]
    PeerTaken { peer: String, owner: Address },
    #[error("{0}")]
    Field(String),
    #[error("{owner} is engaged in {jobs} unfinished job(s); leave or finish them first")]
    Engaged { owner: Address, jobs: u32 },
    #[error("{0} does not have the role {1}")]
    Role(Address, &'static str),
    #[error("{0} is not among the members that governance admitted")]
    NotAdmitted(Address),
}

coded!(RegistryError, "registry", |error| match error {
    RegistryError::Registered(_) => 2,
    RegistryError::NotRegistered(_) => 3,
    RegistryError::BondTooLow { .. } => 4,
    RegistryError::PeerTaken { .. } => 5,
    RegistryError::Field(_) => 6,
    RegistryError::Engaged { .. } => 7,
    RegistryError::Role(..) => 8,
    RegistryError::NotAdmitted(_) => 9,
});

/// The node of an owner.
///
/// # Errors
/// Not registered.
pub fn node(state: &mut State<'_>, owner: &Address) -> Result<Node, Error> {
    Ok(NODES.get(state, owner)?.ok_or(RegistryError::NotRegistered(*owner))?)
}

/// The node of an owner, which must have a role and be admitted.
///
/// # Errors
/// Not registered, without the role, or not admitted.
pub fn node_with_role(state: &mut State<'_>, owner: &Address, role: Role) -> Result<Node, Error> {
    admitted(state, owner)?;
    let node = node(state, owner)?;
    if has_role(&node, role) {
        Ok(node)
    } else {
        Err(RegistryError::Role(*owner, role_name(role)).into())
    }
}

/// Whether a node has a role.
#[must_use]
pub fn has_role(node: &Node, role: Role) -> bool {
    node.roles.contains(&role.into())
}

/// A role as people write it.
#[must_use]
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Worker => "worker",
        Role::Evaluator => "evaluator",
        Role::Unspecified => "unspecified",
    }
}

/// Counts an engagement of a node in a job: it cannot leave before it is over.
///
/// # Errors
/// Not registered.
pub fn engage(state: &mut State<'_>, owner: &Address) -> Result<(), Error> {
    let mut node = node(state, owner)?;
    node.engagements = node.engagements.saturating_add(1);
    NODES.set(state, owner, &node)
}

/// Ends an engagement. `Some(true)` raises the reputation by one for a duty done, `Some(false)` lowers it by ten for one missed.
///
/// # Errors
/// The store failed.
pub fn disengage(state: &mut State<'_>, owner: &Address, duty: Option<bool>) -> Result<(), Error> {
    let Some(mut node) = NODES.get(state, owner)? else {
        return Ok(());
    };
    node.engagements = node.engagements.saturating_sub(1);
    node.reputation = match duty {
        Some(true) => node.reputation.saturating_add(1).min(100),
        Some(false) => node.reputation.saturating_sub(10),
        None => node.reputation,
    };
    NODES.set(state, owner, &node)
}

/// The module's account holds the bonds and what is on its way back.
///
/// # Errors
/// The sums, when they differ; or the store failed.
pub fn invariant(state: &mut State<'_>) -> Result<(), Error> {
    let bonds: u64 = NODES.all(state)?.iter().map(|(_, node)| node.bond).sum();
    let leaving: u64 = UNBONDING.all(state)?.iter().map(|(_, amount)| amount).sum();
    let held = bank::balance(state, &Address::of_module(bank::NODE_BONDS))?;
    if bonds + leaving != held {
        return Err(Error::fatal(format!(
            "registry holds {held}utrain for bonds {bonds} and {leaving} leaving"
        )));
    }
    Ok(())
}
