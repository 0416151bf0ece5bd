//! Direct streams, and peers that abuse them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use trainyard_overlay::{Body, Error, PeerId, StreamBody, StreamHandler};

use crate::common::{Chain, connect, node, noise, within};

const MIB: usize = 1 << 20;

struct Shelf {
    file: std::path::PathBuf,
}

#[async_trait]
impl StreamHandler for Shelf {
    async fn open(&self, _: PeerId, key: &str) -> Option<StreamBody> {
        let sha256 = StreamBody::from_bytes(noise(8 * MIB, 1)).sha256;
        match key {
            "delta" => Some(StreamBody::from_bytes(noise(8 * MIB, 1))),
            "empty" => Some(StreamBody::from_bytes(Bytes::new())),
            "file" => Some(StreamBody {
                len: 8 * MIB as u64,
                sha256,
                body: Body::File(self.file.clone()),
            }),
            "wrong hash" => Some(StreamBody {
                len: 5,
                sha256: [7; 32],
                body: Body::Bytes(Bytes::from_static(b"hello")),
            }),
            // A file that never ends, said to be of any size.
            "endless" => Some(StreamBody {
                len: MIB as u64,
                sha256,
                body: Body::File("/dev/zero".into()),
            }),
            "huge" => Some(StreamBody {
                len: u64::MAX,
                sha256,
                body: Body::File("/dev/zero".into()),
            }),
            "short" => Some(StreamBody {
                len: 10,
                sha256,
                body: Body::Bytes(Bytes::from_static(b"hello")),
            }),
            _ => None,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_carry_tensors_and_refuse_abuse() {
    within(60, async {
        let chain = Arc::new(Chain::default());
        let (a, b) = (node(&chain).await, node(&chain).await);
        connect(&b.overlay, &a.overlay).await;
        let content = noise(8 * MIB, 1);
        let file = a.dir.path().join("delta");
        std::fs::write(&file, &content).unwrap();
        let peer = a.overlay.peer_id();
        let bound = 8 * MIB as u64;

        // Before there is a handler, nothing is found.
        let error = b.overlay.fetch_stream(peer, "delta", bound).await.unwrap_err();
        assert!(matches!(error, Error::StreamNotFound { .. }), "{error}");
        a.overlay.serve_streams(Arc::new(Shelf { file }));
        assert!(b.overlay.fetch_stream(peer, "delta", bound).await.unwrap() == content);
        assert!(b.overlay.fetch_stream(peer, "empty", 0).await.unwrap().is_empty());
        let path = b.dir.path().join("fetched");
        assert_eq!(
            b.overlay.fetch_stream_to(peer, "file", bound, &path).await.unwrap(),
            bound
        );
        assert!(std::fs::read(&path).unwrap() == content);
        assert_eq!(b.overlay.bytes_transferred().streams_in, 2 * bound);

        let error = b.overlay.fetch_stream(peer, "none", bound).await.unwrap_err();
        assert_eq!(error.to_string(), format!("peer {peer} has no stream \"none\""));
        let error = b.overlay.fetch_stream(peer, "delta", bound - 1).await.unwrap_err();
        assert!(
            matches!(
                error,
                Error::TooLarge {
                    found: 8_388_608,
                    bound: 8_388_607,
                    ..
                }
            ),
            "{error}"
        );
        let error = b.overlay.fetch_stream(peer, "huge", bound).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { found: u64::MAX, .. }), "{error}");
        let error = b.overlay.fetch_stream(peer, "wrong hash", bound).await.unwrap_err();
        assert!(
            matches!(error, Error::Hash { .. }) && error.to_string().contains("07070707"),
            "{error}"
        );
        let error = b.overlay.fetch_stream(peer, "endless", bound).await.unwrap_err();
        assert!(matches!(error, Error::Hash { .. }), "{error}");
        let error = b.overlay.fetch_stream(peer, "short", bound).await.unwrap_err();
        assert!(error.to_string().ends_with("ended after 5 of 10 bytes"), "{error}");
        let path = b.dir.path().join("bad");
        assert!(
            b.overlay
                .fetch_stream_to(peer, "wrong hash", bound, &path)
                .await
                .is_err()
        );
        assert!(!path.exists() && !b.dir.path().join("bad.part").exists());
        let error = b.overlay.fetch_stream(peer, &"k".repeat(257), bound).await.unwrap_err();
        assert!(
            matches!(
                error,
                Error::TooLarge {
                    found: 257,
                    bound: 256,
                    ..
                }
            ),
            "{error}"
        );

        // Many at once, more than a peer may have open, from a node that must first connect.
        let c = node(&chain).await;
        let addr = a.overlay.listen_addrs()[0].clone();
        let dials = futures::future::join_all((0..24).map(|_| c.overlay.dial(addr.clone()))).await;
        assert!(dials.iter().all(Result::is_ok), "{dials:?}");
        let many = (0..24).map(|_| c.overlay.fetch_stream(peer, "empty", 0));
        let results = futures::future::join_all(many).await;
        assert!(results.iter().filter(|r| r.is_ok()).count() >= 8, "{results:?}");
    })
    .await;
}
