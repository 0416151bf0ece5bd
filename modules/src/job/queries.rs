//! Queries of jobs.

use trainyard_proto::{
    address::Address,
    job::{
        Job, JobState, QueryGrantRequest, QueryGrantResponse, QueryJobRequest, QueryJobResponse, QueryJobsRequest,
        QueryJobsResponse, QueryParamsRequest, QueryParamsResponse, QueryRoundRequest, QueryRoundResponse,
    },
};

use super::{GRANTS, JOBS, PARAMS, ROUNDS, SPECS};
use crate::{
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

/// `/trainyard.job.v1.Query/Jobs`, by state, client or member.
///
/// # Errors
/// The page is not valid.
pub fn query_jobs(state: &mut State<'_>, request: QueryJobsRequest) -> Result<QueryJobsResponse, Error> {
    let member = |job: &Job| {
        job.workers.iter().any(|w| w.address == request.member)
            || job.evaluators.iter().any(|e| e.address == request.member)
    };
    let wanted = request.state();
    let (mut jobs, pagination) = page::map(state, &JOBS, request.pagination.as_ref(), |_, job| {
        let keep = (wanted == JobState::Unspecified || job.state() == wanted)
            && (request.client.is_empty() || job.client == request.client)
            && (request.member.is_empty() || member(&job));
        keep.then_some(job)
    })?;
    for job in &mut jobs {
        job.spec = SPECS.get(state, &job.id)?;
    }
    Ok(QueryJobsResponse { jobs, pagination })
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
