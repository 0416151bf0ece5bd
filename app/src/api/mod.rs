//! How programs ask a node without speaking ABCI: gRPC with reflection, and REST.
//!
//! ```text
//! mod.rs       one table of queries behind every door: the state machine's, and those about the node itself
//! grpc.rs      gRPC: bytes in, bytes out, routed by path through the table
//! rest.rs      REST: the paths that the .proto files give, JSON in and out
//! json.rs      protobuf as the Cosmos SDK's JSON
//! openapi.rs   the REST paths as an OpenAPI document, and a page to read it
//! node.rs      base.node and base.tendermint: the node, its blocks and validators
//! txs.rs       tx: send, find, read transactions
//! reference.rs the book's API reference; only in tests
//! ```
//!
//! Queries of the state come from the table in `trainyard-modules`. What CometBFT alone knows is answered from its RPC. ABCI
//! serves both ([`Api::serve_abci`]).

#![allow(clippy::result_large_err)] // gRPC's `Status` is large; errors are rare.

mod grpc;
mod json;
mod node;
mod openapi;
#[cfg(test)]
mod reference;
mod rest;
mod txs;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use tendermint_proto::v0_38::abci;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tonic::{Code, Status};
use trainyard_client::rpc::{self, Client};
use trainyard_modules::error::SdkError;
use trainyard_modules::machine;
use trainyard_proto::any::Any;

use crate::application::Application;
use crate::node::settings::Settings;

/// Largest request, bytes: a block's largest transaction in base64 and in JSON.
const MAX_REQUEST: usize = 2 << 20;
/// Queries answered at the same time; others wait.
const MAX_RUNNING: usize = 16;
/// Header, and gRPC metadata, that chooses the height to answer at and says which one it was.
const HEIGHT: &str = "x-cosmos-block-height";

/// Errors of modules that say that something is not there, as codespace and code.
const MISSING: &[(&str, u32)] = &[
    ("authz", 2),
    ("distribution", 12),
    ("distribution", 13),
    ("feegrant", 5),
    ("gov", 17),
    ("job", 2),
    ("registry", 3),
    ("sdk", 38),
    ("slashing", 2),
    ("staking", 3),
    ("staking", 19),
    ("staking", 26),
    ("staking", 38),
];

/// An answer and the height it is of.
struct Answer {
    value: Vec<u8>,
    height: u64,
}

/// Answers a query about the node.
type NodeAnswer = for<'a> fn(&'a Api, &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, Status>>;

/// Decodes a request, lets a function answer it, and encodes the answer.
async fn typed<'a, Q: Message + Default, R: Message, F: Future<Output = Result<R, Status>>>(
    api: &'a Api,
    request: &[u8],
    answer: impl FnOnce(&'a Api, Q) -> F,
) -> Result<Vec<u8>, Status> {
    let request = Q::decode(request).map_err(|e| Status::invalid_argument(format!("request does not decode: {e}")))?;
    Ok(answer(api, request).await?.encode_to_vec())
}

/// One line of the table: a path and the function that answers it.
macro_rules! answer {
    ($path:literal, $function:path) => {
        ($path, |api, request| Box::pin(typed(api, request, $function)))
    };
}

/// What the state does not know.
static NODE_QUERIES: &[(&str, NodeAnswer)] = &[
    answer!("/cosmos.base.node.v1beta1.Service/Config", node::config),
    answer!("/cosmos.base.node.v1beta1.Service/Status", node::status),
    answer!("/cosmos.base.tendermint.v1beta1.Service/ABCIQuery", node::abci_query),
    answer!(
        "/cosmos.base.tendermint.v1beta1.Service/GetBlockByHeight",
        node::block_by_height
    ),
    answer!(
        "/cosmos.base.tendermint.v1beta1.Service/GetLatestBlock",
        node::latest_block
    ),
    answer!(
        "/cosmos.base.tendermint.v1beta1.Service/GetLatestValidatorSet",
        node::latest_validators
    ),
    answer!("/cosmos.base.tendermint.v1beta1.Service/GetNodeInfo", node::info),
    answer!("/cosmos.base.tendermint.v1beta1.Service/GetSyncing", node::syncing),
    answer!(
        "/cosmos.base.tendermint.v1beta1.Service/GetValidatorSetByHeight",
        node::validators_by_height
    ),
    answer!("/cosmos.tx.v1beta1.Service/BroadcastTx", txs::broadcast),
    answer!("/cosmos.tx.v1beta1.Service/GetBlockWithTxs", txs::block),
    answer!("/cosmos.tx.v1beta1.Service/GetTx", txs::get),
    answer!("/cosmos.tx.v1beta1.Service/GetTxsEvent", txs::search),
    answer!("/cosmos.tx.v1beta1.Service/TxDecode", txs::decode),
    answer!("/cosmos.tx.v1beta1.Service/TxEncode", txs::encode),
];

/// Paths of all queries, those of the state and those about the node.
pub fn paths() -> impl Iterator<Item = &'static str> {
    machine::query_paths().chain(NODE_QUERIES.iter().map(|(path, _)| *path))
}

fn descriptors() -> Result<DescriptorPool, String> {
    DescriptorPool::decode(trainyard_proto::DESCRIPTORS).map_err(|e| e.to_string())
}

/// An encoded message of a type, as `cosmos.bank.v1beta1.QueryBalanceResponse`, in the JSON of the REST door.
///
/// # Errors
/// The type is unknown, or the message is not of it.
pub fn show(name: &str, message: &[u8]) -> Result<serde_json::Value, String> {
    let kind = descriptors()?.get_message_by_name(name);
    let kind = kind.ok_or_else(|| format!("the type {name:?} is unknown"))?;
    let message = DynamicMessage::decode(kind, message).map_err(|e| e.to_string())?;
    Ok(json::to_json(&message))
}

/// Reads a message of a type from the JSON of the REST door; gives its bytes.
///
/// # Errors
/// The type is unknown, or which field is unknown or has a value that does not fit.
pub fn parse(name: &str, message: &serde_json::Value) -> Result<Vec<u8>, String> {
    let kind = descriptors()?.get_message_by_name(name);
    let kind = kind.ok_or_else(|| format!("the type {name:?} is unknown"))?;
    Ok(json::from_json(kind, message)?.encode_to_vec())
}

/// Reads a message from the JSON of the REST door, with its type under `@type`.
///
/// # Errors
/// Which field is unknown or has a value that does not fit.
pub fn read(message: &serde_json::Value) -> Result<Any, String> {
    let kind = descriptors()?.get_message_by_name("google.protobuf.Any");
    let any = json::from_json(kind.ok_or("the type of messages is unknown")?, message)?;
    Any::decode(any.encode_to_vec().as_slice()).map_err(|e| e.to_string())
}

/// What answers all doors.
pub struct Api {
    app: Arc<Application>,
    comet: Client,
    settings: Settings,
    pool: DescriptorPool,
    methods: BTreeMap<&'static str, MethodDescriptor>,
    room: Semaphore,
}

impl Api {
    /// Serves `app`, whose CometBFT has its RPC at `comet`.
    ///
    /// # Errors
    /// A query has no description among the `.proto` files.
    pub fn new(app: Arc<Application>, comet: Client, settings: Settings) -> Result<Self, String> {
        let pool = descriptors()?;
        let mut methods = BTreeMap::new();
        for path in paths() {
            let found = path
                .trim_start_matches('/')
                .split_once('/')
                .and_then(|(service, method)| {
                    let service = pool.get_service_by_name(service)?;
                    service.methods().find(|m| m.name() == method)
                });
            methods.insert(path, found.ok_or_else(|| format!("no .proto file describes {path}"))?);
        }
        let room = Semaphore::new(MAX_RUNNING);
        Ok(Self {
            app,
            comet,
            settings,
            pool,
            methods,
            room,
        })
    }

    /// Has the application answer over ABCI what is about the node, with the help of a runtime. CometBFT asks one query after
    /// another; none of ours asks the application through CometBFT, which would wait for itself.
    pub fn serve_abci(self: &Arc<Self>, runtime: Handle) {
        let api = Arc::downgrade(self);
        self.app.answer_for_node(Box::new(move |path, request| {
            let (_, answer) = NODE_QUERIES.iter().find(|(name, _)| *name == path)?;
            let answered = match api.upgrade() {
                Some(api) => runtime.block_on(answer(&api, request)),
                None => Err(Status::unavailable("the node is stopping")),
            };
            // As the SDK translates them.
            Some(answered.map_err(|status| match status.code() {
                Code::NotFound => SdkError::NotFound(status.message().into()).into(),
                _ => SdkError::InvalidRequest(status.message().into()).into(),
            }))
        }));
    }

    /// Answers one query at a height, or at the last one.
    async fn call(self: &Arc<Self>, path: &str, request: Vec<u8>, height: Option<i64>) -> Result<Answer, Status> {
        let _place = self
            .room
            .acquire()
            .await
            .map_err(|e| Status::unavailable(e.to_string()))?;
        if let Some((_, answer)) = NODE_QUERIES.iter().find(|(name, _)| *name == path) {
            let value = answer(self, &request).await?;
            let height = self.app.last_block().map_or(0, |block| block.height);
            return Ok(Answer { value, height });
        }
        let (api, path) = (Arc::clone(self), path.to_owned());
        let query = abci::RequestQuery {
            data: request.into(),
            path,
            height: height.unwrap_or(0),
            prove: false,
        };
        // It reads from the disk.
        let answered = tokio::task::spawn_blocking(move || api.app.query_state(&query)).await;
        let answered = answered.map_err(|e| Status::internal(e.to_string()))?;
        if answered.code != 0 {
            return Err(refusal(&answered.codespace, answered.code, &answered.log));
        }
        Ok(Answer {
            value: answered.value.to_vec(),
            height: u64::try_from(answered.height).unwrap_or(0),
        })
    }
}

/// What gRPC says where the state machine refuses.
fn refusal(codespace: &str, code: u32, log: &str) -> Status {
    let status = if MISSING.contains(&(codespace, code)) {
        Code::NotFound
    } else {
        match (codespace, code) {
            ("sdk", 6) => Code::Unimplemented,
            ("sdk", 7 | 18) => Code::InvalidArgument,
            ("fatal", _) => Code::Internal,
            _ => Code::Unknown,
        }
    };
    // ABCI has only the text to say that nothing was found.
    let text = log.strip_prefix("rpc error: code = NotFound desc = ").unwrap_or(log);
    Status::new(status, text.strip_suffix(": key not found").unwrap_or(text))
}

/// What gRPC says where CometBFT does not answer, or refuses.
fn unanswered(error: &rpc::Error) -> Status {
    match error {
        rpc::Error::Refused { reason, .. } => Status::invalid_argument(reason.clone()),
        other => Status::unavailable(other.to_string()),
    }
}

/// The height that a header or metadata asks for.
fn asked_height(text: Option<&str>) -> Result<Option<i64>, Status> {
    let Some(text) = text else { return Ok(None) };
    let height = text.parse().ok().filter(|height| *height >= 0);
    height.map(Some).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        Status::invalid_argument(format!(
            "{HEIGHT} is {shown:?}, expected a height from 0, the last one, on"
        ))
    })
}

/// The doors that are open; they close when this is dropped.
pub struct Doors {
    /// Where gRPC is served.
    pub grpc: Option<SocketAddr>,
    /// Where REST is served.
    pub rest: Option<SocketAddr>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Doors {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Opens the doors that the settings name.
///
/// # Errors
/// An address cannot be listened on.
pub async fn open(api: Arc<Api>) -> Result<Doors, std::io::Error> {
    let mut doors = Doors {
        grpc: None,
        rest: None,
        tasks: Vec::new(),
    };
    if let Some(address) = &api.settings.grpc {
        let router = grpc::router(Arc::clone(&api)).map_err(std::io::Error::other)?;
        doors.grpc = Some(doors.open(address, router).await?);
    }
    if let Some(address) = &api.settings.rest {
        doors.rest = Some(doors.open(address, rest::router(&api)).await?);
    }
    Ok(doors)
}

impl Doors {
    async fn open(&mut self, address: &str, router: axum::Router) -> Result<SocketAddr, std::io::Error> {
        let named = |e: std::io::Error| std::io::Error::new(e.kind(), format!("cannot listen on {address}: {e}"));
        let listener = TcpListener::bind(address).await.map_err(named)?;
        let bound = listener.local_addr()?;
        self.tasks.push(tokio::spawn(async move {
            // It ends with the task.
            let _ = axum::serve(listener, router).await;
        }));
        Ok(bound)
    }
}
