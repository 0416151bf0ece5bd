//! Parameters that governance sets, far apart and in the middle of everything.

use trainyard_modules as modules;
use trainyard_proto::{
    consensus as limits,
    cosmos::{
        distribution::v1beta1 as rewards, gov::v1 as votes, slashing::v1beta1 as slashes, staking::v1beta1 as stake,
    },
    dec::Dec,
    fees as price, job as work, pouw as work_proof, registry as nodes,
};

use super::{GOVERNANCE, gov::room, gov::short_votes};
use crate::world::{World, governance};

pub(super) fn gov(world: &mut World) -> Option<(&'static str, votes::MsgUpdateParams)> {
    room(world)?;
    let mut params = modules::gov::default_params();
    short_votes(&mut params);
    params.burn_vote_quorum = world.random.percent(50);
    params.burn_proposal_deposit_prevote = world.random.percent(50);
    params.proposal_cancel_ratio = world.random.share(100);
    let message = votes::MsgUpdateParams {
        authority: governance(),
        params: Some(params),
    };
    Some((GOVERNANCE, message))
}

pub(super) fn staking(world: &mut World) -> Option<(&'static str, stake::MsgUpdateParams)> {
    room(world)?;
    let mut params = modules::staking::default_params();
    params.unbonding_time.as_mut().unwrap().seconds = i64::from(world.random.within(1, 60));
    params.max_validators = world.random.within(1, 12);
    params.max_entries = world.random.within(1, 7);
    params.min_commission_rate = world.random.share(10).parse::<Dec>().unwrap().atomics();
    let message = stake::MsgUpdateParams {
        authority: governance(),
        params: Some(params),
    };
    Some((GOVERNANCE, message))
}

pub(super) fn slashing(world: &mut World) -> Option<(&'static str, slashes::MsgUpdateParams)> {
    room(world)?;
    let hundredths = |n: u32| Dec::ratio(n.into(), 100).unwrap();
    let params = modules::slashing::Params {
        signed_blocks_window: world.random.within(1, 30).into(),
        min_signed_per_window: hundredths(world.random.within(1, 100)),
        downtime_jail_seconds: world.random.within(0, 40).into(),
        slash_fraction_double_sign: hundredths(world.random.within(0, 30)),
        slash_fraction_downtime: hundredths(world.random.within(0, 5)),
    };
    let message = slashes::MsgUpdateParams {
        authority: governance(),
        params: Some(params.into()),
    };
    Some((GOVERNANCE, message))
}

pub(super) fn distribution(world: &mut World) -> Option<(&'static str, rewards::MsgUpdateParams)> {
    room(world)?;
    let params = rewards::Params {
        community_tax: world.random.share(100).parse::<Dec>().unwrap().atomics(),
        withdraw_addr_enabled: world.random.percent(70),
        ..rewards::Params::default()
    };
    let message = rewards::MsgUpdateParams {
        authority: governance(),
        params: Some(params),
    };
    Some((GOVERNANCE, message))
}

pub(super) fn registry(world: &mut World) -> Option<(&'static str, nodes::MsgUpdateParams)> {
    room(world)?;
    let mut params = modules::registry::default_params();
    params.unbonding_blocks = world.random.within(1, 40).into();
    params.initial_reputation = world.random.within(0, 100);
    params.min_worker_bond = world.random.pick(&[0, 1, params.min_worker_bond]);
    params.allow_listed = world.random.percent(15);
    params.missed_duty_bp = world.random.pick(&[0, 100, 5_000, 10_000]);
    params.max_missed = world.random.within(1, 4);
    params.capability_epochs = world.random.within(2, 9).into();
    params.jail_blocks = world.random.within(1, 30).into();
    let message = nodes::MsgUpdateParams {
        authority: governance(),
        params: Some(params),
    };
    Some((GOVERNANCE, message))
}

pub(super) fn job(world: &mut World) -> Option<(&'static str, work::MsgUpdateParams)> {
    room(world)?;
    let mut params = modules::job::default_params();
    (params.commit_blocks, params.reveal_blocks) = (world.random.within(1, 12), world.random.within(1, 12));
    params.posting_fee_bp = world.random.pick(&[0, 100, 9_999, 10_000]);
    params.workers_bp = world.random.within(0, 10_000);
    params.evaluators_bp = world.random.within(0, 10_000 - params.workers_bp);
    params.stake_multiple = world.random.pick(&[0, 1, 3, 3, 100]);
    params.treasury_burn_bp = world.random.pick(&[0, 0, 5_000, 10_000]);
    (params.max_replacements, params.outlier_slash_bp) = (world.random.within(0, 3), world.random.within(0, 10_000));
    params.tolerance_ppm = world.random.pick(&[0, 5_000, 1_000_000]);
    let message = work::MsgUpdateParams {
        authority: governance(),
        params: Some(params),
    };
    Some((GOVERNANCE, message))
}

/// Blocks keep room for the crowd.
pub(super) fn consensus(world: &mut World) -> Option<(&'static str, limits::MsgUpdateParams)> {
    room(world)?;
    let mut params = modules::consensus::default_params();
    if let Some(block) = &mut params.block {
        block.max_gas = world.random.pick(&[-1, -1, 200_000_000, 1_000_000_000, 1]);
        block.max_bytes = world.random.pick(&[2 << 20, 4 << 20, 100 << 20, 0]);
    }
    if let Some(evidence) = &mut params.evidence {
        evidence.max_age_num_blocks = i64::from(world.random.within(0, 50));
    }
    let message = limits::MsgUpdateParams {
        authority: governance(),
        block: params.block,
        evidence: params.evidence,
        validator: params.validator.filter(|_| world.random.percent(95)),
        abci: params.abci.filter(|_| world.random.percent(50)),
    };
    Some((GOVERNANCE, message))
}

/// Shorter than the epoch that goes on, longer, or of one block.
pub(super) fn epochs(world: &mut World) -> Option<(&'static str, work_proof::MsgUpdateParams)> {
    room(world)?;
    let epoch_blocks = world.random.pick(&[0, 1, 4, 9, 15, 24]);
    let message = work_proof::MsgUpdateParams {
        authority: governance(),
        params: Some(work_proof::Params { epoch_blocks }),
    };
    Some((GOVERNANCE, message))
}

/// Never more than the crowd's transactions pay.
pub(super) fn fees(world: &mut World) -> Option<(&'static str, price::MsgUpdateParams)> {
    room(world)?;
    let mut params = modules::fees::default_params();
    params.max_base_fee = world.random.within(1, 200).into();
    params.min_base_fee = world.random.below(params.max_base_fee + 1);
    params.target_gas = world.random.pick(&[1, 50_000_000, 400_000_000]);
    params.change_denominator = world.random.within(2, 100).into();
    let message = price::MsgUpdateParams {
        authority: governance(),
        params: Some(params),
    };
    Some((GOVERNANCE, message))
}
