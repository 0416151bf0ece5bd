//! RPC and event stream against a real CometBFT node with its built-in key-value application.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use trainyard_client::events::{BlockEvents, BlockStream};
use trainyard_client::rpc::{Client, Error, show_hash};
use trainyard_client::tx;

const BOUND: Duration = Duration::from_secs(60);

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

struct Node {
    process: Child,
    url: String,
    port: u16,
}

impl Node {
    fn start(home: &Path, port: u16) -> Self {
        let url = format!("tcp://127.0.0.1:{port}");
        let process = Command::new(cometbft())
            .args([
                "start",
                "--proxy_app=persistent_kvstore",
                "--p2p.laddr=tcp://127.0.0.1:0",
                "--rpc.laddr",
                &url,
            ])
            .arg("--home")
            .arg(home)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, url, port }
    }

    fn init(home: &Path) -> Self {
        assert!(
            Command::new(cometbft())
                .args(["init", "--home"])
                .arg(home)
                .output()
                .unwrap()
                .status
                .success()
        );
        let config = home.join("config/config.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(
            &config,
            text.replace("timeout_commit = \"1s\"", "timeout_commit = \"100ms\""),
        )
        .unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::start(home, port)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SIGKILL: a node that stops without saying goodbye.
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

async fn next(stream: &mut BlockStream) -> BlockEvents {
    tokio::time::timeout(BOUND, stream.next())
        .await
        .expect("a block in time")
        .unwrap()
}

/// Reads blocks until one has the transaction's event; all heights must follow each other.
async fn until_key(stream: &mut BlockStream, height: &mut u64, key: &str) {
    loop {
        let block = next(stream).await;
        *height += 1;
        assert_eq!(block.height, *height, "no gap, no repetition");
        if block
            .events
            .iter()
            .any(|e| e.kind == "app" && e.attribute("key") == Some(key))
        {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_queries_and_events_across_a_crash() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::init(home.path());
    let client = Client::new(&node.url).unwrap();
    // The stream may be opened before the node listens.
    let mut stream = BlockStream::new(client.clone(), 1);
    let mut height = 0;
    assert_eq!(next(&mut stream).await.height, 1);
    height += 1;

    let hash = client.broadcast(b"alice=1".to_vec()).await.unwrap();
    assert_eq!(hash, tx::hash(b"alice=1"));
    let outcome = client.wait_tx(hash, BOUND).await.unwrap();
    assert_eq!((outcome.code, outcome.hash.clone()), (0, show_hash(&hash)));
    until_key(&mut stream, &mut height, "alice").await;
    assert_eq!(height, outcome.height);
    let answer = client
        .abci_query("/store", b"alice".to_vec(), None, false)
        .await
        .unwrap();
    assert_eq!(answer.value, b"1");

    // A repetition and a malformed one are refused, the latter with code and text; an unknown one is waited for in vain.
    let repeated = client.broadcast(b"alice=1".to_vec()).await.unwrap_err();
    assert!(
        matches!(&repeated, Error::Duplicate { hash: known } if *known == show_hash(&hash)),
        "{repeated}"
    );
    let refused = client.broadcast(b"no pair".to_vec()).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Rejected { code, .. } if *code != 0),
        "{refused}"
    );
    let missing = client.wait_tx([7; 32], Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(missing, Error::NotIncluded { .. }), "{missing}");
    let chain = client.status().await.unwrap().node_info.network.to_string();
    client.expect_chain(&chain).await.unwrap();
    assert!(matches!(
        client.expect_chain("other-1").await,
        Err(Error::ChainId { .. })
    ));

    let port = node.port;
    drop(node);
    let node = Node::start(home.path(), port);
    let hash = loop {
        match client.broadcast(b"bob=2".to_vec()).await {
            Ok(hash) => break hash,
            Err(Error::Duplicate { .. }) => break tx::hash(b"bob=2"),
            Err(e) => assert!(e.is_temporary() || matches!(e, Error::Refused { .. }), "{e}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    client.wait_tx(hash, BOUND).await.unwrap();
    until_key(&mut stream, &mut height, "bob").await;
    // A stream from the first height on sees everything again; one from now on starts with the next block.
    let mut again = BlockStream::new(client.clone(), 1);
    let mut seen = 0;
    until_key(&mut again, &mut seen, "bob").await;
    assert_eq!(seen, height);
    let mut fresh = BlockStream::new(client.clone(), 0);
    assert!(next(&mut fresh).await.height > height);
    drop(node);
}
