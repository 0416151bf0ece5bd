//! Stake that moves: from validator to validator, back from its way home; validators that change and leave.

use trainyard_app::testing::{Chain, TRAIN, VALIDATOR, VALIDATOR_STAKE, address, create_validator};
use trainyard_modules::{bank, context::rfc3339};
use trainyard_proto::{
    any,
    coin::utrain,
    cosmos::staking::v1beta1::{
        BondStatus, CommissionRates, Description, MsgBeginRedelegate, MsgCancelUnbondingDelegation, MsgEditValidator,
        QueryDelegatorUnbondingDelegationsRequest, QueryDelegatorUnbondingDelegationsResponse,
        QueryHistoricalInfoRequest, QueryHistoricalInfoResponse, QueryRedelegationsRequest, QueryRedelegationsResponse,
        QueryValidatorDelegationsRequest, QueryValidatorDelegationsResponse, QueryValidatorRequest,
        QueryValidatorResponse,
    },
};

use crate::{
    distribution::create_charging,
    staking::{UNBONDING_SECONDS, builder, delegate, delegated, power, unbonding, undelegate, validator},
    support::{CASH, Case, FEE, assert_all_refused, held, worth},
};

pub(crate) fn redelegate(who: &str, from: &str, to: &str, amount: u64) -> MsgBeginRedelegate {
    MsgBeginRedelegate {
        delegator_address: address(who).to_string(),
        validator_src_address: address(from).operator(),
        validator_dst_address: address(to).operator(),
        amount: Some(utrain(amount)),
    }
}

pub(crate) fn cancel_unbonding(who: &str, from: &str, amount: u64, height: u64) -> MsgCancelUnbondingDelegation {
    MsgCancelUnbondingDelegation {
        delegator_address: address(who).to_string(),
        validator_address: address(from).operator(),
        amount: Some(utrain(amount)),
        creation_height: i64::try_from(height).unwrap(),
    }
}

/// Changes nothing yet.
pub(crate) fn edit(name: &str) -> MsgEditValidator {
    let keep = || "[do-not-modify]".to_string();
    MsgEditValidator {
        description: Some(Description {
            moniker: keep(),
            identity: keep(),
            website: keep(),
            security_contact: keep(),
            details: keep(),
        }),
        validator_address: address(name).operator(),
        commission_rate: String::new(),
        min_self_delegation: String::new(),
    }
}

fn redelegations(chain: &Chain, who: &str) -> QueryRedelegationsResponse {
    let request = QueryRedelegationsRequest {
        delegator_addr: address(who).to_string(),
        ..Default::default()
    };
    chain
        .query("/cosmos.staking.v1beta1.Query/Redelegations", &request)
        .unwrap()
}

#[test]
fn stake_moves_at_once_and_answers_for_its_source_meanwhile() {
    let mut chain = builder().validator("third", 20 * TRAIN).build();
    chain.ok("alice", &delegate("alice", "second", 10 * TRAIN));
    let outcome = chain.ok("alice", &redelegate("alice", "second", "third", 4 * TRAIN));
    assert_eq!(outcome.attribute("redelegate", "amount"), Some("4000000utrain"));
    assert_eq!(delegated(&chain, "alice", "second").as_deref(), Some("6000000"));
    assert_eq!(delegated(&chain, "alice", "third").as_deref(), Some("4000000"));
    assert_eq!(worth(&chain, "alice"), CASH - 10 * TRAIN);
    let listed = redelegations(&chain, "alice").redelegation_responses;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].entries[0].balance, "4000000");
    // What came to the third cannot go on, whatever part of it; what did not come may.
    let on = chain.deliver("alice", &redelegate("alice", "third", VALIDATOR, 1));
    assert_eq!(on.failure(), ("staking", 32), "{on:?}");
    chain.ok("alice", &redelegate("alice", "second", VALIDATOR, TRAIN));
    // At most two at once for a pair.
    chain.ok("alice", &redelegate("alice", "second", "third", 1));
    let many = chain.deliver("alice", &redelegate("alice", "second", "third", 1));
    assert_eq!(many.failure(), ("staking", 33), "{many:?}");
    chain.pass_time(UNBONDING_SECONDS);
    chain.skip(1);
    assert!(chain.events().iter().any(|e| e.r#type == "complete_redelegation"));
    assert_eq!(redelegations(&chain, "alice").redelegation_responses, []);
    chain.ok("alice", &redelegate("alice", "third", VALIDATOR, 4 * TRAIN));
}

#[test]
fn what_is_on_its_way_back_may_turn_round() {
    let mut chain = builder().build();
    chain.ok("alice", &delegate("alice", "second", 10 * TRAIN));
    chain.ok("alice", &undelegate("alice", "second", 4 * TRAIN));
    let began = chain.height();
    let outcome = chain.ok("alice", &cancel_unbonding("alice", "second", TRAIN, began));
    assert_eq!(
        outcome.attribute("cancel_unbonding_delegation", "amount"),
        Some("1000000utrain")
    );
    assert_eq!(unbonding(&chain, "alice", "second"), ["3000000"]);
    assert_eq!(delegated(&chain, "alice", "second").as_deref(), Some("7000000"));
    assert_eq!(held(&chain, bank::NOT_BONDED_POOL), 3 * TRAIN);
    for (amount, height, code) in [(3 * TRAIN + 1, began, 101), (1, began + 1, 26)] {
        let refused = chain.deliver("alice", &cancel_unbonding("alice", "second", amount, height));
        assert_eq!(refused.failure(), ("staking", code), "{refused:?}");
    }
    chain.ok("alice", &cancel_unbonding("alice", "second", 3 * TRAIN, began));
    assert_eq!(unbonding(&chain, "alice", "second"), [""; 0]);
    chain.pass_time(UNBONDING_SECONDS);
    chain.skip(1);
    assert_eq!(worth(&chain, "alice"), CASH - 10 * TRAIN);
}

#[test]
fn an_entry_slashed_or_not_is_listed_with_its_own_id() {
    let mut chain = builder().build();
    chain.ok("alice", &delegate("alice", "second", 10 * TRAIN));
    chain.ok("alice", &undelegate("alice", "second", TRAIN));
    chain.ok("alice", &undelegate("alice", "second", 2 * TRAIN));
    let request = QueryDelegatorUnbondingDelegationsRequest {
        delegator_addr: address("alice").to_string(),
        pagination: None,
    };
    let path = "/cosmos.staking.v1beta1.Query/DelegatorUnbondingDelegations";
    let response: QueryDelegatorUnbondingDelegationsResponse = chain.query(path, &request).unwrap();
    let entries = &response.unbonding_responses[0].entries;
    assert_eq!(
        (entries.len(), entries[0].unbonding_id, entries[1].unbonding_id),
        (2, 1, 2)
    );
    assert_ne!(entries[0].creation_height, entries[1].creation_height);
    let request = QueryValidatorDelegationsRequest {
        validator_addr: address("second").operator(),
        pagination: None,
    };
    let path = "/cosmos.staking.v1beta1.Query/ValidatorDelegations";
    let response: QueryValidatorDelegationsResponse = chain.query(path, &request).unwrap();
    assert_eq!(response.delegation_responses.len(), 2);
}

#[test]
fn a_validator_that_leaves_unbonds_and_is_forgotten_when_it_is_empty() {
    let mut chain = builder().genesis(|g| g.staking.params.max_validators = 2).build();
    chain.ok("bob", &create_validator("bob", 200 * TRAIN));
    chain.skip_to(10);
    // Bob's stake pushed the second out.
    let second = validator(&chain, "second");
    assert_eq!(
        (second.status(), power(&chain, "second")),
        (BondStatus::Unbonding, None)
    );
    assert_eq!(held(&chain, bank::BONDED_POOL), 300 * TRAIN);
    assert_eq!(held(&chain, bank::NOT_BONDED_POOL), 50 * TRAIN);
    let free = second.unbonding_time.unwrap().seconds;
    // Money taken from it now waits for no longer than it does itself.
    chain.pass_time(100);
    let outcome = chain.ok("second", &undelegate("second", "second", 20 * TRAIN));
    let completes = rfc3339(u64::try_from(free).unwrap());
    assert_eq!(outcome.attribute("unbond", "completion_time"), Some(completes.as_str()));
    chain.ok("alice", &delegate("alice", "second", 5 * TRAIN));
    chain.pass_time(UNBONDING_SECONDS);
    chain.skip(1);
    assert_eq!(validator(&chain, "second").status(), BondStatus::Unbonded);
    assert_eq!(unbonding(&chain, "second", "second"), [""; 0]);
    // From an unbonded validator money comes back at once, and stake moves without a trace.
    let before = chain.balance(address("alice"));
    chain.ok("alice", &undelegate("alice", "second", 2 * TRAIN));
    assert_eq!(chain.balance(address("alice")), before + 2 * TRAIN - FEE);
    chain.ok("alice", &redelegate("alice", "second", "bob", 3 * TRAIN));
    assert_eq!(redelegations(&chain, "alice").redelegation_responses, []);
    assert_eq!(held(&chain, bank::BONDED_POOL), 303 * TRAIN);
    chain.ok("second", &undelegate("second", "second", 30 * TRAIN));
    let request = QueryValidatorRequest {
        validator_addr: address("second").operator(),
    };
    let gone: Result<QueryValidatorResponse, _> = chain.query("/cosmos.staking.v1beta1.Query/Validator", &request);
    assert_eq!(gone.unwrap_err().code, 3);
    // Its consensus key is free again.
    chain.ok("second", &create_validator("second", 10 * TRAIN));
}

#[test]
fn an_operator_that_breaks_its_promise_is_jailed() {
    let mut chain = builder().build();
    let mut join = create_validator("bob", 30 * TRAIN);
    join.min_self_delegation = (20 * TRAIN).to_string();
    chain.ok("bob", &join);
    chain.ok("alice", &delegate("alice", "bob", 50 * TRAIN));
    chain.skip_to(10);
    chain.ok("bob", &undelegate("bob", "bob", 10 * TRAIN));
    assert!(!validator(&chain, "bob").jailed);
    chain.ok("bob", &undelegate("bob", "bob", 1));
    assert!(validator(&chain, "bob").jailed);
    assert_eq!(power(&chain, "bob"), Some(80), "the set changes at epoch ends only");
    let refused = chain.deliver("bob", &cancel_unbonding("bob", "bob", 1, chain.height()));
    assert_eq!(refused.failure(), ("staking", 7), "{refused:?}");
    // A jailed validator earns nothing.
    chain.skip_to(20);
    assert_eq!(power(&chain, "bob"), None);
    let rewards = chain.events().iter().filter(|e| e.r#type == "rewards");
    let bob = address("bob").operator();
    assert!(rewards.flat_map(|e| &e.attributes).all(|a| a.value != bob));
}

#[test]
fn a_validator_is_edited_within_what_it_promised() {
    let mut chain = builder().epoch_blocks(1_000).build();
    chain.ok("bob", &create_charging("bob", 30 * TRAIN));
    let rate = |hundredths: u64| (hundredths * 10_000_000_000_000_000).to_string();
    let mut wish = edit("bob");
    wish.commission_rate = rate(26);
    let refused = chain.deliver("bob", &wish);
    assert_eq!(refused.failure(), ("staking", 12), "{refused:?}");
    chain.pass_time(24 * 3600);
    let mut renamed = wish.clone();
    renamed.description.as_mut().unwrap().moniker = "bob the second".into();
    renamed.description.as_mut().unwrap().details = "trains".into();
    renamed.min_self_delegation = (10 * TRAIN).to_string();
    let outcome = chain.ok("bob", &renamed);
    assert_eq!(
        outcome.attribute("edit_validator", "commission_rate"),
        Some("0.260000000000000000")
    );
    let bob = validator(&chain, "bob");
    let description = bob.description.unwrap();
    assert_eq!(
        (description.moniker.as_str(), description.details.as_str()),
        ("bob the second", "trains")
    );
    let rates: CommissionRates = bob.commission.unwrap().commission_rates.unwrap();
    assert_eq!((rates.rate, rates.max_rate), (rate(26), rate(50)));
    assert_eq!(bob.min_self_delegation, (10 * TRAIN).to_string());

    chain.pass_time(24 * 3600);
    chain.skip(1);
    let commission = |hundredths| MsgEditValidator {
        commission_rate: rate(hundredths),
        ..edit("bob")
    };
    let least = |amount: u64| MsgEditValidator {
        min_self_delegation: amount.to_string(),
        ..edit("bob")
    };
    let mut long = edit("bob");
    long.description.as_mut().unwrap().details = "x".repeat(281);
    let cases: Vec<Case<'_>> = vec![
        (
            "bob",
            any::pack(&commission(28)),
            ("staking", 10),
            vec!["change of commission in a day", "0.02"],
        ),
        (
            "bob",
            any::pack(&commission(24)),
            ("staking", 10),
            vec!["change of commission in a day", "0.02"],
        ),
        (
            "bob",
            any::pack(&least(9 * TRAIN)),
            ("staking", 17),
            vec!["can only be raised"],
        ),
        (
            "bob",
            any::pack(&least(31 * TRAIN)),
            ("staking", 16),
            vec!["delegated 30000000utrain to itself"],
        ),
        (
            "bob",
            any::pack(&least(0)),
            ("sdk", 18),
            vec!["min_self_delegation is 0"],
        ),
        (
            "bob",
            any::pack(&long),
            ("sdk", 18),
            vec!["a description has 281 bytes"],
        ),
        (
            "alice",
            any::pack(&edit("alice")),
            ("staking", 3),
            vec!["does not exist"],
        ),
    ];
    assert_all_refused(&mut chain, cases);
}

#[test]
fn what_is_refused_to_stake_that_moves() {
    let mut chain = builder().epoch_blocks(1_000).build();
    chain.ok("alice", &delegate("alice", "second", 10 * TRAIN));
    let mut poor = create_validator("bob", TRAIN);
    poor.min_self_delegation = (TRAIN + 1).to_string();
    let cases: Vec<Case<'_>> = vec![
        (
            "alice",
            any::pack(&redelegate("alice", "second", "second", 1)),
            ("staking", 29),
            vec!["source and destination are both"],
        ),
        (
            "alice",
            any::pack(&redelegate("alice", "second", "nobody", 1)),
            ("staking", 3),
            vec!["does not exist"],
        ),
        (
            "alice",
            any::pack(&redelegate("alice", "second", VALIDATOR, 10 * TRAIN + 1)),
            ("staking", 24),
            vec!["delegated 10000000utrain"],
        ),
        (
            "alice",
            any::pack(&redelegate("alice", "second", VALIDATOR, 0)),
            ("sdk", 10),
            vec!["the amount is zero"],
        ),
        (
            "alice",
            any::pack(&cancel_unbonding("alice", "second", 1, 1)),
            ("staking", 26),
            vec!["has nothing unbonding"],
        ),
        (
            "bob",
            any::pack(&poor),
            ("staking", 16),
            vec!["delegated 1000000utrain to itself"],
        ),
    ];
    assert_all_refused(&mut chain, cases);
    for message in [
        any::pack(&redelegate("alice", "second", VALIDATOR, 1)),
        any::pack(&cancel_unbonding("alice", "second", 1, 1)),
        any::pack(&edit("second")),
    ] {
        let theft = chain.craft("bob", vec![message]).sign();
        assert!(!chain.check(&theft).is_ok() && !chain.block_unchecked([theft])[0].is_ok());
    }
}

#[test]
fn the_last_blocks_validators_are_remembered() {
    let mut chain = builder().genesis(|g| g.staking.params.historical_entries = 3).build();
    chain.skip(6);
    let ask = |height| {
        let request = QueryHistoricalInfoRequest { height };
        let path = "/cosmos.staking.v1beta1.Query/HistoricalInfo";
        chain.query::<_, QueryHistoricalInfoResponse>(path, &request)
    };
    assert_eq!(ask(3).unwrap_err().code, 38);
    for height in 4..=6 {
        let info = ask(height).unwrap().hist.unwrap();
        assert_eq!((info.header.unwrap().height, info.valset.len()), (height, 2));
    }
}

#[test]
fn the_last_power_cannot_be_redelegated_out_of_the_set() {
    let mut chain = Chain::builder()
        .validator(VALIDATOR, VALIDATOR_STAKE)
        .fund("bob", CASH)
        .build();
    chain.ok("bob", &create_validator("bob", TRAIN));
    let refused = chain.deliver(VALIDATOR, &redelegate(VALIDATOR, VALIDATOR, "bob", VALIDATOR_STAKE));
    assert_eq!(refused.failure(), ("staking", 100), "{refused:?}");
}
