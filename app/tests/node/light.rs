//! A light client against real CometBFT: what is proven, and that nothing else passes.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use trainyard_app::testing::{TRAIN, peer_id};
use trainyard_client::light::{Error, Light};
use trainyard_client::receipt;
use trainyard_modules::{bank, job};
use trainyard_proto::address::Address;
use trainyard_proto::any;
use trainyard_proto::coin;
use trainyard_proto::job::{
    DataRef, Deadlines, JobSpec, MsgPostJob, Optimizer, Paradigm, Provider, Requirements, Task,
};
use trainyard_proto::prost::Message as _;
use trainyard_proto::registry::VerificationClass;

use super::{LONG_PATIENCE, network, send, signer};

fn root(name: &str) -> Vec<u8> {
    Sha256::digest(name).to_vec()
}

/// A text in the form of a CID.
fn cid(name: &str) -> String {
    format!("bafy{}", &hex::encode(root(name))[..55])
}

fn spec() -> JobSpec {
    let data = |split: &str| DataRef {
        manifest_cid: cid(split),
        plaintext_root: root(split),
        samples: 1000,
        encrypted: false,
    };
    JobSpec {
        name: "digits".into(),
        model_cid: cid("model"),
        start_root: root("start"),
        task: Some(Task {
            loss: "cross_entropy".into(),
            metric: "accuracy".into(),
            optimizer: Some(Optimizer {
                name: "sgd".into(),
                learning_rate: "0.05".into(),
                ..Optimizer::default()
            }),
            batch_size: 32,
            local_steps: 10,
            ..Task::default()
        }),
        train: Some(data("train")),
        test: Some(data("test")),
        provider: Some(Provider {
            peer_id: peer_id("alice"),
            addresses: vec!["/ip4/127.0.0.1/tcp/4001".into()],
        }),
        paradigm: Paradigm::Federated.into(),
        verification: VerificationClass::Pinned.into(),
        requirements: Some(Requirements {
            min_workers: 1,
            max_workers: 1,
            evaluators: 1,
            ..Requirements::default()
        }),
        rounds: 1,
        deadlines: Some(Deadlines {
            open: 100,
            grant: 5,
            round: 5,
            submit: 5,
        }),
        macs_per_sample: 1_000,
        ..JobSpec::default()
    }
}

/// The binary's answer, or what it says against it.
fn trainyard(home: &Path, node: &str, arguments: &[&str]) -> Result<Value, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_trainyard"))
        .args(arguments)
        .args(["--output", "json", "--node", node, "--home"])
        .arg(home)
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test]
async fn a_light_client_trusts_headers_and_values_but_no_node() {
    let mut network = network(4);
    let alice = signer(&network, network.client(), "alice");
    network.wait_height(2, LONG_PATIENCE).await;
    alice.send(send(alice.address(), Address([8; 20]), 5)).await.unwrap();
    network.wait_height(6, LONG_PATIENCE).await;
    let (client, home) = (network.client(), network.folder().join("light"));
    let run = |arguments: &[&str]| trainyard(&home, &network.nodes[0].rpc, arguments);
    let first = trainyard_client::light::fetch(&client, 2).await.unwrap().hash();

    let refused = run(&["light", "status"]).unwrap_err();
    assert!(refused.contains("trainyard light trust"), "{refused}");
    let refused = run(&["light", "trust", "3", &first]).unwrap_err();
    assert!(refused.contains("the block at height 3 has the hash"), "{refused}");
    assert_eq!(run(&["light", "trust", "2", &first]).unwrap()["height"], 2);
    let status = run(&["light", "status"]).unwrap();
    assert!(status["height"].as_u64() >= Some(6), "{status}");
    let bob = Address([8; 20]).to_string();
    assert_eq!(run(&["light", "balance", &bob]).unwrap()["balance"]["amount"], "5");
    // Nobody has this: its absence is proven as well.
    let nobody = Address([9; 20]).to_string();
    assert_eq!(run(&["light", "balance", &nobody]).unwrap()["balance"]["amount"], "0");

    let mut light = Light::start(client.clone(), 2, &first).await.unwrap();
    assert!(matches!(
        light.advance(1).await,
        Err(Error::Below { height: 1, trusted: 2 })
    ));
    light.advance(5).await.unwrap();
    // A proof of one state is none of another.
    let key = bank::BALANCES.raw_key(&(Address([8; 20]), coin::DENOM.into()));
    let (value, proof) = trainyard_client::light::proven(&client, &key, 1).await.unwrap();
    assert_eq!(value, None);
    let hash = light.trusted().app_hash();
    assert!(!trainyard_client::proof::holds(&proof, hash, &key, None));
    assert!(light.get(&key).await.unwrap().height == 4);
}

#[tokio::test]
async fn a_receipt_proves_a_job_without_a_node() {
    let mut network = network(4);
    network.wait_height(2, LONG_PATIENCE).await;
    let alice = signer(&network, network.client(), "alice");
    let post = MsgPostJob {
        client: alice.address().to_string(),
        spec: Some(spec()),
        budget: Some(coin::utrain(100 * TRAIN)),
    };
    let posted = alice.send(vec![any::pack(&post)]).await.unwrap();
    network.wait_height(posted.height + 2, LONG_PATIENCE).await;
    let home = network.folder().join("user");
    let file = network.folder().join("job.receipt");
    let path = file.to_str().unwrap();
    let exported = trainyard(&home, &network.nodes[1].rpc, &["receipt", "export", "1", "--out", path]).unwrap();
    assert!(exported["bytes"].as_u64() <= Some(10 << 10), "{exported}");
    let validators = exported["validators_hash"].as_str().unwrap();

    // From here on no node is asked.
    let verify = |validators: &str| {
        let arguments = ["receipt", "verify", path, "--job", "1", "--validators-hash", validators];
        trainyard(&home, "http://127.0.0.1:1", &arguments)
    };
    let proven = verify(validators).unwrap();
    assert_eq!(
        (&proven["state"], &proven["chain_id"]),
        (&"open".into(), &"trainyard-test".into()),
        "{proven}"
    );
    let refused = verify(&"00".repeat(32)).unwrap_err();
    assert!(refused.contains("is signed by the validators"), "{refused}");

    // A bit that is changed anywhere either breaks the receipt or says nothing else than it did.
    let bytes = std::fs::read(&file).unwrap();
    let key = job::JOBS.raw_key(&1);
    let honest = receipt::verify(&bytes, validators, &key).unwrap();
    let mut broken = 0;
    for at in 0..bytes.len() {
        let mut bent = bytes.clone();
        bent[at] ^= 1 << (at % 8);
        match receipt::verify(&bent, validators, &key) {
            Ok(same) => assert_eq!(same, honest, "byte {at} changed what is proven"),
            Err(_) => broken += 1,
        }
    }
    assert!(
        broken > bytes.len() / 2,
        "only {broken} of {} changes are noticed",
        bytes.len()
    );
    assert!(receipt::verify(&bytes, validators, &job::JOBS.raw_key(&2)).is_err());
    assert!(receipt::verify(&bytes[..bytes.len() - 1], validators, &key).is_err());
    assert!(trainyard_proto::job::Job::decode(honest.value.as_slice()).unwrap().id == 1);
    std::fs::write(&file, &bytes[..100]).unwrap();
    assert!(verify(validators).is_err());
}
