//! The handle: starting, stopping, and what is known without asking the event loop.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bitswap::Actor;
use crate::blocks::lock;
use crate::exchange::{Exchange, Peers};
use crate::inbound::{self, Incoming};
use crate::serve::{Counters, Server};
use crate::streams::StreamServer;
use crate::swarm::{Command, Node, Reply, build};
use crate::topics::{Gate, JobTopics, Membership};
use crate::wire::BITSWAP;
use crate::{BlockStore, Config, Error, Limits, discovery, streams};

/// Bytes moved since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Block bytes received.
    pub bitswap_in: u64,
    /// Block bytes sent.
    pub bitswap_out: u64,
    /// Of the block bytes received, those nobody had asked for or another peer had brought before.
    pub bitswap_unasked: u64,
    /// Content bytes received on direct streams.
    pub streams_in: u64,
    /// Content bytes sent on direct streams.
    pub streams_out: u64,
}

/// Tasks that end with the overlay.
#[derive(Clone)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Tasks {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let token = self.token.clone();
        self.tracker.spawn(async move {
            token.run_until_cancelled_owned(task).await;
        })
    }
}

/// A node of the mesh: a cheap handle to its event loop.
#[derive(Clone)]
pub struct Overlay(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) key: libp2p::identity::Keypair,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) peers: Peers,
    addrs: watch::Receiver<Vec<Multiaddr>>,
    pub(crate) store: BlockStore,
    pub(crate) exchange: Exchange,
    pub(crate) traffic: Arc<Counters>,
    pub(crate) control: libp2p_stream::Control,
    pub(crate) limits: Limits,
    pub(crate) gate: Arc<Gate>,
    pub(crate) streams: Arc<StreamServer>,
    pub(crate) tasks: Tasks,
    main: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.token.cancel();
    }
}

impl Overlay {
    /// Opens the block store, listens, and dials the bootstrap peers in the background.
    pub async fn start(config: Config, membership: Arc<dyn Membership>) -> Result<Overlay, Error> {
        for addr in &config.bootstrap {
            discovery::peer_of(addr)?;
        }
        let dir = config.dir.clone();
        let store = tokio::task::spawn_blocking(move || BlockStore::open(dir))
            .await
            .map_err(|_| Error::Closed)??;
        let tasks = Tasks {
            tracker: TaskTracker::new(),
            token: CancellationToken::new(),
        };
        let (peers_sender, peers) = watch::channel(Arc::new(BTreeSet::new()));
        let (addrs_sender, addrs) = watch::channel(Vec::new());
        let (commands, commands_queue) = mpsc::channel(256);
        let (validated_sender, validated) = mpsc::channel(256);
        let traffic = Arc::new(Counters::default());
        let (exchange, inbox) = Exchange::new();
        let stream_behaviour = libp2p_stream::Behaviour::new();
        let control = stream_behaviour.new_control();
        let server = Arc::new(Server::new(
            store.clone(),
            exchange.clone(),
            traffic.clone(),
            control.clone(),
            peers.clone(),
            tasks.clone(),
        ));
        let streams = Arc::new(StreamServer::new(&config.limits, traffic.clone()));
        let inbound = {
            let (server, streams, tasks) = (server.clone(), streams.clone(), tasks.clone());
            let accept = Arc::new(move |incoming: Incoming| {
                if incoming.protocol == BITSWAP {
                    tasks.spawn(server.clone().read_loop(incoming));
                } else {
                    tasks.spawn(streams.clone().serve(incoming));
                }
            });
            inbound::Behaviour::new(vec![BITSWAP, streams::PROTOCOL], accept)
        };
        let mut swarm = build(&config, stream_behaviour, inbound)?;
        for addr in &config.listen {
            swarm
                .listen_on(addr.clone())
                .map_err(|e| Error::Start(format!("cannot listen on {addr}: {e}")))?;
        }
        for addr in &config.external {
            swarm.add_external_address(addr.clone());
        }
        let gate = Arc::new(Gate::new(membership));
        let topics = JobTopics::new(&config.limits, gate.clone(), tasks.clone(), validated_sender);
        let mut node = Node::new(swarm, peers_sender, addrs_sender, config.bootstrap.clone(), topics);
        node.listening(config.listen.len()).await?;
        node.dial_bootstrap();
        tasks.spawn(Actor::new(server, peers.clone(), config.limits.stall / 4).run(inbox));
        let main = tasks.spawn(node.run(commands_queue, validated));
        Ok(Overlay(Arc::new(Inner {
            key: config.key,
            commands,
            peers,
            addrs,
            store,
            exchange,
            traffic,
            control,
            limits: config.limits,
            gate,
            streams,
            tasks,
            main: Mutex::new(Some(main)),
        })))
    }

    /// This node's peer id.
    pub fn peer_id(&self) -> PeerId {
        self.0.key.public().to_peer_id()
    }

    /// The addresses listened on, each ending in `/p2p/<this peer id>`.
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        let peer = self.peer_id();
        self.0
            .addrs
            .borrow()
            .iter()
            .cloned()
            .map(|addr| addr.with_p2p(peer).unwrap_or_else(|addr| addr))
            .collect()
    }

    /// The peers connected now.
    pub fn connected(&self) -> Vec<PeerId> {
        self.0.peers.borrow().iter().copied().collect()
    }

    /// Waits until `peer` is connected, or no longer is.
    pub async fn until_connected(&self, peer: PeerId, connected: bool) -> Result<(), Error> {
        let mut peers = self.0.peers.clone();
        peers
            .wait_for(|peers| peers.contains(&peer) == connected)
            .await
            .map_err(|_| Error::Closed)?;
        Ok(())
    }

    /// Bytes moved since the start.
    pub fn bytes_transferred(&self) -> Traffic {
        let t = &self.0.traffic;
        Traffic {
            bitswap_in: t.bitswap_in.load(Ordering::Relaxed),
            bitswap_out: t.bitswap_out.load(Ordering::Relaxed),
            bitswap_unasked: t.bitswap_unasked.load(Ordering::Relaxed),
            streams_in: t.streams_in.load(Ordering::Relaxed),
            streams_out: t.streams_out.load(Ordering::Relaxed),
        }
    }

    /// Connects to an address. The error says whether it was refused, timed out or answered by another peer.
    pub async fn dial(&self, addr: Multiaddr) -> Result<PeerId, Error> {
        self.ask(|reply| Command::Dial { addr, reply }).await?
    }

    /// Ends the event loop and every task, then closes the block store; other handles answer [`Error::Closed`].
    pub async fn shutdown(self) {
        self.0.tasks.token.cancel();
        let main = lock(&self.0.main).take();
        if let Some(main) = main {
            // A panic in the loop was reported where it happened.
            let _ = main.await;
        }
        self.0.tasks.tracker.close();
        self.0.tasks.tracker.wait().await;
        // Waits for the store's running transactions.
        let store = self.0.store.clone();
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
    }

    pub(crate) async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.0.commands.send(command(reply)).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)
    }

    pub(crate) async fn connect(&self, peer: PeerId, addrs: Vec<Multiaddr>) -> Result<PeerId, Error> {
        self.ask(|reply| Command::Connect { peer, addrs, reply }).await?
    }
}
