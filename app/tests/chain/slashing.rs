//! Validators that vote twice, and validators that do not vote.

use trainyard_app::testing::{Builder, Chain, TRAIN, VALIDATOR, address, consensus_key, create_validator};
use trainyard_modules::{bank, context::rfc3339, machine, upgrade};
use trainyard_proto::{
    address::Address,
    any,
    cosmos::{
        distribution::v1beta1::{QueryValidatorSlashesRequest, QueryValidatorSlashesResponse},
        slashing::v1beta1::{
            MsgUnjail, QueryParamsRequest, QueryParamsResponse, QuerySigningInfoRequest, QuerySigningInfoResponse,
            QuerySigningInfosRequest, QuerySigningInfosResponse, ValidatorSigningInfo,
        },
        staking::v1beta1::BondStatus,
    },
    dec::Dec,
};

use crate::{
    distribution::withdraw,
    staking::{
        UNBONDING_SECONDS, builder as staking_builder, delegate, delegated, power, unbonding, undelegate, validator,
    },
    staking_moves::redelegate,
    support::{CASH, Case, FEE, assert_all_refused, held, worth},
};

pub(crate) fn unjail(name: &str) -> MsgUnjail {
    MsgUnjail {
        validator_addr: address(name).operator(),
    }
}

/// 100, 50 and 20 TRAIN; a window of 10 blocks of which 5 must be signed; 1 % for downtime, 10 % for voting twice.
pub(crate) fn builder() -> Builder {
    staking_builder().validator("third", 20 * TRAIN).genesis(|genesis| {
        let params = &mut genesis.slashing.params;
        params.signed_blocks_window = 10;
        params.slash_fraction_double_sign = Dec::ratio(1, 10).unwrap();
    })
}

fn consensus(name: &str) -> String {
    Address::of_consensus_key(&consensus_key(name)).consensus()
}

fn info(chain: &Chain, name: &str) -> ValidatorSigningInfo {
    let request = QuerySigningInfoRequest {
        cons_address: consensus(name),
    };
    let path = "/cosmos.slashing.v1beta1.Query/SigningInfo";
    let response: QuerySigningInfoResponse = chain.query(path, &request).unwrap();
    response.val_signing_info.unwrap()
}

fn tokens(chain: &Chain, name: &str) -> u64 {
    validator(chain, name).tokens.parse().unwrap()
}

/// Reasons of the slashes in the last block, and what they burned.
fn slashes(chain: &Chain) -> Vec<(String, String)> {
    let slashes = chain.events().iter().filter(|e| e.r#type == "slash");
    slashes
        .map(|event| {
            let get = |key| event.attributes.iter().find(|a| a.key == key).unwrap().value.clone();
            (get("reason"), get("burned_coins"))
        })
        .collect()
}

#[test]
fn a_validator_that_goes_down_is_slashed_jailed_and_may_return() {
    let mut chain = builder().build();
    chain.skip(2);
    chain.signs("second", false);
    // The commit of a block comes with the next; five of ten may be missed.
    for missed in 1..=5 {
        chain.skip(1);
        assert_eq!(info(&chain, "second").missed_blocks_counter, missed);
        assert_eq!(slashes(&chain), []);
    }
    chain.skip(1);
    assert_eq!(slashes(&chain), [("missing_signature".into(), "500000utrain".into())]);
    let down = validator(&chain, "second");
    assert_eq!(
        (down.jailed, down.tokens.as_str(), down.status()),
        (true, "49500000", BondStatus::Bonded)
    );
    assert_eq!(held(&chain, bank::BONDED_POOL), 169_500_000);
    assert_eq!(info(&chain, "second").missed_blocks_counter, 0);
    let until = chain.time() + 600;
    assert_eq!(
        info(&chain, "second").jailed_until.unwrap().seconds,
        i64::try_from(until).unwrap()
    );
    // Until the epoch's end it is in the set, and is punished no further.
    chain.skip_to(9);
    assert_eq!((slashes(&chain), power(&chain, "second")), (Vec::new(), Some(50)));
    chain.skip_to(10);
    assert_eq!(power(&chain, "second"), None);
    let early = chain.deliver("second", &unjail("second"));
    assert_eq!(early.failure(), ("slashing", 4), "{early:?}");
    chain.signs("second", true);
    chain.pass_time(600);
    let outcome = chain.ok("second", &unjail("second"));
    assert_eq!(
        outcome.attribute("unjail", "validator"),
        Some(address("second").operator().as_str())
    );
    chain.skip_to(20);
    assert_eq!(power(&chain, "second"), Some(49));
    let path = "/cosmos.slashing.v1beta1.Query/SigningInfos";
    let all: QuerySigningInfosResponse = chain.query(path, &QuerySigningInfosRequest::default()).unwrap();
    // Whoever never missed a block is listed too, though nothing is kept of it.
    assert_eq!(all.info.len(), 3);
    assert_eq!(info(&chain, VALIDATOR).missed_blocks_counter, 0);
}

#[test]
fn who_misses_now_and_then_is_not_punished() {
    let mut chain = builder().build();
    for _ in 0..30 {
        chain.signs("second", false);
        chain.skip(1);
        chain.signs("second", true);
        chain.skip(1);
    }
    assert!(!validator(&chain, "second").jailed);
    assert_eq!(
        (tokens(&chain, "second"), info(&chain, "second").missed_blocks_counter),
        (50 * TRAIN, 5)
    );
    chain.skip(10);
    assert_eq!(info(&chain, "second").missed_blocks_counter, 0);
    assert_eq!(chain.export().slashing.infos[0].missed, [0u64; 0]);
}

#[test]
fn who_votes_twice_is_slashed_once_and_never_returns() {
    let mut chain = builder().build();
    chain.ok("alice", &delegate("alice", "second", 50 * TRAIN));
    chain.skip_to(10);
    chain.votes_twice("second", 8);
    chain.votes_twice("second", 9);
    chain.skip(1);
    // A tenth of 100 TRAIN, by shares; the second piece of evidence finds it buried.
    assert_eq!(slashes(&chain), [("double_sign".into(), "10000000utrain".into())]);
    assert_eq!(delegated(&chain, "alice", "second").as_deref(), Some("45000000"));
    let found = info(&chain, "second");
    assert!(found.tombstoned && found.jailed_until.unwrap().seconds == 253_402_300_799);
    chain.skip_to(20);
    assert_eq!(power(&chain, "second"), None);
    chain.pass_time(10_000_000);
    let refused = chain.deliver("second", &unjail("second"));
    assert_eq!(refused.failure(), ("slashing", 9), "{refused:?}");
    let request = QueryValidatorSlashesRequest {
        validator_address: address("second").operator(),
        ..Default::default()
    };
    let path = "/cosmos.distribution.v1beta1.Query/ValidatorSlashes";
    let response: QueryValidatorSlashesResponse = chain.query(path, &request).unwrap();
    let fractions: Vec<_> = response.slashes.iter().map(|s| s.fraction.as_str()).collect();
    assert_eq!(fractions, ["100000000000000000"]);
    // The key stays taken when all stake has gone.
    chain.skip(1);
    for name in ["alice", "second"] {
        chain.ok(name, &undelegate(name, "second", 45 * TRAIN));
    }
    let mut again = create_validator("bob", TRAIN);
    again.pubkey = create_validator("second", 1).pubkey;
    let refused = chain.deliver("bob", &again);
    assert_eq!(refused.failure(), ("staking", 5), "{refused:?}");
    assert!(
        refused.log.contains("has voted twice"),
        "the validator is forgotten, its key is not: {refused:?}"
    );
    let refused = chain.deliver("second", &unjail("second"));
    assert_eq!(refused.failure(), ("slashing", 2), "{refused:?}");
    let mut imported = Chain::from_genesis(chain.chain_id(), &chain.export(), chain.height() + 1, chain.time());
    let refused = imported.deliver("bob", &again);
    assert_eq!(refused.failure(), ("staking", 5), "{refused:?}");
}

#[test]
fn stake_that_left_after_the_infraction_answers_for_it() {
    let mut chain = builder().build();
    chain.ok("alice", &delegate("alice", "second", 40 * TRAIN));
    chain.ok("bob", &delegate("bob", "second", 10 * TRAIN));
    chain.skip_to(10);
    chain.ok("bob", &undelegate("bob", "second", 10 * TRAIN));
    chain.skip(1);
    let infraction = chain.height() + 1;
    chain.ok("alice", &undelegate("alice", "second", 20 * TRAIN));
    chain.ok("alice", &redelegate("alice", "second", "third", 10 * TRAIN));
    // She takes most of what she moved out of the third as well.
    chain.ok("alice", &undelegate("alice", "third", 9_500_000));
    let treasury = held(&chain, bank::TREASURY);
    chain.votes_twice("second", infraction + 1);
    chain.skip(1);
    // Power 100: 10 TRAIN are due. 2 from what unbonds and 1 from what moved; the other 7 from 60 TRAIN that are left.
    assert_eq!(slashes(&chain), [("double_sign".into(), "10000000utrain".into())]);
    assert_eq!(unbonding(&chain, "alice", "second"), ["18000000"]);
    assert_eq!(unbonding(&chain, "alice", "third"), ["8500000"]);
    assert_eq!(delegated(&chain, "alice", "third").as_deref(), Some("500000"));
    assert_eq!(tokens(&chain, "second"), 53 * TRAIN);
    // Bob left before.
    assert_eq!(unbonding(&chain, "bob", "second"), ["10000000"]);
    assert_eq!(held(&chain, bank::TREASURY), treasury, "what is slashed is burned");
    let before = chain.balance(address("bob"));
    chain.pass_time(UNBONDING_SECONDS);
    chain.skip(1);
    assert_eq!(chain.balance(address("bob")), before + 10 * TRAIN);
}

/// Without a wait there, a validator out of the set would be a way around every wait and every slash.
#[test]
fn what_moved_to_a_validator_out_of_the_set_waits_and_answers_there() {
    for (slashed, left) in [(false, 10 * TRAIN), (true, 9 * TRAIN)] {
        let mut chain = builder().epoch_blocks(1_000).build();
        chain.ok("bob", &create_validator("bob", TRAIN));
        chain.ok("alice", &delegate("alice", "second", 10 * TRAIN));
        let infraction = chain.height() + 1;
        chain.ok("alice", &redelegate("alice", "second", "bob", 10 * TRAIN));
        let free = chain.time() + UNBONDING_SECONDS;
        assert_eq!(validator(&chain, "bob").status(), BondStatus::Unbonded);
        // What never moved is free at once.
        chain.ok("bob", &undelegate("bob", "bob", TRAIN));
        let outcome = chain.ok("alice", &undelegate("alice", "bob", 10 * TRAIN));
        let completes = rfc3339(free);
        assert_eq!(outcome.attribute("unbond", "completion_time"), Some(completes.as_str()));
        assert_eq!(worth(&chain, "alice"), CASH - 10 * TRAIN);
        assert_eq!(unbonding(&chain, "alice", "bob"), ["10000000"]);
        if slashed {
            chain.votes_twice("second", infraction);
        }
        chain.skip(1);
        chain.pass_time(UNBONDING_SECONDS);
        chain.skip(1);
        assert_eq!(worth(&chain, "alice"), CASH - 10 * TRAIN + left);
        assert_eq!(unbonding(&chain, "alice", "bob"), [""; 0]);
    }
}

/// A validator that left the set is free before what came to it from one that did not.
#[test]
fn what_moved_to_a_validator_on_its_way_out_waits_for_its_own_time() {
    let mut chain = builder().genesis(|g| g.staking.params.max_validators = 2).build();
    chain.skip_to(10);
    let third = validator(&chain, "third");
    assert_eq!(third.status(), BondStatus::Unbonded, "it never was in the set of two");
    chain.ok("bob", &create_validator("bob", 60 * TRAIN));
    chain.skip_to(20);
    let second = validator(&chain, "second");
    assert_eq!(second.status(), BondStatus::Unbonding);
    chain.pass_time(UNBONDING_SECONDS - 10);
    chain.ok("alice", &delegate("alice", "bob", 10 * TRAIN));
    chain.ok("alice", &redelegate("alice", "bob", "second", 10 * TRAIN));
    let free = rfc3339(chain.time() + UNBONDING_SECONDS);
    let outcome = chain.ok("alice", &undelegate("alice", "second", 10 * TRAIN));
    assert_eq!(outcome.attribute("unbond", "completion_time"), Some(free.as_str()));
}

#[test]
fn rewards_stay_right_over_a_slash() {
    let mut chain = builder().build();
    chain.ok("alice", &delegate("alice", "second", 50 * TRAIN));
    chain.skip_to(10);
    chain.ok("alice", &delegate("alice", VALIDATOR, 1));
    chain.skip_to(20);
    let owed = chain.export().distribution.rewards;
    chain.votes_twice("second", 19);
    chain.skip(1);
    assert_eq!(
        chain.export().distribution.rewards,
        owed,
        "a slash takes stake, not rewards"
    );
    // Who comes after the slash gets more shares for as much, and no part of what was earned before.
    chain.ok("bob", &delegate("bob", "second", 45 * TRAIN));
    assert_eq!(delegated(&chain, "bob", "second").as_deref(), Some("45000000"));
    let before = chain.balance(address("alice"));
    let outcome = chain.ok("alice", &withdraw("alice", "second"));
    let paid = outcome.attribute("withdraw_rewards", "amount").unwrap();
    let paid: u64 = paid.trim_end_matches("utrain").parse().unwrap();
    assert!(paid > 0);
    assert_eq!(chain.balance(address("alice")), before + paid - FEE);
    let outcome = chain.ok("bob", &withdraw("bob", "second"));
    assert_eq!(outcome.attribute("withdraw_rewards", "amount"), Some("0utrain"));
}

#[test]
fn an_exported_chain_remembers_who_missed_what() {
    let mut chain = builder().build();
    chain.skip(2);
    chain.signs("second", false);
    chain.skip(4);
    chain.votes_twice("third", 3);
    chain.skip(1);
    let exported = chain.export();
    assert_eq!(
        (exported.slashing.infos.len(), exported.distribution.slashes.len()),
        (2, 1)
    );
    let mut twin = Chain::from_genesis(chain.chain_id(), &exported, chain.height() + 1, chain.time());
    twin.signs("second", false);
    for chain in [&mut chain, &mut twin] {
        chain.skip(1);
        assert_eq!(slashes(chain).len(), 1, "the sixth miss");
        chain.skip(20);
    }
    assert_eq!(twin.export(), chain.export());
    assert_eq!(twin.app_hash(), chain.app_hash());
}

#[test]
fn a_chain_whose_validators_are_all_jailed_goes_on() {
    let mut chain = builder().build();
    for name in [VALIDATOR, "second", "third"] {
        chain.votes_twice(name, 1);
    }
    chain.skip_to(20);
    assert_eq!(chain.validators().len(), 3);
    chain.ok("bob", &create_validator("bob", 5 * TRAIN));
    chain.skip_to(30);
    assert_eq!((chain.validators().len(), power(&chain, "bob")), (1, Some(5)));
}

#[test]
fn who_may_not_unjail() {
    let mut chain = builder().epoch_blocks(1_000).build();
    chain.ok("alice", &delegate("alice", "third", TRAIN));
    let mut thief = unjail("second");
    thief.validator_addr = address("second").to_string();
    let cases: Vec<Case<'_>> = vec![
        (
            "alice",
            any::pack(&unjail("alice")),
            ("slashing", 2),
            vec!["does not exist"],
        ),
        (
            "second",
            any::pack(&unjail("second")),
            ("slashing", 5),
            vec!["is not jailed"],
        ),
        ("second", any::pack(&thief), ("sdk", 7), vec!["trainvaloper"]),
    ];
    assert_all_refused(&mut chain, cases);
    let theft = chain.craft("alice", vec![any::pack(&unjail("second"))]).sign();
    assert!(!chain.check(&theft).is_ok() && !chain.block_unchecked([theft])[0].is_ok());
    // Who broke its promise keeps it first.
    chain.skip(1);
    chain.ok("third", &undelegate("third", "third", 20 * TRAIN));
    let refused = chain.deliver("third", &unjail("third"));
    assert_eq!(refused.failure(), ("slashing", 7), "{refused:?}");
    chain.ok("third", &delegate("third", "third", 1));
    chain.ok("third", &unjail("third"));
    let path = "/cosmos.slashing.v1beta1.Query/Params";
    let response: QueryParamsResponse = chain.query(path, &QueryParamsRequest {}).unwrap();
    let params = response.params.unwrap();
    assert_eq!(
        (params.signed_blocks_window, params.slash_fraction_downtime),
        (10, b"10000000000000000".to_vec())
    );
}

#[test]
fn a_genesis_whose_counts_are_wrong_is_refused() {
    use trainyard_modules::{
        context::Block,
        gas::Gas,
        slashing::{Info, InfoGenesis},
        state::{Empty, State},
    };
    for (missed, places, sound) in [(2, vec![1, 9], true), (1, vec![1, 9], false), (1, vec![10], false)] {
        let mut genesis = builder().to_genesis();
        let validator = consensus("second");
        let info = Info {
            missed,
            ..Info::default()
        };
        genesis.slashing.infos = vec![InfoGenesis {
            validator,
            info,
            missed: places,
            slashed: Vec::new(),
        }];
        let block = Block {
            chain_id: "trainyard-test-1".into(),
            height: 0,
            time: 1_700_000_000,
            proposer: Vec::new(),
            hash: Vec::new(),
        };
        let mut state = State::new(&Empty, Gas::unlimited());
        let result = machine::init_genesis(&mut state, &block, &genesis, &upgrade::THIS, &mut Vec::new());
        assert_eq!(result.is_ok(), sound, "{result:?}");
    }
}
