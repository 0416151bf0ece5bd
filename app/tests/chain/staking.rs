//! Stake: delegations, the unbonding queue, the validator set.

use trainyard_app::testing::{
    Builder, Chain, TRAIN, VALIDATOR, VALIDATOR_STAKE, address, consensus_key, create_validator,
};
use trainyard_modules::bank;
use trainyard_proto::{
    any,
    coin::utrain,
    cosmos::base::query::v1beta1::PageRequest,
    cosmos::staking::v1beta1::{
        BondStatus, CommissionRates, MsgDelegate, MsgUndelegate, QueryDelegationRequest, QueryDelegationResponse,
        QueryDelegatorValidatorRequest, QueryDelegatorValidatorResponse, QueryDelegatorValidatorsRequest,
        QueryDelegatorValidatorsResponse, QueryUnbondingDelegationRequest, QueryUnbondingDelegationResponse,
        QueryValidatorRequest, QueryValidatorResponse, QueryValidatorUnbondingDelegationsRequest,
        QueryValidatorUnbondingDelegationsResponse, Validator,
    },
    tendermint_proto::google::protobuf::Duration,
};

use crate::support::{CASH, Case, all_ok, assert_all_refused, held, worth};

pub(crate) const UNBONDING_SECONDS: u64 = 1_000;

pub(crate) fn chain() -> Chain {
    builder().build()
}

pub(crate) fn builder() -> Builder {
    Chain::builder()
        .validator(VALIDATOR, VALIDATOR_STAKE)
        .validator("second", 50 * TRAIN)
        .fund_all(["alice", "bob"], CASH)
        .epoch_blocks(10)
        .genesis(|genesis| {
            genesis.staking.params.unbonding_time = Some(Duration {
                seconds: UNBONDING_SECONDS as i64,
                nanos: 0,
            });
            genesis.staking.params.max_entries = 2;
        })
}

pub(crate) fn delegate(from: &str, to: &str, amount: u64) -> MsgDelegate {
    MsgDelegate {
        delegator_address: address(from).to_string(),
        validator_address: address(to).operator(),
        amount: Some(utrain(amount)),
    }
}

pub(crate) fn undelegate(from: &str, to: &str, amount: u64) -> MsgUndelegate {
    let MsgDelegate {
        delegator_address,
        validator_address,
        amount,
    } = delegate(from, to, amount);
    MsgUndelegate {
        delegator_address,
        validator_address,
        amount,
    }
}

pub(crate) fn validator(chain: &Chain, name: &str) -> Validator {
    let request = QueryValidatorRequest {
        validator_addr: address(name).operator(),
    };
    let response: QueryValidatorResponse = chain
        .query("/cosmos.staking.v1beta1.Query/Validator", &request)
        .unwrap();
    response.validator.unwrap()
}

pub(crate) fn delegated(chain: &Chain, from: &str, to: &str) -> Option<String> {
    let request = QueryDelegationRequest {
        delegator_addr: address(from).to_string(),
        validator_addr: address(to).operator(),
    };
    let response: Result<QueryDelegationResponse, _> =
        chain.query("/cosmos.staking.v1beta1.Query/Delegation", &request);
    Some(response.ok()?.delegation_response?.balance?.amount)
}

pub(crate) fn unbonding(chain: &Chain, from: &str, to: &str) -> Vec<String> {
    let request = QueryUnbondingDelegationRequest {
        delegator_addr: address(from).to_string(),
        validator_addr: address(to).operator(),
    };
    let response: Result<QueryUnbondingDelegationResponse, _> =
        chain.query("/cosmos.staking.v1beta1.Query/UnbondingDelegation", &request);
    let entries = response
        .ok()
        .and_then(|r| r.unbond)
        .map(|u| u.entries)
        .unwrap_or_default();
    entries.into_iter().map(|entry| entry.balance).collect()
}

pub(crate) fn power(chain: &Chain, name: &str) -> Option<i64> {
    chain.validators().get(consensus_key(name).as_slice()).copied()
}

#[test]
fn gentxs_make_the_first_validator_set() {
    let chain = chain();
    assert_eq!(
        (power(&chain, VALIDATOR), power(&chain, "second")),
        (Some(100), Some(50))
    );
    assert_eq!(chain.validators().len(), 2);
}

#[test]
fn the_set_changes_at_epoch_ends_only() {
    let mut chain = chain();
    chain.ok("alice", &delegate("alice", "second", 70 * TRAIN + 999_999));
    assert_eq!(worth(&chain, "alice"), CASH - 70 * TRAIN - 999_999);
    assert_eq!(delegated(&chain, "alice", "second").as_deref(), Some("70999999"));
    for _ in chain.height()..9 {
        chain.skip(1);
        assert_eq!(chain.validator_updates(), [], "at height {}", chain.height());
    }
    assert_eq!(power(&chain, "second"), Some(50));
    chain.skip(1);
    assert_eq!(chain.validator_updates(), [(consensus_key("second").to_vec(), 120)]);
    chain.skip_to(20);
    assert_eq!(chain.validator_updates(), [], "only what changed is told");
}

#[test]
fn a_validator_joins_by_a_transaction_and_leaves_when_its_stake_does() {
    let mut chain = chain();
    chain.ok("bob", &create_validator("bob", 30 * TRAIN));
    assert_eq!(validator(&chain, "bob").status(), BondStatus::Unbonded);
    chain.skip_to(10);
    assert_eq!(power(&chain, "bob"), Some(30));
    assert_eq!(validator(&chain, "bob").status(), BondStatus::Bonded);
    chain.ok("bob", &undelegate("bob", "bob", 30 * TRAIN));
    assert_eq!(power(&chain, "bob"), Some(30));
    chain.skip_to(20);
    assert_eq!(power(&chain, "bob"), None);
    assert_eq!(chain.validator_updates(), [(consensus_key("bob").to_vec(), 0)]);
    let left = validator(&chain, "bob");
    assert_eq!(
        (left.status(), left.jailed, left.unbonding_height),
        (BondStatus::Unbonding, true, 20)
    );
    // Its operator has nothing in it, so it stays away whoever else delegates to it.
    chain.ok("alice", &delegate("alice", "bob", 5 * TRAIN));
    chain.skip_to(30);
    assert_eq!(power(&chain, "bob"), None);
}

#[test]
fn the_largest_stakes_validate() {
    let mut chain = Chain::builder()
        .validator("a", 10 * TRAIN)
        .validator("b", 20 * TRAIN)
        .validator("c", 30 * TRAIN)
        .fund("alice", CASH)
        .epoch_blocks(5)
        .genesis(|genesis| genesis.staking.params.max_validators = 2)
        .build();
    assert_eq!(
        (power(&chain, "a"), power(&chain, "b"), power(&chain, "c")),
        (None, Some(20), Some(30))
    );
    chain.ok("alice", &delegate("alice", "a", 15 * TRAIN));
    chain.skip_to(5);
    assert_eq!(
        (power(&chain, "a"), power(&chain, "b"), power(&chain, "c")),
        (Some(25), None, Some(30))
    );
    // A tie goes to the lower address.
    chain.ok("alice", &delegate("alice", "b", 5 * TRAIN));
    chain.skip_to(10);
    let (first, second) = if address("a") < address("b") {
        ("a", "b")
    } else {
        ("b", "a")
    };
    assert_eq!((power(&chain, first), power(&chain, second)), (Some(25), None));
}

#[test]
fn stake_comes_back_when_its_time_has_passed() {
    let mut chain = chain();
    chain.ok("alice", &delegate("alice", "second", 10 * TRAIN));
    // Two in one block are one entry.
    let txs = (0..2)
        .map(|_| chain.tx("alice", vec![any::pack(&undelegate("alice", "second", 2 * TRAIN))]))
        .collect();
    all_ok(&mut chain, txs);
    assert_eq!(unbonding(&chain, "alice", "second"), ["4000000"]);
    assert_eq!(held(&chain, bank::NOT_BONDED_POOL), 4 * TRAIN);
    let began = chain.time();
    chain.ok("alice", &undelegate("alice", "second", TRAIN));
    chain.pass_time(UNBONDING_SECONDS - 3);
    chain.skip(1);
    assert_eq!(chain.time(), began + UNBONDING_SECONDS - 1);
    assert_eq!(worth(&chain, "alice"), CASH - 10 * TRAIN);
    chain.skip(1);
    assert_eq!(worth(&chain, "alice"), CASH - 6 * TRAIN);
    assert_eq!(unbonding(&chain, "alice", "second"), ["1000000"]);
    chain.skip(1);
    assert_eq!(worth(&chain, "alice"), CASH - 5 * TRAIN);
    assert_eq!(
        (
            held(&chain, bank::NOT_BONDED_POOL),
            unbonding(&chain, "alice", "second").len()
        ),
        (0, 0)
    );
    assert_eq!(delegated(&chain, "alice", "second").as_deref(), Some("5000000"));
    chain.ok("alice", &undelegate("alice", "second", 5 * TRAIN));
    assert_eq!(delegated(&chain, "alice", "second"), None);
}

#[test]
fn the_last_stake_cannot_leave() {
    let mut chain = chain();
    chain.ok("second", &undelegate("second", "second", 50 * TRAIN));
    let refused = chain.deliver(
        VALIDATOR,
        &undelegate(VALIDATOR, VALIDATOR, VALIDATOR_STAKE - TRAIN + 1),
    );
    assert_eq!(refused.failure(), ("staking", 100), "{refused:?}");
    assert!(
        refused
            .log
            .contains("undelegating 99000001utrain would leave the chain without voting power"),
        "{refused:?}"
    );
    chain.ok(VALIDATOR, &undelegate(VALIDATOR, VALIDATOR, VALIDATOR_STAKE - TRAIN));
    chain.skip_to(10);
    assert_eq!((chain.validators().len(), power(&chain, VALIDATOR)), (1, Some(1)));
}

#[test]
fn the_last_set_stays_when_nobody_has_power_for_the_next() {
    let mut chain = Chain::builder()
        .validator("a", TRAIN)
        .validator("b", TRAIN)
        .fund("alice", CASH)
        .epoch_blocks(5)
        .build();
    // 1.8 TRAIN remain in sum, and no validator has a whole one.
    for name in ["a", "b"] {
        chain.ok(name, &undelegate(name, name, TRAIN / 10));
    }
    chain.skip_to(5);
    assert_eq!(chain.validator_updates(), []);
    assert_eq!((power(&chain, "a"), power(&chain, "b")), (Some(1), Some(1)));
    chain.ok("alice", &delegate("alice", "a", TRAIN));
    chain.skip_to(10);
    assert_eq!((power(&chain, "a"), power(&chain, "b")), (Some(1), None));
}

#[test]
fn what_cannot_be_delegated_or_taken_back() {
    let mut chain = builder().epoch_blocks(1_000).build();
    chain.ok("alice", &delegate("alice", "second", 10 * TRAIN));
    let stranger = address("stranger").operator();
    let mut thief = create_validator("bob", TRAIN);
    thief.pubkey = create_validator(VALIDATOR, 1).pubkey;
    let mut short = create_validator("bob", TRAIN);
    short.pubkey.as_mut().unwrap().value.pop();
    let mut verbose = create_validator("bob", TRAIN);
    verbose.description.as_mut().unwrap().moniker = "x".repeat(71);
    let greedy = |rate: &str, max_rate: &str, max_change_rate: &str| {
        let mut message = create_validator("bob", TRAIN);
        message.commission = Some(CommissionRates {
            rate: rate.into(),
            max_rate: max_rate.into(),
            max_change_rate: max_change_rate.into(),
        });
        any::pack(&message)
    };
    let too_much = undelegate("alice", "second", 10 * TRAIN + 1);
    let cases: Vec<Case<'_>> = vec![
        (
            "alice",
            any::pack(&delegate("alice", "stranger", 1)),
            ("staking", 3),
            vec![&stranger, "does not exist"],
        ),
        (
            "alice",
            any::pack(&delegate("alice", "second", 0)),
            ("sdk", 10),
            vec!["the amount is zero"],
        ),
        (
            "alice",
            any::pack(&delegate("alice", "second", 2 * CASH)),
            ("sdk", 5),
            vec!["smaller than 20000000000utrain"],
        ),
        (
            "alice",
            any::pack(&too_much),
            ("staking", 24),
            vec!["delegated 10000000utrain", "asked back are 10000001utrain"],
        ),
        (
            "bob",
            any::pack(&undelegate("bob", "second", 1)),
            ("staking", 24),
            vec!["has delegated 0utrain"],
        ),
        (
            "second",
            any::pack(&create_validator("second", TRAIN)),
            ("staking", 4),
            vec!["exists already"],
        ),
        (
            "bob",
            any::pack(&thief),
            ("staking", 5),
            vec!["is in use by another validator"],
        ),
        ("bob", any::pack(&short), ("sdk", 8), vec!["consensus key"]),
        (
            "bob",
            any::pack(&verbose),
            ("sdk", 18),
            vec!["moniker has 71 bytes, expected 1 to 70"],
        ),
        (
            "bob",
            greedy("0.1", "1", "0"),
            ("sdk", 18),
            vec!["commission", "\"0.1\" is not a decimal as it stands on the wire"],
        ),
        (
            "bob",
            greedy("0", "1000000000000000001", "0"),
            ("staking", 10),
            vec!["highest commission", "is 1.000000000000000001, expected at most 1.0"],
        ),
        (
            "bob",
            greedy("2", "1", "0"),
            ("staking", 10),
            vec!["is 0.000000000000000002, expected at most 0.000000000000000001"],
        ),
        (
            "bob",
            greedy("0", "1", "2"),
            ("staking", 10),
            vec!["change of commission in a day"],
        ),
    ];
    assert_all_refused(&mut chain, cases);
    assert_eq!(delegated(&chain, "alice", "second").as_deref(), Some("10000000"));
}

#[test]
fn a_commission_is_at_least_the_chains() {
    let mut genesis = chain_after_one_block().export();
    genesis.staking.params.min_commission_rate = "10000000000000000".into();
    let mut chain = Chain::from_genesis("trainyard-test-1", &genesis, 2, 1_700_000_001);
    let refused = chain.deliver("bob", &create_validator("bob", TRAIN));
    assert_eq!(refused.failure(), ("staking", 40), "{refused:?}");
    assert!(
        refused
            .log
            .contains("is 0.000000000000000000, the chain's least is 0.010000000000000000"),
        "{refused:?}"
    );
}

fn chain_after_one_block() -> Chain {
    let mut chain = chain();
    chain.skip(1);
    chain
}

#[test]
fn entries_in_the_unbonding_queue_are_bounded() {
    let mut chain = chain();
    chain.ok("alice", &delegate("alice", "second", 10 * TRAIN));
    chain.ok("alice", &undelegate("alice", "second", 1));
    chain.ok("alice", &undelegate("alice", "second", 1));
    let refused = chain.deliver("alice", &undelegate("alice", "second", 1));
    assert_eq!(refused.failure(), ("staking", 27), "{refused:?}");
    assert!(
        refused.log.contains("has 2 unbonding entries") && refused.log.contains("at most 2"),
        "{refused:?}"
    );
    chain.pass_time(UNBONDING_SECONDS);
    chain.skip(1);
    chain.ok("alice", &undelegate("alice", "second", 1));
}

#[test]
fn stake_is_listed_from_both_sides() {
    let mut chain = chain();
    chain.ok("alice", &delegate("alice", "second", 7 * TRAIN));
    chain.ok("alice", &delegate("alice", VALIDATOR, 5 * TRAIN));
    chain.ok("alice", &undelegate("alice", "second", 2 * TRAIN));
    chain.ok("bob", &delegate("bob", "second", 3 * TRAIN));
    chain.ok("bob", &undelegate("bob", "second", TRAIN));
    chain.ok("bob", &undelegate("bob", "second", TRAIN));
    let operator = address("second").operator();
    let of = |limit, key| QueryValidatorUnbondingDelegationsRequest {
        validator_addr: operator.clone(),
        pagination: Some(PageRequest {
            limit,
            key,
            ..PageRequest::default()
        }),
    };
    let path = "/cosmos.staking.v1beta1.Query/ValidatorUnbondingDelegations";
    let list = |request| -> QueryValidatorUnbondingDelegationsResponse { chain.query(path, &request).unwrap() };
    let all = list(of(0, Vec::new()));
    let shown: Vec<_> = all
        .unbonding_responses
        .iter()
        .map(|u| (u.delegator_address.clone(), u.entries.len()))
        .collect();
    assert_eq!(
        shown,
        [(address("alice").to_string(), 1), (address("bob").to_string(), 2)]
    );
    let first = list(of(1, Vec::new()));
    assert_eq!(first.unbonding_responses.len(), 1);
    let rest = list(of(9, first.pagination.unwrap().next_key));
    assert_eq!(rest.unbonding_responses[..], all.unbonding_responses[1..]);

    let delegator_addr = address("alice").to_string();
    let request = QueryDelegatorValidatorsRequest {
        delegator_addr: delegator_addr.clone(),
        pagination: None,
    };
    let answer: QueryDelegatorValidatorsResponse = chain
        .query("/cosmos.staking.v1beta1.Query/DelegatorValidators", &request)
        .unwrap();
    let mut names: Vec<_> = answer.validators.iter().map(|v| v.operator_address.clone()).collect();
    names.sort();
    let mut expected = [operator.clone(), address(VALIDATOR).operator()];
    expected.sort();
    assert_eq!(names, expected);
    let one = |delegator: &str| {
        let request = QueryDelegatorValidatorRequest {
            delegator_addr: address(delegator).to_string(),
            validator_addr: operator.clone(),
        };
        let path = "/cosmos.staking.v1beta1.Query/DelegatorValidator";
        chain.query::<_, QueryDelegatorValidatorResponse>(path, &request)
    };
    assert_eq!(one("alice").unwrap().validator.unwrap().operator_address, operator);
    assert_eq!(one(VALIDATOR).unwrap_err().code, 38);
}
