//! Queries of governance, under the SDK's names.

use trainyard_proto::{
    address::Address,
    cosmos::gov::v1::{
        Deposit, DepositParams, ProposalStatus, QueryConstitutionRequest, QueryConstitutionResponse,
        QueryDepositRequest, QueryDepositResponse, QueryDepositsRequest, QueryDepositsResponse, QueryParamsRequest,
        QueryParamsResponse, QueryProposalRequest, QueryProposalResponse, QueryProposalsRequest,
        QueryProposalsResponse, QueryTallyResultRequest, QueryTallyResultResponse, QueryVoteRequest, QueryVoteResponse,
        QueryVotesRequest, QueryVotesResponse, TallyParams, VotingParams,
    },
};

use super::{DEPOSITS, PARAMS, PROPOSALS, VOTES, coins, msgs::no_votes, tally::tally};
use crate::{
    error::{Error, SdkError},
    page,
    state::State,
};

fn proposal(state: &mut State<'_>, id: u64) -> Result<trainyard_proto::cosmos::gov::v1::Proposal, Error> {
    let found = PROPOSALS.get(state, &id)?;
    Ok(found.ok_or_else(|| SdkError::NotFound(format!("proposal {id} not found")))?)
}

/// `/cosmos.gov.v1.Query/Constitution`: there is none.
///
/// # Errors
/// None.
pub fn query_constitution(_: &mut State<'_>, _: QueryConstitutionRequest) -> Result<QueryConstitutionResponse, Error> {
    Ok(QueryConstitutionResponse::default())
}

/// `/cosmos.gov.v1.Query/Proposal`.
///
/// # Errors
/// No such proposal.
pub fn query_proposal(state: &mut State<'_>, request: QueryProposalRequest) -> Result<QueryProposalResponse, Error> {
    let proposal = Some(proposal(state, request.proposal_id)?);
    Ok(QueryProposalResponse { proposal })
}

/// `/cosmos.gov.v1.Query/Proposals`. Filters by voter and depositor know open proposals only, and make pages shorter.
///
/// # Errors
/// The page, or an address, is not valid.
pub fn query_proposals(state: &mut State<'_>, request: QueryProposalsRequest) -> Result<QueryProposalsResponse, Error> {
    let status = request.proposal_status();
    let (mut proposals, pagination) = page::map(state, &PROPOSALS, request.pagination.as_ref(), |_, proposal| {
        (status == ProposalStatus::Unspecified || proposal.status() == status).then_some(proposal)
    })?;
    let account =
        |text: &str| -> Result<Option<Address>, Error> { Ok(if text.is_empty() { None } else { Some(text.parse()?) }) };
    let (voter, depositor) = (account(&request.voter)?, account(&request.depositor)?);
    let mut kept = Vec::new();
    for proposal in proposals.drain(..) {
        let voted = match voter {
            Some(voter) => VOTES.get(state, &(proposal.id, voter))?.is_some(),
            None => true,
        };
        let paid = match depositor {
            Some(depositor) => DEPOSITS.get(state, &(proposal.id, depositor))?.is_some(),
            None => true,
        };
        if voted && paid {
            kept.push(proposal);
        }
    }
    Ok(QueryProposalsResponse {
        proposals: kept,
        pagination,
    })
}

/// `/cosmos.gov.v1.Query/Vote`.
///
/// # Errors
/// No such vote.
pub fn query_vote(state: &mut State<'_>, request: QueryVoteRequest) -> Result<QueryVoteResponse, Error> {
    let (id, voter): (u64, Address) = (request.proposal_id, request.voter.parse()?);
    let vote = VOTES.get(state, &(id, voter))?;
    let vote = vote.ok_or_else(|| SdkError::NotFound(format!("vote of {voter} on proposal {id} not found")))?;
    Ok(QueryVoteResponse { vote: Some(vote) })
}

/// `/cosmos.gov.v1.Query/Votes`.
///
/// # Errors
/// The page is not valid.
pub fn query_votes(state: &mut State<'_>, request: QueryVotesRequest) -> Result<QueryVotesResponse, Error> {
    let (votes, pagination) = page::under(
        state,
        &VOTES,
        &request.proposal_id,
        request.pagination.as_ref(),
        |_, vote| Some(vote),
    )?;
    Ok(QueryVotesResponse { votes, pagination })
}

fn deposit(id: u64, depositor: Address, amount: u64) -> Deposit {
    Deposit {
        proposal_id: id,
        depositor: depositor.to_string(),
        amount: coins(amount),
    }
}

/// `/cosmos.gov.v1.Query/Deposit`.
///
/// # Errors
/// No such deposit.
pub fn query_deposit(state: &mut State<'_>, request: QueryDepositRequest) -> Result<QueryDepositResponse, Error> {
    let (id, depositor): (u64, Address) = (request.proposal_id, request.depositor.parse()?);
    let amount = DEPOSITS.get(state, &(id, depositor))?;
    let amount =
        amount.ok_or_else(|| SdkError::NotFound(format!("deposit of {depositor} on proposal {id} not found")))?;
    Ok(QueryDepositResponse {
        deposit: Some(deposit(id, depositor, amount)),
    })
}

/// `/cosmos.gov.v1.Query/Deposits`.
///
/// # Errors
/// The page is not valid.
pub fn query_deposits(state: &mut State<'_>, request: QueryDepositsRequest) -> Result<QueryDepositsResponse, Error> {
    let (deposits, pagination) = page::under(
        state,
        &DEPOSITS,
        &request.proposal_id,
        request.pagination.as_ref(),
        |(id, depositor), amount| Some(deposit(*id, *depositor, amount)),
    )?;
    Ok(QueryDepositsResponse { deposits, pagination })
}

/// `/cosmos.gov.v1.Query/TallyResult`: of a vote that goes on, how it stands now.
///
/// # Errors
/// No such proposal.
pub fn query_tally_result(
    state: &mut State<'_>,
    request: QueryTallyResultRequest,
) -> Result<QueryTallyResultResponse, Error> {
    let proposal = proposal(state, request.proposal_id)?;
    let result = match proposal.status() {
        ProposalStatus::DepositPeriod | ProposalStatus::Unspecified => no_votes(),
        ProposalStatus::VotingPeriod => tally(state, proposal.id)?.result(),
        _ => proposal.final_tally_result.unwrap_or_else(no_votes),
    };
    Ok(QueryTallyResultResponse { tally: Some(result) })
}

/// `/cosmos.gov.v1.Query/Params`, also in the older parts that wallets still ask for.
///
/// # Errors
/// The store failed.
#[allow(deprecated)]
pub fn query_params(state: &mut State<'_>, _: QueryParamsRequest) -> Result<QueryParamsResponse, Error> {
    let params = PARAMS.get(state)?;
    Ok(QueryParamsResponse {
        voting_params: Some(VotingParams {
            voting_period: params.voting_period,
        }),
        deposit_params: Some(DepositParams {
            min_deposit: params.min_deposit.clone(),
            max_deposit_period: params.max_deposit_period,
        }),
        tally_params: Some(TallyParams {
            quorum: params.quorum.clone(),
            threshold: params.threshold.clone(),
            veto_threshold: params.veto_threshold.clone(),
        }),
        params: Some(params),
    })
}
