//! Finding peers and their capability records.

use std::sync::Arc;

use trainyard_overlay::{Error, Filter, Keypair, Multiaddr, Overlay, load_or_create_key};
use trainyard_proto::overlay::{CapabilityRecord, Gpu};

use crate::common::{Chain, config, connect, node, quick, within};

fn record(memory_mib: u64) -> CapabilityRecord {
    CapabilityRecord {
        gpus: vec![
            Gpu {
                model: "H100".into(),
                memory_mib: 80 << 10
            };
            4
        ],
        memory_mib,
        cores: 64,
        bandwidth_mbit: 1000,
        region: "eu-west".into(),
        versions: vec!["trainerd 0.1.0".into()],
        price_utrain: 5,
        addresses: vec![],
        classes: vec!["exact".into()],
        subnets: vec![],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_found_through_the_bootstrap_node() {
    within(30, async {
        let chain = Arc::new(Chain::default());
        let hub = node(&chain).await;
        let start = async |name: &str| {
            let dir = tempfile::TempDir::with_prefix(name).unwrap();
            let mut settings = config(&dir, quick());
            settings.bootstrap = hub.overlay.listen_addrs();
            let overlay = Overlay::start(settings, chain.clone()).await.unwrap();
            overlay.until_connected(hub.overlay.peer_id(), true).await.unwrap();
            (overlay, dir)
        };
        let ((a, _a), (b, _b)) = (start("a").await, start("b").await);
        // The hub learns a's addresses when identify is through.
        let addrs = loop {
            match b.find_peer(a.peer_id()).await {
                Ok(addrs) => break addrs,
                Err(Error::PeerNotFound { .. }) => tokio::task::yield_now().await,
                Err(e) => panic!("{e}"),
            }
        };
        assert!(
            addrs
                .iter()
                .any(|addr| a.listen_addrs()[0].to_string().starts_with(&addr.to_string())),
            "{addrs:?}"
        );
        assert!(b.connected().contains(&a.peer_id()));

        // Records: signed, and as the chain says.
        let ours = record(256 << 10);
        chain.hashes.lock().unwrap().insert(a.peer_id(), ours.hash());
        a.publish_record(&ours).await.unwrap();
        assert_eq!(b.find_record(a.peer_id()).await.unwrap(), ours);
        let wanted = Filter {
            gpus: 4,
            gpu_memory_mib: 16 << 10,
            class: Some("exact".into()),
            ..Filter::default()
        };
        let found = b.find_nodes(&[a.peer_id(), hub.overlay.peer_id()], &wanted).await;
        assert_eq!(found, vec![(a.peer_id(), ours)]);
        let wanted = Filter {
            gpus: 5,
            ..Filter::default()
        };
        assert!(b.find_nodes(&[a.peer_id()], &wanted).await.is_empty());

        // A record that is not the one on the chain is refused.
        chain.hashes.lock().unwrap().insert(a.peer_id(), record(1).hash());
        let error = b.find_record(a.peer_id()).await.unwrap_err().to_string();
        assert!(error.contains(&hex::encode(record(1).hash())), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_dial_says_why() {
    within(30, async {
        let chain = Arc::new(Chain::default());
        let (a, b) = (node(&chain).await, node(&chain).await);
        // A port that was just free.
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let addr: Multiaddr = format!("/ip4/127.0.0.1/tcp/{free}").parse().unwrap();
        let error = a.overlay.dial(addr.clone()).await.unwrap_err().to_string();
        assert!(
            error.contains(&addr.to_string()) && error.contains("refused"),
            "{error}"
        );

        let expected = Keypair::generate_ed25519().public().to_peer_id();
        let addr: Multiaddr = b.overlay.listen_addrs()[0].iter().take(2).collect();
        let error = a
            .overlay
            .dial(addr.with_p2p(expected).unwrap())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("wrong peer id") && error.contains(&b.overlay.peer_id().to_string()),
            "{error}"
        );

        let error = a.overlay.find_peer(expected).await.unwrap_err();
        assert!(matches!(error, Error::PeerNotFound { .. }), "{error}");
        connect(&a.overlay, &b.overlay).await;

        let dir = tempfile::TempDir::new().unwrap();
        let mut settings = config(&dir, quick());
        settings.bootstrap = vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()];
        let error = Overlay::start(settings, chain).await.err().unwrap();
        assert!(matches!(error, Error::NoPeerId(_)), "{error}");
    })
    .await;
}

#[test]
fn a_key_is_made_once_and_kept_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("node/key");
    let key = load_or_create_key(&path).unwrap();
    assert_eq!(load_or_create_key(&path).unwrap().public(), key.public());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(&path, b"not a key").unwrap();
    assert!(matches!(load_or_create_key(&path).unwrap_err(), Error::Key { .. }));
}
