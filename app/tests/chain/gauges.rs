//! What an operator watches of the state is what queries say of it.

use std::collections::BTreeMap;

use trainyard_app::testing::{Chain, TRAIN, address, consensus_key};
use trainyard_modules::bank;
use trainyard_proto::address::Address;

use super::gov;
use super::support::{BUDGET, CLIENT, builder, join, plain, post, register_everybody, yard};

/// The gauges by name, and label values behind it.
fn gauges(chain: &Chain, own: Option<&Address>) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    for gauge in chain.app().gauges(own).unwrap() {
        assert!(!gauge.help.is_empty() && !gauge.samples.is_empty(), "{}", gauge.name);
        for (labels, value) in gauge.samples {
            let name = labels
                .iter()
                .fold(gauge.name.to_owned(), |name, (_, label)| name + " " + label);
            assert!(found.insert(name.clone(), value).is_none(), "{name} twice");
        }
    }
    found
}

#[test]
fn gauges_follow_the_state() {
    let mut chain = yard();
    let job = post(&mut chain, &plain(), BUDGET);
    chain.ok("w1", &join("w1", job));
    chain.ok(CLIENT, &gov::submit_text(CLIENT, 100 * TRAIN));
    chain.ok(CLIENT, &gov::submit_text(CLIENT, 10 * TRAIN));
    let found = gauges(&chain, None);
    let is = |name: &str, value: f64| assert_eq!(found.get(name), Some(&value), "{name} of {found:#?}");
    for (name, value) in [
        ("nodes worker", 3.0),
        ("nodes evaluator", 2.0),
        ("nodes_jailed", 0.0),
        ("nodes_engaged", 1.0),
        ("jobs open", 1.0),
        ("jobs training", 0.0),
        ("jobs_posted", 1.0),
        ("proposals voting", 1.0),
        ("proposals deposit", 1.0),
        ("proposals_submitted", 2.0),
        ("validators bonded false", 1.0),
        ("validators bonded true", 0.0),
        ("validators_tombstoned", 0.0),
        ("upgrade_height", 0.0),
        ("epoch", 0.0),
        ("epoch_blocks", 100.0),
        ("base_fee_microutrain", 100.0),
        ("block_time_seconds", chain.time() as f64),
    ] {
        is(name, value);
    }
    let of = |name: &str| chain.balance(Address::of_module(name));
    let supply: u64 = chain.read(|state| Ok(bank::SUPPLY.get(state, &"utrain".to_owned())?.unwrap()));
    is("supply_utrain", supply as f64);
    for account in bank::MODULE_ACCOUNTS {
        is(&format!("module_balance_utrain {account}"), of(account) as f64);
    }
    assert!(of(bank::ESCROW) > BUDGET && of(bank::NODE_BONDS) == 2300 * TRAIN);
    assert!(!found.contains_key("own_power"), "this node is no validator");
}

#[test]
fn a_validator_watches_itself() {
    let mut chain = register_everybody(
        builder()
            .validator("first", 100 * TRAIN)
            .validator("second", 10 * TRAIN)
            .build(),
    );
    let consensus = |name: &str| Address::of_consensus_key(&consensus_key(name));
    let (first, second) = (consensus("first"), consensus("second"));
    chain.signs("second", false);
    chain.skip(5);
    let own = |chain: &Chain, whose: &Address| {
        let found = gauges(chain, Some(whose));
        ["own_power", "own_jailed", "own_missed_blocks"].map(|name| found[name])
    };
    let [power, jailed, missed] = own(&chain, &second);
    assert!(
        power > 0.0 && jailed == 0.0 && (4.0..=5.0).contains(&missed),
        "{power} {jailed} {missed}"
    );
    assert_eq!(own(&chain, &first)[2], 0.0);
    // Nobody's key.
    let nobody = Address(address(CLIENT).0);
    assert!(!gauges(&chain, Some(&nobody)).contains_key("own_power"));
}
