//! The table of messages: type URL → handler, each listed once.

use trainyard_proto::{
    address::Address,
    any::{self, Any},
    consensus,
    cosmos::{
        authz::v1beta1::{MsgExec, MsgGrant, MsgRevoke},
        bank::v1beta1::MsgSend,
        distribution::v1beta1::{
            self as distribution, MsgCommunityPoolSpend, MsgFundCommunityPool, MsgSetWithdrawAddress,
            MsgWithdrawDelegatorReward, MsgWithdrawValidatorCommission,
        },
        feegrant::v1beta1::{MsgGrantAllowance, MsgRevokeAllowance},
        gov::{
            v1::{self as gov, MsgCancelProposal, MsgDeposit, MsgSubmitProposal, MsgVote, MsgVoteWeighted},
            v1beta1 as legacy,
        },
        slashing::v1beta1::{self as slashing, MsgUnjail},
        staking::v1beta1::{
            self as staking, MsgBeginRedelegate, MsgCancelUnbondingDelegation, MsgCreateValidator, MsgDelegate,
            MsgEditValidator, MsgUndelegate,
        },
        upgrade::v1beta1::{MsgCancelUpgrade, MsgSoftwareUpgrade},
    },
    fees,
    job::{
        self, MsgCancelJob, MsgCommitEvaluation, MsgCommitTrace, MsgGrantKeys, MsgJoinJob, MsgLeaveJob, MsgPostJob,
        MsgRepostJob, MsgRevealEvaluation, MsgRoundResult, MsgSubmitResult, MsgTopUpJob,
    },
    pouw,
    registry::{self, MsgLeave, MsgRegister, MsgRenew, MsgUnbond, MsgUpdate, MsgUpdateMembers},
};

use crate::{
    context::{Ctx, Handler},
    error::{Error, SdkError},
};

/// How a kind of message is checked and executed.
pub(crate) struct Route {
    package: &'static str,
    name: &'static str,
    /// Decodes, validates, and names the signer.
    pub(crate) check: fn(&[u8]) -> Result<Address, Error>,
    /// Whom a message pays; see [`Handler::receiver`].
    pub(crate) receiver: fn(&[u8]) -> Option<Address>,
    /// Executes a message that passed `check`.
    pub(crate) execute: fn(&mut Ctx<'_, '_>, &[u8]) -> Result<Any, Error>,
}

const fn route<M: Handler>() -> Route {
    Route {
        package: M::PACKAGE,
        name: M::NAME,
        check: check::<M>,
        receiver: receiver::<M>,
        execute: execute::<M>,
    }
}

static ROUTES: &[Route] = &[
    route::<MsgSend>(),
    route::<MsgWithdrawDelegatorReward>(),
    route::<MsgWithdrawValidatorCommission>(),
    route::<MsgSetWithdrawAddress>(),
    route::<MsgFundCommunityPool>(),
    route::<MsgCreateValidator>(),
    route::<MsgEditValidator>(),
    route::<MsgDelegate>(),
    route::<MsgUndelegate>(),
    route::<MsgCancelUnbondingDelegation>(),
    route::<MsgBeginRedelegate>(),
    route::<MsgUnjail>(),
    route::<slashing::MsgUpdateParams>(),
    route::<staking::MsgUpdateParams>(),
    route::<distribution::MsgUpdateParams>(),
    route::<MsgCommunityPoolSpend>(),
    route::<fees::MsgUpdateParams>(),
    route::<MsgRegister>(),
    route::<MsgUpdate>(),
    route::<MsgLeave>(),
    route::<MsgRenew>(),
    route::<MsgUnbond>(),
    route::<registry::MsgUnjail>(),
    route::<MsgUpdateMembers>(),
    route::<registry::MsgUpdateParams>(),
    route::<MsgPostJob>(),
    route::<MsgCancelJob>(),
    route::<MsgTopUpJob>(),
    route::<MsgRepostJob>(),
    route::<MsgGrantKeys>(),
    route::<MsgJoinJob>(),
    route::<MsgLeaveJob>(),
    route::<MsgCommitTrace>(),
    route::<MsgRoundResult>(),
    route::<MsgSubmitResult>(),
    route::<MsgCommitEvaluation>(),
    route::<MsgRevealEvaluation>(),
    route::<job::MsgUpdateParams>(),
    route::<MsgSubmitProposal>(),
    route::<MsgDeposit>(),
    route::<MsgVote>(),
    route::<MsgVoteWeighted>(),
    route::<MsgCancelProposal>(),
    route::<legacy::MsgSubmitProposal>(),
    route::<legacy::MsgDeposit>(),
    route::<legacy::MsgVote>(),
    route::<legacy::MsgVoteWeighted>(),
    route::<gov::MsgUpdateParams>(),
    route::<MsgGrant>(),
    route::<MsgRevoke>(),
    route::<MsgExec>(),
    route::<MsgGrantAllowance>(),
    route::<MsgRevokeAllowance>(),
    route::<MsgSoftwareUpgrade>(),
    route::<MsgCancelUpgrade>(),
    route::<consensus::MsgUpdateParams>(),
    route::<pouw::MsgUpdateParams>(),
];

fn decode<M: Handler>(bytes: &[u8]) -> Result<M, Error> {
    M::decode(bytes).map_err(|e| SdkError::TxDecode(format!("{}: {e}", M::NAME)).into())
}

fn check<M: Handler>(bytes: &[u8]) -> Result<Address, Error> {
    let message: M = decode(bytes)?;
    message.validate()?;
    message.signer()
}

fn receiver<M: Handler>(bytes: &[u8]) -> Option<Address> {
    M::decode(bytes).ok()?.receiver()
}

fn execute<M: Handler>(ctx: &mut Ctx<'_, '_>, bytes: &[u8]) -> Result<Any, Error> {
    let message: M = decode(bytes)?;
    Ok(any::pack(&message.execute(ctx)?))
}

/// The route of a type URL.
pub(crate) fn find(type_url: &str) -> Result<&'static Route, Error> {
    let found = type_url.strip_prefix('/').and_then(|name| name.rsplit_once('.'));
    let found = found.and_then(|(package, name)| ROUTES.iter().find(|r| r.package == package && r.name == name));
    found.ok_or_else(|| {
        let shown: String = type_url.chars().take(100).collect();
        SdkError::UnknownRequest(format!("unable to resolve type URL {shown:?}")).into()
    })
}

/// Type URLs of all messages.
pub fn message_urls() -> impl Iterator<Item = String> {
    ROUTES.iter().map(|r| format!("/{}.{}", r.package, r.name))
}
