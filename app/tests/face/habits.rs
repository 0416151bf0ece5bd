//! The command line in the ways that those know who come from another Cosmos chain, against a running node; and what it tells
//! wallets and registries of the chain.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use trainyard_app::testing::network::Network;

use super::{doors_of, network, run};

/// A user at a node.
struct User<'a> {
    network: &'a Network,
}

impl User<'_> {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainyard"));
        command
            .args(words)
            .args(["--keyring-backend", "test", "--home"])
            .arg(self.network.keys())
            .env_remove("RUST_LOG");
        command
    }

    /// What a command prints.
    fn says(&self, words: &[&str]) -> String {
        run(self.command(words).args(["--node", &self.network.nodes[0].rpc]))
    }

    /// What a command prints as JSON.
    fn json(&self, words: &[&str]) -> Value {
        let said = self.says(&[words, &["--output", "json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("{words:?}: {e}: {said}"))
    }

    /// What a command prints where no node can be asked.
    fn offline(&self, words: &[&str]) -> String {
        run(self.command(words).args(["--node", "http://127.0.0.1:9"]))
    }

    /// What a command complains of.
    fn refused(&self, words: &[&str]) -> String {
        let mut command = self.command(words);
        let output = command.args(["--node", &self.network.nodes[0].rpc]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.network.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Waits until a transaction is in a block.
    fn committed(&self, hash: &str) -> Value {
        let start = std::time::Instant::now();
        loop {
            let mut command = self.command(&["query", "tx", hash, "--output", "json"]);
            let output = command.args(["--node", &self.network.nodes[0].rpc]).output().unwrap();
            if output.status.success() {
                return serde_json::from_slice(&output.stdout).unwrap();
            }
            assert!(start.elapsed() < super::PATIENCE, "{hash} is not in a block");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_made_signed_and_sent_in_the_usual_steps() {
    let network = network().await;
    let user = User { network: &network };
    let bob = network.key("bob").address().to_string();
    let send = ["tx", "bank", "send", "alice", &bob, "5utrain"];
    let with = |more: &[&'static str]| [&send[..], more].concat();

    // Learn the gas, send nothing.
    let dry = user.json(&with(&["--dry-run"]));
    let gas: u64 = dry["gas_used"].as_str().unwrap().parse().unwrap();

    // A file that other chains' programs would read.
    let unsigned = user.says(&with(&["--generate-only", "--gas", "auto", "--note", "hello"]));
    let tx: Value = serde_json::from_str(&unsigned).unwrap();
    assert_eq!(tx["body"]["messages"][0]["@type"], "/cosmos.bank.v1beta1.MsgSend");
    assert_eq!(tx["body"]["messages"][0]["to_address"], bob.as_str());
    assert_eq!((&tx["body"]["memo"], &tx["signatures"]), (&json!("hello"), &json!([])));
    let limit: u64 = tx["auth_info"]["fee"]["gas_limit"].as_str().unwrap().parse().unwrap();
    assert!(limit >= gas && limit < 3 * gas, "{limit} for {gas}");
    let file = user.file("unsigned.json", &unsigned);
    let signed = user.says(&["tx", "sign", &file, "--from", "alice"]);
    let signed_file = user.file("signed.json", &signed);
    let bytes = user.says(&["tx", "encode", &signed_file]);
    let again = user.json(&["tx", "decode", bytes.trim()]);
    assert_eq!(again, serde_json::from_str::<Value>(&signed).unwrap());
    let sent = user.json(&["tx", "broadcast", &signed_file]);
    assert_eq!(sent["code"], 0);
    let found = user.json(&["query", "tx", sent["txhash"].as_str().unwrap()]);
    assert_eq!(found["height"], sent["height"]);
    // Once more it is known, or its sequence is gone.
    let said = user.refused(&["tx", "broadcast", &signed_file]);
    assert!(
        said.contains("already known") || said.contains("sequence mismatch"),
        "{said}"
    );

    // The same without a node until the end.
    let unsigned = user.offline(&with(&[
        "--generate-only",
        "--offline",
        "--gas",
        "200000",
        "--fees",
        "6000utrain",
    ]));
    let file = user.file("unsigned.json", &unsigned);
    let account = user.json(&["query", "auth", "account", "alice"]);
    let number = account["account"]["account_number"].as_str().unwrap();
    let sequence = account["account"]["sequence"].as_str().unwrap();
    let chain = &network.plan.chain_id;
    let signed = user.offline(&[
        "tx",
        "sign",
        &file,
        "--from",
        "alice",
        "--offline",
        "-a",
        number,
        "-s",
        sequence,
        "--chain-id",
        chain,
    ]);
    let signed_file = user.file("signed.json", &signed);
    let sent = user.json(&["tx", "broadcast", &signed_file, "--broadcast-mode", "sync"]);
    assert_eq!((&sent["code"], &sent["height"]), (&json!(0), &json!("0")));
    let found = user.committed(sent["txhash"].as_str().unwrap());
    assert_eq!((&found["code"], &found["gas_wanted"]), (&json!(0), &json!("200000")));

    // Handed over without waiting, and with a sequence that is not the chain's.
    let sent = user.json(&with(&["--yes", "-b", "async"]));
    assert_eq!(user.committed(sent["txhash"].as_str().unwrap())["code"], 0);
    let said = user.refused(&with(&["--yes", "--sequence", "77", "--gas", "200000"]));
    assert!(
        said.contains("account sequence mismatch, expected ") && said.contains(", got 77"),
        "{said}"
    );

    let said = user.refused(&with(&["--offline"]));
    assert!(said.contains("--generate-only"), "{said}");
    let said = user.refused(&["tx", "sign", &file, "--from", "alice", "--offline"]);
    assert!(said.contains("give --account-number and --sequence"), "{said}");
    let said = user.refused(&["tx", "decode", "not base64!"]);
    assert!(said.contains("not base64"), "{said}");
    let said = user.refused(&["tx", "broadcast", &file]);
    assert!(said.contains("not signed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_asked_in_the_usual_words() {
    let network = network().await;
    let user = User { network: &network };
    let (alice, bob) = (
        network.key("alice").address().to_string(),
        network.key("bob").address().to_string(),
    );
    let before = user.json(&["query", "bank", "balances", "bob"])["balances"][0]["amount"].clone();
    let sent = user.json(&["tx", "bank", "send", "alice", &bob, "5utrain", "--memo", "found", "-y"]);
    let (hash, height) = (sent["txhash"].as_str().unwrap(), sent["height"].as_str().unwrap());

    // The state as it was, and as it is.
    let amount = |height: &str| {
        let words = ["query", "bank", "balance", &bob, "--height", height];
        let amount = user.json(&words)["balance"]["amount"].clone();
        amount.as_str().unwrap().parse::<u64>().unwrap()
    };
    let earlier = (height.parse::<u64>().unwrap() - 1).to_string();
    assert_eq!(json!(amount(&earlier).to_string()), before);
    assert_eq!(amount(height), amount(&earlier) + 5);
    assert_eq!(
        user.json(&["q", "--height", height, "bank", "balances", &bob])["balances"][0]["denom"],
        "utrain"
    );
    let said = user.refused(&["query", "bank", "supply", "--height", "99999999"]);
    assert!(said.contains("99999999"), "{said}");

    // Blocks and what is in them.
    let found = user.json(&["query", "tx", &format!("{alice}/0"), "--type", "acc_seq"]);
    assert_eq!(found["txhash"], hash);
    let query = format!("transfer.sender='{alice}' AND transfer.recipient='{bob}'");
    let found = user.json(&["query", "txs", "--query", &query, "--order", "desc", "--limit", "1"]);
    assert_eq!(
        (&found["total"], &found["tx_responses"][0]["txhash"]),
        (&json!("1"), &json!(hash))
    );
    assert_eq!(found["txs"][0]["body"]["memo"], "found");
    let block = user.json(&["query", "block", height]);
    assert_eq!(block["block"]["header"]["height"], height);
    assert!(block["block"]["data"]["txs"].as_array().unwrap().len() > 1, "{block}");
    assert_eq!(user.json(&["query", "block", "--height", height]), block);
    assert!(user.json(&["query", "block"])["block_id"]["hash"].is_string());
    let set = user.json(&["query", "comet-validator-set", height]);
    assert_eq!(set["validators"].as_array().unwrap().len(), 1);
    let node = user.json(&["query", "node-info"]);
    assert_eq!(node["default_node_info"]["network"], network.plan.chain_id.as_str());

    // Accounts and money.
    let pool = user.json(&["query", "auth", "module-account", "bonded_tokens_pool"]);
    assert_eq!(pool["account"]["@type"], "/cosmos.auth.v1beta1.ModuleAccount");
    let address = pool["account"]["base_account"]["address"].as_str().unwrap();
    assert_eq!(user.json(&["query", "auth", "account", address]), pool);
    let account = user.json(&["query", "auth", "account", "alice"]);
    let number = account["account"]["account_number"].as_str().unwrap();
    let found = user.json(&["query", "auth", "address-by-acc-num", number]);
    assert_eq!(found["account_address"], alice.as_str());
    let owners = user.json(&["query", "bank", "denom-owners", "utrain", "--limit", "2"]);
    assert_eq!(owners["denom_owners"].as_array().unwrap().len(), 2);
    assert!(owners["pagination"]["next_key"].is_string(), "{owners}");
    assert_eq!(
        user.json(&["query", "bank", "denom-metadata"])["metadata"]["symbol"],
        "TRAIN"
    );
}

/// Checks that an object has fields of these names, and perhaps of those behind the `?`, and no others.
fn assert_fields(what: &str, value: &Value, required: &[&str], optional: &[&str]) {
    let object = value.as_object().unwrap_or_else(|| panic!("{what} is {value}"));
    for name in required {
        assert!(object.contains_key(*name), "{what} has no {name}: {value}");
    }
    for name in object.keys() {
        let name = name.as_str();
        assert!(
            required.contains(&name) || optional.contains(&name),
            "{what} may have no {name}: {value}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wallets_and_registries_are_told_of_the_chain() {
    let network = network().await;
    let user = User { network: &network };
    let doors = doors_of(&network);
    let (rest, grpc) = (format!("http://{}", doors.rest), doors.grpc.to_string());
    let words = [
        "chain-info",
        "--rest",
        &rest,
        "--grpc",
        &grpc,
        "--name",
        "trainyardtest",
    ];
    let all: Value = serde_json::from_str(&user.says(&words)).unwrap();
    assert_fields("all", &all, &["chain", "assetlist", "keplr"], &[]);

    // The chain registry's schemas, as far as they bind us.
    let chain = &all["chain"];
    assert_fields(
        "chain.json",
        chain,
        &[
            "$schema",
            "chain_name",
            "chain_type",
            "chain_id",
            "bech32_prefix",
            "fees",
            "staking",
            "apis",
            "slip44",
        ],
        &[
            "pretty_name",
            "description",
            "status",
            "network_type",
            "bech32_config",
            "daemon_name",
            "node_home",
            "key_algos",
            "codebase",
            "website",
            "peers",
            "explorers",
            "images",
            "logo_URIs",
            "keywords",
        ],
    );
    assert_eq!(chain["chain_name"], "trainyardtest");
    assert_eq!(chain["chain_id"], network.plan.chain_id.as_str());
    assert_eq!(
        (&chain["chain_type"], &chain["bech32_prefix"]),
        (&json!("cosmos"), &json!("train"))
    );
    assert_eq!(
        (&chain["slip44"], &chain["key_algos"]),
        (&json!(118), &json!(["secp256k1"]))
    );
    assert!(["live", "upcoming", "killed"].contains(&chain["status"].as_str().unwrap()));
    assert!(["mainnet", "testnet", "devnet"].contains(&chain["network_type"].as_str().unwrap()));
    let token = &chain["fees"]["fee_tokens"][0];
    let prices = [
        "fixed_min_gas_price",
        "low_gas_price",
        "average_gas_price",
        "high_gas_price",
    ];
    assert_fields(
        "a fee token",
        token,
        &[&["denom"], &prices[..]].concat(),
        &["gas_costs"],
    );
    let prices = prices.map(|name| token[name].as_f64().unwrap());
    assert!(prices[0] > 0.0 && prices.is_sorted(), "{prices:?}");
    assert_fields("staking", &chain["staking"], &["staking_tokens", "lock_duration"], &[]);
    let params = user.json(&["query", "staking", "params"]);
    assert_eq!(
        chain["staking"]["lock_duration"]["time"],
        params["params"]["unbonding_time"]
    );
    assert_fields(
        "codebase",
        &chain["codebase"],
        &["recommended_version", "consensus", "sdk"],
        &[
            "git_repo",
            "compatible_versions",
            "language",
            "tag",
            "binaries",
            "genesis",
        ],
    );
    assert_eq!(chain["codebase"]["consensus"]["type"], "cometbft");
    for (name, address) in [("rpc", &network.nodes[0].rpc), ("rest", &rest), ("grpc", &grpc)] {
        let endpoint = &chain["apis"][name][0];
        assert_fields(name, endpoint, &["address"], &["provider", "archive"]);
        assert_eq!(endpoint["address"], address.as_str());
    }
    let list = &all["assetlist"];
    assert_fields("assetlist.json", list, &["$schema", "chain_name", "assets"], &[]);
    let asset = &list["assets"][0];
    assert_fields(
        "an asset",
        asset,
        &["denom_units", "base", "display", "name", "symbol"],
        &["description", "type_asset", "logo_URIs", "coingecko_id", "keywords"],
    );
    let units: Vec<&Value> = asset["denom_units"]
        .as_array()
        .unwrap()
        .iter()
        .map(|unit| &unit["denom"])
        .collect();
    assert!(
        units.contains(&&asset["base"]) && units.contains(&&asset["display"]),
        "{asset}"
    );

    // Keplr's ChainInfo.
    let keplr = &all["keplr"];
    assert_fields(
        "ChainInfo",
        keplr,
        &[
            "chainId",
            "chainName",
            "rpc",
            "rest",
            "bip44",
            "bech32Config",
            "currencies",
            "feeCurrencies",
            "stakeCurrency",
        ],
        &["features", "chainSymbolImageUrl", "walletUrl", "evm"],
    );
    assert_eq!(keplr["bip44"], json!({ "coinType": 118 }));
    let prefixes =
        ["AccAddr", "AccPub", "ValAddr", "ValPub", "ConsAddr", "ConsPub"].map(|name| format!("bech32Prefix{name}"));
    let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    assert_fields("bech32Config", &keplr["bech32Config"], &prefixes, &[]);
    let money = json!({ "coinDenom": "TRAIN", "coinMinimalDenom": "utrain", "coinDecimals": 6 });
    assert_eq!(
        (&keplr["currencies"], &keplr["stakeCurrency"]),
        (&json!([money]), &money)
    );
    let steps = &keplr["feeCurrencies"][0]["gasPriceStep"];
    assert_eq!(steps["low"].as_f64(), Some(prices[1]));
    assert!(steps["low"].as_f64() < steps["average"].as_f64() && steps["average"].as_f64() < steps["high"].as_f64());

    // Each alone, for its file. What a wallet is told to ask is what it can ask.
    let alone: Value = serde_json::from_str(&user.says(&[&words[..], &["keplr"]].concat())).unwrap();
    assert_eq!(alone, *keplr);
    let (status, node) = super::wire::get(doors.rest, "/cosmos/base/tendermint/v1beta1/node_info", 0);
    assert_eq!(
        (status, &node["default_node_info"]["network"]),
        (200, &keplr["chainId"])
    );
    let said = Command::new(env!("CARGO_BIN_EXE_trainyard"))
        .args(["chain-info", "--name", "Train Yard"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&said.stderr).contains("small letters and digits"));
}
