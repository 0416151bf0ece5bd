//! CosmJS, the library of wallets and scripts. What it is asked to do stands in `cosmjs/*.cjs`.

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};
use trainyard_modules::bank::BONDED_POOL;
use trainyard_proto::address::Address;

use super::{cache, network, run};

#[tokio::test(flavor = "multi_thread")]
async fn cosmjs_works_unmodified() {
    let network = network().await;
    let keys = ["alice", "bob", "carol"].map(|name| {
        let key = network.key(name).to_bytes();
        (name.to_owned(), Value::from(hex::encode(key.as_slice())))
    });
    let keys: Map<String, Value> = keys.into_iter().collect();
    let packages = cache().join("cosmjs");
    let mut node = Command::new(packages.join("node"));
    node.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/face/cosmjs/main.cjs"))
        .env("NODE_PATH", packages.join("node_modules"))
        .env("RPC", &network.nodes[0].rpc)
        .env("CHAIN_ID", &network.plan.chain_id)
        .env("KEYS", Value::from(keys).to_string())
        .env("OPERATOR", network.key("validator0").address().operator())
        .env("POOL", Address::of_module(BONDED_POOL).to_string());
    let said = run(&mut node);
    let seen = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert_eq!(seen, 26, "{said}");
}
