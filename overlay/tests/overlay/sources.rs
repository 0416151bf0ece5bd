//! Content from IPFS, the web and files.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use trainyard_overlay::{Error, Source};

use crate::common::{Chain, node, noise, within};

/// Serves `body` to everyone who connects; `length` is what it says of its size.
async fn web(body: Vec<u8>, length: Option<usize>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            let length = length.map(|n| format!("Content-Length: {n}\r\n")).unwrap_or_default();
            let _ = socket
                .write_all(format!("HTTP/1.1 200 OK\r\n{length}Connection: close\r\n\r\n").as_bytes())
                .await;
            let _ = socket.write_all(&body).await;
        }
    });
    format!("http://{addr}/data")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_are_fetched_and_checked() {
    within(30, async {
        let chain = Arc::new(Chain::default());
        let node = node(&chain).await;
        let content = noise(300_000, 1);
        let sha256 = hex::encode(Sha256::digest(&content));
        let path = node.dir.path().join("fetched");
        let fetch = async |uri: String, max: u64| {
            let source: Source = uri.parse()?;
            assert_eq!(source.to_string(), uri);
            let bytes = node.overlay.fetch_source(&source, &path, max, &[], |_| {}).await?;
            let got = std::fs::read(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            assert_eq!(bytes, got.len() as u64);
            Ok::<_, Error>(got)
        };
        let url = web(content.clone(), Some(content.len())).await;
        assert!(fetch(format!("{url}#sha256={sha256}"), 300_000).await.unwrap() == content);
        let unsized_url = web(content.clone(), None).await;
        assert!(fetch(format!("{unsized_url}#sha256={sha256}"), 300_000).await.unwrap() == content);
        for url in [&url, &unsized_url] {
            let error = fetch(format!("{url}#sha256={sha256}"), 299_999).await.unwrap_err();
            assert!(matches!(error, Error::TooLarge { bound: 299_999, .. }), "{error}");
        }
        let error = fetch(format!("{url}#sha256={}", "00".repeat(32)), 300_000)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Hash { .. }), "{error}");
        assert!(!path.exists() && !node.dir.path().join("fetched.part").exists());

        let file = node.dir.path().join("content");
        std::fs::write(&file, &content).unwrap();
        assert!(fetch(format!("file://{}", file.display()), 300_000).await.unwrap() == content);
        assert!(fetch(format!("file://{}", file.display()), 1000).await.is_err());
        let cid = node.overlay.add_file(&file).await.unwrap().cid;
        assert!(fetch(format!("ipfs://{cid}"), 300_000).await.unwrap() == content);

        for bad in [
            "",
            "ftp://x",
            "http://x/y",
            "http://x/y#sha256=12",
            "file://relative",
            "ipfs://nonsense",
        ] {
            let error = bad.parse::<Source>().unwrap_err();
            assert!(matches!(error, Error::Source { .. } | Error::Cid { .. }), "{error}");
        }
    })
    .await;
}
