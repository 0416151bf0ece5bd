//! What rounds cost, what a top-up buys, and what returns to the client.

use trainyard_app::testing::{Chain, TRAIN, address};
use trainyard_modules::bank;
use trainyard_proto::{
    any,
    job::{JobSpec, JobState, RoundPhase},
};

use crate::{job_life::assert_closed, support::*};

/// Rounds at a price.
fn priced(round_price: u64, rounds: u32) -> JobSpec {
    JobSpec {
        round_price,
        rounds,
        ..plain()
    }
}

fn round(chain: &mut Chain, id: u64) {
    commit_all(chain, id, &WORKERS);
    vote_all(chain, id, &WORKERS);
}

#[test]
fn completed_rounds_are_paid_at_their_price_and_the_rest_returns() {
    let mut chain = yard();
    let id = started(&mut chain, &priced(100 * TRAIN, 2));
    // At risk is what two rounds can earn: 3 · 180 / 3.
    assert_eq!(held(&chain, bank::ESCROW), BUDGET + 3 * 180 * TRAIN);
    train(&mut chain, id, &WORKERS);
    score(&mut chain, id, [("e1", 900_000), ("e2", 900_000)]);
    let job = chain.job(id);
    let got = ["w1", "w3", "e2", CLIENT].map(|name| paid(&job, name) / TRAIN);
    assert_eq!(got, [60, 60, 5, 800]);
    assert_eq!(held(&chain, bank::TREASURY), 10 * TRAIN);
    assert_eq!((job.completed, job.ended.as_str()), (2, ""));
    assert_closed(&chain, id);
}

#[test]
fn training_ends_where_the_budget_does() {
    let mut chain = yard();
    let id = started(&mut chain, &priced(400 * TRAIN, 5));
    round(&mut chain, id);
    assert_eq!(chain.job(id).round, 1);
    commit_all(&mut chain, id, &WORKERS);
    vote_all(&mut chain, id, &WORKERS[..2]);
    let last = chain.ok("w3", &vote(&chain, "w3", id));
    assert_eq!(last.attribute("job_training_ended", "rounds"), Some("2"));
    let job = chain.job(id);
    assert_eq!(
        (job.round_phase(), job.ended.as_str()),
        (RoundPhase::Submit, "the budget is exhausted")
    );
    submit_all(&mut chain, id, &WORKERS);
    score(&mut chain, id, [("e1", 900_000), ("e2", 900_000)]);
    let job = chain.job(id);
    assert_eq!((job.state(), job.completed), (JobState::Settled, 2));
    assert_eq!((paid(&job, "w1"), paid(&job, CLIENT)), (240 * TRAIN, 200 * TRAIN));
    assert_closed(&chain, id);
    let story = chain.explain(id, None);
    assert!(
        story.contains("ended after 2 of 5 rounds: the budget is exhausted"),
        "{story}"
    );
    assert!(story.contains("2 cost 800 TRAIN"), "{story}");
}

#[test]
fn a_top_up_buys_more_rounds_and_pays_the_posting_fee() {
    let mut chain = yard();
    let id = started(&mut chain, &priced(400 * TRAIN, 5));
    round(&mut chain, id);
    let collected = held(&chain, bank::FEE_COLLECTOR);
    chain.ok(CLIENT, &top_up(CLIENT, id, 200 * TRAIN));
    assert_eq!(held(&chain, bank::FEE_COLLECTOR), collected + 2 * TRAIN + FEE);
    let job = chain.job(id);
    assert_eq!((job.budget, job.posting_fee), (1_200 * TRAIN, 12 * TRAIN));
    round(&mut chain, id);
    round(&mut chain, id);
    assert_eq!(chain.job(id).ended, "the budget is exhausted");
    let over = chain.deliver(CLIENT, &top_up(CLIENT, id, TRAIN));
    assert_eq!(over.failure(), ("job", 12), "{over:?}");
    submit_all(&mut chain, id, &WORKERS);
    score(&mut chain, id, [("e1", 1), ("e2", 1)]);
    let job = chain.job(id);
    assert_eq!(
        (job.completed, paid(&job, "w1"), paid(&job, CLIENT)),
        (3, 360 * TRAIN, 0)
    );
    assert_closed(&chain, id);
}

#[test]
fn a_top_up_without_a_price_raises_the_pay_and_the_stakes_of_those_who_join_after_it() {
    let mut chain = yard();
    let id = post(&mut chain, &plain(), BUDGET);
    join_all(&mut chain, id, &["w1"]);
    chain.ok(CLIENT, &top_up(CLIENT, id, BUDGET));
    join_all(&mut chain, id, &["w2", "w3"]);
    let stakes: Vec<_> = chain.job(id).workers.iter().map(|w| w.stake / TRAIN).collect();
    assert_eq!(stakes, [900, 1_800, 1_800]);
    train(&mut chain, id, &WORKERS);
    score(&mut chain, id, [("e1", 1), ("e2", 1)]);
    let job = chain.job(id);
    assert_eq!(
        (paid(&job, "w1"), paid(&job, "e1"), paid(&job, CLIENT)),
        (600 * TRAIN, 50 * TRAIN, 0)
    );
    assert_closed(&chain, id);
}

#[test]
fn a_failed_job_pays_the_partial_share_of_the_price() {
    let mut chain = yard();
    let id = started(&mut chain, &priced(100 * TRAIN, 4));
    round(&mut chain, id);
    chain.skip_to(chain.job(id).deadline);
    let job = chain.job(id);
    assert_eq!((job.state(), job.completed), (JobState::Failed, 1));
    // 90 of 100 for the workers, at one half, between three.
    assert_eq!((paid(&job, "w1"), paid(&job, CLIENT)), (15 * TRAIN, 955 * TRAIN));
    assert_closed(&chain, id);
}

#[test]
fn who_states_no_merged_root_is_dropped_and_paid_in_part() {
    let mut chain = yard();
    let id = started(&mut chain, &plain());
    commit_all(&mut chain, id, &WORKERS);
    vote_all(&mut chain, id, &WORKERS[..2]);
    chain.skip_to(chain.job(id).deadline);
    assert!(!chain.job(id).workers[2].active);
    train(&mut chain, id, &WORKERS[..2]);
    score(&mut chain, id, [("e1", 1), ("e2", 1)]);
    let job = chain.job(id);
    // Two fifths, two fifths and one fifth of the samples; the last at one half, and the client gets the other.
    let got = ["w1", "w2", "w3", CLIENT].map(|name| paid(&job, name) / TRAIN);
    assert_eq!(got, [360, 360, 90, 90]);
    assert_eq!(reputation(&chain, "w3"), 40);
    assert_closed(&chain, id);
    let why = chain.explain(id, Some(address("w3")));
    assert!(
        why.contains("did not stay to the end: of its part it gets 50.00 %"),
        "{why}"
    );
}

#[test]
fn a_share_of_the_treasurys_part_is_burned() {
    let burning = builder().genesis(|genesis| genesis.job.params.treasury_burn_bp = 4_000);
    let mut chain = register_everybody(burning.build());
    let id = evaluating(&mut chain, &plain());
    score(&mut chain, id, [("e1", 1), ("e2", 1)]);
    let job = chain.job(id);
    let burned = job.payments.iter().find(|p| p.reason == "burned").unwrap();
    assert_eq!((burned.amount, burned.recipient.as_str()), (20 * TRAIN, ""));
    assert_eq!(held(&chain, bank::TREASURY), 30 * TRAIN);
    assert_closed(&chain, id);
    let story = chain.explain(id, None);
    assert!(story.contains("20 TRAIN burned."), "{story}");
}

#[test]
fn where_all_workers_are_silent_none_is_held_to_it() {
    let mut chain = yard();
    let id = started(&mut chain, &plain());
    chain.skip_to(chain.job(id).deadline);
    let job = chain.job(id);
    assert_eq!((job.state(), paid(&job, CLIENT)), (JobState::Failed, BUDGET));
    assert_eq!((reputation(&chain, "w1"), bond(&chain, "w1")), (50, 100 * TRAIN));
    assert_closed(&chain, id);
}

#[test]
fn top_ups_that_are_refused() {
    let mut chain = calm_yard();
    let open = post(&mut chain, &calm(plain()), BUDGET);
    let cancelled = post(&mut chain, &calm(plain()), BUDGET);
    chain.ok(CLIENT, &cancel(CLIENT, cancelled));
    let judged = evaluating(&mut chain, &calm(plain()));
    let msg = |who, id, amount| any::pack(&top_up(who, id, amount));
    let client = address(CLIENT).to_string();
    let cases: Vec<Case<'_>> = vec![
        (
            "other",
            msg("other", open, TRAIN),
            ("job", 5),
            vec![&client, "belongs to"],
        ),
        (CLIENT, msg(CLIENT, open, 0), ("job", 3), vec!["amount is 0utrain"]),
        (
            CLIENT,
            msg(CLIENT, 99, TRAIN),
            ("job", 2),
            vec!["job 99 does not exist"],
        ),
        (
            CLIENT,
            msg(CLIENT, cancelled, TRAIN),
            ("job", 4),
            vec!["is cancelled", "open or training"],
        ),
        (
            CLIENT,
            msg(CLIENT, judged, TRAIN),
            ("job", 4),
            vec!["is evaluating", "open or training"],
        ),
        (CLIENT, msg(CLIENT, open, CASH), ("sdk", 5), vec!["is smaller than"]),
    ];
    assert_all_refused(&mut chain, cases);
    let dear = post_msg(CLIENT, &priced(2 * TRAIN, 3), 2 * TRAIN - 1);
    let words = &["budget is 1999999utrain", "at least the 2000000utrain of one round"];
    assert_message_refused(&mut chain, CLIENT, any::pack(&dear), ("job", 3), words);
}

/// Everybody states a merged root and what it measured.
fn vote_scores(chain: &mut Chain, id: u64, scores: [u32; 3]) {
    let votes = WORKERS.into_iter().zip(scores).map(|(worker, score)| {
        let mut message = vote(chain, worker, id);
        message.score_ppm = score;
        chain.tx(worker, vec![any::pack(&message)])
    });
    let votes = votes.collect();
    all_ok(chain, votes);
}

#[test]
fn a_target_that_most_measure_ends_training_and_the_other_rounds_return() {
    let mut chain = yard();
    let spec = JobSpec {
        target_ppm: 900_000,
        ..priced(0, 4)
    };
    let id = started(&mut chain, &spec);
    // One that boasts does not end it, nor does one that is modest keep it going.
    for (scores, ends) in [([999_999, 899_999, 0], false), ([900_000, 1_000_000, 0], true)] {
        commit_all(&mut chain, id, &WORKERS);
        vote_scores(&mut chain, id, scores);
        assert_eq!(chain.job(id).round_phase() == RoundPhase::Submit, ends);
    }
    assert_eq!(chain.job(id).ended, "the target of 900000 ppm is reached with 900000");
    submit_all(&mut chain, id, &WORKERS);
    score(&mut chain, id, [("e1", 880_000), ("e2", 880_000)]);
    let job = chain.job(id);
    let got = (job.completed, paid(&job, "w1"), paid(&job, CLIENT));
    assert_eq!(got, (2, 150 * TRAIN, 500 * TRAIN));
    assert_closed(&chain, id);
    let story = chain.explain(id, None);
    assert!(
        story.contains("reaches 900000 ppm on the first 1000 samples"),
        "{story}"
    );
}

#[test]
fn of_an_even_number_the_lower_middle_counts_and_only_with_the_agreed_root() {
    let mut chain = yard();
    let spec = JobSpec {
        target_ppm: 900_000,
        ..priced(0, 4)
    };
    let id = started(&mut chain, &spec);
    commit_all(&mut chain, id, &WORKERS);
    let mut odd = vote(&chain, "w1", id);
    (odd.end_root, odd.score_ppm) = (root("something else"), 1_000_000);
    chain.ok("w1", &odd);
    for (worker, score) in [("w2", 1_000_000), ("w3", 10)] {
        let mut message = vote(&chain, worker, id);
        message.score_ppm = score;
        chain.ok(worker, &message);
    }
    assert_eq!((chain.job(id).round, chain.job(id).ended.as_str()), (1, ""));
}

#[test]
fn scores_are_stated_only_where_a_target_asks_for_them() {
    let mut chain = calm_yard();
    let id = started(&mut chain, &calm(plain()));
    commit_all(&mut chain, id, &WORKERS);
    let mut boast = vote(&chain, "w1", id);
    boast.score_ppm = 1;
    let mut more = boast.clone();
    more.score_ppm = 1_000_001;
    let words = vec!["score is 1,", "the job has no target"];
    let cases: Vec<Case<'_>> = vec![
        ("w1", any::pack(&boast), ("job", 3), words),
        (
            "w1",
            any::pack(&more),
            ("job", 3),
            vec!["score is 1000001", "0 to 1000000"],
        ),
    ];
    assert_all_refused(&mut chain, cases);
    let mut spec = calm(plain());
    spec.target_ppm = 1_000_001;
    let message = any::pack(&post_msg(CLIENT, &spec, BUDGET));
    let words = &["target (parts per million) is 1000001"];
    assert_message_refused(&mut chain, CLIENT, message, ("job", 3), words);
}
