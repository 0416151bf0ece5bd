//! The chain as the daemon sees it: questions, transactions, and waiting for the next block.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use color_eyre::eyre::{OptionExt, Result, eyre};
use prost::{Message, Name};
use tokio::sync::watch;
use trainyard_client::{
    events::BlockStream,
    keys::PrivateKey,
    members,
    rpc::{Client, TxOutcome},
    signer::{FeePolicy, Gas, Price, Signer},
};
use trainyard_overlay::{Membership, PeerId};
use trainyard_proto::{
    address::Address,
    any,
    cosmos::base::query::v1beta1::PageRequest,
    job::{
        self, DataSplit, Job, JobState, QueryGrantRequest, QueryGrantResponse, QueryJobRequest, QueryJobResponse,
        QueryJobsRequest, QueryJobsResponse, QueryRoundRequest, QueryRoundResponse, Round,
    },
    registry::{self, Node, QueryNodeRequest, QueryNodeResponse, QueryPenaltiesRequest, QueryPenaltiesResponse},
};

/// A round's records grow while a transaction waits for its block, so what a simulation saw is not the most it may use.
const FEES: FeePolicy = FeePolicy {
    gas: Gas::Auto { percent: 300 },
    price: Price::Auto,
};
/// How long a transaction may take into a block.
const TX_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to the chain, for one account. Cheap to clone.
#[derive(Clone)]
pub struct Chain {
    client: Client,
    signer: Arc<Signer>,
    chain_id: Arc<str>,
    height: watch::Receiver<u64>,
}

impl Chain {
    /// Connects and follows the chain's blocks from the next one on.
    pub async fn connect(node: &str, chain_id: &str, key: PrivateKey) -> Result<Self> {
        let client = Client::new(node)?;
        client.expect_chain(chain_id).await?;
        let signer = Signer::new(client.clone(), key, chain_id, FEES, TX_TIMEOUT);
        let mut blocks = BlockStream::new(client.clone(), 0);
        let (sender, height) = watch::channel(0);
        tokio::spawn(async move {
            while let Some(block) = blocks.next().await {
                if sender.send(block.height).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            client,
            signer: Arc::new(signer),
            chain_id: chain_id.into(),
            height,
        })
    }

    /// The account.
    pub fn address(&self) -> Address {
        self.signer.address()
    }

    /// The account's key, for attestations.
    pub fn key(&self) -> &PrivateKey {
        self.signer.key()
    }

    /// The chain id.
    pub fn chain_id(&self) -> &str {
        &self.chain_id
    }

    /// Waits for the next block after the last one seen here.
    pub async fn next_block(&mut self) -> Result<u64> {
        self.height
            .changed()
            .await
            .map_err(|_| eyre!("the stream of blocks has ended"))?;
        Ok(*self.height.borrow_and_update())
    }

    /// The last height seen.
    pub fn latest(&self) -> u64 {
        *self.height.borrow()
    }

    /// Sends one message and waits until it is in a block.
    pub async fn send<M: Message + Name>(&self, message: &M) -> Result<TxOutcome> {
        Ok(self.signer.send(vec![any::pack(message)]).await?)
    }

    async fn ask<Q: Message, A: Message + Default>(&self, path: &str, request: &Q) -> Result<A> {
        Ok(self.client.query(path, request).await?)
    }

    /// As [`Self::ask`]; what does not exist is `None`.
    async fn find<Q: Message, A: Message + Default>(&self, path: &str, request: &Q) -> Result<Option<A>> {
        match self.client.query(path, request).await {
            Ok(answer) => Ok(Some(answer)),
            Err(e) if e.code() == Some(NOT_FOUND) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// A job with its spec.
    pub async fn job(&self, job_id: u64) -> Result<Job> {
        let answer: QueryJobResponse = self
            .ask("/trainyard.job.v1.Query/Job", &QueryJobRequest { job_id })
            .await?;
        answer.job.ok_or_eyre("the node sent no job")
    }

    /// The jobs in a state, or those of a member in it: page by page, at most [`MAX_JOBS`].
    pub async fn jobs(&self, state: JobState, member: &str) -> Result<Vec<Job>> {
        let mut jobs = Vec::new();
        let mut key = Vec::new();
        loop {
            let request = QueryJobsRequest {
                state: state.into(),
                member: member.into(),
                pagination: Some(PageRequest {
                    key,
                    ..PageRequest::default()
                }),
                ..Default::default()
            };
            let page: QueryJobsResponse = self.ask("/trainyard.job.v1.Query/Jobs", &request).await?;
            jobs.extend(page.jobs);
            key = page.pagination.unwrap_or_default().next_key;
            if key.is_empty() || jobs.len() >= MAX_JOBS {
                return Ok(jobs);
            }
        }
    }

    /// A round of a job.
    pub async fn round(&self, job_id: u64, round: u32) -> Result<Round> {
        let request = QueryRoundRequest { job_id, round };
        let answer: QueryRoundResponse = self.ask("/trainyard.job.v1.Query/Round", &request).await?;
        answer.round.ok_or_eyre("the node sent no round")
    }

    /// The data key granted to this account, sealed.
    pub async fn grant(&self, job_id: u64, split: DataSplit) -> Result<Option<Vec<u8>>> {
        let request = QueryGrantRequest {
            job_id,
            split: split.into(),
            recipient: self.address().to_string(),
        };
        let answer: Option<QueryGrantResponse> = self.find("/trainyard.job.v1.Query/Grant", &request).await?;
        Ok(answer.map(|a| a.sealed_key))
    }

    /// A registered node.
    pub async fn node(&self, owner: &str) -> Result<Option<Node>> {
        let request = QueryNodeRequest { owner: owner.into() };
        let answer: Option<QueryNodeResponse> = self.find("/trainyard.registry.v1.Query/Node", &request).await?;
        Ok(answer.and_then(|a| a.node))
    }

    /// This account's node, with when its capability hash can be renewed; `None` while it is not registered.
    pub async fn registration(&self) -> Result<Option<QueryNodeResponse>> {
        let request = QueryNodeRequest {
            owner: self.address().to_string(),
        };
        self.find("/trainyard.registry.v1.Query/Node", &request).await
    }

    /// utrain that this account's node has lost in penalties so far; of very many, those in the first [`MAX_PAGES`] pages.
    pub async fn penalties(&self) -> Result<u64> {
        let (mut lost, mut key) = (0u64, Vec::new());
        for _ in 0..MAX_PAGES {
            let request = QueryPenaltiesRequest {
                owner: self.address().to_string(),
                pagination: Some(PageRequest {
                    key,
                    ..PageRequest::default()
                }),
            };
            let page: QueryPenaltiesResponse = self.ask("/trainyard.registry.v1.Query/Penalties", &request).await?;
            lost = page.penalties.iter().fold(lost, |sum, p| sum.saturating_add(p.amount));
            key = page.pagination.unwrap_or_default().next_key;
            if key.is_empty() {
                break;
            }
        }
        Ok(lost)
    }

    /// The peer id of a registered node.
    pub async fn peer_of(&self, owner: &str) -> Result<PeerId> {
        let node = self
            .node(owner)
            .await?
            .ok_or_else(|| eyre!("{owner} is not registered"))?;
        node.peer_id
            .parse()
            .map_err(|e| eyre!("the peer id of {owner} is {:?}: {e}", node.peer_id))
    }

    /// Parameters of jobs.
    pub async fn job_params(&self) -> Result<job::Params> {
        let request = job::QueryParamsRequest {};
        let answer: job::QueryParamsResponse = self.ask("/trainyard.job.v1.Query/Params", &request).await?;
        answer.params.ok_or_eyre("the node sent no parameters")
    }

    /// Parameters of the registry.
    pub async fn registry_params(&self) -> Result<registry::Params> {
        let request = registry::QueryParamsRequest {};
        let answer: registry::QueryParamsResponse = self.ask("/trainyard.registry.v1.Query/Params", &request).await?;
        answer.params.ok_or_eyre("the node sent no parameters")
    }
}

/// Jobs looked at in one state, so that a node that sends pages without end is not followed.
const MAX_JOBS: usize = 2_000;
/// Pages of penalties looked at, at most.
const MAX_PAGES: usize = 20;
/// How the chain says that something does not exist.
const NOT_FOUND: (&str, u32) = ("sdk", 38);

#[async_trait]
impl Membership for Chain {
    async fn may_publish(&self, job: u64, peer: &PeerId) -> Result<bool, String> {
        members::may_speak(&self.client, job, &peer.to_string())
            .await
            .map_err(|e| e.to_string())
    }

    async fn capability_hash(&self, peer: &PeerId) -> Result<Option<[u8; 32]>, String> {
        members::capability_hash(&self.client, &peer.to_string())
            .await
            .map_err(|e| e.to_string())
    }
}
