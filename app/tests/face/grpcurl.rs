//! grpcurl, which knows nothing of the chain but what reflection tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};
use trainyard_app::api;

use super::{cache, doors_of, network, run};

/// Runs it against a server; gives what it printed.
fn grpcurl(address: &str, options: &[&str], words: &[&str]) -> String {
    let mut command = Command::new(cache().join("bin/grpcurl"));
    command
        .args(["-plaintext", "-max-time", "30"])
        .args(options)
        .arg(address);
    run(command.args(words))
}

/// Calls a method.
fn call(address: &str, options: &[&str], request: &Value, method: &str) -> Value {
    let request = request.to_string();
    let answer = grpcurl(address, &[options, &["-d", &request]].concat(), &[method]);
    serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{method}: {e}: {answer}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_lists_describes_and_calls() {
    let network = network().await;
    let address = doors_of(&network).grpc.to_string();
    let alice = network.key("alice").address().to_string();

    // Every service of the table is listed, every method that a service is said to have is in the table.
    let mut table: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for path in api::paths() {
        let (service, _) = path[1..].split_once('/').unwrap();
        let methods = table.entry(service).or_default();
        methods.insert(path[1..].replace('/', "."));
    }
    let listed = grpcurl(&address, &[], &["list"]);
    let listed: BTreeSet<&str> = listed
        .lines()
        .filter(|name| !name.starts_with("grpc.reflection."))
        .collect();
    assert_eq!(listed, table.keys().copied().collect());
    for (service, methods) in &table {
        let found = grpcurl(&address, &[], &["list", service]);
        let found: BTreeSet<String> = found.lines().map(str::to_owned).collect();
        assert_eq!(found, *methods, "methods of {service}");
    }

    let said = grpcurl(&address, &[], &["describe", "cosmos.bank.v1beta1.Query.Balance"]);
    assert!(
        said.contains("rpc Balance ( .cosmos.bank.v1beta1.QueryBalanceRequest )"),
        "{said}"
    );
    let said = grpcurl(&address, &[], &["describe", ".trainyard.job.v1.Job"]);
    assert!(said.contains("message Job {"), "{said}");

    let request = json!({ "address": alice, "denom": "utrain" });
    let answer = call(&address, &[], &request, "cosmos.bank.v1beta1.Query/Balance");
    assert_eq!(
        answer["balance"],
        json!({ "denom": "utrain", "amount": "100000000000" })
    );
    let answer = call(
        &address,
        &[],
        &json!({ "address": alice }),
        "cosmos.auth.v1beta1.Query/Account",
    );
    let kind = answer["account"]["@type"].as_str().unwrap();
    assert!(kind.ends_with("/cosmos.auth.v1beta1.BaseAccount"), "{kind}");
    assert_eq!(answer["account"]["address"], alice);
    let answer = call(&address, &[], &json!({}), "trainyard.job.v1.Query/Params");
    assert!(answer["params"].is_object(), "{answer}");
    let answer = call(
        &address,
        &[],
        &json!({}),
        "cosmos.base.tendermint.v1beta1.Service/GetNodeInfo",
    );
    assert_eq!(answer["defaultNodeInfo"]["network"], network.plan.chain_id.as_str());

    // The height is chosen in the metadata, as everywhere.
    let said = grpcurl(
        &address,
        &["-v", "-H", "x-cosmos-block-height: 1", "-d", &request.to_string()],
        &["cosmos.bank.v1beta1.Query/Balance"],
    );
    assert!(said.contains("x-cosmos-block-height: 1\n"), "{said}");

    // A refusal is one that programs can tell.
    let refused = |request: &Value, method: &str| {
        let mut command = Command::new(cache().join("bin/grpcurl"));
        let request = request.to_string();
        let words = ["-plaintext", "-max-time", "30", "-d", &request, &address, method];
        let output = command.args(words).output().unwrap();
        assert!(!output.status.success(), "{method}");
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused(&json!({ "proposal_id": 99 }), "cosmos.gov.v1.Query/Proposal");
    assert!(
        said.contains("Code: NotFound") && said.contains("proposal 99 not found"),
        "{said}"
    );
    let said = refused(&json!({ "address": "x" }), "cosmos.auth.v1beta1.Query/Account");
    assert!(said.contains("Code: InvalidArgument"), "{said}");
}
