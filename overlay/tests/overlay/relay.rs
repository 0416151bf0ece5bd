//! A node that cannot be dialled is reached through a relay.

use std::sync::Arc;

use libp2p::multiaddr::Protocol;
use trainyard_overlay::{Multiaddr, Overlay, StreamBody, StreamHandler};

use crate::common::{Chain, config, node, quick, within};

struct Answer;

#[async_trait::async_trait]
impl StreamHandler for Answer {
    async fn open(&self, _: trainyard_overlay::PeerId, _: &str) -> Option<StreamBody> {
        Some(StreamBody::from_bytes(vec![42; 100]))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hidden_node_is_reached_through_a_relay() {
    within(30, async {
        let chain = Arc::new(Chain::default());
        let dir = tempfile::TempDir::new().unwrap();
        let mut settings = config(&dir, quick());
        // A relay must know an address of its own to give out.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let addr: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
        (settings.listen, settings.external, settings.relay) = (vec![addr.clone()], vec![addr], true);
        let relay = Overlay::start(settings, chain.clone()).await.unwrap();

        let dir = tempfile::TempDir::new().unwrap();
        let mut settings = config(&dir, quick());
        settings.listen = vec![relay.listen_addrs()[0].clone().with(Protocol::P2pCircuit)];
        let hidden = Overlay::start(settings, chain.clone()).await.unwrap();
        hidden.serve_streams(Arc::new(Answer));
        let other = node(&chain).await;
        let through = relay.listen_addrs()[0]
            .clone()
            .with(Protocol::P2pCircuit)
            .with_p2p(hidden.peer_id())
            .unwrap();
        assert_eq!(other.overlay.dial(through).await.unwrap(), hidden.peer_id());
        let got = other.overlay.fetch_stream(hidden.peer_id(), "any", 100).await.unwrap();
        assert_eq!(got, vec![42; 100]);
    })
    .await;
}
