//! Why things stand as they stand, as people read it. The snapshots are the sentences.

use trainyard_app::testing::{Chain, TRAIN, VALIDATOR, address};
use trainyard_modules::context::ticket;
use trainyard_proto::{
    explain::{
        QueryAccountRequest, QueryAccountResponse, QueryNodeRequest, QueryNodeResponse, QueryValidatorRequest,
        QueryValidatorResponse,
    },
    registry::{Role, VerificationClass},
};

use crate::{
    distribution::withdraw_to,
    registry::{leave_registry, unbond, update},
    slashing::builder as validators,
    staking::{delegate, undelegate},
    staking_moves::redelegate,
    support::*,
};

fn validator(chain: &Chain, name: &str) -> String {
    let request = QueryValidatorRequest {
        validator: address(name).operator(),
    };
    let answer: QueryValidatorResponse = chain.query("/trainyard.explain.v1.Query/Validator", &request).unwrap();
    answer.lines.join("\n")
}

fn account(chain: &Chain, name: &str) -> String {
    let request = QueryAccountRequest {
        account: address(name).to_string(),
    };
    let answer: QueryAccountResponse = chain.query("/trainyard.explain.v1.Query/Account", &request).unwrap();
    answer.lines.join("\n")
}

fn node(chain: &Chain, name: &str) -> String {
    let request = QueryNodeRequest {
        owner: address(name).to_string(),
    };
    let answer: QueryNodeResponse = chain.query("/trainyard.explain.v1.Query/Node", &request).unwrap();
    answer.lines.join("\n")
}

#[test]
fn why_validators_are_slashed_and_jailed_and_what_stake_earns() {
    let mut chain = validators().build();
    chain.ok("alice", &delegate("alice", "second", 50 * TRAIN));
    chain.ok("alice", &delegate("alice", "third", 10 * TRAIN));
    chain.ok("alice", &withdraw_to("alice", "bob"));
    chain.skip_to(20);
    chain.ok("alice", &undelegate("alice", "second", 10 * TRAIN));
    chain.ok("alice", &redelegate("alice", "third", VALIDATOR, 5 * TRAIN));
    insta::assert_snapshot!("a_validator_that_votes", validator(&chain, "second"));
    chain.signs("second", false);
    chain.skip(6);
    let seen = chain.height() - 1;
    chain.votes_twice("third", seen);
    chain.skip(1);
    insta::assert_snapshot!("a_validator_that_was_down", validator(&chain, "second"));
    chain.skip_to(30);
    insta::assert_snapshot!("a_validator_that_voted_twice", validator(&chain, "third"));
    insta::assert_snapshot!("a_delegator", account(&chain, "alice"));
}

#[test]
fn why_a_node_may_work_or_not() {
    let mut chain = register_everybody(builder().epoch_blocks(20).build());
    insta::assert_snapshot!("a_sound_evaluator", node(&chain, "e1"));
    insta::assert_snapshot!("nobody", node(&chain, "other"));
    let mut more = update("w2");
    more.roles = vec![Role::Worker.into()];
    more.add_bond = Some(trainyard_proto::coin::utrain(7 * TRAIN));
    chain.ok("w2", &more);
    chain.ok("w2", &unbond("w2", 2 * TRAIN));
    insta::assert_snapshot!("a_worker_that_takes_a_part_back", node(&chain, "w2"));
    chain.skip_to(41);
    insta::assert_snapshot!("a_node_that_lapsed", node(&chain, "w2"));
    chain.ok("w2", &leave_registry("w2"));
    insta::assert_snapshot!("a_node_that_left", node(&chain, "w2"));
}

#[test]
fn why_an_evaluator_was_drawn() {
    let mut chain = register_everybody(builder().fund("whale", 100_000 * TRAIN).build());
    chain.ok("whale", &register("whale", Role::Evaluator, 50_000 * TRAIN));
    let id = started(&mut chain, &spec());
    let job = chain.job(id);
    let mut total = 52_000 * TRAIN;
    for (turn, evaluator) in job.evaluators.iter().enumerate() {
        let lot = evaluator.lot.clone().unwrap();
        assert_eq!(
            (lot.turn, lot.candidates),
            (turn as u64, 3 - u32::try_from(turn).unwrap())
        );
        assert_eq!((lot.height, lot.total), (chain.height(), total));
        let ticket = ticket(&lot.beacon, &id.to_be_bytes(), lot.turn, lot.total);
        assert!(
            (lot.before..lot.before + evaluator.weight).contains(&ticket),
            "{lot:?} {ticket}"
        );
        let why = chain.explain(id, Some(evaluator.address.parse().unwrap()));
        assert!(
            why.contains(&format!("modulo {total}utrain, fell on {ticket}:")),
            "{why}"
        );
        total -= evaluator.weight;
    }
}

#[test]
fn all_that_keeps_an_account_from_joining() {
    let mut chain = register_everybody(builder().build());
    let mut strict = calm(spec());
    strict.verification = VerificationClass::Tolerant.into();
    strict.requirements.as_mut().unwrap().min_reputation = 60;
    let id = post(&mut chain, &strict, 9_000 * TRAIN);
    let why = |chain: &Chain, name: &str| chain.explain(id, Some(address(name)));
    let text = why(&chain, "e1");
    for reason in [
        "has no part in job 1.",
        "- train1g9cdrup8935g2d0nxl5qgeykg89kqc0ft96j3k does not have the role worker",
        "- its reputation is 50, the job asks for at least 60",
        "- it does not offer VERIFICATION_CLASS_TOLERANT",
    ] {
        assert!(text.contains(reason), "{text:?} lacks {reason:?}");
    }
    assert!(why(&chain, "other").contains("- it runs no node: it is not registered as a worker"));
    assert!(why(&chain, CLIENT).contains("- a client does not work for itself"));
    let easy = post(&mut chain, &calm(plain()), TRAIN);
    let text = chain.explain(easy, Some(address("w1")));
    assert!(text.ends_with("Nothing on chain keeps it from joining."), "{text}");
}
