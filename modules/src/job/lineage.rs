//! Jobs that come from others: started from another's result, or posted again after they came to nothing.

use trainyard_proto::{
    address::Address,
    coin::parse_utrain,
    job::{JobSpec, JobState, MsgRepostJob, MsgRepostJobResponse},
};

use super::{
    JobError, event,
    index::put,
    job,
    msgs_client::{check_client, open},
    spec,
    spec::check_cid,
    state_name,
};
use crate::{
    context::{Ctx, Handler},
    error::Error,
    state::State,
};

/// Fills the start of a spec that names a job to start from: its artifact, which its evaluators have pinned.
pub(super) fn fill_start(state: &mut State<'_>, spec: &mut JobSpec) -> Result<(), Error> {
    if spec.start_job == 0 {
        return Ok(());
    }
    let from = job(state, spec.start_job)?;
    let found = state_name(from.state());
    let settled = from.state() == JobState::Settled;
    let artifact = from.artifact.filter(|_| settled).ok_or(JobError::State {
        job: from.id,
        found,
        need: "settled, with an artifact to start from",
    })?;
    spec.start_cid = artifact.model_cid;
    spec.start_root = artifact.state_root;
    Ok(())
}

impl Handler for MsgRepostJob {
    type Response = MsgRepostJobResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.client.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        parse_utrain(self.budget.as_ref())?;
        if self.start_cid.is_empty() {
            return Ok(());
        }
        check_cid("start weights' CID", &self.start_cid)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgRepostJobResponse, Error> {
        let client = self.signer()?;
        let mut old = job(ctx.state, self.job_id)?;
        check_client(&old, client)?;
        if !matches!(old.state(), JobState::Failed | JobState::Cancelled) {
            return Err(JobError::State {
                job: old.id,
                found: state_name(old.state()),
                need: "failed or cancelled",
            }
            .into());
        }
        if old.reposted_as > 0 {
            return Err(JobError::Reposted {
                job: old.id,
                new: old.reposted_as,
            }
            .into());
        }
        let mut spec = spec(ctx.state, old.id)?;
        if !self.start_cid.is_empty() {
            if old.completed == 0 {
                return Err(JobError::Bound {
                    what: "number of completed rounds",
                    found: "0".into(),
                    bound: "at least 1, to start from what they agreed on".into(),
                }
                .into());
            }
            spec.start_job = 0;
            spec.start_cid.clone_from(&self.start_cid);
            spec.start_root.clone_from(&old.round_root);
        } else if spec.start_job > 0 {
            spec.start_cid.clear();
            spec.start_root.clear();
        }
        if self.provider.is_some() {
            spec.provider.clone_from(&self.provider);
        }
        let id = open(ctx, client, spec, parse_utrain(self.budget.as_ref())?, old.id)?;
        old.reposted_as = id;
        put(ctx.state, &old)?;
        ctx.emit(event("job_reposted", old.id).with("new_job", id));
        Ok(MsgRepostJobResponse { job_id: id })
    }
}
