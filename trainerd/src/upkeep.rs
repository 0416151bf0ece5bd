//! What keeps a registered node free to take on work: its capability hash is renewed in every epoch, its bond topped up where
//! penalties have cut it below the least of its roles, and a jail left when its time is over. All of it follows from what
//! the chain says of the node, so that a daemon that was away goes on where it stands.
//!
//! A daemon that fails again and again would pay again and again: past what its operator allows for penalties
//! (`penalty_limit`) it says so and does nothing more by itself.

use color_eyre::eyre::{Context, Result};
use trainyard_proto::{
    coin::{show, utrain},
    registry::{MsgRenew, MsgUnjail, MsgUpdate, Params, QueryNodeResponse, Role},
};

use crate::roles::Node;

/// What of it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Nothing.
    Nothing,
    /// The capability hash is to be stated again.
    Renew,
    /// So many utrain are to be added to the bond.
    TopUp(u64),
    /// The jail's time is over.
    Unjail,
    /// Something that the operator has not allowed: what penalties have cost is beyond the limit, or it is not to unjail.
    Ask,
}

/// What the operator allows.
#[derive(Debug, Clone, Copy)]
struct Allowed {
    /// The bond to come back to, utrain.
    bond: u64,
    /// What penalties may have cost in all, utrain.
    penalties: u64,
    /// Whether to leave a jail.
    unjail: bool,
}

/// The least bond of a node with these roles, utrain.
pub fn least_bond(roles: &[Role], params: &Params) -> u64 {
    let least = |role: &Role| match role {
        Role::Evaluator => params.min_evaluator_bond,
        _ => params.min_worker_bond,
    };
    roles.iter().map(least).max().unwrap_or(0)
}

/// What is due after the block of `height`, for a node that needs `least` and has lost `lost` utrain in penalties so far.
fn due(found: &QueryNodeResponse, height: u64, least: u64, lost: u64, allowed: Allowed) -> Due {
    let node = found.node.clone().unwrap_or_default();
    if height >= found.renew_from {
        return Due::Renew;
    }
    let free = height >= node.jailed_until;
    if node.bond < least {
        // A jailed node takes on no work in any case, and could lose more of its bond meanwhile.
        return match allowed.bond.max(least) - node.bond {
            _ if !free => Due::Nothing,
            _ if lost > allowed.penalties => Due::Ask,
            missing => Due::TopUp(missing),
        };
    }
    match node.jailed_until {
        0 => Due::Nothing,
        _ if !free => Due::Nothing,
        _ if !allowed.unjail || lost > allowed.penalties => Due::Ask,
        _ => Due::Unjail,
    }
}

/// Keeps one node up.
#[derive(Default)]
pub struct Upkeep {
    /// Whether the operator was told that something waits for it.
    told: bool,
}

impl Upkeep {
    /// Does what is due after the block of `height`.
    ///
    /// # Errors
    /// The chain did not answer, or refused; it is tried again with the next block.
    pub async fn look(&mut self, node: &Node, height: u64) -> Result<()> {
        let (chain, owner) = (&node.chain, node.chain.address().to_string());
        let Some(found) = chain.registration().await? else {
            return Ok(()); // Its operator has taken it out by hand.
        };
        let params = chain.registry_params().await?;
        let roles = node.config.roles()?;
        let least = least_bond(&roles, &params);
        let record = found.node.clone().unwrap_or_default();
        let whole = record.bond >= least && record.jailed_until == 0;
        let lost = if whole { 0 } else { chain.penalties().await? };
        let allowed = Allowed {
            bond: node.config.bond_for(least)?,
            penalties: node.config.penalty_limit_for(least)?,
            unjail: node.config.unjail,
        };
        let due = due(&found, height, least, lost, allowed);
        if due != Due::Ask {
            self.told = false;
        }
        match due {
            Due::Nothing => {}
            Due::Renew => {
                let message = MsgRenew {
                    owner,
                    capability_hash: Vec::new(),
                };
                chain
                    .send(&message)
                    .await
                    .wrap_err("cannot renew the capability hash")?;
                tracing::debug!("renewed its capability hash");
            }
            Due::TopUp(missing) => {
                let message = MsgUpdate {
                    owner,
                    add_bond: Some(utrain(missing)),
                    ..MsgUpdate::default()
                };
                chain.send(&message).await.wrap_err("cannot top up the bond")?;
                let (lost, limit) = (show(lost), show(allowed.penalties));
                tracing::warn!(added = show(missing), lost, limit, "topped up its bond after penalties");
            }
            Due::Unjail => {
                chain.send(&MsgUnjail { owner }).await.wrap_err("cannot unjail")?;
                tracing::warn!("left the jail, whose time is over");
            }
            Due::Ask if !self.told => {
                self.told = true;
                tracing::error!(
                    bond = show(record.bond),
                    least = show(least),
                    jailed_until = record.jailed_until,
                    lost = show(lost),
                    penalty_limit = show(allowed.penalties),
                    unjail = allowed.unjail,
                    "takes on no work and may not help itself: see `trainyard explain node`, then top up or unjail by hand, or \
                     allow more in config.toml"
                );
            }
            Due::Ask => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use trainyard_proto::registry::{Node, Params, QueryNodeResponse, Role};

    use super::{Allowed, Due, due, least_bond};

    const ALLOWED: Allowed = Allowed {
        bond: 105,
        penalties: 10,
        unjail: true,
    };

    fn node(bond: u64, jailed_until: u64) -> QueryNodeResponse {
        let node = Some(Node {
            bond,
            jailed_until,
            ..Node::default()
        });
        QueryNodeResponse {
            node,
            renew_from: 50,
            lapses_at: 100,
        }
    }

    #[test]
    fn a_bond_is_topped_up_to_what_was_meant_and_no_further_than_allowed() {
        let at = |bond, lost| due(&node(bond, 0), 40, 100, lost, ALLOWED);
        assert_eq!(at(100, 99), Due::Nothing);
        assert_eq!(at(99, 6), Due::TopUp(6));
        assert_eq!(at(99, 10), Due::TopUp(6));
        assert_eq!(at(99, 11), Due::Ask);
        // Governance may have raised the least above what the operator wanted.
        let small = Allowed { bond: 80, ..ALLOWED };
        assert_eq!(due(&node(80, 0), 40, 100, 0, small), Due::TopUp(20));
    }

    #[test]
    fn a_jail_is_left_when_its_time_is_over_and_the_bond_is_whole() {
        let at = |height, bond, lost| due(&node(bond, 30), height, 100, lost, ALLOWED);
        assert_eq!(at(29, 100, 3), Due::Nothing);
        assert_eq!(at(30, 100, 3), Due::Unjail);
        assert_eq!(at(29, 97, 3), Due::Nothing);
        assert_eq!(at(30, 97, 3), Due::TopUp(8));
        assert_eq!(at(30, 100, 11), Due::Ask);
        let never = Allowed {
            unjail: false,
            ..ALLOWED
        };
        assert_eq!(due(&node(100, 30), 30, 100, 3, never), Due::Ask);
    }

    #[test]
    fn the_capability_hash_is_renewed_first() {
        assert_eq!(due(&node(1, 0), 49, 100, 0, ALLOWED), Due::TopUp(104));
        assert_eq!(due(&node(1, 0), 50, 100, 0, ALLOWED), Due::Renew);
    }

    #[test]
    fn the_dearest_role_says_how_much_the_least_is() {
        let params = Params {
            min_worker_bond: 3,
            min_evaluator_bond: 7,
            ..Params::default()
        };
        let least = |roles: &[Role]| least_bond(roles, &params);
        assert_eq!(
            [
                least(&[Role::Worker]),
                least(&[Role::Evaluator]),
                least(&[Role::Evaluator, Role::Worker])
            ],
            [3, 7, 7]
        );
    }
}
