//! Workers and evaluators: who they are, how to reach them, what they have at stake.
//!
//! | key | value |
//! |---|---|
//! | `registry/node/{owner}` | [`Node`] |
//! | `registry/left/{owner}` | the [`Node`] of an owner that has left, without a bond |
//! | `registry/peer/{peer id}` | owner (20 bytes): a peer id belongs to one node |
//! | `registry/role/{role}{owner}` | nodes by role |
//! | `registry/unbonding/{height}{owner}` | utrain on its way back |
//! | `registry/unbonding_of/{owner}{height}` | the same by owner |
//! | `registry/penalty/{owner}{number}` | [`Penalty`], kept for good |
//! | `registry/member/{owner}` | an account that governance admitted |
//! | `registry/params` | [`Params`] |
//!
//! | message | sender | file |
//! |---|---|---|
//! | `Register`, `Update`, `Renew` | the owner | `msgs.rs` |
//! | `Unbond`, `Leave` | the owner, while it is engaged in no job | `bonds.rs` |
//! | `Unjail` | the owner, once its time is over | `conduct.rs` |
//! | `UpdateMembers`, `UpdateParams` | governance | `members.rs` |
//!
//! Bonds lie in the module's account [`bank::NODE_BONDS`]. Events: `node_registered`, `node_updated`, `capability_renewed`,
//! `node_left`, `bond_unbonding`, `bond_returned`, `node_missed_duty`, `node_slashed`, `node_jailed`, `node_unjailed`, `member_admitted`,
//! `member_dismissed`.
//!
//! Membership is open, or allow-listed by the parameter of that name: then only members register, join jobs and are drawn.
//! Whoever is dismissed finishes what it is engaged in, as every node must before it leaves.
//!
//! **Penalties.** A missed duty ([`miss`]) costs `missed_duty_bp` of the bond and `missed_reputation`; `max_missed` of them
//! within `missed_window` blocks, and every offence ([`slash`]), jail for `jail_blocks`. An offence leaves no reputation.
//! What is taken is burned, of the bond and of all that is on its way back alike. A node that is jailed, or whose bond fell
//! below the least of its roles, takes on no new work ([`node_with_role`]); what it is engaged in goes on.
//!
//! **Capabilities.** The hash of the capability record holds through the epoch it was stated in and `capability_epochs` more.
//! A node that has not renewed it by then may be gone: it takes on no new work until it has.
//!
//! **Reputation** rises by `clean_reputation` with the first duty done in an epoch ([`fulfil`]), unless one was missed in it
//! before. A node that left comes back with the reputation, the jail and the history it had.

mod bonds;
mod conduct;
mod explain;
mod genesis;
mod members;
mod msgs;
mod queries;

pub use bonds::end_block;
pub use conduct::{fulfil, miss, slash};
pub use explain::explain_node;
pub use genesis::{Genesis, default_params, export, init};
pub use members::admitted;
pub use queries::{
    query_members, query_node, query_node_by_peer, query_nodes, query_params, query_penalties, query_unbonding,
};
use trainyard_proto::{
    address::Address,
    registry::{Node, Params, Penalty, Role},
};

use crate::{
    bank,
    context::Epoch,
    error::{Error, coded},
    state::{Item, Map, State},
};

/// Nodes by owner.
pub const NODES: Map<Address, Node> = Map::new("registry/node/");
/// Nodes that have left, by owner: what they did, without a bond.
pub const LEFT: Map<Address, Node> = Map::new("registry/left/");
/// Owners by peer id.
pub const PEERS: Map<String, Vec<u8>> = Map::new("registry/peer/");
/// Bonds on their way back, by completion height and owner.
pub const UNBONDING: Map<(u64, Address), u64> = Map::new("registry/unbonding/");
/// The same, by owner and completion height.
pub const UNBONDING_OF: Map<(Address, u64), bool> = Map::new("registry/unbonding_of/");
/// Nodes by role and owner.
pub const BY_ROLE: Map<(u32, Address), bool> = Map::new("registry/role/");
/// Penalties by owner and number.
pub const PENALTIES: Map<(Address, u32), Penalty> = Map::new("registry/penalty/");
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
    #[error("{owner} is jailed until height {until} and takes on no work before it has unjailed")]
    Jailed { owner: Address, until: u64 },
    #[error("{0} is not jailed")]
    NotJailed(Address),
    #[error("{owner} stays jailed until height {until}, it is {now}")]
    StillJailed { owner: Address, until: u64, now: u64 },
    #[error(
        "{owner} has {parts} parts of its bond on their way back already, at most {}",
        bonds::MAX_UNBONDING
    )]
    TooManyUnbonding { owner: Address, parts: usize },
    #[error(
        "the capability hash of {owner} has lapsed at height {lapsed_at}, it is {now}; it takes on no work before it has renewed it"
    )]
    Lapsed { owner: Address, lapsed_at: u64, now: u64 },
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
    RegistryError::Jailed { .. } => 10,
    RegistryError::NotJailed(_) => 11,
    RegistryError::StillJailed { .. } => 12,
    RegistryError::TooManyUnbonding { .. } => 13,
    RegistryError::Lapsed { .. } => 14,
});

/// The node of an owner.
///
/// # Errors
/// Not registered.
pub fn node(state: &mut State<'_>, owner: &Address) -> Result<Node, Error> {
    Ok(NODES.get(state, owner)?.ok_or(RegistryError::NotRegistered(*owner))?)
}

/// The node of an owner, which must have a role and be free to take on work in it at `height`.
///
/// # Errors
/// The first of [`obstacles`].
pub fn node_with_role(state: &mut State<'_>, height: u64, owner: &Address, role: Role) -> Result<Node, Error> {
    let node = node(state, owner)?;
    match obstacles(state, height, &node, role)?.into_iter().next() {
        Some(obstacle) => Err(obstacle.into()),
        None => Ok(node),
    }
}

/// All that keeps a node from taking on work in a role at `height`: it is not admitted, lacks the role, is jailed, its bond
/// is too low, its capability hash has lapsed.
///
/// # Errors
/// The store failed.
pub fn obstacles(state: &mut State<'_>, height: u64, node: &Node, role: Role) -> Result<Vec<RegistryError>, Error> {
    Rules::read(state)?.obstacles(state, height, node, role)
}

/// What nodes are held to, read once for all that are looked at.
struct Rules {
    params: Params,
    epoch: Epoch,
}

impl Rules {
    fn read(state: &mut State<'_>) -> Result<Self, Error> {
        Ok(Self {
            params: PARAMS.get(state)?,
            epoch: Epoch::read(state)?,
        })
    }

    fn obstacles(
        &self,
        state: &mut State<'_>,
        height: u64,
        node: &Node,
        role: Role,
    ) -> Result<Vec<RegistryError>, Error> {
        let owner: Address = node.owner.parse()?;
        let mut found = Vec::new();
        if self.params.allow_listed && MEMBERS.get(state, &owner)?.is_none() {
            found.push(RegistryError::NotAdmitted(owner));
        }
        if !has_role(node, role) {
            found.push(RegistryError::Role(owner, role_name(role)));
        }
        if node.jailed_until > 0 {
            let until = node.jailed_until;
            found.push(RegistryError::Jailed { owner, until });
        }
        let need = bonds::least_bond(node, &self.params);
        if node.bond < need {
            found.push(RegistryError::BondTooLow { found: node.bond, need });
        }
        let lapsed_at = self.lapses_at(node);
        if height >= lapsed_at {
            let now = height;
            found.push(RegistryError::Lapsed { owner, lapsed_at, now });
        }
        Ok(found)
    }

    /// The first height of the `epochs`th epoch after the one in which a node stated its capability hash.
    fn after_statement(&self, node: &Node, epochs: u64) -> u64 {
        self.epoch.first_of(node.capability_epoch.saturating_add(epochs))
    }

    /// The height from which on a node's capability hash has lapsed.
    fn lapses_at(&self, node: &Node) -> u64 {
        self.after_statement(node, self.params.capability_epochs.saturating_add(1))
    }
}

/// All nodes that may take on work in a role at `height`, by owner.
///
/// # Errors
/// The store failed.
pub fn candidates(state: &mut State<'_>, height: u64, role: Role) -> Result<Vec<(Address, Node)>, Error> {
    let mut found = Vec::new();
    let rules = Rules::read(state)?;
    for ((_, owner), _) in BY_ROLE.under(state, &role_key(role), usize::MAX)? {
        let node = node(state, &owner)?;
        if rules.obstacles(state, height, &node, role)?.is_empty() {
            found.push((owner, node));
        }
    }
    Ok(found)
}

fn role_key(role: Role) -> u32 {
    u32::try_from(i32::from(role)).unwrap_or(0)
}

/// Moves a node in the list by role from its `old` roles to its `new` ones.
fn set_roles(state: &mut State<'_>, owner: &Address, old: &[i32], new: &[i32]) -> Result<(), Error> {
    for role in [Role::Worker, Role::Evaluator] {
        let (key, number) = ((role_key(role), *owner), i32::from(role));
        match (old.contains(&number), new.contains(&number)) {
            (true, false) => BY_ROLE.remove(state, &key)?,
            (false, true) => BY_ROLE.set(state, &key, &true)?,
            _ => {}
        }
    }
    Ok(())
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

/// Ends an engagement; what was done or missed in it is told by [`fulfil`] and [`miss`].
///
/// # Errors
/// The store failed.
pub fn disengage(state: &mut State<'_>, owner: &Address) -> Result<(), Error> {
    let Some(mut node) = NODES.get(state, owner)? else {
        return Ok(());
    };
    node.engagements = node.engagements.saturating_sub(1);
    NODES.set(state, owner, &node)
}

/// The module's account holds the bonds and what is on its way back; the lists agree with the nodes, and histories are whole.
///
/// # Errors
/// What does not hold; or the store failed.
pub fn invariant(state: &mut State<'_>) -> Result<(), Error> {
    let nodes = NODES.all(state)?;
    let queue = UNBONDING.all(state)?;
    let bonds: u128 = nodes.iter().map(|(_, node)| u128::from(node.bond)).sum();
    let leaving: u128 = queue.iter().map(|(_, amount)| u128::from(*amount)).sum();
    let held = bank::balance(state, &Address::of_module(bank::NODE_BONDS))?;
    if bonds + leaving != u128::from(held) {
        return Err(Error::fatal(format!(
            "registry holds {held}utrain for bonds {bonds} and {leaving} leaving"
        )));
    }
    let mut queued: Vec<_> = queue.into_iter().map(|((height, owner), _)| (owner, height)).collect();
    queued.sort_unstable();
    let of: Vec<_> = UNBONDING_OF.all(state)?.into_iter().map(|(key, _)| key).collect();
    if queued != of {
        return Err(Error::fatal(format!(
            "bonds on their way back {queued:?}, by owner {of:?}"
        )));
    }
    let mut roles: Vec<_> = nodes
        .iter()
        .flat_map(|(owner, node)| node.roles.iter().map(|role| (role.unsigned_abs(), *owner)))
        .collect();
    roles.sort_unstable();
    let listed: Vec<_> = BY_ROLE.all(state)?.into_iter().map(|(key, _)| key).collect();
    if roles != listed {
        return Err(Error::fatal(format!("roles {roles:?}, listed {listed:?}")));
    }
    let left = LEFT.all(state)?;
    if let Some((owner, node)) = left.iter().find(|(_, node)| node.bond > 0) {
        return Err(Error::fatal(format!(
            "{owner} has left with a bond of {}utrain",
            node.bond
        )));
    }
    let penalties: u64 = nodes.iter().chain(&left).map(|(_, n)| u64::from(n.penalties)).sum();
    let kept = PENALTIES.all(state)?.len() as u64;
    if penalties != kept {
        return Err(Error::fatal(format!(
            "nodes count {penalties} penalties, {kept} are kept"
        )));
    }
    Ok(())
}
