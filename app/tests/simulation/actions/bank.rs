//! Money.

use trainyard_app::testing;
use trainyard_modules::bank;
use trainyard_proto::{address::Address, cosmos::bank::v1beta1::MsgSend};

use crate::world::World;

pub(super) fn send(world: &mut World) -> Option<(&'static str, MsgSend)> {
    let (from, to, amount) = (world.anyone(), world.anyone(), world.amount());
    let mut message = testing::send(from, to, amount);
    if world.random.percent(3) {
        message.to_address = Address::of_module(world.random.pick(bank::MODULE_ACCOUNTS)).to_string();
    }
    Some((from, message))
}
