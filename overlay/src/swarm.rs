//! The one swarm and its event loop. Everything else talks to it through commands.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use libp2p::gossipsub::MessageAcceptance;
use libp2p::kad::store::MemoryStore;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, NetworkBehaviour, SwarmEvent};
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, allow_block_list, autonat, connection_limits, dcutr, gossipsub, identify,
    kad, noise, ping, relay, tcp, yamux,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::discovery::{self, Query};
use crate::inbound;
use crate::topics::{JobTopics, Message, Validated};
use crate::{Config, Error, topics};

/// How often bootstrap peers that are not connected are dialled again, and blocks on peers reviewed.
const UPKEEP: Duration = Duration::from_secs(5);
/// Connections that nothing uses are closed after this long.
const IDLE: Duration = Duration::from_secs(600);

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(crate) blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(crate) kad: kad::Behaviour<MemoryStore>,
    pub(crate) gossipsub: topics::Gossip,
    autonat: autonat::Behaviour,
    relay_client: relay::client::Behaviour,
    relay_server: Toggle<relay::Behaviour>,
    dcutr: dcutr::Behaviour,
    streams: libp2p_stream::Behaviour,
    inbound: inbound::Behaviour,
}

pub(crate) type Reply<T> = oneshot::Sender<T>;

/// What handles ask of the event loop.
pub(crate) enum Command {
    Dial {
        addr: Multiaddr,
        reply: Reply<Result<PeerId, Error>>,
    },
    Connect {
        peer: PeerId,
        addrs: Vec<Multiaddr>,
        reply: Reply<Result<PeerId, Error>>,
    },
    KnownAddrs {
        peer: PeerId,
        reply: Reply<(Vec<Multiaddr>, usize)>,
    },
    Kad(discovery::Request),
    Join {
        job: u64,
        sender: mpsc::Sender<Message>,
        reply: Reply<Result<(), Error>>,
    },
    Leave,
    Subscribers {
        job: u64,
        reply: Reply<Vec<PeerId>>,
    },
    Publish {
        job: u64,
        bytes: Vec<u8>,
        reply: Reply<Result<(), Error>>,
    },
}

/// TCP only: bitswap over QUIC did not recover from a crashed peer, and TCP carries tensors faster. Yamux's window is
/// left alone, because setting it switches to a version without auto-tuning.
pub(crate) fn build(
    config: &Config,
    streams: libp2p_stream::Behaviour,
    inbound: inbound::Behaviour,
) -> Result<Swarm<Behaviour>, Error> {
    let start = |e: &dyn std::fmt::Display| Error::Start(e.to_string());
    let limits = &config.limits;
    let connection_limits = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.connections))
        .with_max_pending_outgoing(Some(limits.connections))
        .with_max_established_incoming(Some(limits.connections))
        .with_max_established_outgoing(Some(limits.connections))
        .with_max_established_per_peer(Some(limits.connections_per_peer));
    let gossipsub = topics::behaviour(&config.key).map_err(|e| Error::Start(format!("gossipsub: {e}")))?;
    let swarm = SwarmBuilder::with_existing_identity(config.key.clone())
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )
        .map_err(|e| start(&e))?
        .with_dns()
        .map_err(|e| start(&e))?
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .map_err(|e| start(&e))?
        .with_behaviour(|key, relay_client| {
            let peer = key.public().to_peer_id();
            Behaviour {
                limits: connection_limits::Behaviour::new(connection_limits),
                blocked: allow_block_list::Behaviour::default(),
                identify: identify::Behaviour::new(
                    identify::Config::new("/trainyard/1.0.0".into(), key.public())
                        .with_agent_version(concat!("trainyard/", env!("CARGO_PKG_VERSION")).into()),
                ),
                ping: ping::Behaviour::default(),
                kad: discovery::behaviour(peer),
                gossipsub,
                autonat: autonat::Behaviour::new(peer, autonat::Config::default()),
                relay_client,
                relay_server: Toggle::from(
                    config
                        .relay
                        .then(|| relay::Behaviour::new(peer, relay::Config::default())),
                ),
                dcutr: dcutr::Behaviour::new(peer),
                streams,
                inbound,
            }
        })
        .map_err(|e| start(&e))?
        .with_swarm_config(|c| c.with_idle_connection_timeout(IDLE))
        .with_connection_timeout(limits.dial)
        .build();
    Ok(swarm)
}

struct PendingDial {
    target: String,
    reply: Reply<Result<PeerId, Error>>,
}

/// The event loop's state.
pub(crate) struct Node {
    pub(crate) swarm: Swarm<Behaviour>,
    peers: watch::Sender<Arc<BTreeSet<PeerId>>>,
    addrs: watch::Sender<Vec<Multiaddr>>,
    bootstrap: Vec<Multiaddr>,
    dials: HashMap<ConnectionId, PendingDial>,
    pub(crate) queries: HashMap<kad::QueryId, Query>,
    pub(crate) topics: JobTopics,
}

impl Node {
    pub(crate) fn new(
        swarm: Swarm<Behaviour>,
        peers: watch::Sender<Arc<BTreeSet<PeerId>>>,
        addrs: watch::Sender<Vec<Multiaddr>>,
        bootstrap: Vec<Multiaddr>,
        topics: JobTopics,
    ) -> Node {
        Node {
            swarm,
            peers,
            addrs,
            bootstrap,
            dials: HashMap::new(),
            queries: HashMap::new(),
            topics,
        }
    }

    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>, mut validated: mpsc::Receiver<Validated>) {
        use futures::StreamExt as _;
        let mut upkeep = tokio::time::interval(UPKEEP);
        upkeep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        upkeep.reset();
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.event(event),
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                Some(validated) = validated.recv() => self.validated(validated),
                _ = upkeep.tick() => {
                    self.dial_bootstrap();
                    for peer in self.topics.unblock() {
                        self.swarm.behaviour_mut().blocked.unblock_peer(peer);
                    }
                }
            }
        }
    }

    /// Waits until every listener has an address.
    pub(crate) async fn listening(&mut self, listeners: usize) -> Result<(), Error> {
        use futures::StreamExt as _;
        let mut ready = BTreeSet::new();
        while ready.len() < listeners {
            match self.swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, address } => {
                    self.addrs.send_modify(|addrs| addrs.push(address));
                    ready.insert(listener_id.to_string());
                }
                SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                    return Err(Error::Start(format!("listener {addresses:?} closed: {reason:?}")));
                }
                SwarmEvent::ListenerError { error, .. } => return Err(Error::Start(format!("listener: {error}"))),
                event => self.event(event),
            }
        }
        Ok(())
    }

    pub(crate) fn dial_bootstrap(&mut self) {
        for addr in self.bootstrap.clone() {
            let Ok(peer) = discovery::peer_of(&addr) else { continue };
            if peer == *self.swarm.local_peer_id() || self.swarm.is_connected(&peer) {
                continue;
            }
            self.swarm.behaviour_mut().kad.add_address(&peer, addr.clone());
            let opts = DialOpts::peer_id(peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(vec![addr.clone()])
                .build();
            if let Err(e) = self.swarm.dial(opts)
                && !matches!(e, DialError::DialPeerConditionFalse(_))
            {
                tracing::debug!(%addr, "bootstrap: {e}");
            }
        }
    }

    fn command(&mut self, command: Command) {
        // A reply whose asker left is dropped.
        match command {
            Command::Dial { addr, reply } => {
                let target = addr.to_string();
                match discovery::peer_of(&addr) {
                    Ok(peer) if self.swarm.is_connected(&peer) => {
                        let _ = reply.send(Ok(peer));
                    }
                    Ok(peer) => {
                        let opts = DialOpts::peer_id(peer).condition(PeerCondition::Always);
                        self.dial(opts.addresses(vec![addr]).build(), target, reply);
                    }
                    Err(_) => self.dial(DialOpts::unknown_peer_id().address(addr).build(), target, reply),
                }
            }
            Command::Connect { peer, reply, .. } if self.swarm.is_connected(&peer) => {
                let _ = reply.send(Ok(peer));
            }
            Command::Connect { peer, addrs, reply } => {
                let opts = DialOpts::peer_id(peer)
                    .condition(PeerCondition::Always)
                    .addresses(addrs);
                self.dial(
                    opts.extend_addresses_through_behaviour().build(),
                    format!("peer {peer}"),
                    reply,
                );
            }
            Command::KnownAddrs { peer, reply } => {
                let _ = reply.send(self.known_addrs(&peer));
            }
            Command::Kad(request) => self.kad_request(request),
            Command::Join { job, sender, reply } => {
                let _ = reply.send(self.join(job, sender));
            }
            Command::Leave => self.leave(),
            Command::Subscribers { job, reply } => {
                let _ = reply.send(self.subscribers(job));
            }
            Command::Publish { job, bytes, reply } => {
                let _ = reply.send(self.publish(job, bytes));
            }
        }
    }

    fn dial(&mut self, opts: DialOpts, target: String, reply: Reply<Result<PeerId, Error>>) {
        let connection = opts.connection_id();
        match self.swarm.dial(opts) {
            Ok(()) => {
                self.dials.insert(connection, PendingDial { target, reply });
            }
            Err(e) => {
                let _ = reply.send(Err(Error::Dial {
                    target,
                    cause: dial_cause(&e),
                }));
            }
        }
    }

    fn event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                num_established,
                ..
            } => {
                if num_established.get() == 1 {
                    self.peers.send_modify(|peers| {
                        Arc::make_mut(peers).insert(peer_id);
                    });
                }
                if let Some(dial) = self.dials.remove(&connection_id) {
                    let _ = dial.reply.send(Ok(peer_id));
                }
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                cause,
                ..
            } => {
                tracing::debug!(%peer_id, ?cause, "disconnected");
                self.peers.send_modify(|peers| {
                    Arc::make_mut(peers).remove(&peer_id);
                });
                self.topics.disconnected(&peer_id);
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                peer_id,
                error,
                ..
            } => {
                if let Some(dial) = self.dials.remove(&connection_id) {
                    // Of several dials at once, those that lose are refused as one connection too many.
                    let _ = dial.reply.send(match (peer_id, &error) {
                        (Some(peer), DialError::Denied { .. }) if self.swarm.is_connected(&peer) => Ok(peer),
                        _ => Err(Error::Dial {
                            target: dial.target,
                            cause: dial_cause(&error),
                        }),
                    });
                }
            }
            SwarmEvent::NewListenAddr { address, .. } => self.addrs.send_modify(|addrs| addrs.push(address)),
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.addrs.send_modify(|addrs| addrs.retain(|addr| *addr != address));
            }
            SwarmEvent::Behaviour(event) => self.behaviour_event(event),
            _ => {}
        }
    }

    fn behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.identified(peer_id, &info);
            }
            BehaviourEvent::Kad(event) => self.kad_event(event),
            BehaviourEvent::Gossipsub(gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            }) => {
                let verdict = self.topics.received(propagation_source, &message_id, message);
                match verdict {
                    topics::Verdict::Checking => {}
                    topics::Verdict::Ignored => {
                        self.swarm.behaviour_mut().gossipsub.report_message_validation_result(
                            &message_id,
                            &propagation_source,
                            MessageAcceptance::Ignore,
                        );
                    }
                    topics::Verdict::Flood => {
                        tracing::warn!(peer = %propagation_source, "floods the job topics: cut off");
                        self.swarm.behaviour_mut().blocked.block_peer(propagation_source);
                    }
                }
            }
            BehaviourEvent::Autonat(autonat::Event::StatusChanged { new, .. }) => self.reachability(&new),
            _ => {}
        }
    }

    /// A node behind NAT asks its bootstrap peers for a relayed address and leaves the DHT's serving to others.
    fn reachability(&mut self, status: &autonat::NatStatus) {
        let private = matches!(status, autonat::NatStatus::Private);
        tracing::info!(?status, "reachability");
        self.swarm
            .behaviour_mut()
            .kad
            .set_mode(Some(if private { kad::Mode::Client } else { kad::Mode::Server }));
        if private {
            for addr in self.bootstrap.clone() {
                if let Err(e) = self.swarm.listen_on(addr.clone().with(Protocol::P2pCircuit)) {
                    tracing::debug!(%addr, "relay: {e}");
                }
            }
        }
    }
}

/// The cause of a failed dial in plain words: libp2p nests the system's error several wrappers deep.
fn dial_cause(error: &DialError) -> String {
    fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
        let mut error = error;
        while let Some(source) = error.source() {
            error = source;
        }
        error.to_string()
    }
    match error {
        DialError::Transport(errors) => {
            let causes: Vec<String> = errors
                .iter()
                .map(|(addr, e)| format!("{addr}: {}", innermost(e)))
                .collect();
            if causes.is_empty() {
                "no address could be dialled".into()
            } else {
                causes.join("; ")
            }
        }
        DialError::WrongPeerId { obtained, address } => format!("wrong peer id: {address} answered as {obtained}"),
        DialError::Denied { cause } => format!("not allowed here: {}", innermost(cause)),
        DialError::NoAddresses => "no address known".into(),
        other => innermost(other),
    }
}
