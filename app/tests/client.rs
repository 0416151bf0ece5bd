//! A user against a real chain: CometBFT, our application, the client's signer and the command line.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::future::try_join_all;
use serde_json::{Value, json};
use trainyard_app::abci::{Address as Socket, Server};
use trainyard_app::application::{Application, Config};
use trainyard_app::store::{Options, Store};
use trainyard_client::keys::PrivateKey;
use trainyard_client::rpc::{Client, Error};
use trainyard_client::signer::{FeePolicy, Gas, GasPrice, Price, Signer};
use trainyard_client::tx::{Draft, SignerData};
use trainyard_modules::bank::Balance;
use trainyard_modules::machine::Genesis;
use trainyard_proto::any::{self, Any};
use trainyard_proto::coin::{UTRAIN_PER_TRAIN, utrain};
use trainyard_proto::cosmos::bank::v1beta1::{MsgSend, QueryBalanceRequest, QueryBalanceResponse};
use trainyard_proto::cosmos::crypto::ed25519;
use trainyard_proto::cosmos::staking::v1beta1::{Description, MsgCreateValidator};

const CHAIN_ID: &str = "trainyard-test-1";
const BOUND: Duration = Duration::from_secs(60);

fn key(number: u8) -> PrivateKey {
    PrivateKey::from_bytes(&[number; 32]).unwrap()
}

/// CometBFT as `scripts/setup` leaves it: on the path, or in the cache folder.
fn cometbft() -> PathBuf {
    let cache = std::env::var_os("TRAINYARD_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/trainyard")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(cache.map(|cache| cache.join("bin")))
        .map(|folder| folder.join("cometbft"))
        .find(|file| file.is_file())
        .expect("cometbft is needed; scripts/setup installs it")
}

/// One validator (key 1) with its application in this process; keys 1 and 2 have 1000 TRAIN each.
struct Chain {
    comet: Child,
    url: String,
}

impl Chain {
    fn start(home: &Path) -> Self {
        let run = Command::new(cometbft())
            .args(["init", "--home"])
            .arg(home)
            .output()
            .unwrap();
        assert!(run.status.success());
        edit(&home.join("config/config.toml"), |text| {
            text.replace("timeout_commit = \"1s\"", "timeout_commit = \"200ms\"")
        });
        let validator: Value = read_json(&home.join("config/priv_validator_key.json"));
        let state = genesis(validator["pub_key"]["value"].as_str().unwrap());
        edit(&home.join("config/genesis.json"), |text| {
            let mut genesis: Value = serde_json::from_str(&text).unwrap();
            genesis["chain_id"] = json!(CHAIN_ID);
            genesis["validators"] = json!([]);
            genesis["app_state"] = serde_json::to_value(&state).unwrap();
            genesis.to_string()
        });

        let store = Store::open(&home.join("state"), &Options::default()).unwrap();
        let config = Config {
            min_gas_price_micro: 25_000,
            ..Config::default()
        };
        let application = Arc::new(Application::new(store, config).unwrap());
        let socket = Socket::Unix(home.join("abci.sock"));
        let server = Server::bind(&socket, application).unwrap();
        std::thread::spawn(move || server.run());

        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("tcp://127.0.0.1:{port}");
        let comet = Command::new(cometbft())
            .args(["start", "--p2p.laddr=tcp://127.0.0.1:0", "--rpc.laddr", &url, "--home"])
            .arg(home)
            .args(["--proxy_app", &socket.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { comet, url }
    }

    async fn client(&self) -> Client {
        let client = Client::new(&self.url).unwrap();
        let start = Instant::now();
        // Queries are answered from the first committed block on.
        while !client
            .status()
            .await
            // CometBFT counts a block before its state can be queried: with the second, the first one's is there.
            .is_ok_and(|status| status.sync_info.latest_block_height.value() > 1)
        {
            assert!(start.elapsed() < BOUND, "the chain does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        client
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.comet.kill().unwrap();
        self.comet.wait().unwrap();
    }
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    std::fs::write(path, change(std::fs::read_to_string(path).unwrap())).unwrap();
}

fn genesis(consensus_key: &str) -> Genesis {
    let mut genesis = Genesis::default();
    genesis.bank.balances = [1, 2]
        .map(|number| Balance {
            address: key(number).address().to_string(),
            amount: 1000 * UTRAIN_PER_TRAIN,
        })
        .to_vec();
    let operator = key(1);
    #[allow(deprecated)] // The field is still on the wire.
    let create = MsgCreateValidator {
        description: Some(Description {
            moniker: "first".into(),
            ..Description::default()
        }),
        commission: None,
        min_self_delegation: "1".into(),
        delegator_address: String::new(),
        validator_address: operator.address().operator(),
        pubkey: Some(any::pack(&ed25519::PubKey {
            key: BASE64.decode(consensus_key).unwrap(),
        })),
        value: Some(utrain(100 * UTRAIN_PER_TRAIN)),
    };
    let draft = Draft {
        messages: vec![any::pack(&create)],
        gas_limit: 1_000_000,
        ..Draft::default()
    };
    let gentx = draft.sign(
        &operator,
        SignerData {
            chain_id: CHAIN_ID,
            account_number: 0,
            sequence: 0,
        },
    );
    genesis.genutil.gen_txs.push(BASE64.encode(gentx));
    genesis
}

fn send(from: &PrivateKey, to: &PrivateKey, amount: u64) -> Any {
    any::pack(&MsgSend {
        from_address: from.address().to_string(),
        to_address: to.address().to_string(),
        amount: vec![utrain(amount)],
    })
}

fn signer(client: &Client, chain_id: &str, fees: FeePolicy) -> Signer {
    Signer::new(client.clone(), key(2), chain_id, fees, BOUND)
}

async fn balance(client: &Client, of: &PrivateKey) -> u64 {
    let request = QueryBalanceRequest {
        address: of.address().to_string(),
        denom: "utrain".into(),
    };
    let answer: QueryBalanceResponse = client
        .query("/cosmos.bank.v1beta1.Query/Balance", &request)
        .await
        .unwrap();
    answer.balance.unwrap().amount.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_sends_money() {
    let home = tempfile::tempdir().unwrap();
    let chain = Chain::start(home.path());
    let client = chain.client().await;
    assert_eq!(client.account(&key(9).address()).await.unwrap(), None);

    // Simulated, signed, in a block; a second signer of the same account does not know of the first one's sends.
    let alice = signer(&client, CHAIN_ID, FeePolicy::default());
    let other = signer(&client, CHAIN_ID, FeePolicy::default());
    let outcome = alice.send(vec![send(alice.key(), &key(3), 5)]).await.unwrap();
    assert!(outcome.gas_used > 0 && outcome.gas_used <= outcome.gas_wanted);
    assert_eq!(outcome.responses[0].type_url, "/cosmos.bank.v1beta1.MsgSendResponse");
    assert!(
        outcome
            .events
            .iter()
            .any(|e| e.kind == "transfer" && e.attribute("amount") == Some("5utrain"))
    );
    let sends = (0..8).map(|i| {
        let signer = if i % 2 == 0 { &alice } else { &other };
        signer.send(vec![send(alice.key(), &key(3), 10)])
    });
    let outcomes = try_join_all(sends).await.unwrap();
    assert_eq!(balance(&client, &key(3)).await, 85);
    // A quarter above what the node asks.
    assert_eq!(client.gas_price().await.unwrap(), GasPrice(25_000));
    let fees = GasPrice(31_250);
    let paid: u64 = outcomes
        .iter()
        .chain([&outcome])
        .map(|outcome| fees.fee(outcome.gas_wanted))
        .sum();
    assert_eq!(balance(&client, &key(2)).await, 1000 * UTRAIN_PER_TRAIN - 85 - paid);

    // What is wrong is said with code and text, before or after it costs a fee.
    let fixed = FeePolicy {
        gas: Gas::Limit(200_000),
        price: Price::Fixed(GasPrice(25_000)),
    };
    let foreign = signer(&client, "other-1", fixed)
        .send(vec![send(&key(2), &key(3), 1)])
        .await
        .unwrap_err();
    assert_eq!(foreign.code(), Some(("sdk", 4)), "{foreign}");
    let cheap = FeePolicy {
        price: Price::Fixed(GasPrice(1)),
        ..fixed
    };
    let cheap = signer(&client, CHAIN_ID, cheap)
        .send(vec![send(&key(2), &key(3), 1)])
        .await
        .unwrap_err();
    assert_eq!(cheap.code(), Some(("sdk", 13)), "{cheap}");
    let poor = signer(&client, CHAIN_ID, fixed)
        .send(vec![send(&key(2), &key(3), u64::MAX >> 2)])
        .await
        .unwrap_err();
    assert!(matches!(&poor, Error::Failed(outcome) if outcome.code == 5), "{poor}");
    let stranger = Signer::new(client.clone(), key(9), CHAIN_ID, fixed, BOUND);
    let stranger = stranger.send(vec![send(&key(9), &key(3), 1)]).await.unwrap_err();
    assert!(matches!(stranger, Error::NoAccount(_)), "{stranger}");

    on_the_command_line(&chain.url, home.path()).await;
}

async fn on_the_command_line(url: &str, home: &Path) {
    let run = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_trainyard"));
        command
            .args(["--output", "json", "--keyring-backend", "test", "--node", url])
            .args(arguments);
        command.env_clear().env("TRAINYARD_HOME", home).stdin(Stdio::null());
        let output = tokio::time::timeout(BOUND, command.output()).await.unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    };
    let json = async |arguments: &[&str]| -> Value { serde_json::from_str(&run(arguments).await.unwrap()).unwrap() };
    let file = home.join("alice.key");
    std::fs::write(&file, hex::encode(key(2).to_bytes())).unwrap();
    run(&["keys", "import", "alice", file.to_str().unwrap()]).await.unwrap();

    let bob = key(4).address().to_string();
    let sent = json(&["tx", "bank", "send", "alice", &bob, "1.5TRAIN", "--memo", "hello"]).await;
    assert_eq!(sent["code"], 0);
    let balances = json(&["query", "bank", "balances", &bob]).await;
    assert_eq!(
        balances["balances"],
        json!([{ "denom": "utrain", "amount": "1500000" }])
    );
    let again = json(&["query", "tx", sent["txhash"].as_str().unwrap()]).await;
    assert_eq!(again["height"], sent["height"]);
    let validators = json(&["query", "staking", "validators"]).await;
    let operator = validators["validators"][0]["operator_address"].as_str().unwrap();
    json(&["tx", "staking", "delegate", operator, "2TRAIN", "--from", "alice"]).await;
    let delegations = json(&["query", "staking", "delegations", "alice"]).await;
    assert_eq!(delegations["delegation_responses"][0]["balance"]["amount"], "2000000");
    assert_eq!(json(&["status"]).await["chain_id"], CHAIN_ID);

    let wrong = run(&["tx", "bank", "send", "alice", &bob, "1TRAIN", "--chain-id", "other-1"])
        .await
        .unwrap_err();
    assert!(
        wrong.contains("is of chain \"trainyard-test-1\", expected \"other-1\""),
        "{wrong}"
    );
    let missing = run(&["query", "registry", "node", "alice"]).await.unwrap_err();
    assert!(missing.contains("NotFound"), "{missing}");
    let dry = json(&["tx", "bank", "send", "alice", &bob, "1TRAIN", "--dry-run"]).await;
    assert_eq!(dry["messages"], json!(["/cosmos.bank.v1beta1.MsgSend"]));
}
