//! Bitswap's streams: reading what peers send, answering what they want, writing what we want.
//!
//! Per peer there are two writers, each with a stream of its own: one for our wants, one for our answers. A reader
//! that is busy answering holds up only the peer's wants, never the blocks it sends us, so two peers that fetch from
//! each other cannot lock each other up.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use cid::Cid;
use libp2p::PeerId;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::blocks::lock;
use crate::exchange::{Exchange, Input, Peers};
use crate::inbound::Incoming;
use crate::overlay::Tasks;
use crate::wire::{self, Entry, MAX_ENTRIES, Message, Payload, Presence, Wantlist};
use crate::{BlockStore, unixfs};

/// An answer is sent when its blocks reach this many bytes.
const ANSWER_BYTES: usize = 512 << 10;
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Counts bytes moved.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) bitswap_in: AtomicU64,
    pub(crate) bitswap_out: AtomicU64,
    pub(crate) bitswap_unasked: AtomicU64,
    pub(crate) streams_in: AtomicU64,
    pub(crate) streams_out: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, bytes: usize) {
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn unasked(&self, bytes: usize) {
        Counters::add(&self.bitswap_unasked, bytes);
    }
}

#[derive(Clone)]
struct Link {
    wants: mpsc::Sender<Message>,
    answers: mpsc::Sender<Message>,
}

/// What all of bitswap's streams share.
pub(crate) struct Server {
    pub(crate) store: BlockStore,
    pub(crate) exchange: Exchange,
    pub(crate) traffic: Arc<Counters>,
    pub(crate) control: libp2p_stream::Control,
    pub(crate) peers: Peers,
    pub(crate) tasks: Tasks,
    links: Mutex<HashMap<PeerId, Link>>,
}

impl Server {
    pub(crate) fn new(
        store: BlockStore,
        exchange: Exchange,
        traffic: Arc<Counters>,
        control: libp2p_stream::Control,
        peers: Peers,
        tasks: Tasks,
    ) -> Server {
        Server {
            store,
            exchange,
            traffic,
            control,
            peers,
            tasks,
            links: Mutex::default(),
        }
    }

    /// The peer's writers, started on first use; `None` once it is gone.
    fn link(self: &Arc<Self>, peer: PeerId) -> Option<Link> {
        if !self.peers.borrow().contains(&peer) {
            return None;
        }
        let mut links = lock(&self.links);
        let link = links.entry(peer).or_insert_with(|| {
            let (wants, wants_queue) = mpsc::channel(16);
            let (answers, answers_queue) = mpsc::channel(2);
            self.tasks.spawn(write_loop(Arc::downgrade(self), peer, wants_queue));
            self.tasks.spawn(write_loop(Arc::downgrade(self), peer, answers_queue));
            Link { wants, answers }
        });
        Some(link.clone())
    }

    /// Ends the peer's writers.
    pub(crate) fn disconnected(&self, peer: &PeerId) {
        lock(&self.links).remove(peer);
    }

    /// Queues a wantlist; gives it back when the queue is full.
    pub(crate) fn send_wants(self: &Arc<Self>, peer: PeerId, message: Message) -> Result<(), Message> {
        match self.link(peer) {
            Some(link) => link
                .wants
                .try_send(message)
                .map_err(mpsc::error::TrySendError::into_inner),
            None => Ok(()),
        }
    }

    /// Answers in a task of its own.
    pub(crate) fn answer_later(self: Arc<Self>, peer: PeerId, entries: Vec<Entry>) {
        let tasks = self.tasks.clone();
        tasks.spawn(async move { self.answer(peer, Wantlist { entries, full: false }).await });
    }

    /// Reads one stream that a peer opened, until it ends.
    pub(crate) async fn read_loop(self: Arc<Self>, mut incoming: Incoming) {
        let peer = incoming.peer;
        // A stream can be faster than the news that its peer has connected.
        let mut peers = self.peers.clone();
        if !matches!(
            timeout(OPEN_TIMEOUT, peers.wait_for(|peers| peers.contains(&peer))).await,
            Ok(Ok(_))
        ) {
            return;
        }
        loop {
            let message = match wire::read(&mut incoming.stream).await {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(e) => {
                    tracing::debug!(%peer, "bitswap stream: {e}");
                    return;
                }
            };
            for payload in message.payload {
                Counters::add(&self.traffic.bitswap_in, payload.data.len());
                if let Some(cid) = payload.cid() {
                    self.exchange
                        .tell(Input::Block {
                            peer,
                            cid,
                            data: payload.data,
                        })
                        .await;
                }
            }
            for presence in message.presences {
                if let Ok(cid) = Cid::try_from(presence.cid.as_slice()) {
                    self.exchange
                        .tell(Input::Presence {
                            peer,
                            cid,
                            have: presence.kind == 0,
                        })
                        .await;
                }
            }
            if let Some(wantlist) = message.wantlist {
                self.answer(peer, wantlist).await;
            }
        }
    }

    /// Sends the blocks held, says which are not, and remembers those.
    async fn answer(self: &Arc<Self>, peer: PeerId, wantlist: Wantlist) {
        let full = wantlist.full;
        let (mut wanted, mut cancelled) = (Vec::new(), Vec::new());
        for entry in wantlist.entries.into_iter().take(MAX_ENTRIES) {
            match Cid::try_from(entry.block.as_slice()) {
                Ok(cid) if entry.cancel => cancelled.push(cid),
                Ok(cid) => wanted.push((cid, entry)),
                Err(_) => {}
            }
        }
        if !cancelled.is_empty() {
            self.exchange.tell(Input::Cancelled { peer, cids: cancelled }).await;
        }
        if wanted.is_empty() && !full {
            return;
        }
        let Some(held) = self.held(wanted.iter().map(|(cid, _)| *cid).collect()).await else {
            return;
        };
        let (mut reply, mut bytes, mut missing) = (Message::default(), 0, Vec::new());
        for ((cid, entry), held) in wanted.into_iter().zip(held) {
            if held && entry.have_only() {
                reply.presences.push(Presence::new(&cid, true));
                continue;
            }
            let block = if held {
                self.store.blocking(move |store| store.get(&cid)).await
            } else {
                Ok(None)
            };
            match block {
                Ok(Some(block)) => {
                    bytes += block.len();
                    Counters::add(&self.traffic.bitswap_out, block.len());
                    reply.payload.push(Payload::new(&cid, block));
                }
                _ => {
                    if entry.send_dont_have {
                        reply.presences.push(Presence::new(&cid, false));
                    }
                    missing.push((cid, entry.have_only()));
                }
            }
            if bytes >= ANSWER_BYTES {
                bytes = 0;
                if !self.send_answer(peer, std::mem::take(&mut reply)).await {
                    return;
                }
            }
        }
        if !reply.is_empty() && !self.send_answer(peer, reply).await {
            return;
        }
        if missing.is_empty() && !full {
            return;
        }
        self.exchange
            .tell(Input::Waiting {
                peer,
                full,
                cids: missing.clone(),
            })
            .await;
        // What was stored between the look and this note has been announced to nobody.
        let Some(held) = self.held(missing.iter().map(|(cid, _)| *cid).collect()).await else {
            return;
        };
        let late: Vec<Entry> = missing
            .iter()
            .zip(held)
            .filter(|(_, held)| *held)
            .map(|((cid, have), _)| Entry::want(cid, *have))
            .collect();
        if !late.is_empty() {
            self.clone().answer_later(peer, late);
        }
    }

    /// Which of the blocks are held; `None` if the store failed.
    async fn held(&self, cids: Vec<Cid>) -> Option<Vec<bool>> {
        let look = move |store: &BlockStore| {
            cids.iter()
                .map(|cid| Ok(unixfs::check_cid(cid).is_ok() && store.has(cid)?))
                .collect()
        };
        self.store
            .blocking(look)
            .await
            .inspect_err(|e| tracing::warn!("cannot answer a wantlist: {e}"))
            .ok()
    }

    async fn send_answer(self: &Arc<Self>, peer: PeerId, message: Message) -> bool {
        match self.link(peer) {
            Some(link) => link.answers.send(message).await.is_ok(),
            None => false,
        }
    }
}

/// Writes queued messages on one stream, which is opened again once when it breaks.
async fn write_loop(server: Weak<Server>, peer: PeerId, mut queue: mpsc::Receiver<Message>) {
    let mut stream = None;
    while let Some(message) = queue.recv().await {
        for _ in 0..2 {
            let Some((mut control, peers)) = server.upgrade().map(|s| (s.control.clone(), s.peers.clone())) else {
                return;
            };
            // Opening a stream to a peer that left would dial it.
            if !peers.borrow().contains(&peer) {
                return;
            }
            let open = match stream.take() {
                Some(open) => open,
                None => match timeout(OPEN_TIMEOUT, control.open_stream(peer, wire::BITSWAP)).await {
                    Ok(Ok(open)) => open,
                    Ok(Err(e)) => {
                        tracing::debug!(%peer, "cannot open a bitswap stream: {e}");
                        break;
                    }
                    Err(_) => break,
                },
            };
            let open = stream.insert(open);
            match timeout(WRITE_TIMEOUT, wire::write(open, &message)).await {
                Ok(Ok(())) => break,
                failed => {
                    tracing::debug!(%peer, ?failed, "a bitswap message could not be written");
                    stream = None;
                }
            }
        }
    }
}
