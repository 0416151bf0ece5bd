//! Proposals and their deposits.

use trainyard_proto::{
    address::Address,
    any::Any,
    coin,
    cosmos::gov::v1::{
        MsgCancelProposal, MsgCancelProposalResponse, MsgDeposit, MsgDepositResponse, MsgSubmitProposal,
        MsgSubmitProposalResponse, Params, Proposal, ProposalStatus, TallyResult,
    },
    dec::Dec,
};

use super::{
    ACTIVE, DEPOSITS, GovError, INACTIVE, LAST_ID, PARAMS, PROPOSALS, VOTES, amount, carries, check_length, coins,
    deposits_account, min_deposit, open_proposal, params::share,
};
use crate::{
    bank::{burn, transfer},
    context::{Ctx, Event, Handler, Value, timestamp, unix_seconds, whole_seconds},
    error::{Error, SdkError},
    governed::authority,
    machine::router,
};

/// Messages of a proposal, at most.
const MAX_MESSAGES: usize = 32;
/// Longest title and metadata, and longest summary, bytes.
const MAX_TEXT: usize = 255;
const MAX_SUMMARY: usize = 10_200;

/// Each message must be governance's own, valid, and carry no others.
fn check_messages(messages: &[Any]) -> Result<(), Error> {
    if messages.len() > MAX_MESSAGES {
        let (index, found) = (MAX_MESSAGES, messages.len());
        let log = format!("a proposal holds at most {MAX_MESSAGES} messages, this one {found}");
        return Err(GovError::Message { index, log }.into());
    }
    let expected = authority();
    for (index, message) in messages.iter().enumerate() {
        let wrong = |log: String| Error::from(GovError::Message { index, log });
        if carries(message) {
            return Err(wrong(format!(
                "{} carries other messages; propose those themselves",
                message.type_url
            )));
        }
        let route = router::find(&message.type_url).map_err(|e| wrong(e.log))?;
        let found = (route.check)(&message.value).map_err(|e| wrong(e.log))?;
        if found != expected {
            return Err(GovError::Signer { index, found, expected }.into());
        }
    }
    Ok(())
}

impl Handler for MsgSubmitProposal {
    type Response = MsgSubmitProposalResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.proposer.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        check_texts(self)?;
        if self.messages.is_empty() && self.metadata.is_empty() {
            return Err(GovError::Empty.into());
        }
        check_messages(&self.messages)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgSubmitProposalResponse, Error> {
        let proposal_id = propose(ctx, self)?;
        Ok(MsgSubmitProposalResponse { proposal_id })
    }
}

/// Checks what a proposal says about itself, and the form of its deposit.
pub(super) fn check_texts(message: &MsgSubmitProposal) -> Result<(), Error> {
    check_length("title", &message.title, 1, MAX_TEXT)?;
    check_length("summary", &message.summary, 1, MAX_SUMMARY)?;
    check_length("metadata", &message.metadata, 0, MAX_TEXT)?;
    coin::parse_utrain_list(&message.initial_deposit)?;
    Ok(())
}

/// Opens a proposal and returns its number.
pub(super) fn propose(ctx: &mut Ctx<'_, '_>, message: &MsgSubmitProposal) -> Result<u64, Error> {
    let proposer = message.signer()?;
    let params = PARAMS.get(ctx.state)?;
    let deposit = coin::parse_utrain_list(&message.initial_deposit)?;
    let ratio = share("min_initial_deposit_ratio", &params.min_initial_deposit_ratio)?;
    check_deposit(deposit, ratio, min_deposit(&params, message.expedited)?)?;
    let id = LAST_ID.get(ctx.state)?.saturating_add(1);
    LAST_ID.set(ctx.state, &id)?;
    let ends = ctx
        .block
        .time
        .saturating_add(whole_seconds(params.max_deposit_period.as_ref()));
    let mut proposal = Proposal {
        id,
        messages: message.messages.clone(),
        status: ProposalStatus::DepositPeriod.into(),
        final_tally_result: Some(no_votes()),
        submit_time: Some(timestamp(ctx.block.time)),
        deposit_end_time: Some(timestamp(ends)),
        metadata: message.metadata.clone(),
        title: message.title.clone(),
        summary: message.summary.clone(),
        proposer: proposer.to_string(),
        expedited: message.expedited,
        ..Proposal::default()
    };
    INACTIVE.set(ctx.state, &(ends, id), &true)?;
    let urls = message.messages.iter().map(|m| format!(",{}", m.type_url));
    ctx.emit(
        Event::new("submit_proposal")
            .with("proposal_id", id)
            .with("proposal_proposer", proposer)
            .with("proposal_messages", urls.collect::<String>()),
    );
    let started = add_deposit(ctx, &params, &mut proposal, proposer, deposit)?;
    if started {
        ctx.emit(Event::new("submit_proposal").with("voting_period_start", id));
    }
    Ok(id)
}

/// A tally in which nobody has voted.
pub(super) fn no_votes() -> TallyResult {
    let none = || "0".to_string();
    TallyResult {
        yes_count: none(),
        abstain_count: none(),
        no_count: none(),
        no_with_veto_count: none(),
    }
}

fn check_deposit(found: u64, ratio: Dec, of: u64) -> Result<(), Error> {
    let least = Dec::whole(of).mul_down(ratio).and_then(Dec::floor).unwrap_or(of);
    if found < least {
        return Err(GovError::DepositTooSmall { found, least }.into());
    }
    Ok(())
}

/// Takes a deposit and writes the proposal, whose vote begins when it has enough; says whether it has just begun.
fn add_deposit(
    ctx: &mut Ctx<'_, '_>,
    params: &Params,
    proposal: &mut Proposal,
    depositor: Address,
    deposit: u64,
) -> Result<bool, Error> {
    let (id, key) = (proposal.id, (proposal.id, depositor));
    transfer(ctx, depositor, deposits_account(), deposit)?;
    if deposit > 0 {
        let before = DEPOSITS.get(ctx.state, &key)?.unwrap_or(0);
        DEPOSITS.set(ctx.state, &key, &before.saturating_add(deposit))?;
    }
    let total = amount(&proposal.total_deposit)?.saturating_add(deposit);
    proposal.total_deposit = coins(total);
    let starts =
        proposal.status() == ProposalStatus::DepositPeriod && total >= min_deposit(params, proposal.expedited)?;
    if starts {
        INACTIVE.remove(ctx.state, &(unix_seconds(proposal.deposit_end_time.as_ref()), id))?;
        let period = if proposal.expedited {
            &params.expedited_voting_period
        } else {
            &params.voting_period
        };
        let ends = ctx.block.time.saturating_add(whole_seconds(period.as_ref()));
        proposal.set_status(ProposalStatus::VotingPeriod);
        proposal.voting_start_time = Some(timestamp(ctx.block.time));
        proposal.voting_end_time = Some(timestamp(ends));
        ACTIVE.set(ctx.state, &(ends, id), &true)?;
    }
    PROPOSALS.set(ctx.state, &id, proposal)?;
    if deposit > 0 {
        ctx.emit(
            Event::new("proposal_deposit")
                .with("depositor", depositor)
                .with("amount", Value::Utrain(deposit))
                .with("proposal_id", id),
        );
    }
    Ok(starts)
}

impl Handler for MsgDeposit {
    type Response = MsgDepositResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.depositor.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        if coin::parse_utrain_list(&self.amount)? == 0 {
            return Err(SdkError::InvalidCoins("the deposit is zero".into()).into());
        }
        Ok(())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgDepositResponse, Error> {
        let params = PARAMS.get(ctx.state)?;
        let mut proposal = open_proposal(ctx, self.proposal_id)?;
        let deposit = coin::parse_utrain_list(&self.amount)?;
        // Each deposit is returned one by one: the least one bounds how many there can be.
        let ratio = share("min_deposit_ratio", &params.min_deposit_ratio)?;
        check_deposit(deposit, ratio, min_deposit(&params, proposal.expedited)?)?;
        if add_deposit(ctx, &params, &mut proposal, self.signer()?, deposit)? {
            ctx.emit(Event::new("proposal_deposit").with("voting_period_start", self.proposal_id));
        }
        Ok(MsgDepositResponse {})
    }
}

/// What becomes of deposits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate<'a> {
    /// They go back.
    Refund,
    /// They are destroyed.
    Burn,
    /// A share of each is burned, or paid to an account, and the rest goes back.
    Charge(Dec, Option<&'a Address>),
}

/// Ends the deposits of a proposal.
pub(super) fn end_deposits(ctx: &mut Ctx<'_, '_>, id: u64, fate: Fate<'_>) -> Result<(), Error> {
    let pool = deposits_account();
    for (key, deposit) in DEPOSITS.under(ctx.state, &id, usize::MAX)? {
        DEPOSITS.remove(ctx.state, &key)?;
        let charged = match fate {
            Fate::Refund => 0,
            Fate::Burn => deposit,
            Fate::Charge(share, _) => Dec::whole(deposit)
                .mul_down(share)
                .and_then(Dec::floor)
                .unwrap_or(deposit),
        };
        match fate {
            Fate::Charge(_, Some(to)) => transfer(ctx, pool, *to, charged)?,
            _ => burn(ctx, pool, charged)?,
        }
        transfer(ctx, pool, key.1, deposit.saturating_sub(charged))?;
    }
    Ok(())
}

/// Forgets the votes of a proposal.
pub(super) fn forget_votes(ctx: &mut Ctx<'_, '_>, id: u64) -> Result<(), Error> {
    for (key, _) in VOTES.under(ctx.state, &id, usize::MAX)? {
        VOTES.remove(ctx.state, &key)?;
    }
    Ok(())
}

impl Handler for MsgCancelProposal {
    type Response = MsgCancelProposalResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.proposer.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        Ok(())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgCancelProposalResponse, Error> {
        let id = self.proposal_id;
        let proposal = open_proposal(ctx, id)?;
        let sender = self.signer()?;
        if proposal.proposer != sender.to_string() {
            return Err(GovError::Proposer {
                id,
                proposer: proposal.proposer,
                found: sender,
            }
            .into());
        }
        let params = PARAMS.get(ctx.state)?;
        let to = match params.proposal_cancel_dest.as_str() {
            "" => None,
            text => Some(text.parse()?),
        };
        let ratio = share("proposal_cancel_ratio", &params.proposal_cancel_ratio)?;
        end_deposits(ctx, id, Fate::Charge(ratio, to.as_ref()))?;
        forget_votes(ctx, id)?;
        INACTIVE.remove(ctx.state, &(unix_seconds(proposal.deposit_end_time.as_ref()), id))?;
        ACTIVE.remove(ctx.state, &(unix_seconds(proposal.voting_end_time.as_ref()), id))?;
        PROPOSALS.remove(ctx.state, &id)?;
        ctx.emit(
            Event::new("cancel_proposal")
                .with("sender", sender)
                .with("proposal_id", id),
        );
        Ok(MsgCancelProposalResponse {
            proposal_id: id,
            canceled_time: Some(timestamp(ctx.block.time)),
            canceled_height: ctx.block.height,
        })
    }
}
