//! Queries of gov v1beta1, which wallets and CosmJS still send: each is one of v1, answered in older words. Decimals travel there
//! as whole numbers of atomics.

use trainyard_proto::{
    any,
    cosmos::gov::{
        v1,
        v1beta1::{
            Deposit, DepositParams, Proposal, QueryDepositRequest, QueryDepositResponse, QueryDepositsRequest,
            QueryDepositsResponse, QueryParamsRequest, QueryParamsResponse, QueryProposalRequest,
            QueryProposalResponse, QueryProposalsRequest, QueryProposalsResponse, QueryTallyResultRequest,
            QueryTallyResultResponse, QueryVoteRequest, QueryVoteResponse, QueryVotesRequest, QueryVotesResponse,
            TallyParams, TallyResult, TextProposal, Vote, VoteOption, VotingParams, WeightedVoteOption,
        },
    },
    dec::Dec,
};

use super::{PARAMS, bad_request, params::share, queries};
use crate::{error::Error, state::State};

fn tally(result: v1::TallyResult) -> TallyResult {
    TallyResult {
        yes: result.yes_count,
        abstain: result.abstain_count,
        no: result.no_count,
        no_with_veto: result.no_with_veto_count,
    }
}

/// Content is what a text says. A proposal that carries out messages has none in the older words, as in the SDK.
fn proposal(proposal: v1::Proposal) -> Proposal {
    let text = proposal.messages.is_empty().then(|| TextProposal {
        title: proposal.title.clone(),
        description: proposal.summary.clone(),
    });
    Proposal {
        proposal_id: proposal.id,
        content: text.as_ref().map(any::pack),
        status: proposal.status,
        final_tally_result: proposal.final_tally_result.map(tally),
        submit_time: proposal.submit_time,
        deposit_end_time: proposal.deposit_end_time,
        total_deposit: proposal.total_deposit,
        voting_start_time: proposal.voting_start_time,
        voting_end_time: proposal.voting_end_time,
    }
}

/// Text of a decimal, as its atomics.
fn atomics(name: &str, text: &str) -> Result<String, Error> {
    Ok(share(name, text)?.atomics())
}

fn vote(vote: v1::Vote) -> Result<Vote, Error> {
    // The one option of a vote that is not split.
    let whole = match vote.options.as_slice() {
        [one] if one.weight == Dec::ONE.to_string() => one.option,
        _ => VoteOption::Unspecified.into(),
    };
    let options = vote.options.into_iter().map(|part| {
        Ok(WeightedVoteOption {
            option: part.option,
            weight: atomics("weight", &part.weight)?,
        })
    });
    let options = options.collect::<Result<_, Error>>()?;
    #[allow(deprecated)] // It is what older clients read.
    Ok(Vote {
        proposal_id: vote.proposal_id,
        voter: vote.voter,
        option: whole,
        options,
    })
}

fn deposit(deposit: v1::Deposit) -> Deposit {
    Deposit {
        proposal_id: deposit.proposal_id,
        depositor: deposit.depositor,
        amount: deposit.amount,
    }
}

/// `/cosmos.gov.v1beta1.Query/Proposal`.
///
/// # Errors
/// No such proposal.
pub fn query_proposal(state: &mut State<'_>, request: QueryProposalRequest) -> Result<QueryProposalResponse, Error> {
    let proposal_id = request.proposal_id;
    let found = queries::query_proposal(state, v1::QueryProposalRequest { proposal_id })?;
    Ok(QueryProposalResponse {
        proposal: found.proposal.map(proposal),
    })
}

/// `/cosmos.gov.v1beta1.Query/Proposals`.
///
/// # Errors
/// The page, or an address, is not valid.
pub fn query_proposals(state: &mut State<'_>, request: QueryProposalsRequest) -> Result<QueryProposalsResponse, Error> {
    let found = queries::query_proposals(
        state,
        v1::QueryProposalsRequest {
            proposal_status: request.proposal_status,
            voter: request.voter,
            depositor: request.depositor,
            pagination: request.pagination,
        },
    )?;
    Ok(QueryProposalsResponse {
        proposals: found.proposals.into_iter().map(proposal).collect(),
        pagination: found.pagination,
    })
}

/// `/cosmos.gov.v1beta1.Query/Vote`.
///
/// # Errors
/// No such vote.
pub fn query_vote(state: &mut State<'_>, request: QueryVoteRequest) -> Result<QueryVoteResponse, Error> {
    let QueryVoteRequest { proposal_id, voter } = request;
    let found = queries::query_vote(state, v1::QueryVoteRequest { proposal_id, voter })?;
    let vote = found.vote.map(vote).transpose()?;
    Ok(QueryVoteResponse { vote })
}

/// `/cosmos.gov.v1beta1.Query/Votes`.
///
/// # Errors
/// The page is not valid.
pub fn query_votes(state: &mut State<'_>, request: QueryVotesRequest) -> Result<QueryVotesResponse, Error> {
    let QueryVotesRequest {
        proposal_id,
        pagination,
    } = request;
    let request = v1::QueryVotesRequest {
        proposal_id,
        pagination,
    };
    let found = queries::query_votes(state, request)?;
    let votes = found.votes.into_iter().map(vote).collect::<Result<_, _>>()?;
    Ok(QueryVotesResponse {
        votes,
        pagination: found.pagination,
    })
}

/// `/cosmos.gov.v1beta1.Query/Deposit`.
///
/// # Errors
/// No such deposit.
pub fn query_deposit(state: &mut State<'_>, request: QueryDepositRequest) -> Result<QueryDepositResponse, Error> {
    let QueryDepositRequest { proposal_id, depositor } = request;
    let found = queries::query_deposit(state, v1::QueryDepositRequest { proposal_id, depositor })?;
    Ok(QueryDepositResponse {
        deposit: found.deposit.map(deposit),
    })
}

/// `/cosmos.gov.v1beta1.Query/Deposits`.
///
/// # Errors
/// The page is not valid.
pub fn query_deposits(state: &mut State<'_>, request: QueryDepositsRequest) -> Result<QueryDepositsResponse, Error> {
    let QueryDepositsRequest {
        proposal_id,
        pagination,
    } = request;
    let request = v1::QueryDepositsRequest {
        proposal_id,
        pagination,
    };
    let found = queries::query_deposits(state, request)?;
    Ok(QueryDepositsResponse {
        deposits: found.deposits.into_iter().map(deposit).collect(),
        pagination: found.pagination,
    })
}

/// `/cosmos.gov.v1beta1.Query/TallyResult`.
///
/// # Errors
/// No such proposal.
pub fn query_tally_result(
    state: &mut State<'_>,
    request: QueryTallyResultRequest,
) -> Result<QueryTallyResultResponse, Error> {
    let proposal_id = request.proposal_id;
    let found = queries::query_tally_result(state, v1::QueryTallyResultRequest { proposal_id })?;
    Ok(QueryTallyResultResponse {
        tally: found.tally.map(tally),
    })
}

/// `/cosmos.gov.v1beta1.Query/Params`: the part that is asked for is filled in, the others are empty.
///
/// # Errors
/// No such part.
pub fn query_params(state: &mut State<'_>, request: QueryParamsRequest) -> Result<QueryParamsResponse, Error> {
    let params = PARAMS.get(state)?;
    let mut answer = QueryParamsResponse {
        voting_params: Some(VotingParams::default()),
        deposit_params: Some(DepositParams::default()),
        tally_params: Some(TallyParams::default()),
    };
    match request.params_type.as_str() {
        "voting" => {
            answer.voting_params = Some(VotingParams {
                voting_period: params.voting_period,
            });
        }
        "deposit" => {
            answer.deposit_params = Some(DepositParams {
                min_deposit: params.min_deposit,
                max_deposit_period: params.max_deposit_period,
            });
        }
        "tallying" => {
            answer.tally_params = Some(TallyParams {
                quorum: atomics("quorum", &params.quorum)?.into_bytes(),
                threshold: atomics("threshold", &params.threshold)?.into_bytes(),
                veto_threshold: atomics("veto_threshold", &params.veto_threshold)?.into_bytes(),
            });
        }
        other => {
            let shown: String = other.chars().take(40).collect();
            return Err(bad_request(format!(
                "params_type is {shown:?}, expected voting, deposit or tallying"
            )));
        }
    }
    Ok(answer)
}
