//! Why things stand as they stand, as people read it. The snapshots are the sentences.

use trainyard_app::testing::{Chain, TRAIN, VALIDATOR, address};
use trainyard_proto::{
    explain::{
        QueryAccountRequest, QueryAccountResponse, QueryNodeRequest, QueryNodeResponse, QueryValidatorRequest,
        QueryValidatorResponse,
    },
    registry::Role,
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
