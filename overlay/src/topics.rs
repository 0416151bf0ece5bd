//! One gossipsub topic per job. Whoever publishes on it is checked against the chain before anything is forwarded,
//! and a peer that sends more than its rate is first ignored, then cut off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use libp2p::PeerId;
use libp2p::gossipsub::{
    self, ConfigBuilder, IdentTopic, IdentityTransform, MaxCountSubscriptionFilter, MessageAcceptance,
    MessageAuthenticity, MessageId, PublishError, TopicHash, TopicSubscriptionFilter, ValidationMode,
};
use libp2p::identity::Keypair;
use tokio::sync::{Semaphore, mpsc};

use crate::blocks::lock;
use crate::overlay::Tasks;
use crate::swarm::{Command, Node};
use crate::{Error, Limits, Overlay};

/// Bytes of one topic message.
pub const MAX_MESSAGE: usize = 64 << 10;
/// Room for topic, author, signature and framing.
const ENVELOPE: usize = 4 << 10;
/// Messages that wait in one [`Topic`] to be read; beyond, new ones are dropped.
const QUEUE: usize = 256;
/// Chain questions under way at once.
const CHECKS: usize = 64;
const PREFIX: &str = "/trainyard/job/";
const SUFFIX: &str = "/1";
/// How long the chain's answer is trusted. A new member is let in soon.
const TRUST_YES: Duration = Duration::from_secs(30);
const TRUST_NO: Duration = Duration::from_secs(2);
const MAX_TRUST: usize = 4096;

/// The chain checks, which come in from outside.
#[async_trait]
pub trait Membership: Send + Sync + 'static {
    /// May this peer publish on the topic of this job? May be slow; it is never called on the event loop.
    async fn may_publish(&self, job: u64, peer: &PeerId) -> Result<bool, String>;
    /// The capability hash the chain has for this peer id; `None` if it does not know the peer.
    async fn capability_hash(&self, peer: &PeerId) -> Result<Option<[u8; 32]>, String>;
}

/// Asks the chain and remembers its answers for a while.
pub(crate) struct Gate {
    membership: Arc<dyn Membership>,
    trusted: Mutex<HashMap<(u64, PeerId), (bool, Instant)>>,
}

impl Gate {
    pub(crate) fn new(membership: Arc<dyn Membership>) -> Gate {
        Gate {
            membership,
            trusted: Mutex::default(),
        }
    }

    pub(crate) async fn capability_hash(&self, peer: &PeerId) -> Result<Option<[u8; 32]>, String> {
        self.membership.capability_hash(peer).await
    }

    async fn may_publish(&self, job: u64, peer: PeerId) -> Result<bool, String> {
        if let Some((allowed, until)) = lock(&self.trusted).get(&(job, peer)).copied()
            && Instant::now() < until
        {
            return Ok(allowed);
        }
        let allowed = self.membership.may_publish(job, &peer).await?;
        let now = Instant::now();
        let mut trusted = lock(&self.trusted);
        if trusted.len() >= MAX_TRUST {
            trusted.retain(|_, (_, until)| now < *until);
        }
        if trusted.len() < MAX_TRUST {
            trusted.insert((job, peer), (allowed, now + if allowed { TRUST_YES } else { TRUST_NO }));
        }
        Ok(allowed)
    }
}

/// Lets only job topics through, so that a peer cannot fill our tables with names of its own.
pub(crate) struct JobsOnly;

impl TopicSubscriptionFilter for JobsOnly {
    fn can_subscribe(&mut self, topic: &TopicHash) -> bool {
        job_of(topic).is_some()
    }
}

fn topic_of(job: u64) -> IdentTopic {
    IdentTopic::new(format!("{PREFIX}{job}{SUFFIX}"))
}

fn job_of(topic: &TopicHash) -> Option<u64> {
    let job = topic.as_str().strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    job.parse().ok().filter(|parsed: &u64| parsed.to_string() == job)
}

pub(crate) type Gossip = gossipsub::Behaviour<IdentityTransform, MaxCountSubscriptionFilter<JobsOnly>>;

pub(crate) fn behaviour(key: &Keypair) -> Result<Gossip, String> {
    let config = ConfigBuilder::default()
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .max_transmit_size(MAX_MESSAGE + ENVELOPE)
        .build()
        .map_err(|e| e.to_string())?;
    let filter = MaxCountSubscriptionFilter {
        filter: JobsOnly,
        max_subscribed_topics: 1024,
        max_subscriptions_per_request: 1024,
    };
    Gossip::new_with_subscription_filter(MessageAuthenticity::Signed(key.clone()), config, filter)
        .map_err(ToString::to_string)
}

/// A message of a member of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its author, whose signature was checked.
    pub peer: PeerId,
    /// Its content, at most [`MAX_MESSAGE`] bytes.
    pub bytes: Vec<u8>,
}

/// What the event loop does with a message it received.
pub(crate) enum Verdict {
    Checking,
    Ignored,
    Flood,
}

/// What the chain said of a message.
pub(crate) struct Validated {
    id: MessageId,
    forwarder: PeerId,
    acceptance: MessageAcceptance,
    topic: TopicHash,
    message: Message,
}

/// A token bucket that also counts what went over.
struct Bucket {
    tokens: f64,
    refilled: Instant,
    over: u32,
}

/// The event loop's side of the topics.
pub(crate) struct JobTopics {
    joined: HashMap<TopicHash, (u64, Vec<mpsc::Sender<Message>>)>,
    buckets: HashMap<PeerId, Bucket>,
    blocked: HashMap<PeerId, Instant>,
    rate: f64,
    burst: f64,
    flood: u32,
    block: Duration,
    gate: Arc<Gate>,
    tasks: Tasks,
    checks: Arc<Semaphore>,
    validated: mpsc::Sender<Validated>,
}

impl JobTopics {
    pub(crate) fn new(limits: &Limits, gate: Arc<Gate>, tasks: Tasks, validated: mpsc::Sender<Validated>) -> JobTopics {
        JobTopics {
            joined: HashMap::new(),
            buckets: HashMap::new(),
            blocked: HashMap::new(),
            rate: f64::from(limits.messages_per_second),
            burst: f64::from(limits.message_burst),
            flood: limits.flood,
            block: limits.block,
            gate,
            tasks,
            checks: Arc::new(Semaphore::new(CHECKS)),
            validated,
        }
    }

    pub(crate) fn disconnected(&mut self, peer: &PeerId) {
        self.buckets.remove(peer);
    }

    /// The peers whose time is up.
    pub(crate) fn unblock(&mut self) -> Vec<PeerId> {
        let now = Instant::now();
        self.blocked
            .extract_if(|_, until| *until <= now)
            .map(|(peer, _)| peer)
            .collect()
    }

    /// Counts a message against its forwarder: within the rate, over it, or far over.
    fn count(&mut self, peer: PeerId) -> Verdict {
        let now = Instant::now();
        let bucket = self.buckets.entry(peer).or_insert(Bucket {
            tokens: self.burst,
            refilled: now,
            over: 0,
        });
        let earned = now.duration_since(bucket.refilled).as_secs_f64() * self.rate;
        bucket.tokens = (bucket.tokens + earned).min(self.burst);
        bucket.refilled = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            // A full bucket means it has been quiet: what it did before is forgiven.
            if bucket.tokens + 1.0 >= self.burst {
                bucket.over = 0;
            }
            return Verdict::Checking;
        }
        bucket.over += 1;
        if bucket.over < self.flood {
            return Verdict::Ignored;
        }
        self.blocked.insert(peer, now + self.block);
        Verdict::Flood
    }

    pub(crate) fn received(&mut self, forwarder: PeerId, id: &MessageId, message: gossipsub::Message) -> Verdict {
        match self.count(forwarder) {
            Verdict::Checking => {}
            other => return other,
        }
        let (Some((job, _)), Some(author)) = (self.joined.get(&message.topic), message.source) else {
            return Verdict::Ignored;
        };
        let Ok(permit) = self.checks.clone().try_acquire_owned() else {
            return Verdict::Ignored;
        };
        let (job, gate, validated, id) = (*job, self.gate.clone(), self.validated.clone(), id.clone());
        self.tasks.spawn(async move {
            let _permit = permit;
            let acceptance = match gate.may_publish(job, author).await {
                _ if message.data.len() > MAX_MESSAGE => MessageAcceptance::Reject,
                Ok(true) => MessageAcceptance::Accept,
                Ok(false) => {
                    tracing::debug!(job, %author, "message of a peer that is not in the job rejected");
                    MessageAcceptance::Reject
                }
                Err(e) => {
                    tracing::warn!(job, %author, "the chain could not be asked about a message: {e}");
                    MessageAcceptance::Ignore
                }
            };
            let message_out = Message {
                peer: author,
                bytes: message.data,
            };
            let result = Validated {
                id,
                forwarder,
                acceptance,
                topic: message.topic,
                message: message_out,
            };
            // Nobody listens after shutdown.
            let _ = validated.send(result).await;
        });
        Verdict::Checking
    }
}

impl Node {
    /// Forwards or rejects a checked message, and hands an accepted one to its readers.
    pub(crate) fn validated(&mut self, validated: Validated) {
        let Validated {
            id,
            forwarder,
            acceptance,
            topic,
            message,
        } = validated;
        let accepted = matches!(acceptance, MessageAcceptance::Accept);
        self.swarm
            .behaviour_mut()
            .gossipsub
            .report_message_validation_result(&id, &forwarder, acceptance);
        if !accepted {
            return;
        }
        if let Some((job, readers)) = self.topics.joined.get_mut(&topic) {
            for reader in readers.iter() {
                if let Err(mpsc::error::TrySendError::Full(_)) = reader.try_send(message.clone()) {
                    tracing::warn!(job, "topic read too slowly: a message was dropped");
                }
            }
        }
    }

    pub(crate) fn join(&mut self, job: u64, reader: mpsc::Sender<Message>) -> Result<(), Error> {
        let topic = topic_of(job);
        self.swarm
            .behaviour_mut()
            .gossipsub
            .subscribe(&topic)
            .map_err(|e| Error::Topic {
                job,
                cause: e.to_string(),
            })?;
        self.topics
            .joined
            .entry(topic.hash())
            .or_insert_with(|| (job, vec![]))
            .1
            .push(reader);
        Ok(())
    }

    /// Leaves every topic that no one reads any more.
    pub(crate) fn leave(&mut self) {
        for (_, readers) in self.topics.joined.values_mut() {
            readers.retain(|reader| !reader.is_closed());
        }
        let left: Vec<u64> = self
            .topics
            .joined
            .values()
            .filter(|(_, readers)| readers.is_empty())
            .map(|(job, _)| *job)
            .collect();
        for job in left {
            let topic = topic_of(job);
            self.topics.joined.remove(&topic.hash());
            self.swarm.behaviour_mut().gossipsub.unsubscribe(&topic);
        }
    }

    pub(crate) fn subscribers(&mut self, job: u64) -> Vec<PeerId> {
        let topic = topic_of(job).hash();
        let peers = self.swarm.behaviour().gossipsub.all_peers();
        peers
            .filter(|(_, topics)| topics.contains(&&topic))
            .map(|(peer, _)| *peer)
            .collect()
    }

    pub(crate) fn publish(&mut self, job: u64, bytes: Vec<u8>) -> Result<(), Error> {
        let result = self.swarm.behaviour_mut().gossipsub.publish(topic_of(job), bytes);
        match result {
            Ok(_) | Err(PublishError::Duplicate) => Ok(()),
            Err(PublishError::NoPeersSubscribedToTopic) => Err(Error::Topic {
                job,
                cause: "no connected peer has joined it yet".into(),
            }),
            Err(PublishError::AllQueuesFull(peers)) => Err(Error::Topic {
                job,
                cause: format!("the send queues of all {peers} peers are full"),
            }),
            Err(e) => Err(Error::Topic {
                job,
                cause: e.to_string(),
            }),
        }
    }
}

/// A joined job topic. Dropping it leaves.
pub struct Topic {
    overlay: Overlay,
    job: u64,
    messages: mpsc::Receiver<Message>,
}

impl Overlay {
    /// Joins the topic of a job. The chain must list this node in it.
    pub async fn join(&self, job: u64) -> Result<Topic, Error> {
        let peer = self.peer_id();
        match self.0.gate.may_publish(job, peer).await {
            Ok(true) => {}
            Ok(false) => {
                return Err(Error::Topic {
                    job,
                    cause: format!("the chain does not list peer {peer} in it"),
                });
            }
            Err(e) => {
                return Err(Error::Topic {
                    job,
                    cause: format!("the chain could not be asked: {e}"),
                });
            }
        }
        let (sender, messages) = mpsc::channel(QUEUE);
        self.ask(|reply| Command::Join { job, sender, reply }).await??;
        Ok(Topic {
            overlay: self.clone(),
            job,
            messages,
        })
    }
}

impl Topic {
    /// The job's number.
    pub fn job(&self) -> u64 {
        self.job
    }

    /// Sends a message of at most [`MAX_MESSAGE`] bytes to the other members. Fails while none is connected.
    pub async fn publish(&self, bytes: Vec<u8>) -> Result<(), Error> {
        if bytes.len() > MAX_MESSAGE {
            let (found, bound) = (bytes.len() as u64, MAX_MESSAGE as u64);
            return Err(Error::TooLarge {
                what: format!("the message to job {}", self.job),
                found,
                bound,
            });
        }
        self.overlay
            .ask(|reply| Command::Publish {
                job: self.job,
                bytes,
                reply,
            })
            .await?
    }

    /// The next message of a member; `None` after shutdown.
    pub async fn next(&mut self) -> Option<Message> {
        self.messages.recv().await
    }

    /// The connected peers that have joined.
    pub async fn peers(&self) -> Result<Vec<PeerId>, Error> {
        self.overlay
            .ask(|reply| Command::Subscribers { job: self.job, reply })
            .await
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        self.messages.close();
        // If the queue is full, the next topic that is dropped leaves this one, too.
        let _ = self.overlay.0.commands.try_send(Command::Leave);
    }
}
