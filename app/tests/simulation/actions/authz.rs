//! Permissions, used and taken back.

use trainyard_app::testing::{address, send};
use trainyard_proto::{
    any::{self, Any},
    coin::utrain,
    cosmos::{
        authz::v1beta1::{GenericAuthorization, Grant, MsgExec, MsgGrant, MsgRevoke},
        bank::v1beta1::{MsgSend, SendAuthorization},
    },
    tendermint_proto::google::protobuf::Timestamp,
};

use super::{ACTIONS, GOVERNANCE};
use crate::world::World;

/// Some seconds from now, in the past, or never.
pub(super) fn end(world: &mut World) -> Option<Timestamp> {
    let seconds = match world.random.below(10) {
        0 => return None,
        1 => world.chain.time().saturating_sub(world.random.below(10)),
        _ => world.chain.time() + 1 + world.random.below(200),
    };
    Some(Timestamp {
        seconds: i64::try_from(seconds).unwrap(),
        nanos: 0,
    })
}

pub(super) fn grant(world: &mut World) -> Option<(&'static str, MsgGrant)> {
    let (granter, grantee) = (world.anyone(), world.anyone());
    let authorization = if world.random.percent(40) {
        any::pack(&SendAuthorization {
            spend_limit: vec![utrain(world.amount())],
            allow_list: Vec::new(),
        })
    } else {
        let one = world.random.choose(ACTIONS)?;
        any::pack(&GenericAuthorization { msg: (one.url)() })
    };
    let message = MsgGrant {
        granter: address(granter).to_string(),
        grantee: address(grantee).to_string(),
        grant: Some(Grant {
            authorization: Some(authorization),
            expiration: end(world),
        }),
    };
    Some((granter, message))
}

pub(super) fn revoke(world: &mut World) -> Option<(&'static str, MsgRevoke)> {
    let (granter, grantee, msg_type_url) = world.random.choose(&world.view.grants)?.clone();
    let granter = world.one_of(&[granter])?;
    let message = MsgRevoke {
        granter: address(granter).to_string(),
        grantee: address(grantee).to_string(),
        msg_type_url,
    };
    Some((granter, message))
}

/// A message of `granter`, if one comes up in a few tries; else whatever came.
fn message_of(world: &mut World, granter: &'static str, url: &str) -> Option<Any> {
    let action = ACTIONS.iter().find(|action| (action.url)() == url)?;
    let mut last = None;
    for _ in 0..20 {
        let Some((signer, message)) = (action.make)(world) else {
            continue;
        };
        if signer == granter {
            return Some(message);
        }
        last = (signer != GOVERNANCE).then_some(message);
    }
    last
}

pub(super) fn exec(world: &mut World) -> Option<(&'static str, MsgExec)> {
    let (granter, grantee, url) = world.random.choose(&world.view.grants)?.clone();
    let grantee = world.one_of(&[grantee])?;
    let message = if url == any::type_url::<MsgSend>() {
        let (to, amount) = (world.anyone(), world.amount() / 10);
        any::pack(&send(granter, to, amount))
    } else {
        message_of(world, granter, &url)?
    };
    let message = MsgExec {
        grantee: address(grantee).to_string(),
        msgs: vec![message],
    };
    Some((grantee, message))
}
