//! How fast one validator is. `cargo test -p trainyard-app --test node -- --ignored --nocapture load`

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use trainyard_app::testing::network::Network;
use trainyard_client::tx::{Draft, SignerData};
use trainyard_proto::address::Address;
use trainyard_proto::coin::UTRAIN_PER_TRAIN;

use super::replay::replay;
use super::{PATIENCE, send};

const ACCOUNTS: usize = 40;
const TXS_EACH: usize = 250;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a check"]
async fn load_of_transfers_on_one_validator() {
    let mut network = Network::start(env!("CARGO_BIN_EXE_trainyard"), 1, |plan| {
        plan.block_time = Duration::from_millis(10);
        plan.accounts = (0..ACCOUNTS)
            .map(|i| (format!("a{i}"), 1000 * UTRAIN_PER_TRAIN))
            .collect();
    });
    network.wait_height(1, PATIENCE).await;
    let (start, from) = (Instant::now(), network.nodes[0].height().await.unwrap());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let blocks = network.nodes[0].height().await.unwrap() - from;
    println!("idle: {:.1} blocks/s", blocks as f64 / start.elapsed().as_secs_f64());

    let client = network.client();
    let mut signed = Vec::new();
    for account in 0..ACCOUNTS {
        let key = network.key(&format!("a{account}"));
        let number = client.account(&key.address()).await.unwrap().unwrap().account_number;
        let txs: Vec<_> = (0..TXS_EACH)
            .map(|sequence| {
                let draft = Draft {
                    messages: send(key.address(), Address([3; 20]), 1),
                    fee: 200,
                    gas_limit: 200_000,
                    ..Draft::default()
                };
                let data = SignerData {
                    chain_id: &network.plan.chain_id,
                    account_number: number,
                    sequence: sequence as u64,
                };
                draft.sign(&key, data)
            })
            .collect();
        signed.push(txs);
    }
    let refused = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let senders: Vec<_> = signed
        .into_iter()
        .map(|txs| {
            let (client, refused) = (client.clone(), Arc::clone(&refused));
            tokio::spawn(async move {
                for tx in txs {
                    if let Err(error) = client.broadcast(tx).await
                        && refused.fetch_add(1, Ordering::Relaxed) == 0
                    {
                        println!("{error}");
                    }
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    let sent = start.elapsed();
    loop {
        let account = client.account(&network.key("a0").address()).await.unwrap().unwrap();
        if account.sequence == TXS_EACH as u64 || start.elapsed() > PATIENCE * 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let all = start.elapsed();
    let replayed = replay(&network.nodes[0]).await;
    println!(
        "{} of {} txs committed: sent in {sent:.1?}, committed in {all:.1?}: {:.0} tx/s ({} refused)",
        replayed.txs,
        ACCOUNTS * TXS_EACH,
        replayed.txs as f64 / all.as_secs_f64(),
        refused.load(Ordering::Relaxed)
    );
}
