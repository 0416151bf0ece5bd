//! The handle to the block exchange's task, and what it is told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use cid::Cid;
use libp2p::PeerId;
use tokio::sync::{mpsc, oneshot, watch};

/// What the owning task is told.
pub(crate) enum Input {
    Want {
        session: u64,
        shared: Arc<Shared>,
        cid: Cid,
        reply: oneshot::Sender<Bytes>,
    },
    Block {
        peer: PeerId,
        cid: Cid,
        data: Bytes,
    },
    Presence {
        peer: PeerId,
        cid: Cid,
        have: bool,
    },
    /// The peer asked for these, in vain; `full` forgets what it asked before.
    Waiting {
        peer: PeerId,
        full: bool,
        cids: Vec<(Cid, bool)>,
    },
    Cancelled {
        peer: PeerId,
        cids: Vec<Cid>,
    },
    /// These blocks were stored.
    Stored(Vec<Cid>),
}

/// The connected peers, always the latest set.
pub(crate) type Peers = watch::Receiver<Arc<BTreeSet<PeerId>>>;

/// What a session's holder can see of it.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) asked: AtomicUsize,
    pub(crate) sources: AtomicUsize,
}

/// The handle to the owning task.
#[derive(Clone)]
pub(crate) struct Exchange {
    inbox: mpsc::Sender<Input>,
    next: Arc<AtomicU64>,
}

/// One fetch. Dropping it cancels what it still wants.
pub(crate) struct Session {
    exchange: Exchange,
    id: u64,
    shared: Arc<Shared>,
}

impl Session {
    /// Asks for a block; the receiver yields it, its hash checked.
    pub(crate) async fn want(&self, cid: Cid) -> oneshot::Receiver<Bytes> {
        let (reply, receiver) = oneshot::channel();
        self.exchange
            .tell(Input::Want {
                session: self.id,
                shared: self.shared.clone(),
                cid,
                reply,
            })
            .await;
        receiver
    }

    /// Peers asked so far.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// Peers known to have blocks of it.
    pub(crate) fn sources(&self) -> usize {
        self.shared.sources.load(Ordering::Relaxed)
    }
}

impl Exchange {
    pub(crate) fn new() -> (Exchange, mpsc::Receiver<Input>) {
        let (inbox, receiver) = mpsc::channel(256);
        (
            Exchange {
                inbox,
                next: Arc::default(),
            },
            receiver,
        )
    }

    pub(crate) fn session(&self) -> Session {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        Session {
            exchange: self.clone(),
            id,
            shared: Arc::default(),
        }
    }

    /// After shutdown nobody listens, which every asker learns from its dropped reply.
    pub(crate) async fn tell(&self, input: Input) {
        let _ = self.inbox.send(input).await;
    }
}
