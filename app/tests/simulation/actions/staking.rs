//! Stake, and validators.

use trainyard_app::testing::{address, create_validator};
use trainyard_proto::{
    address::Address,
    coin::utrain,
    cosmos::{
        slashing::v1beta1::MsgUnjail,
        staking::v1beta1::{
            CommissionRates, Description, MsgBeginRedelegate, MsgCancelUnbondingDelegation, MsgCreateValidator,
            MsgDelegate, MsgEditValidator, MsgUndelegate,
        },
    },
    dec::Dec,
};

use crate::world::World;

fn text(name: &str) -> String {
    address(name).to_string()
}

fn operator(name: &str) -> String {
    address(name).operator()
}

/// A share in 10⁻¹⁸, as messages carry it.
fn atomics(world: &mut World, most: u64) -> String {
    world.random.share(most).parse::<Dec>().unwrap().atomics()
}

pub(super) fn create(world: &mut World) -> Option<(&'static str, MsgCreateValidator)> {
    let (name, stake) = (world.anyone(), world.amount());
    let mut message = create_validator(name, stake);
    if world.random.percent(70) {
        message.commission = Some(CommissionRates {
            rate: atomics(world, 50),
            max_rate: atomics(world, 100),
            max_change_rate: atomics(world, 10),
        });
    }
    if world.random.percent(30) {
        message.min_self_delegation = world.amount().to_string();
    }
    Some((name, message))
}

/// A validator's operator, or anyone.
fn a_validator(world: &mut World) -> Option<&'static str> {
    let names: Vec<_> = world.view.validators.iter().map(|(name, _)| *name).collect();
    world.one_of(&names)
}

pub(super) fn edit(world: &mut World) -> Option<(&'static str, MsgEditValidator)> {
    let name = a_validator(world)?;
    let keep = || "[do-not-modify]".to_string();
    let (rate, least) = (atomics(world, 60), world.amount());
    let message = MsgEditValidator {
        description: Some(Description {
            moniker: if world.random.percent(50) {
                keep()
            } else {
                "renamed".into()
            },
            identity: keep(),
            website: keep(),
            security_contact: keep(),
            details: keep(),
        }),
        validator_address: operator(name),
        commission_rate: if world.random.percent(30) { rate } else { String::new() },
        min_self_delegation: if world.random.percent(10) {
            least.to_string()
        } else {
            String::new()
        },
    };
    Some((name, message))
}

pub(super) fn delegate(world: &mut World) -> Option<(&'static str, MsgDelegate)> {
    let (from, to, amount) = (world.anyone(), a_validator(world)?, world.amount());
    let message = MsgDelegate {
        delegator_address: text(from),
        validator_address: operator(to),
        amount: Some(utrain(amount)),
    };
    Some((from, message))
}

/// Small parts of a stake; the whole of it now and then.
fn part(world: &mut World, delegator: &str, validator: &str) -> u64 {
    if world.random.percent(20) {
        let (delegator, validator) = (address(delegator), address(validator));
        return world.chain.read(|state| all_of(state, delegator, validator));
    }
    1 + world.amount() / 50
}

fn all_of(
    state: &mut trainyard_modules::state::State<'_>,
    delegator: Address,
    operator: Address,
) -> Result<u64, trainyard_modules::error::Error> {
    use trainyard_modules::staking::{DELEGATIONS, VALIDATORS, worth};
    let shares = DELEGATIONS.get(state, &(delegator, operator))?.unwrap_or(Dec::ZERO);
    let validator = VALIDATORS.get(state, &operator)?;
    validator.map_or(Ok(0), |validator| worth(&validator, shares))
}

pub(super) fn undelegate(world: &mut World) -> Option<(&'static str, MsgUndelegate)> {
    let (who, from) = *world.random.choose(&world.view.delegations)?;
    let who = world.one_of(&[who])?;
    let amount = part(world, who, from);
    let message = MsgUndelegate {
        delegator_address: text(who),
        validator_address: operator(from),
        amount: Some(utrain(amount)),
    };
    Some((who, message))
}

pub(super) fn redelegate(world: &mut World) -> Option<(&'static str, MsgBeginRedelegate)> {
    let (who, from) = *world.random.choose(&world.view.delegations)?;
    let (who, to) = (world.one_of(&[who])?, a_validator(world)?);
    let amount = part(world, who, from);
    let message = MsgBeginRedelegate {
        delegator_address: text(who),
        validator_src_address: operator(from),
        validator_dst_address: operator(to),
        amount: Some(utrain(amount)),
    };
    Some((who, message))
}

pub(super) fn cancel(world: &mut World) -> Option<(&'static str, MsgCancelUnbondingDelegation)> {
    let (who, from, entry) = world.random.choose(&world.view.unbonding)?.clone();
    let who = world.one_of(&[who])?;
    let amount = if world.random.percent(30) {
        entry.balance
    } else {
        (1 + world.amount() / 50).to_string()
    };
    let message = MsgCancelUnbondingDelegation {
        delegator_address: text(who),
        validator_address: operator(from),
        amount: Some(trainyard_proto::cosmos::base::v1beta1::Coin { amount, ..utrain(0) }),
        creation_height: entry.creation_height,
    };
    Some((who, message))
}

pub(super) fn unjail(world: &mut World) -> Option<(&'static str, MsgUnjail)> {
    let jailed = world.view.validators.iter().filter(|(_, validator)| validator.jailed);
    let jailed: Vec<_> = jailed.map(|(name, _)| *name).collect();
    let name = world.one_of(&jailed)?;
    let message = MsgUnjail {
        validator_addr: operator(name),
    };
    Some((name, message))
}
