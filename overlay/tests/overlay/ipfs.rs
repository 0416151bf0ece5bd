//! Blocks between nodes, over real sockets.

use std::sync::Arc;
use std::time::Instant;

use crate::common::{Chain, config, connect, node, node_with, noise, quick, within};
use tempfile::TempDir;
use trainyard_overlay::{BlockStore, Error, Limits, Overlay};

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_travels_to_disk() {
    within(60, async {
        let chain = Arc::new(Chain::default());
        let (a, b) = (node(&chain).await, node(&chain).await);
        connect(&b.overlay, &a.overlay).await;
        let content = noise(20 * MIB + 17, 1);
        let added = a.overlay.add_bytes(content.clone()).await.unwrap();
        assert_eq!(added.bytes, content.len() as u64);
        let path = b.dir.path().join("file");
        let (mut last, started) = (0, Instant::now());
        let bytes = b
            .overlay
            .get_file(added.cid, &path, 64 << 20, &[a.overlay.peer_id()], |progress| {
                assert!(progress.done >= last && progress.total == added.bytes);
                last = progress.done;
            })
            .await
            .unwrap();
        println!("20 MiB in {:?}", started.elapsed());
        assert_eq!((bytes, last), (added.bytes, added.bytes));
        assert!(std::fs::read(&path).unwrap() == content);
        let (ours, theirs) = (b.overlay.bytes_transferred(), a.overlay.bytes_transferred());
        assert_eq!(ours.bitswap_in, theirs.bitswap_out);
        assert_eq!(ours.bitswap_unasked, 0);

        // A second get is answered from the own blocks.
        assert!(b.overlay.get_bytes(added.cid, 64 << 20, &[]).await.unwrap() == content);
        assert_eq!(b.overlay.bytes_transferred(), ours);
        // And the fetcher serves in turn.
        let c = node(&chain).await;
        connect(&c.overlay, &b.overlay).await;
        assert!(c.overlay.get_bytes(added.cid, 64 << 20, &[]).await.unwrap() == content);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_share_the_work() {
    within(60, async {
        let chain = Arc::new(Chain::default());
        let sources = [node(&chain).await, node(&chain).await, node(&chain).await];
        let content = noise(16 * MIB, 2);
        let mut cid = None;
        for source in &sources {
            cid = Some(source.overlay.add_bytes(content.clone()).await.unwrap().cid);
        }
        let sink = node(&chain).await;
        for source in &sources {
            connect(&sink.overlay, &source.overlay).await;
        }
        let got = sink.overlay.get_bytes(cid.unwrap(), 64 << 20, &[]).await.unwrap();
        assert!(got == content);
        let traffic = sink.overlay.bytes_transferred();
        assert!(
            traffic.bitswap_in < content.len() as u64 + 64 * 1024,
            "a block came twice: {traffic:?}"
        );
        for source in &sources {
            let sent = source.overlay.bytes_transferred().bitswap_out;
            assert!(sent > content.len() as u64 / 10, "one source sent only {sent} bytes");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_survives_the_restart_of_its_only_source() {
    within(60, async {
        let chain = Arc::new(Chain::default());
        let dir = TempDir::new().unwrap();
        let mut settings = config(&dir, quick());
        let source = Overlay::start(settings.clone(), chain.clone()).await.unwrap();
        let addr = source.listen_addrs()[0].clone();
        settings.listen = vec![addr.iter().take(2).collect()];
        let content = noise(24 * MIB, 3);
        let cid = source.add_bytes(content.clone()).await.unwrap().cid;
        let source_id = source.peer_id();

        let sink = node(&chain).await;
        sink.overlay.dial(addr.clone()).await.unwrap();
        let path = sink.dir.path().join("file");
        let (halfway_sender, halfway) = tokio::sync::oneshot::channel();
        let fetch = tokio::spawn({
            let (overlay, path) = (sink.overlay.clone(), path.clone());
            let mut halfway_sender = Some(halfway_sender);
            async move {
                overlay
                    .get_file(cid, path, 64 << 20, &[], move |progress| {
                        if progress.done > progress.total / 2
                            && let Some(sender) = halfway_sender.take()
                        {
                            let _ = sender.send(());
                        }
                    })
                    .await
            }
        });
        halfway.await.unwrap();
        source.shutdown().await;
        sink.overlay.until_connected(source_id, false).await.unwrap();
        let source = Overlay::start(settings, chain.clone()).await.unwrap();
        sink.overlay.dial(addr).await.unwrap();
        fetch.await.unwrap().unwrap();
        assert!(std::fs::read(&path).unwrap() == content);
        let came = sink.overlay.bytes_transferred().bitswap_in;
        assert!(
            came < content.len() as u64 + 10 * MIB as u64,
            "fetched again: {came} bytes"
        );
        drop(source);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_fetch_goes_on_where_it_stopped() {
    within(60, async {
        let chain = Arc::new(Chain::default());
        let dir = TempDir::new().unwrap();
        let settings = config(
            &dir,
            Limits {
                stall: std::time::Duration::from_millis(1500),
                ..quick()
            },
        );
        let source = node(&chain).await;
        let content = noise(16 * MIB, 4);
        let cid = source.overlay.add_bytes(content.clone()).await.unwrap().cid;
        let sink = Overlay::start(settings.clone(), chain.clone()).await.unwrap();
        connect(&sink, &source.overlay).await;
        let overlay = sink.clone();
        let (sender, halfway) = tokio::sync::oneshot::channel();
        let mut sender = Some(sender);
        let fetch = tokio::spawn(async move {
            let path = dir.path().join("file");
            let result = overlay
                .get_file(cid, path, 64 << 20, &[], |progress| {
                    if progress.done > progress.total / 2
                        && let Some(sender) = sender.take()
                    {
                        let _ = sender.send(());
                    }
                })
                .await;
            (result, dir)
        });
        halfway.await.unwrap();
        drop(source.overlay);
        let (result, _dir) = fetch.await.unwrap();
        let before = sink.bytes_transferred().bitswap_in;
        if let Err(e) = result {
            let text = e.to_string();
            assert!(
                matches!(e, Error::Stalled { asked: 1, .. }) && text.contains(&cid.to_string()),
                "{text}"
            );
        }
        sink.shutdown().await;

        let again = node(&chain).await;
        again.overlay.add_bytes(content.clone()).await.unwrap();
        let sink = Overlay::start(settings, chain.clone()).await.unwrap();
        connect(&sink, &again.overlay).await;
        assert!(sink.get_bytes(cid, 64 << 20, &[]).await.unwrap() == content);
        let after = sink.bytes_transferred().bitswap_in;
        assert!(
            before > 4 * MIB as u64 && after + before < content.len() as u64 + MIB as u64,
            "{before} + {after}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_appears_later_reaches_who_asked_before() {
    within(30, async {
        let chain = Arc::new(Chain::default());
        let (a, b) = (node(&chain).await, node(&chain).await);
        connect(&b.overlay, &a.overlay).await;
        let content = noise(3 * MIB, 5);
        let scratch = TempDir::new().unwrap();
        let cid = BlockStore::open(scratch.path())
            .unwrap()
            .add_bytes(&content)
            .unwrap()
            .cid;
        let fetch = tokio::spawn({
            let overlay = b.overlay.clone();
            async move { overlay.get_bytes(cid, 64 << 20, &[]).await }
        });
        // Time for the want to arrive first; the test holds whichever comes first.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        a.overlay.add_bytes(content.clone()).await.unwrap();
        assert!(fetch.await.unwrap().unwrap() == content);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_block_names_itself_and_the_peers_asked() {
    within(30, async {
        let chain = Arc::new(Chain::default());
        let limits = Limits {
            stall: std::time::Duration::from_millis(800),
            ..quick()
        };
        let (a, b) = (node(&chain).await, node_with(&chain, limits).await);
        connect(&b.overlay, &a.overlay).await;
        let cid = "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"
            .parse()
            .unwrap();
        let error = b.overlay.get_bytes(cid, 100, &[]).await.unwrap_err();
        assert!(
            matches!(
                error,
                Error::Stalled {
                    asked: 1,
                    connected: 1,
                    ..
                }
            ),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains("bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4")
        );

        let big = a.overlay.add_bytes(noise(MIB, 6)).await.unwrap();
        let error = b.overlay.get_bytes(big.cid, 1000, &[]).await.unwrap_err();
        assert!(
            matches!(
                error,
                Error::TooLarge {
                    found: 1_048_576,
                    bound: 1000,
                    ..
                }
            ),
            "{error}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_added_offline_is_served_later() {
    within(30, async {
        let chain = Arc::new(Chain::default());
        let dir = TempDir::new().unwrap();
        let content = noise(2 * MIB, 7);
        let file = dir.path().join("content");
        std::fs::write(&file, &content).unwrap();
        let store = BlockStore::open(dir.path()).unwrap();
        let second = BlockStore::open(dir.path()).err().unwrap().to_string();
        assert!(second.ends_with("blocks.redb is in use by another process"), "{second}");
        let cid = store.add_file(&file).unwrap().cid;
        drop(store);

        let serving = Overlay::start(config(&dir, quick()), chain.clone()).await.unwrap();
        let fetching = node(&chain).await;
        connect(&fetching.overlay, &serving).await;
        assert!(fetching.overlay.get_bytes(cid, 4 << 20, &[]).await.unwrap() == content);
        // Shutting down frees the file.
        serving.shutdown().await;
        assert!(BlockStore::open(dir.path()).unwrap().has(&cid).unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dht_names_providers() {
    within(30, async {
        let chain = Arc::new(Chain::default());
        let hub = node(&chain).await;
        let (a, b) = (node(&chain).await, node(&chain).await);
        connect(&a.overlay, &hub.overlay).await;
        connect(&b.overlay, &hub.overlay).await;
        let content = noise(MIB, 8);
        let cid = a.overlay.add_bytes(content.clone()).await.unwrap().cid;
        // The hub learns addresses from identify, which follows the connection.
        while a.overlay.provide(cid).await.is_err() || b.overlay.providers(cid).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(b.overlay.get_bytes(cid, 4 << 20, &[]).await.unwrap() == content);
        assert!(b.overlay.connected().contains(&a.overlay.peer_id()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_that_fetches_together_moves_each_block_once_per_node() {
    within(60, async {
        let chain = Arc::new(Chain::default());
        let nodes = [
            node(&chain).await,
            node(&chain).await,
            node(&chain).await,
            node(&chain).await,
        ];
        for (i, a) in nodes.iter().enumerate() {
            for b in &nodes[..i] {
                connect(&a.overlay, &b.overlay).await;
            }
        }
        let content = noise(16 * MIB, 9);
        let cid = nodes[0].overlay.add_bytes(content.clone()).await.unwrap().cid;
        let fetches = nodes[1..].iter().map(|node| node.overlay.get_bytes(cid, 64 << 20, &[]));
        for got in futures::future::join_all(fetches).await {
            assert!(got.unwrap() == content);
        }
        for node in &nodes[1..] {
            let traffic = node.overlay.bytes_transferred();
            assert!(traffic.bitswap_in < content.len() as u64 * 11 / 10, "{traffic:?}");
        }
    })
    .await;
}
