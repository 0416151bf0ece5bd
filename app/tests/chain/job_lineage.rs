//! Jobs that start from another's result, and jobs that are posted again.

use trainyard_app::testing::{Chain, TRAIN};
use trainyard_proto::{
    any,
    job::{Job, JobSpec, JobState},
};

use crate::{job_life::assert_closed, support::*};

fn settled(chain: &mut Chain) -> u64 {
    let id = evaluating(chain, &calm(plain()));
    score(chain, id, [("e1", 900_000), ("e2", 900_000)]);
    assert_eq!(chain.job(id).state(), JobState::Settled);
    id
}

fn following(start_job: u64) -> JobSpec {
    JobSpec {
        start_job,
        start_root: Vec::new(),
        ..calm(plain())
    }
}

fn start(job: &Job) -> (String, Vec<u8>) {
    let spec = job.spec.clone().unwrap();
    (spec.start_cid, spec.start_root)
}

#[test]
fn a_job_starts_from_the_artifact_of_a_settled_one() {
    let mut chain = calm_yard();
    let first = settled(&mut chain);
    let artifact = chain.job(first).artifact.unwrap();
    let next = post(&mut chain, &following(first), BUDGET);
    let job = chain.job(next);
    assert_eq!(start(&job), (artifact.model_cid, artifact.state_root.clone()));
    assert_eq!(job.round_root, artifact.state_root);
    let story = chain.explain(next, None);
    assert!(story.contains("starts from the result of job 1"), "{story}");
    let unfinished = started(&mut chain, &calm(plain()));
    let cancelled = post(&mut chain, &calm(plain()), BUDGET);
    chain.ok(CLIENT, &cancel(CLIENT, cancelled));
    let own_root = JobSpec {
        start_root: root("start"),
        ..following(first)
    };
    let own_cid = JobSpec {
        start_cid: cid("start"),
        ..following(first)
    };
    let msg = |spec: &JobSpec| any::pack(&post_msg(CLIENT, spec, BUDGET));
    let cases: Vec<Case<'_>> = vec![
        (CLIENT, msg(&following(99)), ("job", 2), vec!["job 99 does not exist"]),
        (
            CLIENT,
            msg(&following(unfinished)),
            ("job", 4),
            vec!["job 3 is training", "settled, with an artifact"],
        ),
        (
            CLIENT,
            msg(&following(cancelled)),
            ("job", 4),
            vec!["job 4 is cancelled"],
        ),
        (CLIENT, msg(&own_root), ("job", 3), vec!["start root's bytes", "is 32"]),
        (CLIENT, msg(&own_cid), ("job", 3), vec!["start CID's bytes", "is 59"]),
    ];
    assert_all_refused(&mut chain, cases);
}

#[test]
fn a_failed_job_is_posted_again_once_from_its_start_or_its_last_agreed_weights() {
    for from_checkpoint in [false, true] {
        let mut chain = yard();
        let id = started(&mut chain, &plain());
        commit_all(&mut chain, id, &WORKERS);
        vote_all(&mut chain, id, &WORKERS);
        commit_all(&mut chain, id, &WORKERS);
        for worker in WORKERS {
            let mut own = vote(&chain, worker, id);
            own.end_root = root(worker);
            chain.ok(worker, &own);
        }
        assert_eq!(chain.job(id).state(), JobState::Failed);
        let mut message = repost(CLIENT, id, BUDGET / 2);
        if from_checkpoint {
            message.start_cid = cid("checkpoint");
        }
        chain.ok(CLIENT, &message);
        let (old, new) = (chain.job(id), chain.job(id + 1));
        assert_eq!((old.reposted_as, new.repost_of), (id + 1, id));
        assert_eq!((new.state(), new.budget), (JobState::Open, BUDGET / 2));
        let expected = if from_checkpoint {
            (cid("checkpoint"), merged(id, 0))
        } else {
            (String::new(), root("start"))
        };
        assert_eq!(start(&new), expected);
        assert_eq!(new.round_root, expected.1);
        let again = chain.deliver(CLIENT, &repost(CLIENT, id, BUDGET));
        assert_eq!(again.failure(), ("job", 20), "{again:?}");
        assert!(
            again.log.contains("job 1 was posted again as job 2 already"),
            "{again:?}"
        );
        let stories = [chain.explain(id, None), chain.explain(id + 1, None)];
        assert!(stories[0].contains("posted again as job 2"), "{stories:?}");
        assert!(stories[1].contains("repeats job 1"), "{stories:?}");
        // The new one is a job like any other.
        join_all(&mut chain, id + 1, &WORKERS);
        train(&mut chain, id + 1, &WORKERS);
        score(&mut chain, id + 1, [("e1", 1), ("e2", 1)]);
        assert_eq!(chain.job(id + 1).state(), JobState::Settled);
    }
}

#[test]
fn a_cancelled_job_is_posted_again_with_another_provider() {
    let mut chain = yard();
    let id = post(&mut chain, &spec(), BUDGET);
    chain.ok(CLIENT, &cancel(CLIENT, id));
    assert_closed(&chain, id);
    let mut message = repost(CLIENT, id, 2 * TRAIN);
    let mut provider = spec().provider.unwrap();
    provider.addresses = vec!["/ip4/10.0.0.1/tcp/1".into()];
    message.provider = Some(provider.clone());
    chain.ok(CLIENT, &message);
    let mut expected = spec();
    expected.provider = Some(provider);
    assert_eq!(chain.job(id + 1).spec.unwrap(), expected);
}

#[test]
fn reposts_that_are_refused() {
    let mut chain = calm_yard();
    let open = post(&mut chain, &calm(plain()), BUDGET);
    let cancelled = post(&mut chain, &calm(plain()), BUDGET);
    chain.ok(CLIENT, &cancel(CLIENT, cancelled));
    let done = settled(&mut chain);
    let msg = |who, id, amount| any::pack(&repost(who, id, amount));
    let mut early = repost(CLIENT, cancelled, BUDGET);
    early.start_cid = cid("checkpoint");
    let mut nonsense = early.clone();
    nonsense.start_cid = "x".into();
    let client = trainyard_app::testing::address(CLIENT).to_string();
    let cases: Vec<Case<'_>> = vec![
        (
            "other",
            msg("other", cancelled, BUDGET),
            ("job", 5),
            vec![&client, "belongs to"],
        ),
        (
            CLIENT,
            msg(CLIENT, open, BUDGET),
            ("job", 4),
            vec!["job 1 is open", "failed or cancelled"],
        ),
        (CLIENT, msg(CLIENT, done, BUDGET), ("job", 4), vec!["job 3 is settled"]),
        (
            CLIENT,
            msg(CLIENT, 99, BUDGET),
            ("job", 2),
            vec!["job 99 does not exist"],
        ),
        (
            CLIENT,
            msg(CLIENT, cancelled, TRAIN - 1),
            ("job", 3),
            vec!["budget is 999999utrain"],
        ),
        (
            CLIENT,
            msg(CLIENT, cancelled, CASH),
            ("sdk", 5),
            vec!["is smaller than"],
        ),
        (
            CLIENT,
            any::pack(&early),
            ("job", 3),
            vec!["number of completed rounds is 0", "at least 1"],
        ),
        (
            CLIENT,
            any::pack(&nonsense),
            ("job", 3),
            vec!["start weights' CID is \"x\""],
        ),
    ];
    assert_all_refused(&mut chain, cases);
}
