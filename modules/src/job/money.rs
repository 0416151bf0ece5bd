//! What a job's budget buys: rounds at a price, and more of them when it is topped up.
//!
//! A round costs the spec's `round_price`, or without one the budget divided by the rounds. At settlement the cost of the
//! completed rounds is split; the rest of the budget returns to the client. A top-up of a job without a price of its own
//! raises what every round pays, the completed ones included. Stakes follow the budget at joining: a top-up asks those who
//! joined for no more, for nobody's money is locked without its owner's signature; who joins after it locks more.

use trainyard_proto::{
    address::Address,
    coin::{DENOM, parse_utrain},
    job::{JobSpec, JobState, MsgTopUpJob, MsgTopUpJobResponse, Params, RoundPhase},
};

use super::{
    JobError, PARAMS, event, in_time, index::put, job, msgs_client::check_client, phase_name, portion, pots, state_name,
};
use crate::{
    bank::{self, transfer},
    context::{Ctx, Handler, Value},
    error::Error,
};

/// What `rounds` of a job cost, utrain; never more than the budget.
pub(super) fn cost(spec: &JobSpec, budget: u64, rounds: u32) -> Result<u64, Error> {
    if spec.round_price == 0 {
        portion(budget, rounds.min(spec.rounds).into(), spec.rounds.into())
    } else {
        Ok(spec.round_price.saturating_mul(rounds.into()).min(budget))
    }
}

/// Whether the budget covers `rounds`.
pub(super) fn covers(spec: &JobSpec, budget: u64, rounds: u32) -> bool {
    u128::from(spec.round_price) * u128::from(rounds) <= budget.into()
}

/// What a worker locks, utrain: a multiple of what it can earn when all places are taken and all rounds completed.
pub(super) fn stake(spec: &JobSpec, params: &Params, budget: u64) -> Result<u64, Error> {
    let (workers, _) = pots(params, cost(spec, budget, spec.rounds)?)?;
    let places = spec.requirements.as_ref().map_or(1, |r| r.max_workers);
    // Saturates where the pot is nearly all the money there is: then nobody can pay such a stake.
    Ok(portion(workers, 1, places.into())?.saturating_mul(params.stake_multiple.into()))
}

/// Takes `amount` into escrow and charges the posting fee on it; returns the fee.
pub(super) fn fund(ctx: &mut Ctx<'_, '_>, client: Address, amount: u64) -> Result<u64, Error> {
    let fee = portion(amount, PARAMS.get(ctx.state)?.posting_fee_bp.into(), 10_000)?;
    transfer(ctx, client, Address::of_module(bank::FEE_COLLECTOR), fee)?;
    transfer(ctx, client, Address::of_module(bank::ESCROW), amount)?;
    Ok(fee)
}

impl Handler for MsgTopUpJob {
    type Response = MsgTopUpJobResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.client.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        if parse_utrain(self.amount.as_ref())? > 0 {
            return Ok(());
        }
        Err(JobError::Bound {
            what: "amount",
            found: format!("0{DENOM}"),
            bound: "more than nothing".into(),
        }
        .into())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgTopUpJobResponse, Error> {
        let client = self.signer()?;
        let mut job = job(ctx.state, self.job_id)?;
        check_client(&job, client)?;
        if !matches!(job.state(), JobState::Open | JobState::Training) {
            return Err(JobError::State {
                job: job.id,
                found: state_name(job.state()),
                need: "open or training",
            }
            .into());
        }
        in_time(&job, ctx.block.height)?;
        if job.round_phase() == RoundPhase::Submit {
            return Err(JobError::Phase {
                job: job.id,
                expected: phase_name(RoundPhase::Submit),
                found: "more money: its training is over",
            }
            .into());
        }
        let amount = parse_utrain(self.amount.as_ref())?;
        job.posting_fee += fund(ctx, client, amount)?;
        // Cannot overflow: all of it lies in escrow, and there is less than 2^63 utrain.
        job.budget += amount;
        ctx.emit(
            event("job_topped_up", job.id)
                .with("amount", Value::Utrain(amount))
                .with("budget", Value::Utrain(job.budget)),
        );
        put(ctx.state, &job)?;
        Ok(MsgTopUpJobResponse { budget: job.budget })
    }
}

#[cfg(test)]
mod tests {
    use super::{JobSpec, cost, covers};

    #[test]
    fn rounds_cost_their_price_or_their_part_of_the_budget() {
        let spec = |round_price, rounds| JobSpec {
            round_price,
            rounds,
            ..JobSpec::default()
        };
        let free = spec(0, 3);
        assert_eq!([0, 1, 2, 3].map(|n| cost(&free, 100, n).unwrap()), [0, 33, 66, 100]);
        assert!(covers(&free, 1, 3));
        let priced = spec(30, 5);
        assert_eq!(
            [0, 1, 3, 4, 5].map(|n| cost(&priced, 100, n).unwrap()),
            [0, 30, 90, 100, 100]
        );
        assert_eq!([3, 4].map(|n| covers(&priced, 100, n)), [true, false]);
        let dear = spec(u64::MAX, u32::MAX);
        assert_eq!(cost(&dear, 7, 2).unwrap(), 7);
        assert!(!covers(&dear, u64::MAX, 2));
    }
}
