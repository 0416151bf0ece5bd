//! Workers and evaluators.

use trainyard_app::testing::{TRAIN, address, peer_id};
use trainyard_proto::{
    coin::utrain,
    registry::{MsgLeave, MsgRegister, MsgRenew, MsgUnbond, MsgUnjail, MsgUpdate, Role, VerificationClass},
};

use crate::{
    support::{self, root},
    world::World,
};

fn registered(world: &World) -> Vec<&'static str> {
    world.view.nodes.iter().map(|(name, _)| *name).collect()
}

pub(super) fn register(world: &mut World) -> Option<(&'static str, MsgRegister)> {
    let (who, other) = (world.anyone(), world.anyone());
    if registered(world).contains(&who) && world.random.percent(90) {
        return None;
    }
    // Evaluators are needed as much as workers, and clients should not all be nodes.
    let role = world.random.pick(&[Role::Worker, Role::Evaluator]);
    let bond = world.random.pick(&[100 * TRAIN, 1000 * TRAIN, 5000 * TRAIN]) - world.random.below(20) / 19;
    let mut message = support::register(who, role, bond);
    if world.random.percent(10) {
        message.roles = vec![1, 2];
    }
    if world.random.percent(10) {
        message.operator = address(other).to_string();
    }
    if world.random.percent(5) {
        message.peer_id = peer_id(other);
    }
    message.classes = vec![VerificationClass::Exact.into(), VerificationClass::Pinned.into()];
    Some((who, message))
}

pub(super) fn update(world: &mut World) -> Option<(&'static str, MsgUpdate)> {
    let nodes = registered(world);
    let (who, other, amount) = (world.one_of(&nodes)?, world.anyone(), world.amount());
    let mut message = MsgUpdate {
        owner: address(who).to_string(),
        ..MsgUpdate::default()
    };
    match world.random.below(5) {
        0 => message.peer_id = peer_id(other),
        1 => message.roles = vec![world.random.pick(&[1, 2])],
        2 => message.capability_hash = root(other),
        3 => message.moniker = other.into(),
        _ => message.add_bond = Some(utrain(amount)),
    }
    Some((who, message))
}

pub(super) fn leave(world: &mut World) -> Option<(&'static str, MsgLeave)> {
    let idle = world.view.nodes.iter().filter(|(_, node)| node.engagements == 0);
    let idle: Vec<_> = idle.map(|(name, _)| *name).collect();
    let nodes = if world.random.percent(70) {
        idle
    } else {
        registered(world)
    };
    let who = world.one_of(&nodes)?;
    let message = MsgLeave {
        owner: address(who).to_string(),
    };
    Some((who, message))
}

pub(super) fn renew(world: &mut World) -> Option<(&'static str, MsgRenew)> {
    let nodes = registered(world);
    let who = world.one_of(&nodes)?;
    let message = MsgRenew {
        owner: address(who).to_string(),
        capability_hash: if world.random.percent(50) {
            vec![7; 32]
        } else {
            Vec::new()
        },
    };
    Some((who, message))
}

pub(super) fn unbond(world: &mut World) -> Option<(&'static str, MsgUnbond)> {
    let nodes = registered(world);
    let (who, amount) = (world.one_of(&nodes)?, world.amount());
    let message = MsgUnbond {
        owner: address(who).to_string(),
        amount: Some(utrain(amount)),
    };
    Some((who, message))
}

pub(super) fn unjail(world: &mut World) -> Option<(&'static str, MsgUnjail)> {
    let jailed = world.view.nodes.iter().filter(|(_, node)| node.jailed_until > 0);
    let jailed: Vec<_> = jailed.map(|(name, _)| *name).collect();
    let nodes = if jailed.is_empty() && world.random.percent(5) {
        registered(world)
    } else {
        jailed
    };
    let who = world.one_of(&nodes)?;
    let message = MsgUnjail {
        owner: address(who).to_string(),
    };
    Some((who, message))
}
