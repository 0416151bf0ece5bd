//! Job topics: members only, and not too fast.

use std::sync::Arc;
use std::time::Duration;

use trainyard_overlay::{Error, Limits, MAX_MESSAGE, Topic};

use crate::common::{Chain, connect, node, node_with, quick, within};

/// Waits until the topic has `n` other members connected.
async fn members(topic: &Topic, n: usize) {
    while topic.peers().await.unwrap().len() < n {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_hear_members_and_strangers_are_rejected() {
    within(30, async {
        let chain = Arc::new(Chain::default());
        // a – hub – b, so that what a says must be forwarded.
        let (a, hub, b, stranger) = (
            node(&chain).await,
            node(&chain).await,
            node(&chain).await,
            node(&chain).await,
        );
        connect(&a.overlay, &hub.overlay).await;
        connect(&b.overlay, &hub.overlay).await;
        connect(&stranger.overlay, &hub.overlay).await;
        let stranger_topic = stranger.overlay.join(7).await.unwrap();
        // The chain drops it after it joined.
        chain.strangers.lock().unwrap().insert(stranger.overlay.peer_id());
        let (from, mut heard_by_hub, mut to) = (
            a.overlay.join(7).await.unwrap(),
            hub.overlay.join(7).await.unwrap(),
            b.overlay.join(7).await.unwrap(),
        );
        members(&from, 1).await;
        members(&heard_by_hub, 3).await;
        members(&to, 1).await;
        members(&stranger_topic, 1).await;
        stranger_topic.publish(b"let me in".to_vec()).await.unwrap();
        from.publish(b"round 1".to_vec()).await.unwrap();
        let heard = to.next().await.unwrap();
        assert_eq!(
            (heard.peer, heard.bytes.as_slice()),
            (a.overlay.peer_id(), b"round 1".as_slice())
        );
        from.publish(b"round 2".to_vec()).await.unwrap();
        for expected in [b"round 1", b"round 2"] {
            let heard = heard_by_hub.next().await.unwrap();
            assert_eq!(
                (heard.peer, heard.bytes.as_slice()),
                (a.overlay.peer_id(), expected.as_slice())
            );
        }
        assert_eq!(to.next().await.unwrap().bytes, b"round 2");

        let error = from.publish(vec![0; MAX_MESSAGE + 1]).await.unwrap_err();
        assert!(
            matches!(
                error,
                Error::TooLarge {
                    found: 65_537,
                    bound: 65_536,
                    ..
                }
            ),
            "{error}"
        );
        from.publish(vec![0; MAX_MESSAGE]).await.unwrap();
        for topic in [&mut to, &mut heard_by_hub] {
            assert_eq!(topic.next().await.unwrap().bytes.len(), MAX_MESSAGE);
        }

        // Leaving is seen by the others.
        drop(from);
        while heard_by_hub.peers().await.unwrap().contains(&a.overlay.peer_id()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joining_needs_the_chains_consent() {
    within(10, async {
        let chain = Arc::new(Chain::default());
        let a = node(&chain).await;
        chain.strangers.lock().unwrap().insert(a.overlay.peer_id());
        let error = a.overlay.join(9).await.err().unwrap().to_string();
        assert_eq!(
            error,
            format!(
                "topic of job 9: the chain does not list peer {} in it",
                a.overlay.peer_id()
            )
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooding_peer_is_cut_off() {
    within(30, async {
        let chain = Arc::new(Chain::default());
        let limits = Limits {
            messages_per_second: 10,
            message_burst: 20,
            flood: 50,
            block: Duration::from_secs(600),
            ..quick()
        };
        let (victim, flooder) = (node_with(&chain, limits).await, node(&chain).await);
        connect(&flooder.overlay, &victim.overlay).await;
        let mut victim_topic = victim.overlay.join(1).await.unwrap();
        let topic = flooder.overlay.join(1).await.unwrap();
        members(&topic, 1).await;
        let flood = async {
            for i in 0u64.. {
                // Fails once it is cut off.
                if topic.publish(i.to_be_bytes().to_vec()).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        };
        tokio::select! {
            () = flood => {}
            cut = victim.overlay.until_connected(flooder.overlay.peer_id(), false) => cut.unwrap(),
        }
        let mut heard = 0;
        while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(100), victim_topic.next()).await {
            heard += 1;
        }
        assert!((20..60).contains(&heard), "{heard} messages got through");
        // It stays out.
        let addr = victim.overlay.listen_addrs()[0].clone();
        if flooder.overlay.dial(addr).await.is_ok() {
            flooder
                .overlay
                .until_connected(victim.overlay.peer_id(), false)
                .await
                .unwrap();
        }
        assert!(victim.overlay.connected().is_empty());
    })
    .await;
}
