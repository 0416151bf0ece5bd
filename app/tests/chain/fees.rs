//! The base fee: it follows the gas of blocks, within its bounds, and nobody pays less.

use trainyard_app::testing::{Chain, TRAIN, VALIDATOR, address, send};
use trainyard_modules::{fees::default_params, governed::authority, machine::Genesis};
use trainyard_proto::{
    any,
    cosmos::base::node::v1beta1::{ConfigRequest, ConfigResponse},
    fees::{
        MsgUpdateParams, Params, QueryBaseFeeRequest, QueryBaseFeeResponse, QueryParamsRequest, QueryParamsResponse,
    },
};

use crate::{
    gov::{short_votes, submit, vote_yes},
    support::*,
};

/// What a test's transaction asks for unless it says otherwise.
const GAS: u64 = 5_000_000;

/// Two transactions are a block's target.
fn two_are_enough(genesis: &mut Genesis) {
    genesis.fees.params.target_gas = 2 * GAS;
}

fn base_fee(chain: &Chain) -> u64 {
    let path = "/trainyard.fees.v1.Query/BaseFee";
    let answer: QueryBaseFeeResponse = chain.query(path, &QueryBaseFeeRequest {}).unwrap();
    assert_eq!(answer.gas_price, format!("0.{:06}utrain", answer.base_fee));
    answer.base_fee
}

/// A block of `count` transfers, all of which succeed.
fn sends(chain: &mut Chain, count: usize) {
    let txs = (0..count).map(|_| chain.tx("other", vec![any::pack(&send("other", CLIENT, 1))]));
    let txs = txs.collect();
    all_ok(chain, txs);
}

#[test]
fn the_base_fee_rises_under_load_and_falls_back() {
    let mut chain = builder().genesis(two_are_enough).build();
    chain.skip(1);
    assert_eq!(base_fee(&chain), 100, "idle chains are as cheap as can be");
    sends(&mut chain, 2);
    assert_eq!(base_fee(&chain), 100);
    let mut seen = Vec::new();
    for _ in 0..5 {
        sends(&mut chain, 4);
        seen.push(base_fee(&chain));
    }
    assert_eq!(seen, [112, 126, 141, 158, 177]);
    let moved = chain.events().iter().find(|e| e.r#type == "base_fee").unwrap();
    let of = |key: &str| moved.attributes.iter().find(|a| a.key == key).unwrap().value.clone();
    assert_eq!(
        (of("gas_price"), of("block_gas")),
        ("0.000177utrain".into(), (4 * GAS).to_string())
    );
    // What has a limit takes room, used or not; what does not run takes none.
    let void = chain
        .craft("other", vec![any::pack(&send("other", CLIENT, 1))])
        .sequence_offset(7)
        .sign();
    chain.block_unchecked(vec![void; 4]);
    assert_eq!(base_fee(&chain), 155);
    chain.skip(2);
    assert_eq!(base_fee(&chain), 119);
    chain.skip(2);
    assert_eq!(base_fee(&chain), 100);
}

#[test]
fn nobody_pays_less_than_the_base_fee() {
    let dear = builder().genesis(|genesis| {
        genesis.fees.params.min_base_fee = 200;
        genesis.fees.params.target_gas = GAS;
    });
    let mut chain = dear.build();
    chain.skip(1);
    assert_eq!(base_fee(&chain), 200);
    let craft = chain.craft("w1", vec![any::pack(&send("w1", "w2", 1))]).gas(GAS);
    let cheap = craft.clone().fee(999).sign();
    let refusal = Refusal {
        failure: ("sdk", 13),
        words: &["insufficient fees; got: 999utrain required: 1000utrain"],
        payer: None,
    };
    assert_refused(&mut chain, cheap, &refusal);
    assert!(chain.block([craft.sign()])[0].is_ok());
    // Two more than the target raise it, and what waited with the old price is not taken any more.
    let dear = |chain: &mut Chain, name: &str| {
        chain
            .craft(name, vec![any::pack(&send(name, "w2", 1))])
            .fee(9_999)
            .sign()
    };
    let full = [dear(&mut chain, "w1"), dear(&mut chain, "w3")];
    assert!(chain.block(full).iter().all(trainyard_app::testing::Outcome::is_ok));
    assert_eq!(base_fee(&chain), 225);
    let late = chain.tx("w2", vec![any::pack(&send("w2", "w1", 1))]);
    let outcome = chain.block_unchecked([late]).remove(0);
    assert_eq!(outcome.failure(), ("sdk", 13), "{outcome:?}");
    assert!(outcome.log.contains("required: 1125utrain"), "{outcome:?}");
}

#[test]
fn wallets_can_ask_a_node_what_gas_costs() {
    let config = |chain: &Chain| -> ConfigResponse {
        chain
            .query("/cosmos.base.node.v1beta1.Service/Config", &ConfigRequest {})
            .unwrap()
    };
    let mut chain = builder().genesis(two_are_enough).build();
    chain.skip(1);
    assert_eq!(config(&chain).minimum_gas_price, "0.000100utrain");
    sends(&mut chain, 4);
    assert_eq!(config(&chain).minimum_gas_price, "0.000112utrain");
    let mut chain = builder().min_gas_price_micro(25_000).build();
    chain.skip(1);
    assert_eq!(config(&chain).minimum_gas_price, "0.025000utrain");
}

#[test]
fn a_chain_that_goes_on_from_an_export_asks_the_same() {
    let mut chain = builder().epoch_blocks(100_000).genesis(two_are_enough).build();
    for _ in 0..3 {
        sends(&mut chain, 4);
    }
    let exported = chain.export();
    assert_eq!(exported.fees.base_fee, 141);
    let mut twin = Chain::from_genesis(chain.chain_id(), &exported, chain.height() + 1, chain.time());
    for chain in [&mut chain, &mut twin] {
        chain.skip(1);
        sends(chain, 3);
    }
    assert_eq!((base_fee(&twin), twin.app_hash()), (base_fee(&chain), chain.app_hash()));
}

#[test]
fn governance_changes_how_it_moves_or_switches_it_off() {
    let mut chain = builder().genesis(short_votes).genesis(two_are_enough).build();
    for _ in 0..2 {
        sends(&mut chain, 4);
    }
    assert_eq!(base_fee(&chain), 126);
    let update = |params| MsgUpdateParams {
        authority: authority().to_string(),
        params,
    };
    let off = Params {
        min_base_fee: 0,
        max_base_fee: 0,
        ..default_params()
    };
    let message = any::pack(&update(Some(off)));
    chain.ok(CLIENT, &submit(CLIENT, vec![message], 100 * TRAIN));
    chain.ok(VALIDATOR, &vote_yes(VALIDATOR, 1));
    chain.pass_time(60);
    chain.skip(2);
    assert_eq!(base_fee(&chain), 0);
    let path = "/trainyard.fees.v1.Query/Params";
    let found: QueryParamsResponse = chain.query(path, &QueryParamsRequest {}).unwrap();
    assert_eq!(found.params, Some(off));
    let free = chain
        .craft("other", vec![any::pack(&send("other", CLIENT, 1))])
        .fee(0)
        .sign();
    assert!(chain.block([free])[0].is_ok());

    // Nobody else can, and what makes no sense is refused before it is voted on.
    let mut own = update(Some(default_params()));
    own.authority = address("other").to_string();
    let wrong = |change: fn(&mut Params)| {
        let mut params = default_params();
        change(&mut params);
        let message = any::pack(&update(Some(params)));
        any::pack(&submit(CLIENT, vec![message], 100 * TRAIN))
    };
    let cases = vec![
        ("other", any::pack(&own), ("sdk", 4), vec!["expected governance"]),
        (
            CLIENT,
            wrong(|p| p.min_base_fee = 100_000_001),
            ("gov", 12),
            vec!["min_base_fee is 100000001, at most max_base_fee, 100000000"],
        ),
        (
            CLIENT,
            wrong(|p| p.target_gas = 0),
            ("gov", 12),
            vec!["target_gas is 0"],
        ),
    ];
    assert_all_refused(&mut chain, cases);
}
