//! Rewards: fees to validators and delegators, commission, the community's pool.

use trainyard_app::testing::{Builder, Chain, Outcome, QueryError, TRAIN, VALIDATOR, address, create_validator, send};
use trainyard_modules::{bank, distribution::RewardsGenesis, machine, upgrade};
use trainyard_proto::{
    any,
    coin::{DENOM, utrain},
    cosmos::{
        base::v1beta1::DecCoin,
        distribution::v1beta1::{
            MsgFundCommunityPool, MsgSetWithdrawAddress, MsgWithdrawDelegatorReward, MsgWithdrawValidatorCommission,
            QueryCommunityPoolRequest, QueryCommunityPoolResponse, QueryDelegationRewardsRequest,
            QueryDelegationRewardsResponse, QueryDelegationTotalRewardsRequest, QueryDelegationTotalRewardsResponse,
            QueryDelegatorValidatorsRequest, QueryDelegatorValidatorsResponse, QueryDelegatorWithdrawAddressRequest,
            QueryDelegatorWithdrawAddressResponse, QueryParamsRequest, QueryParamsResponse,
            QueryValidatorCommissionRequest, QueryValidatorCommissionResponse, QueryValidatorDistributionInfoRequest,
            QueryValidatorDistributionInfoResponse, QueryValidatorOutstandingRewardsRequest,
            QueryValidatorOutstandingRewardsResponse,
        },
        staking::v1beta1::{CommissionRates, MsgCreateValidator},
    },
    dec::Dec,
};

use crate::{
    staking::{delegate, undelegate},
    support::{CASH, Case, FEE, assert_all_refused, held},
};

/// Two validators of 100 and 50 TRAIN, epochs of 10 blocks, a community tax of 10 %.
fn builder() -> Builder {
    Chain::builder()
        .validator(VALIDATOR, 100 * TRAIN)
        .validator("second", 50 * TRAIN)
        .fund_all(["alice", "bob", "carol"], CASH)
        .epoch_blocks(10)
        .genesis(|genesis| genesis.distribution.params.community_tax = dec("0.1"))
}

fn dec(text: &str) -> Dec {
    text.parse().unwrap()
}

/// utrain in a list of decimal coins.
fn parts(coins: &[DecCoin]) -> Dec {
    match coins {
        [] => Dec::ZERO,
        [DecCoin { denom, amount }] if denom == DENOM => Dec::from_atomics(amount).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A validator with a commission of 25 %.
pub(crate) fn create_charging(name: &str, stake: u64) -> MsgCreateValidator {
    let commission = Some(CommissionRates {
        rate: dec("0.25").atomics(),
        max_rate: dec("0.5").atomics(),
        max_change_rate: dec("0.01").atomics(),
    });
    MsgCreateValidator {
        commission,
        ..create_validator(name, stake)
    }
}

pub(crate) fn withdraw(delegator: &str, validator: &str) -> MsgWithdrawDelegatorReward {
    MsgWithdrawDelegatorReward {
        delegator_address: address(delegator).to_string(),
        validator_address: address(validator).operator(),
    }
}

pub(crate) fn withdraw_commission(validator: &str) -> MsgWithdrawValidatorCommission {
    MsgWithdrawValidatorCommission {
        validator_address: address(validator).operator(),
    }
}

pub(crate) fn withdraw_to(delegator: &str, to: &str) -> MsgSetWithdrawAddress {
    MsgSetWithdrawAddress {
        delegator_address: address(delegator).to_string(),
        withdraw_address: address(to).to_string(),
    }
}

pub(crate) fn give(depositor: &str, amount: u64) -> MsgFundCommunityPool {
    MsgFundCommunityPool {
        amount: vec![utrain(amount)],
        depositor: address(depositor).to_string(),
    }
}

fn outstanding(chain: &Chain, validator: &str) -> Dec {
    let request = QueryValidatorOutstandingRewardsRequest {
        validator_address: address(validator).operator(),
    };
    let path = "/cosmos.distribution.v1beta1.Query/ValidatorOutstandingRewards";
    let response: QueryValidatorOutstandingRewardsResponse = chain.query(path, &request).unwrap();
    parts(&response.rewards.unwrap().rewards)
}

fn commission(chain: &Chain, validator: &str) -> Dec {
    let request = QueryValidatorCommissionRequest {
        validator_address: address(validator).operator(),
    };
    let path = "/cosmos.distribution.v1beta1.Query/ValidatorCommission";
    let response: QueryValidatorCommissionResponse = chain.query(path, &request).unwrap();
    parts(&response.commission.unwrap().commission)
}

fn owed(chain: &Chain, delegator: &str, validator: &str) -> Result<Dec, QueryError> {
    let request = QueryDelegationRewardsRequest {
        delegator_address: address(delegator).to_string(),
        validator_address: address(validator).operator(),
    };
    let path = "/cosmos.distribution.v1beta1.Query/DelegationRewards";
    let response: QueryDelegationRewardsResponse = chain.query(path, &request)?;
    Ok(parts(&response.rewards))
}

fn pool(chain: &Chain) -> Dec {
    let path = "/cosmos.distribution.v1beta1.Query/CommunityPool";
    let response: QueryCommunityPoolResponse = chain.query(path, &QueryCommunityPoolRequest {}).unwrap();
    parts(&response.pool)
}

/// Fees of `count` transactions, and the end of the epoch.
fn earn(chain: &mut Chain, count: u64) {
    let txs: Vec<_> = (0..count)
        .map(|_| chain.tx("carol", vec![any::pack(&send("carol", "carol", 1))]))
        .collect();
    assert!(chain.block(txs).iter().all(Outcome::is_ok));
    chain.skip_to(chain.height().next_multiple_of(10));
    assert_eq!(held(chain, bank::FEE_COLLECTOR), 0);
}

#[test]
fn fees_reach_the_validators_by_power_and_the_community_first() {
    let mut chain = builder().build();
    earn(&mut chain, 10);
    // 2 gentxs, 10 transactions: 12 000 utrain, of which a tenth is the community's, and 10 800 go 2 : 1.
    assert_eq!(outstanding(&chain, VALIDATOR), Dec::whole(7_200));
    assert_eq!(outstanding(&chain, "second"), Dec::whole(3_600));
    assert_eq!((pool(&chain), held(&chain, bank::TREASURY)), (Dec::whole(1_200), 1_200));
    let event = |kind: &str| {
        let found = chain.events().iter().filter(|e| e.r#type == kind);
        found.map(|e| e.attributes[0].value.clone()).collect::<Vec<_>>()
    };
    let mut rewards = event("rewards");
    rewards.sort();
    let whole = |amount: u64| format!("{}utrain", Dec::whole(amount));
    assert_eq!(rewards, [whole(3_600), whole(7_200)]);
    assert_eq!(event("commission"), [whole(0), whole(0)]);
    // Nothing is paid twice.
    chain.skip(10);
    assert_eq!(outstanding(&chain, VALIDATOR), Dec::whole(7_200));
}

#[test]
fn delegators_earn_by_shares_from_when_they_delegated() {
    let mut chain = builder().build();
    earn(&mut chain, 10);
    let before = chain.balance(address("alice"));
    chain.ok("alice", &delegate("alice", VALIDATOR, 300 * TRAIN));
    assert_eq!(chain.balance(address("alice")), before - 300 * TRAIN - FEE);
    assert_eq!(owed(&chain, "alice", VALIDATOR), Ok(Dec::ZERO));
    assert_eq!(owed(&chain, VALIDATOR, VALIDATOR), Ok(Dec::whole(7_200)));
    // Power is still 100 : 50, but of the validator's part three quarters are alice's.
    earn(&mut chain, 9);
    assert_eq!(outstanding(&chain, VALIDATOR), Dec::whole(7_200 + 6_000));
    assert_eq!(owed(&chain, "alice", VALIDATOR), Ok(Dec::whole(4_500)));
    assert_eq!(owed(&chain, VALIDATOR, VALIDATOR), Ok(Dec::whole(7_200 + 1_500)));
    let outcome = chain.ok("alice", &withdraw("alice", VALIDATOR));
    assert_eq!(outcome.attribute("withdraw_rewards", "amount"), Some("4500utrain"));
    assert_eq!(
        outcome.attribute("withdraw_rewards", "delegator"),
        Some(address("alice").to_string().as_str())
    );
    assert_eq!(chain.balance(address("alice")), before - 300 * TRAIN - 2 * FEE + 4_500);
    assert_eq!(outstanding(&chain, VALIDATOR), Dec::whole(7_200 + 1_500));
    // There is nothing to take twice; the message is in order all the same.
    let again = chain.ok("alice", &withdraw("alice", VALIDATOR));
    assert_eq!(again.attribute("withdraw_rewards", "amount"), Some("0utrain"));
    // Wallets add two fifths, the command line a half, to what a simulation used; an epoch may end in between.
    let (paying, idle) = (outcome.gas_used, again.gas_used);
    assert!(paying <= idle + idle / 4, "{paying} gas with rewards, {idle} without");
    // Now power is 400 : 50.
    earn(&mut chain, 8);
    assert_eq!(owed(&chain, "alice", VALIDATOR), Ok(Dec::whole(6_000)));
}

#[test]
fn every_change_of_a_delegation_settles_it() {
    let mut chain = builder().build();
    chain.ok("alice", &delegate("alice", "second", 50 * TRAIN));
    earn(&mut chain, 6);
    let due = owed(&chain, "alice", "second").unwrap().floor().unwrap();
    assert_eq!(due, 1_350);
    let before = chain.balance(address("alice"));
    let more = chain.ok("alice", &delegate("alice", "second", 100 * TRAIN));
    assert_eq!(more.attribute("withdraw_rewards", "amount"), Some("1350utrain"));
    assert_eq!(chain.balance(address("alice")), before + due - 100 * TRAIN - FEE);
    earn(&mut chain, 8);
    let due = owed(&chain, "alice", "second").unwrap().floor().unwrap();
    let before = chain.balance(address("alice"));
    chain.ok("alice", &undelegate("alice", "second", 150 * TRAIN));
    assert_eq!(chain.balance(address("alice")), before + due - FEE);
    assert_eq!(owed(&chain, "alice", "second").unwrap_err().codespace, "distribution");
    // What a delegation left behind is no longer owed to it when it comes back.
    earn(&mut chain, 9);
    chain.ok("alice", &delegate("alice", "second", TRAIN));
    assert_eq!(owed(&chain, "alice", "second"), Ok(Dec::ZERO));
}

#[test]
fn a_commission_is_taken_first_and_withdrawn_by_the_operator() {
    let mut chain = builder().build();
    chain.ok("bob", &create_charging("bob", 150 * TRAIN));
    chain.ok("alice", &delegate("alice", "bob", 50 * TRAIN));
    chain.skip_to(10);
    // 200 of 350 units of power.
    earn(&mut chain, 7);
    let part = dec("6300").mul_div_down(Dec::whole(200), Dec::whole(350)).unwrap();
    assert_eq!(part, Dec::whole(3_600));
    assert_eq!(
        (outstanding(&chain, "bob"), commission(&chain, "bob")),
        (part, Dec::whole(900))
    );
    assert_eq!(
        (owed(&chain, "bob", "bob"), owed(&chain, "alice", "bob")),
        (Ok(dec("2025")), Ok(dec("675")))
    );
    let request = QueryValidatorDistributionInfoRequest {
        validator_address: address("bob").operator(),
    };
    let path = "/cosmos.distribution.v1beta1.Query/ValidatorDistributionInfo";
    let info: QueryValidatorDistributionInfoResponse = chain.query(path, &request).unwrap();
    assert_eq!(info.operator_address, address("bob").to_string());
    assert_eq!(
        (parts(&info.self_bond_rewards), parts(&info.commission)),
        (dec("2025"), dec("900"))
    );

    let before = chain.balance(address("bob"));
    let outcome = chain.ok("bob", &withdraw_commission("bob"));
    assert_eq!(outcome.attribute("withdraw_commission", "amount"), Some("900utrain"));
    assert_eq!(chain.balance(address("bob")), before + 900 - FEE);
    assert_eq!(
        (outstanding(&chain, "bob"), commission(&chain, "bob")),
        (dec("2700"), Dec::ZERO)
    );
    let refused = chain.deliver("bob", &withdraw_commission("bob"));
    assert_eq!(refused.failure(), ("distribution", 7), "{refused:?}");
}

#[test]
fn rounding_goes_to_the_community_and_nothing_is_lost() {
    let mut chain = builder().build();
    // 7 : 100 : 50 in power, odd shares: nothing divides.
    chain.ok("bob", &create_validator("bob", 7 * TRAIN + 1));
    chain.ok("alice", &delegate("alice", "bob", 333_333));
    chain.skip_to(10);
    earn(&mut chain, 3);
    let due = owed(&chain, "alice", "bob").unwrap();
    let whole = due.floor().unwrap();
    assert!(due > Dec::whole(whole) && whole > 0, "{due} has a part of a utrain");
    let (before, community) = (chain.balance(address("alice")), pool(&chain));
    assert!(
        community > Dec::whole(held(&chain, bank::TREASURY)),
        "dust counts to the pool"
    );
    chain.ok("alice", &withdraw("alice", "bob"));
    assert_eq!(chain.balance(address("alice")), before + whole - FEE);
    assert_eq!(
        pool(&chain),
        community
            .checked_add(due)
            .unwrap()
            .checked_sub(Dec::whole(whole))
            .unwrap()
    );
    // Parts become a whole utrain in the treasury before long; the module's account stays exact (an invariant).
    for _ in 0..5 {
        earn(&mut chain, 1);
        chain.ok("alice", &withdraw("alice", "bob"));
    }
    assert!(chain.export().distribution.dust < Dec::ONE);
}

#[test]
fn rewards_go_where_the_delegator_wants_them() {
    let mut chain = builder().build();
    chain.ok("alice", &delegate("alice", VALIDATOR, 100 * TRAIN));
    let outcome = chain.ok("alice", &withdraw_to("alice", "safe"));
    let safe = address("safe").to_string();
    assert_eq!(
        outcome.attribute("set_withdraw_address", "withdraw_address"),
        Some(safe.as_str())
    );
    let ask = |chain: &Chain| {
        let request = QueryDelegatorWithdrawAddressRequest {
            delegator_address: address("alice").to_string(),
        };
        let path = "/cosmos.distribution.v1beta1.Query/DelegatorWithdrawAddress";
        let response: QueryDelegatorWithdrawAddressResponse = chain.query(path, &request).unwrap();
        response.withdraw_address
    };
    assert_eq!(ask(&chain), safe);
    earn(&mut chain, 6);
    let due = owed(&chain, "alice", VALIDATOR).unwrap().floor().unwrap();
    let before = chain.balance(address("alice"));
    chain.ok("alice", &withdraw("alice", VALIDATOR));
    assert_eq!(
        (chain.balance(address("safe")), chain.balance(address("alice"))),
        (due, before - FEE)
    );
    // Back to oneself.
    chain.ok("alice", &withdraw_to("alice", "alice"));
    assert_eq!(ask(&chain), address("alice").to_string());
    assert_eq!(chain.export().distribution.withdraw_addresses, []);
}

#[test]
fn anybody_may_give_to_the_community() {
    let mut chain = builder().build();
    chain.ok("alice", &give("alice", 5 * TRAIN));
    assert_eq!(pool(&chain), Dec::whole(5 * TRAIN));
    assert_eq!(chain.balance(address("alice")), CASH - 5 * TRAIN - FEE);
}

#[test]
fn what_a_delegator_has_in_all() {
    let mut chain = builder().build();
    chain.ok("alice", &delegate("alice", VALIDATOR, 100 * TRAIN));
    chain.ok("alice", &delegate("alice", "second", 50 * TRAIN));
    earn(&mut chain, 6);
    let delegator_address = address("alice").to_string();
    let request = QueryDelegationTotalRewardsRequest {
        delegator_address: delegator_address.clone(),
    };
    let path = "/cosmos.distribution.v1beta1.Query/DelegationTotalRewards";
    let response: QueryDelegationTotalRewardsResponse = chain.query(path, &request).unwrap();
    let (one, other) = (
        owed(&chain, "alice", VALIDATOR).unwrap(),
        owed(&chain, "alice", "second").unwrap(),
    );
    assert_eq!(parts(&response.total), one.checked_add(other).unwrap());
    for entry in &response.rewards {
        let expected = if entry.validator_address == address("second").operator() {
            other
        } else {
            one
        };
        assert_eq!(parts(&entry.reward), expected);
    }
    let request = QueryDelegatorValidatorsRequest { delegator_address };
    let path = "/cosmos.distribution.v1beta1.Query/DelegatorValidators";
    let response: QueryDelegatorValidatorsResponse = chain.query(path, &request).unwrap();
    assert_eq!(response.validators.len(), 2);
    let path = "/cosmos.distribution.v1beta1.Query/Params";
    let response: QueryParamsResponse = chain.query(path, &QueryParamsRequest {}).unwrap();
    assert_eq!(response.params.unwrap().community_tax, "100000000000000000");
}

#[test]
fn what_is_refused() {
    let mut chain = builder().epoch_blocks(1_000).build();
    chain.ok("alice", &delegate("alice", VALIDATOR, TRAIN));
    let mut module = withdraw_to("alice", "alice");
    module.withdraw_address = trainyard_proto::address::Address::of_module(bank::TREASURY).to_string();
    let mut nowhere = withdraw_to("alice", "alice");
    nowhere.withdraw_address = "train1".into();
    let mut swapped = withdraw("alice", VALIDATOR);
    swapped.validator_address = address(VALIDATOR).to_string();
    let cases: Vec<Case<'_>> = vec![
        (
            "alice",
            any::pack(&withdraw("alice", "second")),
            ("distribution", 13),
            vec!["has no delegation to"],
        ),
        (
            "alice",
            any::pack(&withdraw("alice", "nobody")),
            ("distribution", 13),
            vec!["has no delegation to"],
        ),
        ("alice", any::pack(&swapped), ("sdk", 7), vec!["trainvaloper"]),
        (
            "alice",
            any::pack(&withdraw_commission("alice")),
            ("distribution", 7),
            vec!["less than 1utrain"],
        ),
        (
            VALIDATOR,
            any::pack(&withdraw_commission(VALIDATOR)),
            ("distribution", 7),
            vec!["less than 1utrain"],
        ),
        (
            "alice",
            any::pack(&module),
            ("sdk", 4),
            vec!["is not allowed to receive funds"],
        ),
        ("alice", any::pack(&nowhere), ("sdk", 7), vec![]),
        ("alice", any::pack(&give("alice", 0)), ("sdk", 10), vec!["zero"]),
        (
            "alice",
            any::pack(&give("alice", 2 * CASH)),
            ("sdk", 5),
            vec!["smaller than 20000000000utrain"],
        ),
    ];
    assert_all_refused(&mut chain, cases);
    // Nobody withdraws, redirects or gives in another's name.
    for message in [
        any::pack(&withdraw("alice", VALIDATOR)),
        any::pack(&withdraw_commission(VALIDATOR)),
        any::pack(&withdraw_to("alice", "bob")),
        any::pack(&give("alice", 1)),
    ] {
        let theft = chain.craft("bob", vec![message]).sign();
        let refused = chain.check(&theft);
        assert_eq!(refused.codespace, "sdk", "{refused:?}");
        assert!(!refused.is_ok() && !chain.block_unchecked([theft])[0].is_ok());
    }
}

#[test]
fn redirecting_can_be_switched_off() {
    let mut chain = builder()
        .genesis(|genesis| genesis.distribution.params.withdraw_addr_enabled = false)
        .build();
    let refused = chain.deliver("alice", &withdraw_to("alice", "bob"));
    assert_eq!(refused.failure(), ("distribution", 8), "{refused:?}");
}

/// A genesis in which the sums do not hold is refused, and nothing in it overflows.
#[test]
fn a_genesis_that_owes_more_than_there_is_is_refused() {
    use trainyard_modules::{
        context::Block,
        gas::Gas,
        state::{Empty, State},
    };
    let mut chain = builder().build();
    chain.ok("alice", &delegate("alice", VALIDATOR, TRAIN));
    earn(&mut chain, 5);
    let sound = chain.export();
    let most: Dec = "340282366920938463463.374607431768211455".parse().unwrap();
    type Bend<'a> = Box<dyn Fn(&mut machine::Genesis) + 'a>;
    let record = |genesis: &mut machine::Genesis, change: &dyn Fn(&mut RewardsGenesis)| {
        genesis.distribution.rewards.iter_mut().for_each(change);
    };
    let bends: Vec<(Bend<'_>, &str)> = vec![
        (
            Box::new(|g| record(g, &|r| r.rewards.outstanding = most)),
            "does not fit",
        ),
        (
            Box::new(|g| record(g, &|r| r.rewards.cumulative = most)),
            "does not fit",
        ),
        (
            Box::new(|g| record(g, &|r| r.rewards.commission = most)),
            "of commission",
        ),
        (Box::new(|g| g.distribution.dust = Dec::ONE), "distribution holds"),
        (
            Box::new(|g| g.distribution.since.clear()),
            "0 delegations that earn, expected 3",
        ),
        (Box::new(|g| g.distribution.rewards.clear()), "distribution holds"),
        (
            Box::new(|g| g.distribution.params.community_tax = dec("1.000000000000000001")),
            "community_tax is 1.000000000000000001, expected 0 to 1",
        ),
        (
            Box::new(|g| g.staking.validators[0].delegations[0].1 = most),
            "its delegations",
        ),
        (
            Box::new(|g| g.staking.validators[0].validator.tokens = i64::MAX.to_string()),
            "bonded_tokens_pool",
        ),
    ];
    for (bend, words) in bends {
        let mut genesis = sound.clone();
        bend(&mut genesis);
        let block = Block {
            chain_id: chain.chain_id().into(),
            height: chain.height(),
            time: chain.time(),
            proposer: Vec::new(),
            hash: Vec::new(),
        };
        let mut state = State::new(&Empty, Gas::unlimited());
        let error = machine::init_genesis(&mut state, &block, &genesis, &upgrade::THIS, &mut Vec::new()).unwrap_err();
        assert!(error.log.contains(words), "{:?} lacks {words:?}", error.log);
    }
}
