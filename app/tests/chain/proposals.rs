//! Blocks of hostile or hurried proposers, the mempool, and what a node refuses to start from.

use prost::Message;
use tendermint_proto::v0_38::abci::{self, response_process_proposal::ProposalStatus};
use trainyard_app::{
    application::{Application, Config},
    store::{Options, Store},
    testing::{Chain, TRAIN, VALIDATOR, address, create_validator, send},
};
use trainyard_modules::{consensus::MAX_BLOCK_GAS, machine::Genesis, pouw};
use trainyard_proto::{
    any,
    cosmos::tx::v1beta1::{SimulateRequest, SimulateResponse, TxRaw},
    pouw::PouwHeader,
};

use crate::support::*;

fn pay(chain: &mut Chain, from: &str) -> Vec<u8> {
    chain.tx(from, vec![any::pack(&send(from, "other", 1))])
}

#[test]
fn a_block_begins_with_the_header_that_every_node_computes() {
    let mut chain = yard();
    let header = pouw::encode(&PouwHeader::default());
    let tx = pay(&mut chain, "w1");
    assert_eq!(chain.process(&[header.clone(), tx.clone()]), ProposalStatus::Accept);
    let invented = PouwHeader {
        work_proof: vec![1; 32],
        ..PouwHeader::default()
    };
    for block in [
        vec![],
        vec![tx.clone()],
        vec![tx.clone(), header.clone()],
        vec![header.clone(), header.clone()],
        vec![header.clone(), tx.clone(), header.clone()],
        vec![pouw::encode(&invented), tx.clone()],
    ] {
        assert_eq!(chain.process(&block), ProposalStatus::Reject, "{block:?}");
    }
}

#[test]
fn a_slot_names_the_work_and_the_last_model() {
    let mut chain = yard();
    let id = evaluating(&mut chain, &plain());
    score(&mut chain, id, [("e1", 1), ("e2", 1)]);
    chain.skip_to((chain.height() + 1).next_multiple_of(10) - 1);
    // The next block is a slot: an empty header will not do.
    assert_eq!(
        chain.process(&[pouw::encode(&PouwHeader::default())]),
        ProposalStatus::Reject
    );
    let header = PouwHeader {
        beacon_proof: Vec::new(),
        task_id: id,
        work_proof: trainyard_exact::merkle::root(&leaves(&chain, id)).to_vec(),
        model_hash: root("weights"),
    };
    assert_eq!(chain.process(&[pouw::encode(&header)]), ProposalStatus::Accept);
    chain.skip(1);
}

fn leaves(chain: &Chain, id: u64) -> Vec<Vec<u8>> {
    let logged = chain.export().job.commits;
    assert_eq!((logged.len(), chain.job(id).workers.len()), (6, 3));
    logged.iter().map(|leaf| hex::decode(leaf).unwrap()).collect()
}

#[test]
fn a_header_is_no_transaction() {
    let mut chain = yard();
    let header = pouw::encode(&PouwHeader::default());
    let refused = chain.check(&header);
    assert_eq!(refused.failure(), ("sdk", 6), "{refused:?}");
    assert!(refused.log.contains("the proposer's to put in front"), "{refused:?}");
    let tx = pay(&mut chain, "w1");
    let outcomes = chain.block_unchecked([header, tx]);
    assert!(!outcomes[0].included && outcomes[1].is_ok(), "{outcomes:?}");
}

#[test]
fn a_block_holds_no_more_gas_than_it_may() {
    let mut chain = yard();
    let craft = chain
        .craft("w1", vec![any::pack(&send("w1", "w2", 1))])
        .gas(50_000_000)
        .fee(5_000);
    let txs: Vec<_> = (0..9)
        .map(|number| craft.clone().sequence_offset(number).sign())
        .collect();
    let outcomes = chain.block(txs.clone());
    let included = outcomes.iter().filter(|o| o.included).count() as u64;
    assert_eq!(included, MAX_BLOCK_GAS / 50_000_000);
    assert!(outcomes[..8].iter().all(trainyard_app::testing::Outcome::is_ok));
    let mut block = vec![pouw::encode(&PouwHeader::default())];
    block.extend(txs);
    assert_eq!(chain.process(&block), ProposalStatus::Reject);
    block.pop();
    assert_eq!(chain.process(&block), ProposalStatus::Accept);
}

#[test]
fn proposals_fit_in_the_bytes_that_consensus_allows() {
    let mut chain = yard();
    let txs: Vec<Vec<u8>> = (0..20).map(|_| pay(&mut chain, "w1")).collect();
    let max_tx_bytes = 2_000;
    let request = abci::RequestPrepareProposal {
        max_tx_bytes,
        txs: txs.into_iter().map(Into::into).collect(),
        height: 2,
        ..abci::RequestPrepareProposal::default()
    };
    let proposed = chain.app().prepare_proposal(request).unwrap().txs;
    let bytes: i64 = proposed
        .iter()
        .map(|tx| (tx.len() + 1 + prost::length_delimiter_len(tx.len())) as i64)
        .sum();
    assert!(
        proposed.len() > 3 && bytes <= max_tx_bytes,
        "{} txs with {bytes} bytes",
        proposed.len()
    );
}

#[test]
fn several_transactions_of_one_account_wait_in_order() {
    let mut chain = yard();
    let (first, second, third) = (pay(&mut chain, "w1"), pay(&mut chain, "w1"), pay(&mut chain, "w1"));
    assert!(chain.check(&first).is_ok() && chain.check(&second).is_ok() && chain.check(&third).is_ok());
    assert_eq!(
        chain.check(&second).failure(),
        ("sdk", 32),
        "the mempool holds it already"
    );
    // Only the first is proposed; the others are checked again after the block, and are still good.
    assert!(chain.block_unchecked([first.clone()])[0].is_ok());
    let recheck = |tx: &[u8]| {
        let request = abci::RequestCheckTx {
            tx: tx.to_vec().into(),
            r#type: abci::CheckTxType::Recheck.into(),
        };
        chain.app().check_tx(&request).unwrap().code
    };
    assert_eq!((recheck(&first), recheck(&second), recheck(&third)), (32, 0, 0));
    assert!(
        chain
            .block_unchecked([second, third])
            .iter()
            .all(trainyard_app::testing::Outcome::is_ok)
    );
}

#[test]
fn a_block_executes_what_no_mempool_would_take() {
    let mut chain = yard();
    let good = pay(&mut chain, "w2");
    let outcomes = chain.block_unchecked([b"garbage".to_vec(), good, vec![0xff; 1 << 20]]);
    assert_eq!(outcomes.iter().map(|o| o.code).collect::<Vec<_>>(), [2, 0, 21]);
    assert!(
        outcomes.iter().all(|o| !o.events.is_empty()),
        "clients drop results without events"
    );
}

#[test]
fn simulation_needs_no_signature_and_changes_nothing() {
    let chain = yard();
    let mut craft = chain.craft("w1", vec![any::pack(&send("w1", "w2", 1))]).gas(0).fee(0);
    craft.draft.memo = "as CosmJS asks".into();
    let mut raw = TxRaw::decode(craft.sign().as_slice()).unwrap();
    raw.signatures = vec![Vec::new()];
    #[allow(deprecated)] // The SDK's message has an older way to name the transaction beside this one.
    let request = SimulateRequest {
        tx: None,
        tx_bytes: raw.encode_to_vec(),
    };
    let before = chain.export();
    let path = "/cosmos.tx.v1beta1.Service/Simulate";
    let simulated: SimulateResponse = chain.query(path, &request).unwrap();
    let used = simulated.gas_info.unwrap().gas_used;
    assert!((20_000..200_000).contains(&used), "{used}");
    assert_eq!(chain.export(), before);
    let mut chain = chain;
    let outcome = chain.deliver("w1", &send("w1", "w2", 1));
    let delivered = u64::try_from(outcome.gas_used).unwrap();
    assert!(
        delivered.abs_diff(used) < used / 5,
        "simulated {used}, delivered {delivered}"
    );
    // What would not pass is said.
    raw.body_bytes.clear();
    #[allow(deprecated)]
    let request = SimulateRequest {
        tx: None,
        tx_bytes: raw.encode_to_vec(),
    };
    let error = chain.query::<_, SimulateResponse>(path, &request).unwrap_err();
    assert_eq!((error.codespace.as_str(), error.code), ("sdk", 18), "{error:?}");
}

#[test]
fn queries_that_cannot_be_answered_say_why() {
    let chain = yard();
    let cases: [(&str, Vec<u8>, i64, bool, &str); 8] = [
        ("/nowhere", vec![], 0, false, "unknown query path \"/nowhere\""),
        ("/trainyard.job.v1.Query/Job", vec![0xff], 0, false, "does not decode"),
        ("/trainyard.job.v1.Query/Job", vec![8, 9], 0, false, "job 9 not found"),
        (
            "/trainyard.job.v1.Query/Params",
            vec![],
            99,
            false,
            "height 99 is not committed yet: the latest height is 1",
        ),
        (
            "/store/main/key",
            b"bank/".to_vec(),
            99,
            true,
            "height 99 is not committed yet",
        ),
        ("/store/main/key", vec![], 0, true, "the key is empty"),
        ("/store/main/key", vec![], 0, false, "the key is empty"),
        (
            "/cosmos.auth.v1beta1.Query/Account",
            [&[10, 4][..], b"none"].concat(),
            0,
            false,
            "none",
        ),
    ];
    for (path, data, height, prove, words) in cases {
        let response = chain.abci_query(path, data, height, prove);
        assert!(
            response.code != 0 && response.codespace == "sdk",
            "{path}: {response:?}"
        );
        assert!(response.log.contains(words), "{:?} lacks {words:?}", response.log);
        assert!(response.height > 0, "CosmJS takes height 0 for a node without blocks");
    }
    let path = "x".repeat(100_000);
    assert!(chain.abci_query(&path, vec![], 0, false).log.len() < 500);
}

#[test]
fn a_gentx_is_an_ordinary_transaction_later() {
    let mut chain = Chain::builder().fund("late", CASH).epoch_blocks(5).build();
    chain.ok("late", &create_validator("late", 7 * TRAIN));
    chain.skip_to(5);
    assert_eq!(chain.validators().len(), 2);
}

/// What InitChain says to a genesis; nothing may be left of one that is refused.
fn init(genesis: &Genesis) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &Options::default()).unwrap();
    let app = Application::new(store, Config::default()).unwrap();
    let request = abci::RequestInitChain {
        chain_id: "trainyard-test-1".into(),
        app_state_bytes: serde_json::to_vec(genesis).unwrap().into(),
        initial_height: 1,
        ..abci::RequestInitChain::default()
    };
    let answer = app.init_chain(request);
    assert_eq!(app.info(&abci::RequestInfo::default()).last_block_height, 0);
    answer.map(drop).map_err(|e| e.to_string())
}

#[test]
fn a_genesis_that_cannot_be_is_refused_with_its_reason() {
    let good = builder().to_genesis();
    assert_eq!(init(&good), Ok(()));
    type Change<'a> = &'a dyn Fn(&mut Genesis);
    let cases: Vec<(Change<'_>, Vec<&str>)> = vec![
        (
            &|g| g.genutil.gen_txs.clear(),
            vec!["no validator with at least 1 TRAIN"],
        ),
        (&|g| g.genutil.gen_txs[0].push('!'), vec!["gentx 0: not base64"]),
        (&|g| g.genutil.gen_txs[0] = "AAAA".into(), vec!["gentx 0:"]),
        (&|g| g.core.epoch_blocks = 0, vec!["epoch_blocks is 0", "1 to 1000000"]),
        (
            &|g| g.core.epoch_first = 7,
            vec!["core epoch 0 has the heights 7 to", "the first block's, 1, among them"],
        ),
        (&|g| g.core.beacon = "ff".into(), vec!["core beacon \"ff\"", "32 bytes"]),
        (&|g| g.bank.balances.push(g.bank.balances[0].clone()), vec!["twice"]),
        (
            &|g| g.bank.balances[0].amount = u64::MAX,
            vec!["genesis balances exceed 9223372036854775807utrain"],
        ),
        (&|g| g.bank.balances[0].address = "nobody".into(), vec!["nobody"]),
        (
            &|g| g.bank.balances.retain(|b| b.address != address(VALIDATOR).to_string()),
            vec!["gentx 0", "unknown address"],
        ),
        (
            &|g| g.job.params.workers_bp = 9_501,
            vec!["workers_bp + evaluators_bp is 10001", "0 to 10000"],
        ),
        (
            &|g| g.job.params.commit_blocks = 0,
            vec!["commit_blocks is 0", "1 to 1000000"],
        ),
        (
            &|g| g.registry.params.unbonding_blocks = 0,
            vec!["unbonding_blocks is 0", "at least 1"],
        ),
        (
            &|g| g.registry.params.initial_reputation = 101,
            vec!["initial_reputation is 101", "at most 100"],
        ),
        (
            &|g| g.staking.params.max_validators = 0,
            vec!["max_validators is 0", "1 to 1000"],
        ),
        (
            &|g| g.staking.params.unbonding_time = None,
            vec!["unbonding_time is 0 s"],
        ),
        (
            &|g| g.staking.params.bond_denom = "stake".into(),
            vec!["bond_denom is \"stake\"", "utrain"],
        ),
        (
            &|g| {
                let mut node = trainyard_proto::registry::Node {
                    owner: address("w1").to_string(),
                    ..Default::default()
                };
                node.bond = 5;
                g.registry.nodes.push(node);
            },
            vec!["registry holds 0utrain for bonds 5"],
        ),
    ];
    for (change, words) in cases {
        let mut genesis = good.clone();
        change(&mut genesis);
        let error = init(&genesis).unwrap_err();
        for word in words {
            assert!(error.contains(word), "{error:?} lacks {word:?}");
        }
    }
}

#[test]
fn a_gentx_of_another_chain_is_refused() {
    let mut genesis = builder().to_genesis();
    genesis.genutil = Chain::builder().chain_id("trainyard-test-2").to_genesis().genutil;
    let error = init(&genesis).unwrap_err();
    assert!(
        error.contains("gentx 0") && error.contains("chain-id (trainyard-test-1)"),
        "{error}"
    );
}
