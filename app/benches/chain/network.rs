//! Committed transactions per second on real CometBFT: one validator and four, beside CometBFT's own kvstore application with
//! the same settings, and beside the Cosmos SDK's `simd` where the variable `SIMD` names its binary.
//!
//! Transfers are signed beforehand and sent over several connections. Everything shares this machine's cores, so the time
//! on the processors per transaction is told as well: of the nodes with their CometBFT, and of the loader.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rayon::prelude::*;
use trainyard_app::testing::TRAIN;
use trainyard_app::testing::network::Network;
use trainyard_client::keys::PrivateKey;
use trainyard_client::tx::{Draft, SignerData};
use trainyard_proto::address::{ACCOUNT_PREFIX, Address};
use trainyard_proto::cosmos::base::v1beta1::Coin;
use trainyard_proto::{any, coin, cosmos::bank::v1beta1::MsgSend};

use crate::loader::{CONNECTIONS, Load, Outcome, measure};
use crate::peers::{self, Place};
use crate::report::Report;

/// Accounts of one connection.
pub(crate) const ACCOUNTS: usize = 5;
pub(crate) const BLOCK_TIME: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a run may stall.
const ATTEMPTS: usize = 5;
/// Gas of a block: the most that governance can allow.
const MAX_GAS: u64 = 40_000_000_000;
/// Of how many transactions `simd` is given one: it takes its time.
const SIMD_SHARE: usize = 8;

pub(crate) fn run(report: &mut Report, validators: &[u8], quick: bool) {
    let txs = if quick { 8_000 } else { 80_000 };
    let simd = std::env::var_os("SIMD");
    for &validators in validators {
        let ours = again(|| trainyard(validators, txs));
        let mut beside = |peer: &str, theirs: &Outcome| {
            let name = |what: &str| format!("{what}, {validators} validators, peer {peer}");
            report.add(&name("committed"), "tx/s", ours.rate, Some(theirs.rate));
            report.add(&name("CPU of all nodes"), "µs/tx", ours.cpu, Some(theirs.cpu));
            // With `simd` it is a part of the same process.
            if theirs.comet > 0.0 {
                report.add(&name("of it CometBFT"), "µs/tx", ours.comet, Some(theirs.comet));
            }
            report.add(&name("CPU of the loader"), "µs/tx", ours.loader, Some(theirs.loader));
            report.add(&name("memory of one node"), "MB", ours.memory, Some(theirs.memory));
        };
        for (peer, place) in [("kvstore", Place::Apart), ("kvstore inside", Place::Inside)] {
            beside(peer, &again(|| peers::kvstore(place, validators, txs)));
        }
        if let Some(binary) = &simd {
            beside(
                "simd",
                &again(|| peers::simd(Path::new(binary), validators, txs / SIMD_SHARE)),
            );
        }
    }
}

/// Runs until something was measured.
fn again(run: impl Fn() -> Option<Outcome>) -> Outcome {
    let measured = (0..ATTEMPTS).find_map(|_| run());
    measured.unwrap_or_else(|| panic!("{ATTEMPTS} runs have stalled"))
}

/// Transfers of a chain.
pub(crate) struct Transfers<'a> {
    pub(crate) chain_id: &'a str,
    pub(crate) prefix: &'static str,
    pub(crate) denom: &'static str,
    /// utrain.
    pub(crate) fee: u64,
    pub(crate) gas: u64,
}

impl Transfers<'_> {
    /// `txs` transfers by accounts, each with its number, which have sent nothing yet: the accounts of a connection take turns.
    pub(crate) fn load(&self, accounts: &[(PrivateKey, u64)], txs: usize) -> Load {
        let each = (txs / accounts.len()) as u64;
        let text = |address: &Address| Address::encode_bytes(&address.0, self.prefix);
        let by_connection = accounts.par_chunks(accounts.len() / CONNECTIONS).map(|accounts| {
            let turns = (0..each).flat_map(|sequence| accounts.iter().map(move |account| (account, sequence)));
            let signed = turns.map(|((key, account_number), sequence)| {
                let message = MsgSend {
                    from_address: text(&key.address()),
                    to_address: text(&Address([3; 20])),
                    amount: vec![Coin {
                        denom: self.denom.into(),
                        amount: "1".into(),
                    }],
                };
                let draft = Draft {
                    messages: vec![any::pack(&message)],
                    fee: self.fee,
                    gas_limit: self.gas,
                    ..Draft::default()
                };
                let data = SignerData {
                    chain_id: self.chain_id,
                    account_number: *account_number,
                    sequence,
                };
                draft.sign(key, data)
            });
            signed.collect()
        });
        by_connection.collect()
    }
}

fn trainyard(validators: u8, txs: usize) -> Option<Outcome> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let names: Vec<String> = (0..CONNECTIONS * ACCOUNTS).map(|i| format!("a{i}")).collect();
    let mut network = Network::make(env!("CARGO_BIN_EXE_trainyard"), validators, |plan| {
        plan.block_time = BLOCK_TIME;
        plan.accounts = names.iter().map(|name| (name.clone(), 1000 * TRAIN)).collect();
    });
    for node in &mut network.nodes {
        let config = node.home.path().join("config");
        peers::leave_out_the_index(&config.join("config.toml"));
        // The peers' blocks are bounded by their bytes alone.
        replace(
            &config.join("genesis.json"),
            r#""max_gas": "-1""#,
            &format!(r#""max_gas": "{MAX_GAS}""#),
        );
        node.start(&[]);
    }
    let numbers: Vec<u64> = runtime.block_on(async {
        network.wait_height(2, PATIENCE).await;
        let client = network.client();
        let mut numbers = Vec::new();
        for name in &names {
            let address = network.key(name).address();
            let account = client.account(&address).await.expect("the node answers");
            numbers.push(account.expect("the account is there").account_number);
        }
        numbers
    });
    let accounts: Vec<_> = names.iter().map(|name| network.key(name)).zip(numbers).collect();
    let transfers = Transfers {
        chain_id: &network.plan.chain_id,
        prefix: ACCOUNT_PREFIX,
        denom: coin::DENOM,
        fee: 400_000, // Full blocks after the other raise the base fee.
        gas: 90_000,
    };
    let load = transfers.load(&accounts, txs);
    let pids: Vec<Vec<u32>> = network
        .nodes
        .iter()
        .map(|node| node.pid().into_iter().collect())
        .collect();
    let rpcs: Vec<SocketAddr> = network.nodes.iter().map(|node| address_of(&node.rpc)).collect();
    measure(load, &rpcs, &pids, 1)
}

/// Replaces the one place in a file that says something.
pub(crate) fn replace(file: &Path, what: &str, with: &str) {
    let text = std::fs::read_to_string(file).expect("a file");
    assert_eq!(text.matches(what).count(), 1, "{} says {what} once", file.display());
    std::fs::write(file, text.replace(what, with)).expect("it can be written");
}

fn address_of(rpc: &str) -> SocketAddr {
    let text = rpc.trim_start_matches("http://");
    text.parse().expect("an address of RPC")
}
