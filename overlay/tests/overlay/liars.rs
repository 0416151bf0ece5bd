//! A peer that says it has every block and then sends something else.

use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::swarm::SwarmEvent;
use libp2p::{PeerId, StreamProtocol, SwarmBuilder, noise, tcp, yamux};
use trainyard_overlay::{Error, Limits, Overlay};

use crate::common::{Chain, connect, node, node_with, noise as random, quick, within};

const MIB: usize = 1 << 20;
const BITSWAP: StreamProtocol = StreamProtocol::new("/ipfs/bitswap/1.2.0");

/// A field of protobuf with length-delimited content; the length must be below 128.
fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
}

/// The CIDs in a wantlist message: runs of a version-1 CID of either codec.
fn cids(message: &[u8]) -> Vec<Vec<u8>> {
    let starts = |w: &[u8]| w[0] == 1 && (w[1] == 0x55 || w[1] == 0x70) && w[2] == 0x12 && w[3] == 0x20;
    message.windows(36).filter(|w| starts(w)).map(<[u8]>::to_vec).collect()
}

/// Connects a swarm that answers every want with a HAVE, then with a block of its own invention, then with garbage.
async fn liar(overlay: &Overlay) -> PeerId {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| libp2p_stream::Behaviour::new())
        .unwrap()
        .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(60)))
        .build();
    let me = *swarm.local_peer_id();
    let peer = overlay.peer_id();
    let mut control = swarm.behaviour().new_control();
    let mut incoming = control.accept(BITSWAP).unwrap();
    swarm.dial(overlay.listen_addrs()[0].clone()).unwrap();
    while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionEstablished { .. }) {}
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    tokio::spawn(async move {
        let mut out = control.open_stream(peer, BITSWAP).await.unwrap();
        while let Some((_, mut stream)) = incoming.next().await {
            let mut buffer = vec![0; 1 << 16];
            loop {
                let n = stream.read(&mut buffer).await.unwrap_or(0);
                if n == 0 {
                    break;
                }
                for cid in cids(&buffer[..n]) {
                    let have = field(4, &field(1, &cid));
                    let block = field(3, &[field(1, &cid[..4]), field(2, b"not what was asked for")].concat());
                    for message in [have, block] {
                        let length = u8::try_from(message.len()).unwrap();
                        if out.write_all(&[&[length], &message[..]].concat()).await.is_err() {
                            return;
                        }
                    }
                }
                let _ = out.flush().await;
            }
        }
    });
    me
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lying_source_delays_but_does_not_deceive() {
    within(60, async {
        let chain = Arc::new(Chain::default());
        let limits = Limits {
            stall: Duration::from_secs(2),
            ..quick()
        };
        let (honest, sink) = (node(&chain).await, node_with(&chain, limits).await);
        let liar = liar(&sink.overlay).await;
        sink.overlay.until_connected(liar, true).await.unwrap();
        let content = random(6 * MIB, 1);
        let cid = honest.overlay.add_bytes(content.clone()).await.unwrap().cid;

        // Alone, it stalls the fetch, which says so.
        let error = sink.overlay.get_bytes(cid, 64 << 20, &[]).await.unwrap_err();
        assert!(matches!(error, Error::Stalled { asked: 1, .. }), "{error}");
        assert!(sink.overlay.bytes_transferred().bitswap_unasked > 0);
        // Beside an honest source it does not stand in the way.
        connect(&sink.overlay, &honest.overlay).await;
        assert!(sink.overlay.get_bytes(cid, 64 << 20, &[]).await.unwrap() == content);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversized_message_closes_the_stream_and_nothing_else() {
    within(30, async {
        let chain = Arc::new(Chain::default());
        let (server, other) = (node(&chain).await, node(&chain).await);
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| libp2p_stream::Behaviour::new())
            .unwrap()
            .build();
        let mut control = swarm.behaviour().new_control();
        swarm.dial(server.overlay.listen_addrs()[0].clone()).unwrap();
        tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        for bytes in [
            vec![0xff; 10],
            vec![0x81, 0x80, 0x80, 0x02, 0],
            [vec![20], vec![0xfe; 20]].concat(),
        ] {
            let mut stream = control.open_stream(server.overlay.peer_id(), BITSWAP).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            stream.flush().await.unwrap();
            // The server closes its side: nothing more is read from this stream.
            let end = stream.read(&mut [0; 16]).await;
            assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        }
        let content = random(MIB, 2);
        let cid = server.overlay.add_bytes(content.clone()).await.unwrap().cid;
        connect(&other.overlay, &server.overlay).await;
        assert!(other.overlay.get_bytes(cid, 4 << 20, &[]).await.unwrap() == content);
    })
    .await;
}
