//! The life of a job, mostly done right and by the right one.

use trainyard_app::testing::{TRAIN, address};
use trainyard_modules::job;
use trainyard_proto::job::{
    DataSplit, EvaluatorState, Job, JobSpec, JobState, MsgCancelJob, MsgCommitEvaluation, MsgCommitTrace, MsgGrantKeys,
    MsgJoinJob, MsgLeaveJob, MsgPostJob, MsgRepostJob, MsgRevealEvaluation, MsgRoundResult, MsgSubmitResult,
    MsgTopUpJob, RoundPhase,
};

use crate::{
    contest_support::{bring, findings, hand_in, join_variant, open_contest, run, variant},
    support::{self, evaluation, plain, post_msg, root, trace as trace_msg, vote as vote_msg},
    view::named,
    world::World,
};

/// Unfinished jobs at one time, beyond which few are posted.
const BUSY: usize = 14;

/// An unfinished job that is where this is done.
fn a_job(world: &mut World, fits: impl Fn(&Job) -> bool) -> Option<Job> {
    let jobs = world.view.jobs.iter().map(|(job, _)| job);
    let fitting: Vec<Job> = jobs.filter(|job| fits(job)).cloned().collect();
    if fitting.is_empty() || world.random.percent(2) {
        return world.random.percent(2).then(|| any_job(world));
    }
    world.random.choose(&fitting).cloned()
}

/// In whatever state; perhaps none at all.
fn any_job(world: &mut World) -> Job {
    let id = world.random.below(world.view.last_job + 2);
    let found = world.view.jobs.iter().find(|(job, _)| job.id == id);
    found.map_or_else(
        || Job {
            id,
            client: address("client").to_string(),
            ..Job::default()
        },
        |(job, _)| job.clone(),
    )
}

fn exists(world: &World, job: &Job) -> Option<()> {
    (1..=world.view.last_job).contains(&job.id).then_some(())
}

fn training(phase: RoundPhase) -> impl Fn(&Job) -> bool {
    move |job| job.state() == JobState::Training && job.round_phase() == phase
}

/// Those who judge a job and are not out.
fn serving(job: &Job) -> impl Iterator<Item = &EvaluatorState> {
    job.evaluators.iter().filter(|e| !e.dismissed)
}

/// One of the job's active workers who has not yet done its part in the round.
fn a_worker(
    world: &mut World,
    job: &Job,
    done: impl Fn(&trainyard_proto::job::Round, &str) -> bool,
) -> Option<&'static str> {
    let key = (job.id, job.round);
    let round = world
        .chain
        .read(|state| trainyard_modules::job::ROUNDS.get(state, &key))
        .unwrap_or_default();
    let active = job.workers.iter().filter(|w| w.active && !done(&round, &w.address));
    let active: Vec<_> = active.map(|w| named(&w.address)).collect();
    world.one_of(&active)
}

/// A job that has settled with an artifact; nothing where there is none.
fn settled(world: &mut World) -> Option<u64> {
    let list = i32::from(JobState::Settled).unsigned_abs();
    let found = world.chain.read(|state| job::BY_STATE.under(state, &list, 200));
    let found: Vec<u64> = found.into_iter().map(|((_, id), _)| id).collect();
    world.random.choose(&found).copied()
}

/// Variants to choose from: those in a contest's list, and those that workers bring.
const RATES: [&str; 6] = ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5"];

/// Makes a contest of a spec: with a list of variants, one for each worker, or with what workers bring.
fn compete(world: &mut World, spec: &mut JobSpec) {
    let workers = spec.requirements.as_ref().unwrap().max_workers as usize;
    let listed = world.random.percent(70);
    let JobSpec {
        model_cid,
        start_root,
        task,
        macs_per_sample,
        paradigm,
        ..
    } = open_contest();
    let of_contest = JobSpec {
        model_cid,
        start_root,
        task,
        macs_per_sample,
        paradigm,
        variants: if listed {
            RATES[..workers].iter().map(|r| variant(r)).collect()
        } else {
            Vec::new()
        },
        floor_ppm: world.random.pick(&[0, 300_000, 800_000]),
        target_ppm: 0,
        start_job: 0,
        ..spec.clone()
    };
    *spec = of_contest;
    if world.random.percent(3) {
        spec.variants.pop();
    }
}

fn spec(world: &mut World) -> JobSpec {
    let mut spec = ordinary(world);
    if world.random.percent(30) {
        compete(world, &mut spec);
    }
    spec
}

fn ordinary(world: &mut World) -> JobSpec {
    let from = if world.random.percent(70) { settled(world) } else { None };
    let random = &mut world.random;
    let mut spec = if random.percent(50) { support::spec() } else { plain() };
    let requirements = spec.requirements.as_mut().unwrap();
    requirements.max_workers = random.within(1, 4);
    requirements.min_workers = random.within(1, requirements.max_workers);
    requirements.evaluators = random.within(1, 3);
    requirements.min_reputation = if random.percent(10) { 50 } else { 0 };
    spec.rounds = random.within(0, 3);
    spec.partial_share_bp = random.within(0, 10_000);
    if random.percent(15) {
        spec.start_job = from.unwrap_or_else(|| 1 + random.below(30));
        spec.start_root.clear();
    }
    spec.target_ppm = if random.percent(30) { 700_000 } else { 0 };
    if random.percent(40) {
        spec.round_price = random.below(200 * TRAIN);
    }
    let deadlines = spec.deadlines.as_mut().unwrap();
    for blocks in [
        &mut deadlines.open,
        &mut deadlines.grant,
        &mut deadlines.round,
        &mut deadlines.submit,
    ] {
        *blocks = random.within(3, 15);
    }
    spec
}

pub(super) fn post(world: &mut World) -> Option<(&'static str, MsgPostJob)> {
    if world.view.jobs.len() > BUSY && world.random.percent(97) {
        return None;
    }
    let (client, spec) = (world.anyone(), spec(world));
    let most = world
        .random
        .pick(&[10 * TRAIN, 1_000 * TRAIN, 1_000 * TRAIN, world.cash]);
    let budget = world.amount().min(most);
    Some((client, post_msg(client, &spec, budget)))
}

pub(super) fn cancel(world: &mut World) -> Option<(&'static str, MsgCancelJob)> {
    let job = a_job(world, |job| job.state() == JobState::Open)?;
    let client = world.one_of(&[named(&job.client)])?;
    Some((client, support::cancel(client, job.id)))
}

pub(super) fn repost(world: &mut World) -> Option<(&'static str, MsgRepostJob)> {
    let id = 1 + world.random.below(world.view.last_job.max(1));
    let job = world.chain.read(|state| trainyard_modules::job::JOBS.get(state, &id))?;
    let over = matches!(job.state(), JobState::Failed | JobState::Cancelled);
    if (!over || job.reposted_as > 0) && world.random.percent(95) {
        return None;
    }
    let client = world.one_of(&[named(&job.client)])?;
    let budget = world.amount().min(1_000 * TRAIN);
    let mut message = support::repost(client, id, budget);
    if world.random.percent(40) {
        message.start_cid = support::cid("checkpoint");
    }
    Some((client, message))
}

pub(super) fn top_up(world: &mut World) -> Option<(&'static str, MsgTopUpJob)> {
    let job = a_job(world, |job| matches!(job.state(), JobState::Open | JobState::Training))?;
    let client = world.one_of(&[named(&job.client)])?;
    let amount = world.amount().min(100 * TRAIN);
    Some((client, support::top_up(client, job.id, amount)))
}

pub(super) fn join(world: &mut World) -> Option<(&'static str, MsgJoinJob)> {
    let job = a_job(world, |job| job.state() == JobState::Open)?;
    let out = |name: &str| job.workers.iter().all(|w| named(&w.address) != name) && named(&job.client) != name;
    let nodes = world.view.nodes.iter().map(|(name, _)| *name).filter(|name| out(name));
    let nodes: Vec<_> = nodes.collect();
    let worker = world.one_of(&nodes)?;
    let Some(spec) = contest(world, &job) else {
        return Some((worker, support::join(worker, job.id)));
    };
    if spec.variants.is_empty() {
        let rate = world.random.pick(&RATES);
        return Some((worker, bring(worker, job.id, rate)));
    }
    let index = world.random.within(0, 3);
    Some((worker, join_variant(worker, job.id, index)))
}

/// The spec of a job whose workers compete.
fn contest(world: &World, job: &Job) -> Option<JobSpec> {
    let found = world.view.jobs.iter().find(|(known, _)| known.id == job.id);
    found.map(|(_, spec)| spec.clone()).filter(job::competes)
}

pub(super) fn leave(world: &mut World) -> Option<(&'static str, MsgLeaveJob)> {
    let job = a_job(world, |job| matches!(job.state(), JobState::Open | JobState::Training))?;
    let worker = a_worker(world, &job, |_, _| false)?;
    Some((worker, support::leave(worker, job.id)))
}

pub(super) fn grant_keys(world: &mut World) -> Option<(&'static str, MsgGrantKeys)> {
    let train = training(RoundPhase::Keys);
    let job = a_job(world, |job| job.state() == JobState::Submitted || train(job))?;
    let client = world.one_of(&[named(&job.client)])?;
    let split = if job.state() == JobState::Submitted {
        DataSplit::Test
    } else {
        DataSplit::Train
    };
    let mut to: Vec<_> = if split == DataSplit::Test {
        serving(&job).map(|e| e.address.parse().unwrap()).collect()
    } else {
        job.workers
            .iter()
            .filter(|w| w.active)
            .map(|w| w.address.parse().unwrap())
            .collect()
    };
    if world.random.percent(15) {
        to.truncate(1);
    }
    let mut message = support::grant(job.id, split, &to);
    message.client = address(client).to_string();
    Some((client, message))
}

pub(super) fn trace(world: &mut World) -> Option<(&'static str, MsgCommitTrace)> {
    let job = a_job(world, training(RoundPhase::Train))?;
    exists(world, &job)?;
    let worker = a_worker(world, &job, |round, who| round.commits.iter().any(|c| c.worker == who))?;
    let mut message = if contest(world, &job).is_some() {
        run(&world.chain, worker, job.id)
    } else {
        trace_msg(&world.chain, worker, job.id)
    };
    message.samples = 1 + world.random.below(321);
    if world.random.percent(3) {
        message.round += 1;
    }
    if world.random.percent(3) {
        message.start_root = root(worker);
    }
    Some((worker, message))
}

pub(super) fn vote(world: &mut World) -> Option<(&'static str, MsgRoundResult)> {
    let job = a_job(world, training(RoundPhase::Merge))?;
    exists(world, &job)?;
    let worker = a_worker(world, &job, |round, who| round.votes.iter().any(|v| v.worker == who))?;
    let mut message = vote_msg(&world.chain, worker, job.id);
    let target = world.chain.job(job.id).spec.map_or(0, |spec| spec.target_ppm);
    if target > 0 || world.random.percent(2) {
        message.score_ppm = world.random.within(0, 1_000_000);
    }
    if world.random.percent(8) {
        message.end_root = root(worker);
    }
    Some((worker, message))
}

pub(super) fn submit(world: &mut World) -> Option<(&'static str, MsgSubmitResult)> {
    let job = a_job(world, training(RoundPhase::Submit))?;
    exists(world, &job)?;
    let worker = a_worker(world, &job, |round, who| {
        round.submissions.iter().any(|s| s.worker == who)
    })?;
    let mut message = if contest(world, &job).is_some() {
        hand_in(&world.chain, worker, job.id)
    } else {
        support::result(&world.chain, worker, job.id)
    };
    if world.random.percent(8) {
        message.artifact.as_mut().unwrap().model_sha256 = root(worker);
    }
    Some((worker, message))
}

/// A function of job and evaluator, so that what was committed to can be revealed; some are far from the others.
fn score(world: &World, evaluator: &str, job: &Job) -> (MsgCommitEvaluation, MsgRevealEvaluation) {
    let (chain, id) = (&world.chain, job.id);
    if contest(world, job).is_some() {
        let found = job::contestants(job).map(|worker| {
            let worker = named(&worker.address);
            // Some artifacts are rejected, by all or by one; some score far from the others.
            let luck = root(format!("{id} {worker}"))[0];
            let odd = root(format!("{id} {worker} {evaluator}"))[0];
            let score = u32::from(luck) * 3_000 + if odd < 30 { 90_000 } else { 0 };
            (worker, (luck > 20 && odd < 240).then_some(score))
        });
        return findings(chain, evaluator, id, &found.collect::<Vec<_>>());
    }
    let odd = (id + u64::from(root(evaluator)[0])).is_multiple_of(5);
    let score = id * 1_000 % 900_000 + if odd { 90_000 } else { 0 };
    evaluation(chain, evaluator, id, u32::try_from(score).unwrap())
}

pub(super) fn commit(world: &mut World) -> Option<(&'static str, MsgCommitEvaluation)> {
    let job = a_job(world, |job| job.state() == JobState::Evaluating)?;
    exists(world, &job)?;
    let waiting = serving(&job).filter(|e| e.commitment.is_empty());
    let waiting: Vec<_> = waiting.map(|e| named(&e.address)).collect();
    let evaluator = world.one_of(&waiting)?;
    Some((evaluator, score(world, evaluator, &job).0))
}

pub(super) fn reveal(world: &mut World) -> Option<(&'static str, MsgRevealEvaluation)> {
    let job = a_job(world, |job| job.state() == JobState::Revealing)?;
    exists(world, &job)?;
    let waiting = serving(&job).filter(|e| e.attestation.is_none() && e.attestations.is_empty());
    let waiting: Vec<_> = waiting.map(|e| named(&e.address)).collect();
    let evaluator = world.one_of(&waiting)?;
    let mut message = score(world, evaluator, &job).1;
    if world.random.percent(4) {
        message.score_ppm ^= 1;
    }
    if world.random.percent(4) {
        message.scores.pop();
    }
    Some((evaluator, message))
}
