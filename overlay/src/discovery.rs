//! Finding peers: Kademlia under a protocol of our own, provider records, and capability records.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt as _;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig, RecordStore as _};
use libp2p::kad::{self, GetClosestPeersError, GetProvidersOk, GetRecordOk, QueryResult, Quorum, Record, RecordKey};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, StreamProtocol, identify};
use prost::Message as _;
use tokio::sync::oneshot;
use trainyard_proto::capability::{MAX_RECORD, TAG};
use trainyard_proto::overlay::CapabilityRecord;

use crate::swarm::{Command, Node};
use crate::{Error, Overlay};

const KAD: StreamProtocol = StreamProtocol::new("/trainyard/kad/1.0.0");
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);
/// Addresses taken from one peer.
const MAX_ADDRS: usize = 16;
/// Bytes of a signed capability record.
const MAX_SIGNED: usize = MAX_RECORD + 256;
const RECORD_PREFIX: &[u8] = b"/trainyard/capability/";
/// Records asked for at once by [`Overlay::find_nodes`].
const CONCURRENT: usize = 16;

/// What a searched node must have at least. The default accepts every node.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// GPUs.
    pub gpus: usize,
    /// Memory of each of these GPUs in MiB.
    pub gpu_memory_mib: u64,
    /// Main memory in MiB.
    pub memory_mib: u64,
    /// A verification class it must offer.
    pub class: Option<String>,
    /// The region it must be in.
    pub region: Option<String>,
    /// The highest price in utrain.
    pub max_price_utrain: Option<u64>,
}

impl Filter {
    /// Whether a record satisfies every bound.
    pub fn accepts(&self, record: &CapabilityRecord) -> bool {
        record
            .gpus
            .iter()
            .filter(|gpu| gpu.memory_mib >= self.gpu_memory_mib)
            .count()
            >= self.gpus
            && record.memory_mib >= self.memory_mib
            && self.class.as_ref().is_none_or(|class| record.classes.contains(class))
            && self.region.as_ref().is_none_or(|region| record.region == *region)
            && self.max_price_utrain.is_none_or(|price| record.price_utrain <= price)
    }
}

/// The DHT's value: a record and its node's signature.
#[derive(Clone, PartialEq, prost::Message)]
struct SignedRecord {
    #[prost(bytes = "vec", tag = "1")]
    record: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
}

fn record_key(peer: &PeerId) -> RecordKey {
    RecordKey::new(&[RECORD_PREFIX, &peer.to_bytes()].concat())
}

fn signing_bytes(record: &[u8]) -> Vec<u8> {
    [TAG, record].concat()
}

/// Opens a DHT value: the peer the key names must have signed it.
fn open_record(peer: &PeerId, value: &[u8]) -> Result<CapabilityRecord, Error> {
    let refuse = |cause: &str| Error::Record {
        peer: *peer,
        cause: cause.into(),
    };
    if value.len() > MAX_SIGNED {
        return Err(refuse(&format!(
            "{} bytes, more than the bound of {MAX_SIGNED}",
            value.len()
        )));
    }
    let signed = SignedRecord::decode(value).map_err(|_| refuse("not a signed record"))?;
    let key = libp2p::identity::PublicKey::try_decode_protobuf(&signed.public_key)
        .map_err(|_| refuse("its public key is malformed"))?;
    if key.to_peer_id() != *peer {
        return Err(refuse(&format!("signed by {}", key.to_peer_id())));
    }
    if !key.verify(&signing_bytes(&signed.record), &signed.signature) {
        return Err(refuse("its signature does not match"));
    }
    CapabilityRecord::decode(signed.record.as_slice()).map_err(|_| refuse("its content is malformed"))
}

/// The peer id at the end of an address.
pub(crate) fn peer_of(addr: &Multiaddr) -> Result<PeerId, Error> {
    match addr.iter().last() {
        Some(Protocol::P2p(peer)) => Ok(peer),
        _ => Err(Error::NoPeerId(addr.clone())),
    }
}

pub(crate) fn behaviour(peer: PeerId) -> kad::Behaviour<MemoryStore> {
    let store = MemoryStore::with_config(
        peer,
        MemoryStoreConfig {
            max_records: 16 << 10,
            max_value_bytes: MAX_RECORD,
            max_providers_per_key: 20,
            max_provided_keys: 64 << 10,
        },
    );
    let mut config = kad::Config::new(KAD);
    config
        .set_query_timeout(QUERY_TIMEOUT)
        .set_record_filtering(kad::StoreInserts::FilterBoth);
    let mut kad = kad::Behaviour::with_config(peer, store, config);
    // Until AutoNAT finds otherwise: the automatic mode would wait for an external address first.
    kad.set_mode(Some(kad::Mode::Server));
    kad
}

type Reply<T> = oneshot::Sender<T>;

/// What handles ask of the DHT.
pub(crate) enum Request {
    Closest {
        peer: PeerId,
        reply: Reply<Vec<Multiaddr>>,
    },
    Put {
        record: Record,
        reply: Reply<Result<(), Error>>,
    },
    Get {
        key: RecordKey,
        reply: Reply<Vec<Vec<u8>>>,
    },
    Provide {
        key: RecordKey,
        reply: Reply<Result<(), Error>>,
    },
    Unprovide {
        key: RecordKey,
    },
    Providers {
        key: RecordKey,
        reply: Reply<Vec<PeerId>>,
    },
}

/// A running query and who waits for it.
pub(crate) enum Query {
    Closest {
        peer: PeerId,
        reply: Reply<Vec<Multiaddr>>,
    },
    Put {
        reply: Reply<Result<(), Error>>,
    },
    Get {
        found: Vec<Vec<u8>>,
        reply: Reply<Vec<Vec<u8>>>,
    },
    Provide {
        reply: Reply<Result<(), Error>>,
    },
    Providers {
        found: HashSet<PeerId>,
        reply: Reply<Vec<PeerId>>,
    },
}

/// Values of one key taken from the DHT before the rest is ignored.
const MAX_VALUES: usize = 20;

impl Node {
    /// The addresses the routing table has for a peer, and how many peers it holds.
    pub(crate) fn known_addrs(&mut self, peer: &PeerId) -> (Vec<Multiaddr>, usize) {
        let (mut addrs, mut peers) = (Vec::new(), 0);
        for bucket in self.swarm.behaviour_mut().kad.kbuckets() {
            for entry in bucket.iter() {
                peers += 1;
                if entry.node.key.preimage() == peer {
                    addrs.extend(entry.node.value.iter().cloned());
                }
            }
        }
        (addrs, peers)
    }

    pub(crate) fn identified(&mut self, peer: PeerId, info: &identify::Info) {
        if info.protocols.contains(&KAD) {
            for addr in info.listen_addrs.iter().take(MAX_ADDRS) {
                self.swarm.behaviour_mut().kad.add_address(&peer, addr.clone());
            }
        }
    }

    pub(crate) fn kad_request(&mut self, request: Request) {
        let kad = &mut self.swarm.behaviour_mut().kad;
        let (id, query) = match request {
            Request::Closest { peer, reply } => (kad.get_closest_peers(peer), Query::Closest { peer, reply }),
            Request::Put { record, reply } => match kad.put_record(record, Quorum::One) {
                Ok(id) => (id, Query::Put { reply }),
                Err(e) => {
                    let _ = reply.send(Err(Error::Dht {
                        what: "put",
                        cause: e.to_string(),
                    }));
                    return;
                }
            },
            Request::Get { key, reply } => (kad.get_record(key), Query::Get { found: vec![], reply }),
            Request::Provide { key, reply } => match kad.start_providing(key) {
                Ok(id) => (id, Query::Provide { reply }),
                Err(e) => {
                    let _ = reply.send(Err(Error::Dht {
                        what: "provide",
                        cause: e.to_string(),
                    }));
                    return;
                }
            },
            Request::Unprovide { key } => {
                kad.stop_providing(&key);
                return;
            }
            Request::Providers { key, reply } => (
                kad.get_providers(key),
                Query::Providers {
                    found: HashSet::new(),
                    reply,
                },
            ),
        };
        self.queries.insert(id, query);
    }

    pub(crate) fn kad_event(&mut self, event: kad::Event) {
        match event {
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => self.kad_progress(id, result, step.last),
            kad::Event::InboundRequest {
                request: kad::InboundRequest::PutRecord {
                    record: Some(record), ..
                },
            } => {
                // Only a record that its own node signed is kept for others.
                let peer = record.key.as_ref().strip_prefix(RECORD_PREFIX).map(PeerId::from_bytes);
                if let Some(Ok(peer)) = peer
                    && open_record(&peer, &record.value).is_ok()
                    && let Err(e) = self.swarm.behaviour_mut().kad.store_mut().put(record)
                {
                    tracing::debug!(%peer, "capability record not kept: {e}");
                }
            }
            kad::Event::InboundRequest {
                request: kad::InboundRequest::AddProvider { record: Some(record) },
            } => {
                if let Err(e) = self.swarm.behaviour_mut().kad.store_mut().add_provider(record) {
                    tracing::debug!("provider record not kept: {e}");
                }
            }
            _ => {}
        }
    }

    fn kad_progress(&mut self, id: kad::QueryId, result: QueryResult, last: bool) {
        match (self.queries.get_mut(&id), &result) {
            (Some(Query::Get { found, .. }), QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(record))))
                if found.len() < MAX_VALUES =>
            {
                found.push(record.record.value.clone());
            }
            (
                Some(Query::Providers { found, .. }),
                QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })),
            ) => found.extend(providers.iter().take(MAX_VALUES)),
            _ => {}
        }
        if !last {
            return;
        }
        // An asker that left needs no answer.
        match self.queries.remove(&id) {
            Some(Query::Closest { peer, reply }) => {
                let peers = match result {
                    QueryResult::GetClosestPeers(Ok(found)) => found.peers,
                    QueryResult::GetClosestPeers(Err(GetClosestPeersError::Timeout { peers, .. })) => peers,
                    _ => vec![],
                };
                let addrs = peers
                    .into_iter()
                    .filter(|info| info.peer_id == peer)
                    .flat_map(|info| info.addrs);
                let _ = reply.send(addrs.take(MAX_ADDRS).collect());
            }
            Some(Query::Put { reply }) => {
                let _ = reply.send(match result {
                    QueryResult::PutRecord(Err(e)) => Err(Error::Dht {
                        what: "put",
                        cause: e.to_string(),
                    }),
                    _ => Ok(()),
                });
            }
            Some(Query::Get { found, reply }) => {
                let _ = reply.send(found);
            }
            Some(Query::Provide { reply }) => {
                let _ = reply.send(match result {
                    QueryResult::StartProviding(Err(e)) => Err(Error::Dht {
                        what: "provide",
                        cause: e.to_string(),
                    }),
                    _ => Ok(()),
                });
            }
            Some(Query::Providers { found, reply }) => {
                let _ = reply.send(found.into_iter().collect());
            }
            None => {}
        }
    }
}

impl Overlay {
    /// Finds a peer through the DHT, connects to it, and gives the addresses found.
    pub async fn find_peer(&self, peer: PeerId) -> Result<Vec<Multiaddr>, Error> {
        let (addrs, asked) = self.ask(|reply| Command::KnownAddrs { peer, reply }).await?;
        if self.0.peers.borrow().contains(&peer) {
            return Ok(addrs);
        }
        if !addrs.is_empty() && self.connect(peer, addrs.clone()).await.is_ok() {
            return Ok(addrs);
        }
        // Not known here, or moved since.
        let addrs = self.ask(|reply| Command::Kad(Request::Closest { peer, reply })).await?;
        if addrs.is_empty() {
            return Err(Error::PeerNotFound { peer, asked });
        }
        self.connect(peer, addrs.clone()).await?;
        Ok(addrs)
    }

    /// Signs this node's capability record and puts it in the DHT. Fails while no other node is known.
    pub async fn publish_record(&self, record: &CapabilityRecord) -> Result<(), Error> {
        let peer = self.peer_id();
        let record = record.encode_to_vec();
        let signature = self.0.key.sign(&signing_bytes(&record)).map_err(|e| Error::Record {
            peer,
            cause: e.to_string(),
        })?;
        let value = SignedRecord {
            record,
            public_key: self.0.key.public().encode_protobuf(),
            signature,
        }
        .encode_to_vec();
        if value.len() > MAX_SIGNED {
            let (found, bound) = (value.len() as u64, MAX_SIGNED as u64);
            return Err(Error::TooLarge {
                what: "the capability record".into(),
                found,
                bound,
            });
        }
        let record = Record::new(record_key(&peer), value);
        self.ask(|reply| Command::Kad(Request::Put { record, reply })).await?
    }

    /// The capability record of a peer: signed by it, and matching the hash on the chain.
    pub async fn find_record(&self, peer: PeerId) -> Result<CapabilityRecord, Error> {
        let refuse = |cause: String| Error::Record { peer, cause };
        let expected = self.0.gate.capability_hash(&peer).await.map_err(refuse)?;
        let expected = expected.ok_or_else(|| refuse("the chain does not know this peer".into()))?;
        let found = self
            .ask(|reply| {
                Command::Kad(Request::Get {
                    key: record_key(&peer),
                    reply,
                })
            })
            .await?;
        let mut last = refuse("not found in the DHT".into());
        for value in &found {
            match open_record(&peer, value) {
                Ok(record) if record.hash() == expected => return Ok(record),
                Ok(record) => {
                    last = refuse(format!(
                        "its hash is {}, the chain says {}",
                        hex::encode(record.hash()),
                        hex::encode(expected)
                    ));
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// Of `peers` (the chain's registry lists them), those whose records satisfy `filter`, with their records.
    pub async fn find_nodes(&self, peers: &[PeerId], filter: &Filter) -> Vec<(PeerId, CapabilityRecord)> {
        futures::stream::iter(peers.iter().copied())
            .map(|peer| async move { (peer, self.find_record(peer).await) })
            .buffer_unordered(CONCURRENT)
            .filter_map(|(peer, record)| async move {
                record
                    .ok()
                    .filter(|record| filter.accepts(record))
                    .map(|record| (peer, record))
            })
            .collect()
            .await
    }
}
