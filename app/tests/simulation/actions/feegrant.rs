//! Allowances. Transactions use them by themselves.

use trainyard_app::testing::address;
use trainyard_proto::{
    any,
    coin::utrain,
    cosmos::{
        bank::v1beta1::MsgSend,
        feegrant::v1beta1::{
            AllowedMsgAllowance, BasicAllowance, MsgGrantAllowance, MsgRevokeAllowance, PeriodicAllowance,
        },
    },
    tendermint_proto::google::protobuf::Duration,
};

use super::authz::end;
use crate::{support::FEE, world::World};

pub(super) fn grant(world: &mut World) -> Option<(&'static str, MsgGrantAllowance)> {
    let (granter, grantee, limit) = (world.anyone(), world.anyone(), world.random.below(20) * FEE);
    let basic = BasicAllowance {
        spend_limit: if world.random.percent(80) {
            vec![utrain(limit)]
        } else {
            Vec::new()
        },
        expiration: end(world),
    };
    let allowance = match world.random.below(4) {
        0 => any::pack(&PeriodicAllowance {
            basic: Some(basic),
            period: Some(Duration {
                seconds: i64::from(world.random.within(0, 30)),
                nanos: 0,
            }),
            period_spend_limit: vec![utrain(world.random.below(5) * FEE)],
            ..PeriodicAllowance::default()
        }),
        1 => any::pack(&AllowedMsgAllowance {
            allowance: Some(any::pack(&basic)),
            allowed_messages: vec![any::type_url::<MsgSend>()],
        }),
        _ => any::pack(&basic),
    };
    let message = MsgGrantAllowance {
        granter: address(granter).to_string(),
        grantee: address(grantee).to_string(),
        allowance: Some(allowance),
    };
    Some((granter, message))
}

pub(super) fn revoke(world: &mut World) -> Option<(&'static str, MsgRevokeAllowance)> {
    let (granter, grantee) = *world.random.choose(&world.view.allowances)?;
    let granter = world.one_of(&[granter])?;
    let message = MsgRevokeAllowance {
        granter: address(granter).to_string(),
        grantee: address(grantee).to_string(),
    };
    Some((granter, message))
}
