//! Queries of jobs.

use trainyard_proto::{
    address::Address,
    job::{
        JobState, OpenJob, QueryGrantRequest, QueryGrantResponse, QueryJobRequest, QueryJobResponse, QueryJobsRequest,
        QueryJobsResponse, QueryOpenJobsForRequest, QueryOpenJobsForResponse, QueryParamsRequest, QueryParamsResponse,
        QueryRoundRequest, QueryRoundResponse,
    },
};

use super::{
    GRANTS, JOBS, PARAMS, ROUNDS, SPECS,
    index::{BY_CLIENT, BY_MEMBER, BY_STATE, state_key},
    matching,
};
use crate::{
    context::Block,
    error::{Error, SdkError},
    page,
    state::State,
};

fn missing(what: String) -> Error {
    SdkError::NotFound(format!("{what} not found")).into()
}

/// `/trainyard.job.v1.Query/Job`: the job with its spec.
///
/// # Errors
/// No such job.
pub fn query_job(state: &mut State<'_>, request: QueryJobRequest) -> Result<QueryJobResponse, Error> {
    let id = request.job_id;
    let mut job = JOBS.get(state, &id)?.ok_or_else(|| missing(format!("job {id}")))?;
    job.spec = SPECS.get(state, &id)?;
    Ok(QueryJobResponse { job: Some(job) })
}

fn address(text: &str) -> Result<Option<Address>, Error> {
    Ok(if text.is_empty() { None } else { Some(text.parse()?) })
}

/// `/trainyard.job.v1.Query/Jobs`, by state, client or member: from the list of the member, else of the client, else of the
/// state; the other filters pick from it.
///
/// # Errors
/// An address or the page is not valid.
pub fn query_jobs(state: &mut State<'_>, request: QueryJobsRequest) -> Result<QueryJobsResponse, Error> {
    let (wanted, page) = (request.state(), request.pagination.as_ref());
    let (client, member) = (address(&request.client)?, address(&request.member)?);
    let keep = |state: &mut State<'_>, id: u64| {
        let job = query_job(state, QueryJobRequest { job_id: id })?.job;
        Ok(job.filter(|job| {
            (wanted == JobState::Unspecified || job.state() == wanted)
                && (request.client.is_empty() || job.client == request.client)
        }))
    };
    let (jobs, pagination) = if let Some(member) = member {
        page::load(state, &BY_MEMBER, &member, page, |state, (_, id), _| keep(state, *id))?
    } else if let Some(client) = client {
        page::load(state, &BY_CLIENT, &client, page, |state, (_, id), _| keep(state, *id))?
    } else if wanted != JobState::Unspecified {
        page::load(state, &BY_STATE, &state_key(wanted), page, |state, (_, id), _| {
            keep(state, *id)
        })?
    } else {
        let (mut jobs, pagination) = page::map(state, &JOBS, page, |_, job| Some(job))?;
        for job in &mut jobs {
            job.spec = SPECS.get(state, &job.id)?;
        }
        (jobs, pagination)
    };
    Ok(QueryJobsResponse { jobs, pagination })
}

/// `/trainyard.job.v1.Query/OpenJobsFor`: the open jobs, each with the reason why a worker may not take it in the next block.
///
/// # Errors
/// The address or the page is not valid.
pub fn query_open_jobs_for(
    state: &mut State<'_>,
    block: &Block,
    request: QueryOpenJobsForRequest,
) -> Result<QueryOpenJobsForResponse, Error> {
    let worker: Address = request.worker.parse()?;
    let next = block.height.saturating_add(1);
    let (list, page) = (state_key(JobState::Open), request.pagination.as_ref());
    let (jobs, pagination) = page::load(state, &BY_STATE, &list, page, |state, (_, id), _| {
        let job = query_job(state, QueryJobRequest { job_id: *id })?
            .job
            .unwrap_or_default();
        let spec = job.spec.clone().unwrap_or_default();
        let refusal = match matching::check(state, next, &job, &spec, worker, &request.capability) {
            Ok(()) => String::new(),
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => error.log,
        };
        let job = Some(job);
        Ok(Some(OpenJob { job, refusal }))
    })?;
    Ok(QueryOpenJobsForResponse { jobs, pagination })
}

/// `/trainyard.job.v1.Query/Round`.
///
/// # Errors
/// No such round.
pub fn query_round(state: &mut State<'_>, request: QueryRoundRequest) -> Result<QueryRoundResponse, Error> {
    let round = ROUNDS.get(state, &(request.job_id, request.round))?;
    let missing = || missing(format!("round {} of job {}", request.round, request.job_id));
    Ok(QueryRoundResponse {
        round: Some(round.ok_or_else(missing)?),
    })
}

/// `/trainyard.job.v1.Query/Grant`: a data key sealed to its recipient.
///
/// # Errors
/// Nothing was granted.
pub fn query_grant(state: &mut State<'_>, request: QueryGrantRequest) -> Result<QueryGrantResponse, Error> {
    let recipient: Address = request.recipient.parse()?;
    let split = u32::try_from(request.split).unwrap_or(0);
    let sealed_key = GRANTS.get(state, &(request.job_id, split, recipient))?;
    let missing = || missing(format!("grant of job {} to {recipient}", request.job_id));
    Ok(QueryGrantResponse {
        sealed_key: sealed_key.ok_or_else(missing)?,
    })
}

/// `/trainyard.job.v1.Query/Params`.
///
/// # Errors
/// The store failed.
pub fn query_params(state: &mut State<'_>, _: QueryParamsRequest) -> Result<QueryParamsResponse, Error> {
    Ok(QueryParamsResponse {
        params: Some(PARAMS.get(state)?),
    })
}
