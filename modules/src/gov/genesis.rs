//! Governance at genesis. Deposits' money lies in the balance of their account (bank).

use serde::{Deserialize, Serialize};
use trainyard_proto::{
    address::Address,
    cosmos::gov::v1::{Params, Proposal, ProposalStatus, Vote},
};

use super::{ACTIVE, DEPOSITS, INACTIVE, LAST_ID, PARAMS, PROPOSALS, VOTES, default_params, params::check_params};
use crate::{context::unix_seconds, error::Error, state::State};

/// A deposit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepositGenesis {
    /// Proposal.
    pub proposal: u64,
    /// Whose money it is.
    pub depositor: String,
    /// utrain.
    pub amount: u64,
}

/// Proposals with their deposits and votes, parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Genesis {
    /// Parameters.
    pub params: Params,
    /// Number of the last proposal.
    pub last_id: u64,
    /// Proposals.
    pub proposals: Vec<Proposal>,
    /// Deposits of open proposals.
    pub deposits: Vec<DepositGenesis>,
    /// Votes on open proposals.
    pub votes: Vec<Vote>,
}

impl Default for Genesis {
    fn default() -> Self {
        Self {
            params: default_params(),
            last_id: 0,
            proposals: Vec::new(),
            deposits: Vec::new(),
            votes: Vec::new(),
        }
    }
}

/// Writes proposals, deposits, votes and parameters.
///
/// # Errors
/// What is not valid.
pub fn init(state: &mut State<'_>, genesis: &Genesis) -> Result<(), Error> {
    check_params(&genesis.params)?;
    PARAMS.set(state, &genesis.params)?;
    LAST_ID.set(state, &genesis.last_id)?;
    for proposal in &genesis.proposals {
        PROPOSALS.set(state, &proposal.id, proposal)?;
        match proposal.status() {
            ProposalStatus::DepositPeriod => {
                let ends = unix_seconds(proposal.deposit_end_time.as_ref());
                INACTIVE.set(state, &(ends, proposal.id), &true)?;
            }
            ProposalStatus::VotingPeriod => {
                let ends = unix_seconds(proposal.voting_end_time.as_ref());
                ACTIVE.set(state, &(ends, proposal.id), &true)?;
            }
            _ => {}
        }
    }
    for deposit in &genesis.deposits {
        let depositor: Address = deposit.depositor.parse()?;
        DEPOSITS.set(state, &(deposit.proposal, depositor), &deposit.amount)?;
    }
    for vote in &genesis.votes {
        VOTES.set(state, &(vote.proposal_id, vote.voter.parse()?), vote)?;
    }
    Ok(())
}

/// The inverse of [`init`].
///
/// # Errors
/// The store failed.
pub fn export(state: &mut State<'_>) -> Result<Genesis, Error> {
    let deposits = DEPOSITS
        .all(state)?
        .into_iter()
        .map(|((proposal, depositor), amount)| DepositGenesis {
            proposal,
            depositor: depositor.to_string(),
            amount,
        });
    Ok(Genesis {
        params: PARAMS.get(state)?,
        last_id: LAST_ID.get(state)?,
        deposits: deposits.collect(),
        proposals: PROPOSALS
            .all(state)?
            .into_iter()
            .map(|(_, proposal)| proposal)
            .collect(),
        votes: VOTES.all(state)?.into_iter().map(|(_, vote)| vote).collect(),
    })
}
