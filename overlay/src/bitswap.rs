//! Asking peers for blocks: which peer is asked for which block, and who waits for what.
//!
//! A fetch is a *session*. Its root is asked of every connected peer (`want-have`); who has it becomes a source of the
//! session, and every further block is asked of the one source with the least in flight, so that several sources share
//! the work and no block is sent twice. A source that refuses, disconnects or stands still loses its blocks to another.
//!
//! One task owns all of this state. It also remembers what peers asked for in vain, and answers when it arrives.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cid::Cid;
use libp2p::PeerId;
use tokio::sync::{mpsc, oneshot};

use crate::exchange::{Input, Peers, Shared};
use crate::serve::Server;
use crate::wire::{Entry, Message};

/// Blocks in flight from one peer, over all sessions.
const PER_PEER: usize = 32;
/// Wants remembered per peer, as in Kubo.
const WAITING_PER_PEER: usize = 1024;
/// Peers that had nothing are asked again after this long.
const ASK_AGAIN: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(500);

/// A connected peer.
struct Source {
    inflight: HashSet<Cid>,
    /// When it last delivered, or was given work while idle.
    since: Instant,
    /// Until then it is given nothing, because it stood still.
    shunned: Option<Instant>,
    outbox: Vec<Entry>,
}

struct Want {
    sessions: Vec<u64>,
    waiters: Vec<oneshot::Sender<Bytes>>,
    asked: HashSet<PeerId>,
    have: HashSet<PeerId>,
    refused: HashSet<PeerId>,
    from: Option<PeerId>,
    asked_at: Instant,
}

struct SessionState {
    shared: Arc<Shared>,
    good: HashSet<PeerId>,
    asked: HashSet<PeerId>,
}

/// The owning task's state.
pub(crate) struct Actor {
    server: Arc<Server>,
    peers: Peers,
    /// A source that delivers nothing for this long loses its blocks to others.
    source_stall: Duration,
    sources: HashMap<PeerId, Source>,
    sessions: HashMap<u64, SessionState>,
    wants: HashMap<Cid, Want>,
    /// The sessions of blocks that were asked around for and came: a late HAVE still names a source.
    delivered: HashMap<Cid, Vec<u64>>,
    /// Wants that found every source busy, oldest first.
    starved: VecDeque<Cid>,
    /// What peers wait for, and whether they only want to know.
    waiting: HashMap<Cid, HashMap<PeerId, bool>>,
    waiting_of: HashMap<PeerId, usize>,
}

impl Actor {
    pub(crate) fn new(server: Arc<Server>, peers: Peers, source_stall: Duration) -> Actor {
        Actor {
            server,
            peers,
            source_stall,
            sources: HashMap::new(),
            sessions: HashMap::new(),
            wants: HashMap::new(),
            delivered: HashMap::new(),
            starved: VecDeque::new(),
            waiting: HashMap::new(),
            waiting_of: HashMap::new(),
        }
    }

    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Input>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.peers_changed();
        loop {
            tokio::select! {
                changed = self.peers.changed() => match changed {
                    Ok(()) => self.peers_changed(),
                    Err(_) => return,
                },
                input = inbox.recv() => match input {
                    Some(input) => {
                        self.handle(input);
                        // One message to a peer carries what a burst of inputs asks of it.
                        for _ in 0..64 {
                            let Ok(input) = inbox.try_recv() else { break };
                            self.handle(input);
                        }
                    }
                    None => return,
                },
                _ = tick.tick() => self.tick(),
            }
            self.flush();
        }
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Want {
                session,
                shared,
                cid,
                reply,
            } => self.want(session, shared, cid, reply),
            Input::Block { peer, cid, data } => self.block(peer, &cid, &data),
            Input::Presence { peer, cid, have } => self.presence(peer, cid, have),
            Input::Waiting { peer, full, cids } => {
                if full {
                    self.forget_waiting(peer);
                }
                if !self.sources.contains_key(&peer) {
                    // It has connected just now.
                    self.peers_changed();
                }
                if self.sources.contains_key(&peer) {
                    let count = self.waiting_of.entry(peer).or_default();
                    for (cid, have_only) in cids {
                        if *count < WAITING_PER_PEER {
                            let added = self.waiting.entry(cid).or_default().insert(peer, have_only).is_none();
                            *count += usize::from(added);
                        }
                    }
                }
            }
            Input::Cancelled { peer, cids } => cids.iter().for_each(|cid| self.cancelled(peer, cid)),
            Input::Stored(cids) => self.stored(&cids),
        }
    }

    fn want(&mut self, session: u64, shared: Arc<Shared>, cid: Cid, reply: oneshot::Sender<Bytes>) {
        self.sessions.entry(session).or_insert_with(|| SessionState {
            shared,
            good: HashSet::new(),
            asked: HashSet::new(),
        });
        let want = self.wants.entry(cid).or_insert_with(|| Want {
            sessions: vec![],
            waiters: vec![],
            asked: HashSet::new(),
            have: HashSet::new(),
            refused: HashSet::new(),
            from: None,
            asked_at: Instant::now(),
        });
        want.waiters.push(reply);
        if !want.sessions.contains(&session) {
            want.sessions.push(session);
        }
        self.place(cid);
    }

    /// Gives a want to the source with the least in flight, or asks around when none is known.
    fn place(&mut self, cid: Cid) {
        let Some(want) = self.wants.get_mut(&cid) else { return };
        let sessions = &mut self.sessions;
        if want.from.is_none() {
            let now = Instant::now();
            let known = |peer: &PeerId| {
                want.have.contains(peer)
                    || want
                        .sessions
                        .iter()
                        .any(|id| sessions.get(id).is_some_and(|session| session.good.contains(peer)))
            };
            let best = self
                .sources
                .iter_mut()
                .filter(|(peer, source)| {
                    !want.refused.contains(peer) && source.shunned.is_none_or(|until| until < now) && known(peer)
                })
                .min_by_key(|(_, source)| source.inflight.len());
            match best {
                Some((_, source)) if source.inflight.len() >= PER_PEER => self.starved.push_back(cid),
                Some((peer, source)) => {
                    if source.inflight.is_empty() {
                        source.since = now;
                    }
                    source.inflight.insert(cid);
                    source.outbox.push(Entry::want(&cid, false));
                    want.from = Some(*peer);
                }
                None => {
                    want.asked_at = now;
                    for (peer, source) in &mut self.sources {
                        if want.asked.insert(*peer) {
                            source.outbox.push(Entry::want(&cid, true));
                        }
                    }
                }
            }
        }
        for id in &want.sessions {
            if let Some(session) = sessions.get_mut(id) {
                session.asked.extend(want.asked.iter().chain(&want.from));
                session.shared.asked.store(session.asked.len(), Ordering::Relaxed);
            }
        }
    }

    /// A peer turned out to have blocks of what a want belongs to.
    fn found(sessions: &mut HashMap<u64, SessionState>, ids: &[u64], peer: PeerId) {
        for id in ids {
            if let Some(session) = sessions.get_mut(id) {
                session.good.insert(peer);
                session.shared.sources.store(session.good.len(), Ordering::Relaxed);
            }
        }
    }

    fn presence(&mut self, peer: PeerId, cid: Cid, have: bool) {
        let Some(want) = self.wants.get_mut(&cid) else {
            if let (true, Some(ids)) = (have, self.delivered.get(&cid)) {
                Self::found(&mut self.sessions, ids, peer);
            }
            if let Some(source) = self.sources.get_mut(&peer) {
                source.outbox.push(Entry::cancel(&cid));
            }
            return;
        };
        if have {
            want.have.insert(peer);
            want.refused.remove(&peer);
            Self::found(&mut self.sessions, &want.sessions, peer);
        } else {
            want.have.remove(&peer);
            want.refused.insert(peer);
            self.take_back(peer, &cid);
        }
        self.place(cid);
    }

    /// Frees a want from the peer it was given to.
    fn take_back(&mut self, peer: PeerId, cid: &Cid) {
        if let Some(source) = self.sources.get_mut(&peer) {
            source.inflight.remove(cid);
        }
        if let Some(want) = self.wants.get_mut(cid).filter(|want| want.from == Some(peer)) {
            want.from = None;
        }
    }

    fn block(&mut self, peer: PeerId, cid: &Cid, data: &Bytes) {
        let Some(want) = self.wants.remove(cid) else {
            self.server.traffic.unasked(data.len());
            return;
        };
        if let Some(source) = self.sources.get_mut(&peer) {
            source.inflight.remove(cid);
            (source.since, source.shunned) = (Instant::now(), None);
        }
        Self::found(&mut self.sessions, &want.sessions, peer);
        // Who refused still remembers the want; who has not answered yet is told when it does.
        for other in want
            .have
            .iter()
            .chain(&want.refused)
            .chain(&want.from)
            .filter(|&&other| other != peer)
        {
            if let Some(source) = self.sources.get_mut(other) {
                source.inflight.remove(cid);
                source.outbox.push(Entry::cancel(cid));
            }
        }
        if want.asked.len() > 1 {
            self.delivered.insert(*cid, want.sessions);
        }
        for waiter in want.waiters {
            // A waiter that left needs no block.
            let _ = waiter.send(data.clone());
        }
        self.feed();
    }

    /// Places starved wants while a source has room.
    fn feed(&mut self) {
        for _ in 0..self.starved.len() {
            let Some(cid) = self.starved.pop_front() else { return };
            let before = self.starved.len();
            self.place(cid);
            if self.starved.len() > before {
                return;
            }
        }
    }

    fn peers_changed(&mut self) {
        let now = self.peers.borrow_and_update().clone();
        let gone: Vec<PeerId> = self
            .sources
            .keys()
            .filter(|peer| !now.contains(peer))
            .copied()
            .collect();
        for peer in gone {
            self.server.disconnected(&peer);
            self.forget_waiting(peer);
            for session in self.sessions.values_mut() {
                session.good.remove(&peer);
                session.shared.sources.store(session.good.len(), Ordering::Relaxed);
            }
            for want in self.wants.values_mut() {
                want.asked.remove(&peer);
                want.have.remove(&peer);
                want.refused.remove(&peer);
            }
            self.release(peer);
            self.sources.remove(&peer);
        }
        for peer in now.iter() {
            self.sources.entry(*peer).or_insert_with(|| Source {
                inflight: HashSet::new(),
                since: Instant::now(),
                shunned: None,
                outbox: Vec::new(),
            });
        }
        // Newcomers are asked for what nobody was known to have.
        let open: Vec<Cid> = self
            .wants
            .iter()
            .filter(|(_, want)| want.from.is_none())
            .map(|(cid, _)| *cid)
            .collect();
        for cid in open {
            self.place(cid);
        }
    }

    /// Takes everything in flight from a peer and gives it to others.
    fn release(&mut self, peer: PeerId) {
        let Some(source) = self.sources.get_mut(&peer) else {
            return;
        };
        let cids: Vec<Cid> = source.inflight.drain().collect();
        for cid in cids {
            self.take_back(peer, &cid);
            if let Some(want) = self.wants.get_mut(&cid) {
                want.refused.insert(peer);
            }
            self.place(cid);
        }
    }

    fn tick(&mut self) {
        self.sessions
            .retain(|_, session| Arc::strong_count(&session.shared) > 1);
        let sessions = &self.sessions;
        self.delivered
            .retain(|_, ids| ids.iter().any(|id| sessions.contains_key(id)));
        let abandoned: Vec<Cid> = self
            .wants
            .iter()
            .filter(|(_, want)| want.waiters.iter().all(oneshot::Sender::is_closed))
            .map(|(cid, _)| *cid)
            .collect();
        for cid in abandoned {
            let Some(want) = self.wants.remove(&cid) else { continue };
            for peer in want.asked.iter().chain(&want.refused).chain(&want.from) {
                if let Some(source) = self.sources.get_mut(peer) {
                    source.inflight.remove(&cid);
                    source.outbox.push(Entry::cancel(&cid));
                }
            }
        }
        let stuck: Vec<PeerId> = self
            .sources
            .iter()
            .filter(|(_, source)| !source.inflight.is_empty() && source.since.elapsed() > self.source_stall)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in stuck {
            tracing::debug!(%peer, "block source stands still: asking others");
            if let Some(source) = self.sources.get_mut(&peer) {
                source.shunned = Some(Instant::now() + self.source_stall);
            }
            self.release(peer);
        }
        let mut again: Vec<Cid> = Vec::new();
        for (cid, want) in &mut self.wants {
            if want.from.is_none() && want.asked_at.elapsed() > ASK_AGAIN && again.len() < 64 {
                want.asked.clear();
                want.refused.clear();
                again.push(*cid);
            }
        }
        for cid in again {
            self.place(cid);
        }
        self.feed();
    }

    /// Hands each peer's entries to its writer; what does not fit stays for the next time.
    fn flush(&mut self) {
        for (peer, source) in &mut self.sources {
            if source.outbox.is_empty() {
                continue;
            }
            let message = Message::wants(std::mem::take(&mut source.outbox));
            if let Err(mut message) = self.server.send_wants(*peer, message) {
                source.outbox = message.wantlist.take().map(|list| list.entries).unwrap_or_default();
            }
        }
    }

    fn cancelled(&mut self, peer: PeerId, cid: &Cid) {
        if let Some(peers) = self.waiting.get_mut(cid) {
            if peers.remove(&peer).is_some()
                && let Some(count) = self.waiting_of.get_mut(&peer)
            {
                *count = count.saturating_sub(1);
            }
            if peers.is_empty() {
                self.waiting.remove(cid);
            }
        }
    }

    fn forget_waiting(&mut self, peer: PeerId) {
        if self.waiting_of.remove(&peer).is_some_and(|count| count > 0) {
            self.waiting.retain(|_, peers| {
                peers.remove(&peer);
                !peers.is_empty()
            });
        }
    }

    /// Answers the peers that waited for blocks now stored.
    fn stored(&mut self, cids: &[Cid]) {
        if self.waiting.is_empty() {
            return;
        }
        let mut answers: HashMap<PeerId, Vec<Entry>> = HashMap::new();
        for cid in cids {
            for (peer, have_only) in self.waiting.remove(cid).into_iter().flatten() {
                answers.entry(peer).or_default().push(Entry::want(cid, have_only));
                if let Some(count) = self.waiting_of.get_mut(&peer) {
                    *count = count.saturating_sub(1);
                }
            }
        }
        for (peer, entries) in answers {
            self.server.clone().answer_later(peer, entries);
        }
    }
}
