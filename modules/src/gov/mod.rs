//! Governance: proposals that carry messages, the deposits that bring them to a vote, the votes.
//!
//! | key | value |
//! |---|---|
//! | `gov/proposal/{id}` | [`Proposal`] |
//! | `gov/deposit/{id}{depositor}` | utrain, until the proposal ends |
//! | `gov/vote/{id}{voter}` | [`Vote`], until the proposal ends |
//! | `gov/inactive/{time}{id}` | when an unpaid proposal is dropped |
//! | `gov/active/{time}{id}` | when a vote ends |
//! | `gov/last_id`, `gov/params` | |
//!
//! | message | sender | proposal | file |
//! |---|---|---|---|
//! | `SubmitProposal` | anyone | – | `msgs.rs` |
//! | `Deposit` | anyone | in its deposit or voting period | `msgs.rs` |
//! | `Vote`, `VoteWeighted` | a validator, or a delegator with enough stake | in its voting period | `votes.rs` |
//! | `CancelProposal` | its proposer | in its deposit or voting period | `msgs.rs` |
//! | `UpdateParams` | governance | – | `params.rs` |
//! | `CommunityPoolSpend`, `UpdateParams` of distribution and staking | governance | – | `params.rs` |
//!
//! `SubmitProposal` (of a text), `Deposit`, `Vote` and `VoteWeighted` of v1beta1 are handled as those of v1 (`legacy.rs`), and so
//! are its queries (`legacy_queries.rs`).
//!
//! A proposal waits for its least deposit; what does not get it in time is dropped. Then stake votes: a validator's vote
//! counts for all stake under it, but for that of delegators who vote themselves. When the period ends ([`end_block`]) the
//! proposal passes if enough stake voted (quorum), few enough vetoed, and more than the threshold of those who did not
//! abstain said yes. Its messages then run one after another as governance's, all of them or none. Deposits go back, or are
//! burned where the parameters say so: by default after a veto.
//!
//! A vote needs a hundred-thousandth of all bonded stake ([`tally::MAX_VOTERS`]), so that the work of counting is bounded by
//! arithmetic and not by who comes first. Smaller delegators are counted with their validators.
//!
//! Events as the SDK's: `submit_proposal`, `proposal_deposit`, `proposal_vote`, `cancel_proposal`, `inactive_proposal`,
//! `active_proposal`.

mod block;
mod genesis;
mod legacy;
pub mod legacy_queries;
mod msgs;
mod params;
mod queries;
mod tally;
mod votes;

pub use block::end_block;
pub use genesis::{Genesis, export, init};
pub use params::default_params;
pub use queries::{
    query_constitution, query_deposit, query_deposits, query_params, query_proposal, query_proposals,
    query_tally_result, query_vote, query_votes,
};
pub use tally::MAX_VOTERS;
use trainyard_proto::{
    address::Address,
    any::Any,
    coin,
    cosmos::{
        base::v1beta1::Coin,
        gov::v1::{Params, Proposal, ProposalStatus, Vote},
    },
};

use crate::{
    bank,
    context::{Ctx, Event, unix_seconds},
    error::{Error, SdkError, coded},
    governed::authority,
    machine::router,
    state::{Item, Map, State},
};

/// Proposals.
pub const PROPOSALS: Map<u64, Proposal> = Map::new("gov/proposal/");
/// Number of the last proposal.
pub const LAST_ID: Item<u64> = Item::new("gov/last_id");
/// utrain by proposal and depositor.
pub const DEPOSITS: Map<(u64, Address), u64> = Map::new("gov/deposit/");
/// Votes by proposal and voter.
pub const VOTES: Map<(u64, Address), Vote> = Map::new("gov/vote/");
/// Proposals in their deposit period, by its end in Unix seconds.
pub const INACTIVE: Map<(u64, u64), bool> = Map::new("gov/inactive/");
/// Proposals in their voting period, by its end in Unix seconds.
pub const ACTIVE: Map<(u64, u64), bool> = Map::new("gov/active/");
/// Parameters.
pub const PARAMS: Item<Params> = Item::new("gov/params");

/// Errors of governance, with the SDK's codes where it has them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum GovError {
    #[error("proposal {id} is {status}, expected it in its {expected}")]
    Inactive {
        id: u64,
        status: &'static str,
        expected: &'static str,
    },
    #[error("{0}")]
    Content(String),
    #[error("vote: {0}")]
    Vote(String),
    #[error("message {index} of the proposal: {log}")]
    Message { index: usize, log: String },
    #[error("a proposal needs messages or metadata, it has neither")]
    Empty,
    #[error("message {index} of the proposal is signed by {found}, expected governance, {expected}")]
    Signer {
        index: usize,
        found: Address,
        expected: Address,
    },
    #[error("{name} has {found} bytes, expected {least} to {most}")]
    Length {
        name: &'static str,
        found: usize,
        least: usize,
        most: usize,
    },
    #[error("deposit is {found}utrain, expected at least {least}utrain")]
    DepositTooSmall { found: u64, least: u64 },
    #[error("proposal {0} does not exist")]
    NoProposal(u64),
    #[error("proposal {id} is {proposer}'s to cancel, not {found}'s")]
    Proposer { id: u64, proposer: String, found: Address },
}

coded!(GovError, "gov", |error| match error {
    GovError::Inactive { .. } => 3,
    GovError::Content(_) => 5,
    GovError::Vote(_) => 7,
    GovError::Empty => 11,
    GovError::Message { .. } => 12,
    GovError::Signer { .. } => 13,
    GovError::Length { .. } => 15,
    GovError::DepositTooSmall { .. } => 16,
    GovError::NoProposal(_) => 17,
    GovError::Proposer { .. } => 18,
});

/// A proposal.
///
/// # Errors
/// There is none of this number.
pub fn proposal(state: &mut State<'_>, id: u64) -> Result<Proposal, Error> {
    Ok(PROPOSALS.get(state, &id)?.ok_or(GovError::NoProposal(id))?)
}

fn status_name(status: ProposalStatus) -> &'static str {
    match status {
        ProposalStatus::Unspecified => "of no status",
        ProposalStatus::DepositPeriod => "in its deposit period",
        ProposalStatus::VotingPeriod => "in its voting period",
        ProposalStatus::Passed => "passed",
        ProposalStatus::Rejected => "rejected",
        ProposalStatus::Failed => "failed",
    }
}

/// Whether a proposal still takes deposits.
fn is_open(proposal: &Proposal) -> bool {
    matches!(
        proposal.status(),
        ProposalStatus::DepositPeriod | ProposalStatus::VotingPeriod
    )
}

/// Whether the period that a proposal is in is over, although it was not its turn to be decided yet.
fn is_late(ctx: &Ctx<'_, '_>, proposal: &Proposal) -> bool {
    let ends = if proposal.status() == ProposalStatus::DepositPeriod {
        &proposal.deposit_end_time
    } else {
        &proposal.voting_end_time
    };
    ctx.block.time > unix_seconds(ends.as_ref())
}

/// A proposal that still takes deposits.
fn open_proposal(ctx: &mut Ctx<'_, '_>, id: u64) -> Result<Proposal, Error> {
    let proposal = proposal(ctx.state, id)?;
    let late = is_late(ctx, &proposal);
    if is_open(&proposal) && !late {
        return Ok(proposal);
    }
    Err(GovError::Inactive {
        id,
        status: if is_open(&proposal) {
            "waiting for its end"
        } else {
            status_name(proposal.status())
        },
        expected: "deposit or voting period",
    }
    .into())
}

/// utrain in coins that the chain itself has written.
fn amount(coins: &[Coin]) -> Result<u64, Error> {
    coin::parse_utrain_list(coins).map_err(|e| Error::fatal(e.to_string()))
}

/// Coins of an amount; none of zero.
fn coins(amount: u64) -> Vec<Coin> {
    if amount == 0 {
        Vec::new()
    } else {
        vec![coin::utrain(amount)]
    }
}

/// Where the deposits lie.
fn deposits_account() -> Address {
    Address::of_module(bank::GOV_DEPOSITS)
}

/// Whether a message carries others to be run. A proposal may not hold such ones, for then they would nest without end.
fn carries(message: &Any) -> bool {
    ["/cosmos.gov.v1.MsgSubmitProposal", "/cosmos.authz.v1beta1.MsgExec"].contains(&message.type_url.as_str())
}

/// Runs the messages of a proposal as governance's.
fn run_messages(ctx: &mut Ctx<'_, '_>, messages: &[Any]) -> Result<(), Error> {
    for (index, message) in messages.iter().enumerate() {
        ctx.emit(Event::of_message(&message.type_url, &authority()));
        let outcome = router::find(&message.type_url).and_then(|route| (route.execute)(ctx, &message.value));
        outcome.map_err(|mut error| {
            if !error.is_fatal() {
                error.log = format!("message {index} ({}): {}", message.type_url, error.log);
            }
            error
        })?;
    }
    Ok(())
}

/// The account of deposits holds their sum, which is also that of the open proposals.
///
/// # Errors
/// The sums, when they differ; or the store failed.
pub fn invariant(state: &mut State<'_>) -> Result<(), Error> {
    let mut sum = 0u64;
    for (_, deposit) in DEPOSITS.all(state)? {
        sum = sum.saturating_add(deposit);
    }
    let mut total = 0u64;
    for (_, proposal) in PROPOSALS.all(state)? {
        if is_open(&proposal) {
            total = total.saturating_add(amount(&proposal.total_deposit)?);
        }
    }
    let held = bank::balance(state, &deposits_account())?;
    if sum != held || total != held {
        return Err(Error::fatal(format!(
            "governance holds {held}utrain for deposits of {sum}utrain and proposals of {total}utrain"
        )));
    }
    Ok(())
}

/// A text whose length must lie between two bounds, bytes.
fn check_length(name: &'static str, text: &str, least: usize, most: usize) -> Result<(), Error> {
    let found = text.len();
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(GovError::Length {
        name,
        found,
        least,
        most,
    }
    .into())
}

/// The parameters, which a genesis always sets.
fn min_deposit(params: &Params, expedited: bool) -> Result<u64, Error> {
    amount(if expedited {
        &params.expedited_min_deposit
    } else {
        &params.min_deposit
    })
}

fn bad_request(log: String) -> Error {
    SdkError::InvalidRequest(log).into()
}
