//! Rewards.

use trainyard_app::testing::address;
use trainyard_proto::{
    coin::utrain,
    cosmos::distribution::v1beta1::{
        MsgFundCommunityPool, MsgSetWithdrawAddress, MsgWithdrawDelegatorReward, MsgWithdrawValidatorCommission,
    },
};

use crate::world::World;

pub(super) fn withdraw(world: &mut World) -> Option<(&'static str, MsgWithdrawDelegatorReward)> {
    let (who, from) = *world.random.choose(&world.view.delegations)?;
    let who = world.one_of(&[who])?;
    let message = MsgWithdrawDelegatorReward {
        delegator_address: address(who).to_string(),
        validator_address: address(from).operator(),
    };
    Some((who, message))
}

pub(super) fn commission(world: &mut World) -> Option<(&'static str, MsgWithdrawValidatorCommission)> {
    let names: Vec<_> = world.view.validators.iter().map(|(name, _)| *name).collect();
    let name = world.one_of(&names)?;
    let message = MsgWithdrawValidatorCommission {
        validator_address: address(name).operator(),
    };
    Some((name, message))
}

pub(super) fn redirect(world: &mut World) -> Option<(&'static str, MsgSetWithdrawAddress)> {
    let (who, to) = (world.anyone(), world.anyone());
    let message = MsgSetWithdrawAddress {
        delegator_address: address(who).to_string(),
        withdraw_address: address(to).to_string(),
    };
    Some((who, message))
}

pub(super) fn fund(world: &mut World) -> Option<(&'static str, MsgFundCommunityPool)> {
    let (who, amount) = (world.anyone(), world.amount() / 10);
    let message = MsgFundCommunityPool {
        amount: vec![utrain(amount)],
        depositor: address(who).to_string(),
    };
    Some((who, message))
}
