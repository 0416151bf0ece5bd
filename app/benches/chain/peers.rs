//! The peers: CometBFT with its own kvstore application in its process, and the Cosmos SDK's `simd`. Both get the settings of
//! CometBFT that our nodes have.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;
use trainyard_app::node::comet_config::{CometConfig, with_persistent_peers};
use trainyard_app::node::find_cometbft;
use trainyard_app::node::settings::NodeType;
use trainyard_app::testing::key;
use trainyard_client::keys::PrivateKey;
use trainyard_proto::address::Address;
use trainyard_proto::cosmos::auth::v1beta1::{BaseAccount, QueryAccountRequest, QueryAccountResponse};
use trainyard_proto::prost::Message as _;

use crate::loader::{CONNECTIONS, Load, Outcome, ask, measure, wait_height};
use crate::network::{ACCOUNTS, BLOCK_TIME, Transfers, replace};

/// Prefix and denomination of `simd`, and the id its chain is given.
const SIMD_PREFIX: &str = "cosmos";
const SIMD_DENOM: &str = "stake";
const SIMD_CHAIN: &str = "simd-bench";
/// What an account of it has.
const SIMD_FUNDS: u64 = 1_000_000_000;
/// Where peers of `simd` listen, as it writes it; RPC is on the next port.
const PORT: u16 = 26_656;

/// Nodes that end with this value, each with its processes, and where their RPC is.
struct Nodes {
    processes: Vec<Vec<Running>>,
    rpcs: Vec<SocketAddr>,
}

impl Nodes {
    fn pids(&self) -> Vec<Vec<u32>> {
        let of_node = |node: &Vec<Running>| node.iter().map(|process| process.0.id()).collect();
        self.processes.iter().map(of_node).collect()
    }
}

/// A process that ends with this value.
struct Running(Child);

impl Running {
    fn start(program: &Path, home: &Path, further: &[&str]) -> Self {
        Self::spawn(Command::new(program).args(["start", "--home"]).arg(home).args(further))
    }

    fn spawn(command: &mut Command) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|e| panic!("{} does not start: {e}", command.get_program().display())))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(program: &Path, arguments: &[&str], folder: &Path) -> String {
    let made = Command::new(program).args(arguments).arg(folder).output();
    let made = made.unwrap_or_else(|e| panic!("{} does not run: {e}", program.display()));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8_lossy(&made.stdout).trim().to_owned()
}

/// Gives the node in a home our settings; `peers` replaces those it stays connected to.
fn configure(home: &Path, ip: Ipv4Addr, application: &str, peers: Option<&[String]>) {
    let config = CometConfig {
        moniker: ip.to_string(),
        block_time: BLOCK_TIME,
        p2p: SocketAddr::from((ip, PORT)),
        rpc: SocketAddr::from((ip, PORT + 1)),
        local: true,
        node_type: NodeType::Validator,
    };
    let file = home.join("config/config.toml");
    let text = fs::read_to_string(&file).expect("a config");
    let text = config.apply(&text, application).expect("a config of CometBFT");
    let text = match peers {
        Some(peers) => with_persistent_peers(&text, peers).expect("a config of CometBFT"),
        None => text,
    };
    // Several on one machine would all profile at one port.
    let text = text.replace("pprof_laddr = \"localhost:6060\"", "pprof_laddr = \"\"");
    fs::write(&file, text).expect("the config can be written");
}

/// Makes a node index no transactions, as validators do.
pub(crate) fn leave_out_the_index(config: &Path) {
    replace(config, "indexer = \"kv\"", "indexer = \"null\"");
}

/// Where CometBFT's kvstore runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In CometBFT's own process.
    Inside,
    /// In a process of its own, as every application that is not written in Go.
    Apart,
}

/// `txs` pairs of keys and values, as large as transfers.
pub(crate) fn kvstore(place: Place, validators: u8, txs: usize) -> Option<Outcome> {
    let comet = find_cometbft().expect("CometBFT is installed");
    let dir = TempDir::new().expect("a folder");
    let ip = |index: u8| Ipv4Addr::new(127, 77, 1, 1 + index);
    let home = |index: u8| dir.path().join(format!("node{index}"));
    let count = validators.to_string();
    run(&comet, &["testnet", "--v", &count, "--o"], dir.path());
    let peers: Vec<String> = (0..validators)
        .map(|index| {
            let id = run(&comet, &["show-node-id", "--home"], &home(index));
            format!("{id}@{}:{PORT}", ip(index))
        })
        .collect();
    let processes = (0..validators).map(|index| {
        let others = peers.iter().enumerate().filter(|(i, _)| *i != usize::from(index));
        let others: Vec<String> = others.map(|(_, peer)| peer.clone()).collect();
        let socket = format!("unix://{}", home(index).join("app.sock").display());
        let application = match place {
            Place::Inside => "kvstore",
            Place::Apart => &socket,
        };
        configure(&home(index), ip(index), application, Some(&others));
        let mut processes = vec![Running::start(&comet, &home(index), &[])];
        if place == Place::Apart {
            // CometBFT waits for it.
            let program = comet.with_file_name("abci-cli");
            let serve = ["kvstore", "--log_level", "error", "--address", &socket, "--persist"];
            processes.push(Running::spawn(
                Command::new(program).args(serve).arg(home(index).join("kvstore")),
            ));
        }
        processes
    });
    let nodes = Nodes {
        processes: processes.collect(),
        rpcs: (0..validators).map(|index| (ip(index), PORT + 1).into()).collect(),
    };
    let load: Load = (0..CONNECTIONS)
        .map(|connection| {
            let tx = |i| format!("{connection}/{i}={}", "v".repeat(300)).into_bytes();
            (0..txs / CONNECTIONS).map(tx).collect()
        })
        .collect();
    measure(load, &nodes.rpcs, &nodes.pids(), 0)
}

/// Transfers on the Cosmos SDK's `simd`, a binary.
pub(crate) fn simd(binary: &Path, validators: u8, txs: usize) -> Option<Outcome> {
    let dir = TempDir::new().expect("a folder");
    let ip = |index: u8| Ipv4Addr::new(127, 78, 1, 1 + index);
    let home = |index: u8| dir.path().join(format!("node{index}/simd"));
    let count = validators.to_string();
    let make = [
        "testnet",
        "init-files",
        "--v",
        &count,
        "--chain-id",
        SIMD_CHAIN,
        "--keyring-backend",
        "test",
        "--starting-ip-address",
        "127.78.1.1",
        "--output-dir",
    ];
    run(binary, &make, dir.path());
    let keys: Vec<PrivateKey> = (0..CONNECTIONS * ACCOUNTS).map(|i| key(&format!("a{i}"))).collect();
    let mut processes = Vec::new();
    for index in 0..validators {
        fund(&home(index), &keys);
        configure(&home(index), ip(index), "", None);
        let quiet = [
            "--minimum-gas-prices",
            "0stake",
            "--grpc.enable=false",
            "--api.enable=false",
        ];
        processes.push(vec![Running::start(binary, &home(index), &quiet)]);
    }
    let nodes = Nodes {
        processes,
        rpcs: (0..validators).map(|index| (ip(index), PORT + 1).into()).collect(),
    };
    wait_height(nodes.rpcs[0], 2);
    let transfers = Transfers {
        chain_id: SIMD_CHAIN,
        prefix: SIMD_PREFIX,
        denom: SIMD_DENOM,
        fee: 0,
        gas: 200_000,
    };
    let numbered = |key: PrivateKey| {
        let number = account_number(nodes.rpcs[0], &key.address());
        (key, number)
    };
    let accounts: Vec<_> = keys.into_iter().map(numbered).collect();
    measure(transfers.load(&accounts, txs), &nodes.rpcs, &nodes.pids(), 0)
}

/// Gives keys money in the genesis of a home.
fn fund(home: &Path, keys: &[PrivateKey]) {
    let file: PathBuf = home.join("config/genesis.json");
    let text = fs::read_to_string(&file).expect("a genesis");
    let mut genesis: Value = serde_json::from_str(&text).expect("JSON");
    let state = &mut genesis["app_state"];
    for key in keys {
        let address = Address::encode_bytes(&key.address().0, SIMD_PREFIX);
        let account = json!({
            "@type": "/cosmos.auth.v1beta1.BaseAccount", "address": address, "pub_key": null,
            "account_number": "0", "sequence": "0",
        });
        let balance =
            json!({ "address": address, "coins": [{ "denom": SIMD_DENOM, "amount": SIMD_FUNDS.to_string() }] });
        let put = |list: &mut Value, value| list.as_array_mut().expect("a list").push(value);
        put(&mut state["auth"]["accounts"], account);
        put(&mut state["bank"]["balances"], balance);
    }
    state["bank"]["supply"] = json!([]); // It is summed up again.
    fs::write(&file, genesis.to_string()).expect("the genesis can be written");
}

fn account_number(rpc: SocketAddr, address: &Address) -> u64 {
    let request = QueryAccountRequest {
        address: Address::encode_bytes(&address.0, SIMD_PREFIX),
    };
    let params = json!({
        "path": "/cosmos.auth.v1beta1.Query/Account", "data": hex::encode(request.encode_to_vec()),
    });
    let answer = ask(rpc, "abci_query", &params).expect("the node answers");
    let value = BASE64.decode(answer["response"]["value"].as_str().unwrap_or_default());
    let found = QueryAccountResponse::decode(value.expect("base64").as_slice()).expect("an answer");
    let account = found.account.unwrap_or_else(|| panic!("no account: {answer}"));
    BaseAccount::decode(account.value.as_slice())
        .expect("an account")
        .account_number
}
