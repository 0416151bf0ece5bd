//! One line per message. A new message needs one here, and a function that makes it up.
//!
//! The function answers who signs and the message; nothing when there is nothing to do it to, and then another is tried. It
//! should mostly be right, for a crowd that is always wrong never gets anywhere, and now and then be wrong in every way that
//! is its own: [`World::one_of`] and [`World::amount`] do that by themselves.

mod authz;
mod bank;
mod distribution;
mod feegrant;
pub(crate) mod gov;
mod jobs;
mod params;
mod registry;
mod staking;

use trainyard_proto::{
    any::{self, Any},
    consensus as limits,
    cosmos::{
        authz::v1beta1::{MsgExec, MsgGrant, MsgRevoke},
        bank::v1beta1::MsgSend,
        distribution::v1beta1::{
            self as rewards, MsgCommunityPoolSpend, MsgFundCommunityPool, MsgSetWithdrawAddress,
            MsgWithdrawDelegatorReward, MsgWithdrawValidatorCommission,
        },
        feegrant::v1beta1::{MsgGrantAllowance, MsgRevokeAllowance},
        gov::v1::{self as votes, MsgCancelProposal, MsgDeposit, MsgSubmitProposal, MsgVote, MsgVoteWeighted},
        gov::v1beta1 as legacy,
        slashing::v1beta1::{self as slashes, MsgUnjail},
        staking::v1beta1::{
            self as stake, MsgBeginRedelegate, MsgCancelUnbondingDelegation, MsgCreateValidator, MsgDelegate,
            MsgEditValidator, MsgUndelegate,
        },
        upgrade::v1beta1::{MsgCancelUpgrade, MsgSoftwareUpgrade},
    },
    fees as price,
    job::{
        self as work, MsgCancelJob, MsgCommitEvaluation, MsgCommitTrace, MsgGrantKeys, MsgJoinJob, MsgLeaveJob,
        MsgPostJob, MsgRepostJob, MsgRevealEvaluation, MsgRoundResult, MsgSubmitResult, MsgTopUpJob,
    },
    pouw,
    registry::{self as nodes, MsgLeave, MsgRegister, MsgRenew, MsgUnbond, MsgUpdate, MsgUpdateMembers},
};

use crate::world::World;

/// Who signs, and what.
pub(crate) type Operation = (&'static str, Any);
/// Signs what only governance may send.
pub(crate) const GOVERNANCE: &str = "governance";

pub(crate) struct Action {
    pub(crate) url: fn() -> String,
    /// How often, compared with the others.
    pub(crate) weight: u64,
    pub(crate) make: fn(&mut World) -> Option<Operation>,
}

macro_rules! action {
    ($message:ty, $weight:literal, $make:path) => {
        Action {
            url: any::type_url::<$message>,
            weight: $weight,
            make: |world| $make(world).map(|(signer, message): (_, $message)| (signer, any::pack(&message))),
        }
    };
}

pub(crate) static ACTIONS: &[Action] = &[
    action!(MsgSend, 4, bank::send),
    action!(MsgCreateValidator, 2, staking::create),
    action!(MsgEditValidator, 2, staking::edit),
    action!(MsgDelegate, 6, staking::delegate),
    action!(MsgUndelegate, 5, staking::undelegate),
    action!(MsgCancelUnbondingDelegation, 2, staking::cancel),
    action!(MsgBeginRedelegate, 3, staking::redelegate),
    action!(MsgUnjail, 2, staking::unjail),
    action!(MsgWithdrawDelegatorReward, 3, distribution::withdraw),
    action!(MsgWithdrawValidatorCommission, 2, distribution::commission),
    action!(MsgSetWithdrawAddress, 1, distribution::redirect),
    action!(MsgFundCommunityPool, 1, distribution::fund),
    action!(MsgRegister, 8, registry::register),
    action!(MsgUpdate, 2, registry::update),
    action!(MsgRenew, 3, registry::renew),
    action!(MsgUnbond, 2, registry::unbond),
    action!(nodes::MsgUnjail, 2, registry::unjail),
    action!(MsgLeave, 1, registry::leave),
    action!(MsgPostJob, 4, jobs::post),
    action!(MsgCancelJob, 1, jobs::cancel),
    action!(MsgTopUpJob, 2, jobs::top_up),
    action!(MsgRepostJob, 2, jobs::repost),
    action!(MsgJoinJob, 10, jobs::join),
    action!(MsgLeaveJob, 1, jobs::leave),
    action!(MsgGrantKeys, 5, jobs::grant_keys),
    action!(MsgCommitTrace, 14, jobs::trace),
    action!(MsgRoundResult, 14, jobs::vote),
    action!(MsgSubmitResult, 8, jobs::submit),
    action!(MsgCommitEvaluation, 8, jobs::commit),
    action!(MsgRevealEvaluation, 8, jobs::reveal),
    action!(MsgSubmitProposal, 1, gov::submit),
    action!(MsgDeposit, 2, gov::deposit),
    action!(MsgVote, 4, gov::vote),
    action!(MsgVoteWeighted, 2, gov::vote_weighted),
    action!(MsgCancelProposal, 1, gov::cancel),
    action!(legacy::MsgSubmitProposal, 1, gov::legacy_submit),
    action!(legacy::MsgDeposit, 1, gov::legacy_deposit),
    action!(legacy::MsgVote, 1, gov::legacy_vote),
    action!(legacy::MsgVoteWeighted, 1, gov::legacy_vote_weighted),
    action!(MsgCommunityPoolSpend, 1, gov::spend),
    action!(MsgSoftwareUpgrade, 1, gov::upgrade),
    action!(MsgCancelUpgrade, 1, gov::cancel_upgrade),
    action!(MsgUpdateMembers, 1, gov::members),
    action!(votes::MsgUpdateParams, 1, params::gov),
    action!(price::MsgUpdateParams, 1, params::fees),
    action!(stake::MsgUpdateParams, 1, params::staking),
    action!(slashes::MsgUpdateParams, 1, params::slashing),
    action!(rewards::MsgUpdateParams, 1, params::distribution),
    action!(nodes::MsgUpdateParams, 1, params::registry),
    action!(work::MsgUpdateParams, 1, params::job),
    action!(limits::MsgUpdateParams, 1, params::consensus),
    action!(pouw::MsgUpdateParams, 1, params::epochs),
    action!(MsgGrant, 2, authz::grant),
    action!(MsgRevoke, 1, authz::revoke),
    action!(MsgExec, 3, authz::exec),
    action!(MsgGrantAllowance, 1, feegrant::grant),
    action!(MsgRevokeAllowance, 1, feegrant::revoke),
];
