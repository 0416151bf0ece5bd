//! Why a node may work or not, and what it was penalized for, in sentences.

use trainyard_proto::{
    address::Address,
    coin::show,
    registry::{Node, Params, Penalty, PenaltyKind, Role},
};

use super::{
    BY_ROLE, LEFT, MEMBERS, NODES, PARAMS, PENALTIES, RegistryError, Rules, UNBONDING, UNBONDING_OF, bonds,
    conduct::MAX_REPUTATION, obstacles, role_name,
};
use crate::{error::Error, state::State, words::percent};

/// Penalties told of, the latest ones.
const TOLD: u32 = 20;

/// Explains the node of `owner` at `height`; also one that has left, or never was.
///
/// # Errors
/// The store failed.
pub fn explain_node(state: &mut State<'_>, height: u64, owner: &Address) -> Result<Vec<String>, Error> {
    let params = PARAMS.get(state)?;
    let mut lines = Vec::new();
    if let Some(node) = NODES.get(state, owner)? {
        registered(state, height, &node, &params, &mut lines)?;
        conduct(&node, &params, height, &mut lines);
        history(state, owner, &node, &mut lines)?;
    } else if let Some(node) = LEFT.get(state, owner)? {
        lines.push(format!(
            "{owner} ran a node and has left. If it comes back its reputation is {} of {MAX_REPUTATION}, as when it left.",
            node.reputation
        ));
        if node.jailed_until > 0 {
            lines.push(format!(
                "It comes back jailed, until height {} at least.",
                node.jailed_until
            ));
        }
        history(state, owner, &node, &mut lines)?;
    } else {
        lines.push(format!(
            "{owner} runs no node and never has: nobody has registered one from this account."
        ));
        lines.push(format!(
            "Registering needs a bond of {} for a worker, {} for an evaluator; it returns {} blocks after leaving.",
            show(params.min_worker_bond),
            show(params.min_evaluator_bond),
            params.unbonding_blocks
        ));
        if params.allow_listed && MEMBERS.get(state, owner)?.is_none() {
            lines.push("Governance admits members only, and this account is none.".into());
        }
    }
    returning(state, owner, &mut lines)?;
    Ok(lines)
}

fn registered(
    state: &mut State<'_>,
    height: u64,
    node: &Node,
    params: &Params,
    lines: &mut Vec<String>,
) -> Result<(), Error> {
    let roles: Vec<Role> = node
        .roles
        .iter()
        .filter_map(|role| Role::try_from(*role).ok())
        .collect();
    let names: Vec<&str> = roles.iter().map(|role| role_name(*role)).collect();
    lines.push(format!(
        "{} runs a node as {}, registered at height {}, with a bond of {}; its roles need at least {}.",
        node.owner,
        names.join(" and "),
        node.registered_at,
        show(node.bond),
        show(bonds::least_bond(node, params))
    ));
    let mut kept = Vec::new();
    for role in &roles {
        kept.extend(obstacles(state, height, node, *role)?);
    }
    kept.dedup();
    if kept.is_empty() {
        lines.push("Nothing keeps it from new work in its roles.".into());
    }
    for obstacle in kept {
        lines.push(format!("It takes on no new work: {obstacle}. {}", remedy(&obstacle)));
    }
    let rules = Rules::read(state)?;
    let lapses_at = rules.lapses_at(node);
    if height < lapses_at {
        lines.push(format!(
            "Its capability hash was stated in epoch {}; it can be renewed from height {} on and lapses at height {lapses_at}.",
            node.capability_epoch,
            rules.after_statement(node, 1)
        ));
    }
    if roles.contains(&Role::Evaluator) {
        lot(state, height, node, lines)?;
    }
    if node.engagements > 0 {
        lines.push(format!(
            "It is engaged in {} unfinished job(s) and can neither leave nor take back of its bond before they are over.",
            node.engagements
        ));
    }
    Ok(())
}

/// What its owner can do about an obstacle.
fn remedy(obstacle: &RegistryError) -> &'static str {
    match obstacle {
        RegistryError::Jailed { .. } => "Then: trainyard tx registry unjail.",
        RegistryError::BondTooLow { .. } => "Top it up: trainyard tx registry update --add-bond.",
        RegistryError::Lapsed { .. } => "Renew it: trainyard tx registry renew; trainerd does by itself.",
        RegistryError::NotAdmitted(_) => "A proposal can admit it.",
        _ => "",
    }
}

/// How likely an evaluator is drawn.
fn lot(state: &mut State<'_>, height: u64, node: &Node, lines: &mut Vec<String>) -> Result<(), Error> {
    let listed = BY_ROLE
        .under(state, &super::role_key(Role::Evaluator), usize::MAX)?
        .len();
    let candidates = super::candidates(state, height, Role::Evaluator)?;
    if !candidates.iter().any(|(_, candidate)| candidate.owner == node.owner) {
        return Ok(());
    }
    let all: u64 = candidates.iter().map(|(_, candidate)| candidate.bond).sum();
    lines.push(format!(
        "Of {listed} evaluators {} can be drawn, with bonds of {} together: each lot falls on this one {} of the time, less \
         where it works on the job itself, posted it, or shares its operator with who does.",
        candidates.len(),
        show(all),
        percent(node.bond, all)
    ));
    Ok(())
}

fn conduct(node: &Node, params: &Params, height: u64, lines: &mut Vec<String>) {
    lines.push(format!(
        "Its reputation is {} of {MAX_REPUTATION}. Nodes begin with {}, gain {} with the first duty done in an epoch in which none \
         was missed, lose {} with every missed duty, and all of it with an offence.",
        node.reputation, params.initial_reputation, params.clean_reputation, params.missed_reputation
    ));
    let end = node.missed_since.saturating_add(params.missed_window);
    if node.missed > 0 && height < end {
        lines.push(format!(
            "It has missed {} dut{} since height {}; with {} before height {end} it goes to jail for {} blocks.",
            node.missed,
            if node.missed == 1 { "y" } else { "ies" },
            node.missed_since,
            params.max_missed,
            params.jail_blocks
        ));
    }
}

fn history(state: &mut State<'_>, owner: &Address, node: &Node, lines: &mut Vec<String>) -> Result<(), Error> {
    if node.penalties == 0 {
        lines.push("It has never been penalized.".into());
        return Ok(());
    }
    let first = node.penalties.saturating_sub(TOLD);
    if first > 0 {
        lines.push(format!(
            "It was penalized {} times; these are the last {TOLD}.",
            node.penalties
        ));
    }
    for (_, penalty) in PENALTIES.under_from(state, owner, &(*owner, first), usize::MAX)? {
        lines.push(told(&penalty));
    }
    Ok(())
}

fn told(penalty: &Penalty) -> String {
    let Penalty {
        height, reason, amount, ..
    } = penalty;
    let what = match penalty.kind() {
        PenaltyKind::MissedDuty => "missed a duty",
        PenaltyKind::Slash | PenaltyKind::Unspecified => "was slashed for an offence",
    };
    let jail = match penalty.jailed_until {
        0 => String::new(),
        until => format!(", and it was jailed until height {until}"),
    };
    format!(
        "At height {height} it {what} ({reason}): {} of all it had bonded was burned, {}; its reputation went from {} to {}{jail}.",
        percent(penalty.share_bp.into(), 10_000),
        show(*amount),
        penalty.reputation_before,
        penalty.reputation_after
    )
}

fn returning(state: &mut State<'_>, owner: &Address, lines: &mut Vec<String>) -> Result<(), Error> {
    for ((_, height), _) in UNBONDING_OF.under(state, owner, usize::MAX)? {
        let amount = UNBONDING.get(state, &(height, *owner))?.unwrap_or(0);
        lines.push(format!(
            "{} of its bond return at height {height}; until then they answer for the node as its bond does.",
            show(amount)
        ));
    }
    Ok(())
}
