//! A thin client of a node's CometBFT RPC.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use prost::Message;
use tendermint::abci::types::ExecTxResult;
use tendermint::block::signed_header::SignedHeader;
use tendermint::validator;
use tendermint_rpc::endpoint::{abci_query::AbciQuery, block_results, status};
use tendermint_rpc::error::ErrorDetail;
use tendermint_rpc::{Client as _, HttpClient};
use trainyard_proto::address::Address;
use trainyard_proto::any::Any;
use trainyard_proto::cosmos::auth::v1beta1::{BaseAccount, QueryAccountRequest, QueryAccountResponse};
use trainyard_proto::cosmos::base::abci::v1beta1::TxMsgData;
use trainyard_proto::cosmos::base::node::v1beta1::{ConfigRequest, ConfigResponse};
use trainyard_proto::cosmos::tx::v1beta1::{SimulateRequest, SimulateResponse};

use crate::events::Event;
use crate::signer::GasPrice;
use crate::tx;

/// The SDK's codespace.
const SDK: &str = "sdk";
/// The SDK's code for a stale or future account sequence.
const WRONG_SEQUENCE: u32 = 32;
/// How often a transaction's inclusion is asked for.
const POLL: Duration = Duration::from_millis(150);
/// Longest a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// What can go wrong between us and the chain.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the URL of a node.
    #[error("node URL {url:?}: {reason}; it should look like http://127.0.0.1:26657")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The node does not answer.
    #[error("node {url} does not answer: {reason}")]
    Unreachable {
        /// The node.
        url: String,
        /// What the connection said.
        reason: String,
    },
    /// The node refuses a request.
    #[error("node {url} refuses the request: {reason}")]
    Refused {
        /// The node.
        url: String,
        /// What it said.
        reason: String,
    },
    /// The application refuses a query.
    #[error("query {path} failed: {log} (code {code} of {codespace:?})")]
    Query {
        /// The query's path.
        path: String,
        /// The error's number.
        code: u32,
        /// The module it belongs to.
        codespace: String,
        /// What was wrong.
        log: String,
    },
    /// The transaction is not admitted to the mempool; nothing happened.
    #[error("transaction {hash} was refused: {log} (code {code} of {codespace:?})")]
    Rejected {
        /// Its hash, hex.
        hash: String,
        /// The error's number.
        code: u32,
        /// The module it belongs to.
        codespace: String,
        /// What was wrong.
        log: String,
    },
    /// The node has, or recently had, exactly this transaction: it counts once.
    #[error("transaction {hash} is already known to the node")]
    Duplicate {
        /// Its hash, hex.
        hash: String,
    },
    /// The transaction is in a block and failed there; its fee is spent.
    #[error("transaction {} failed at height {}: {} (code {} of {:?})", .0.hash, .0.height, .0.log, .0.code, .0.codespace)]
    Failed(Box<TxOutcome>),
    /// The transaction did not get into a block in time. It may still.
    #[error("transaction {hash} was not in a block after {seconds} s")]
    NotIncluded {
        /// Its hash, hex.
        hash: String,
        /// How long was waited.
        seconds: u64,
    },
    /// An answer that cannot be understood.
    #[error("the answer to {what} cannot be read: {reason}")]
    Decode {
        /// What was asked.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The node is of another chain.
    #[error("node {url} is of chain {found:?}, expected {expected:?}")]
    ChainId {
        /// The node.
        url: String,
        /// Its chain.
        found: String,
        /// Ours.
        expected: String,
    },
    /// Gas costs more than anyone should pay without being asked.
    #[error("node {url} asks {asked} per unit of gas, at most {most} are paid unasked; give a price to pay it")]
    Price {
        /// The node.
        url: String,
        /// What it asks.
        asked: String,
        /// What is paid at most.
        most: String,
    },
    /// The account is not on the chain, so it cannot pay a fee.
    #[error("account {0} is not on the chain yet; it needs some utrain first")]
    NoAccount(Address),
}

impl Error {
    /// Whether asking again, unchanged, may succeed.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NotIncluded { .. })
    }

    /// Codespace and code of an error that the application gave.
    #[must_use]
    pub fn code(&self) -> Option<(&str, u32)> {
        match self {
            Self::Query { codespace, code, .. } | Self::Rejected { codespace, code, .. } => Some((codespace, *code)),
            Self::Failed(outcome) => Some((&outcome.codespace, outcome.code)),
            _ => None,
        }
    }

    /// For a wrong account sequence: the one the node expects, where it says so.
    pub(crate) fn wrong_sequence(&self) -> Option<Option<u64>> {
        let (codespace, code, log) = match self {
            Self::Query {
                codespace, code, log, ..
            }
            | Self::Rejected {
                codespace, code, log, ..
            } => (codespace, *code, log),
            _ => return None,
        };
        // A failed simulation keeps only the text of the SDK's error.
        let said = log.contains("account sequence mismatch");
        if !said && (codespace.as_str(), code) != (SDK, WRONG_SEQUENCE) {
            return None;
        }
        let expected = log.split("expected ").nth(1).unwrap_or_default();
        let digits: String = expected.chars().take_while(char::is_ascii_digit).collect();
        Some(digits.parse().ok())
    }
}

/// A transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxOutcome {
    /// Its hash, upper-case hex as explorers show it.
    pub hash: String,
    /// Height of its block.
    pub height: u64,
    /// 0 if it succeeded.
    pub code: u32,
    /// The module that `code` belongs to.
    pub codespace: String,
    /// What went wrong.
    pub log: String,
    /// Gas asked for.
    pub gas_wanted: u64,
    /// Gas used.
    pub gas_used: u64,
    /// Answers to the messages, in order.
    pub responses: Vec<Any>,
    /// What it did.
    pub events: Vec<Event>,
}

impl TxOutcome {
    /// The answer to message `index`, decoded.
    ///
    /// # Errors
    /// There is no such answer, or it is of another type.
    pub fn response<M: Message + prost::Name + Default>(&self, index: usize) -> Result<M, Error> {
        let what = || format!("message {index} of transaction {}", self.hash);
        let answer = self.responses.get(index).ok_or_else(|| Error::Decode {
            what: what(),
            reason: format!("there are {} answers", self.responses.len()),
        })?;
        let expected = trainyard_proto::any::type_url::<M>();
        if answer.type_url != expected {
            return Err(Error::Decode {
                what: what(),
                reason: format!("{} instead of {expected}", answer.type_url),
            });
        }
        M::decode(answer.value.as_slice()).map_err(|e| Error::Decode {
            what: what(),
            reason: e.to_string(),
        })
    }
}

/// A connection to a node; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: HttpClient,
    url: String,
}

impl Client {
    /// A client of the node at `http://host:port` (`tcp://` means the same). Nothing is sent yet.
    ///
    /// # Errors
    /// Not such a URL.
    pub fn new(url: &str) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Url {
            url: url.into(),
            reason,
        };
        let normal = url.trim_end_matches('/').replacen("tcp://", "http://", 1);
        if !normal.starts_with("http://") && !normal.starts_with("https://") {
            return Err(refuse("it has no scheme".into()));
        }
        let parsed = normal
            .as_str()
            .try_into()
            .map_err(|e: tendermint_rpc::Error| refuse(e.to_string()))?;
        let http = HttpClient::builder(parsed).timeout(REQUEST_TIMEOUT).build();
        Ok(Self {
            http: http.map_err(|e| refuse(e.to_string()))?,
            url: normal,
        })
    }

    /// The node's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of the node's event stream.
    pub(crate) fn websocket_url(&self) -> String {
        // Both schemes change alike: http → ws, https → wss.
        format!("{}/websocket", self.url.replacen("http", "ws", 1))
    }

    /// The node's status: chain id, version, latest height, whether it catches up.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn status(&self) -> Result<status::Response, Error> {
        self.http.status().await.map_err(|e| self.error(&e))
    }

    /// Checks that the node is of this chain.
    ///
    /// # Errors
    /// It is of another one, or does not answer.
    pub async fn expect_chain(&self, chain_id: &str) -> Result<(), Error> {
        let found = self.status().await?.node_info.network.to_string();
        if found == chain_id {
            return Ok(());
        }
        Err(Error::ChainId {
            url: self.url.clone(),
            found,
            expected: chain_id.into(),
        })
    }

    /// Asks the application. `height` 0 or none is the latest; `prove` asks for ICS 23 proofs.
    ///
    /// # Errors
    /// The node does not answer, or the application refuses.
    pub async fn abci_query(
        &self,
        path: &str,
        data: Vec<u8>,
        height: Option<u64>,
        prove: bool,
    ) -> Result<AbciQuery, Error> {
        let height = height.map(|h| self.height(h)).transpose()?;
        let answer = self
            .http
            .abci_query(Some(path.into()), data, height, prove)
            .await
            .map_err(|e| self.error(&e))?;
        if answer.code.is_err() {
            return Err(Error::Query {
                path: path.into(),
                code: answer.code.value(),
                codespace: answer.codespace,
                log: answer.log,
            });
        }
        Ok(answer)
    }

    /// Calls a unary query, as `/cosmos.bank.v1beta1.Query/Balance`, on the latest state.
    ///
    /// # Errors
    /// As [`Self::abci_query`], or the answer is of another type.
    pub async fn query<Request: Message, Response: Message + Default>(
        &self,
        path: &str,
        request: &Request,
    ) -> Result<Response, Error> {
        self.query_at(path, request, None).await
    }

    /// As [`Self::query`], on the state after a height; none is the latest.
    ///
    /// # Errors
    /// As [`Self::query`], or the node does not have that state.
    pub async fn query_at<Request: Message, Response: Message + Default>(
        &self,
        path: &str,
        request: &Request,
        height: Option<u64>,
    ) -> Result<Response, Error> {
        let answer = self.abci_query(path, request.encode_to_vec(), height, false).await?;
        Response::decode(answer.value.as_slice()).map_err(|e| Error::Decode {
            what: path.into(),
            reason: e.to_string(),
        })
    }

    /// The least price of gas at which the node takes a transaction: its own, or the chain's base fee.
    ///
    /// # Errors
    /// The node does not answer, or with something else than a price in utrain.
    pub async fn gas_price(&self) -> Result<GasPrice, Error> {
        let path = "/cosmos.base.node.v1beta1.Service/Config";
        let answer: ConfigResponse = self.query(path, &ConfigRequest {}).await?;
        answer.minimum_gas_price.parse().map_err(|reason| Error::Decode {
            what: path.into(),
            reason,
        })
    }

    /// An account's number and sequence, if it is on the chain.
    ///
    /// # Errors
    /// The node does not answer, or with something else than a base account.
    pub async fn account(&self, address: &Address) -> Result<Option<BaseAccount>, Error> {
        let path = "/cosmos.auth.v1beta1.Query/Account";
        let answer = self
            .query(
                path,
                &QueryAccountRequest {
                    address: address.to_string(),
                },
            )
            .await;
        let answer: QueryAccountResponse = match answer {
            Err(Error::Query { log, .. }) if log.contains("NotFound") => return Ok(None),
            other => other?,
        };
        let decode = |reason: String| Error::Decode {
            what: path.into(),
            reason,
        };
        let account = answer.account.ok_or_else(|| decode("no account in it".into()))?;
        if account.type_url != "/cosmos.auth.v1beta1.BaseAccount" {
            return Err(decode(format!("{} is not a base account", account.type_url)));
        }
        BaseAccount::decode(account.value.as_slice())
            .map(Some)
            .map_err(|e| decode(e.to_string()))
    }

    /// Runs a transaction without effect; returns the gas it used.
    ///
    /// # Errors
    /// The transaction would fail, or the node does not answer.
    pub async fn simulate(&self, tx: Vec<u8>) -> Result<u64, Error> {
        let path = "/cosmos.tx.v1beta1.Service/Simulate";
        let request = SimulateRequest {
            tx_bytes: tx,
            ..SimulateRequest::default()
        };
        let answer: SimulateResponse = self.query(path, &request).await?;
        let gas = answer.gas_info.map(|info| info.gas_used);
        gas.ok_or_else(|| Error::Decode {
            what: path.into(),
            reason: "no gas in it".into(),
        })
    }

    /// Hands a transaction to the mempool; returns its hash.
    ///
    /// # Errors
    /// `CheckTx` refuses it, the node knows it already, or does not answer.
    pub async fn broadcast(&self, tx: Vec<u8>) -> Result<[u8; 32], Error> {
        let hash = tx::hash(&tx);
        let answer = match self.http.broadcast_tx_sync(tx).await.map_err(|e| self.error(&e)) {
            Ok(answer) => answer,
            // CometBFT answers a repetition with an error instead of a code.
            Err(Error::Refused { reason, .. }) if reason.contains("tx already exists in cache") => {
                return Err(Error::Duplicate { hash: show_hash(&hash) });
            }
            Err(e) => return Err(e),
        };
        if answer.code.is_ok() {
            return Ok(hash);
        }
        Err(Error::Rejected {
            hash: show_hash(&hash),
            code: answer.code.value(),
            codespace: answer.codespace,
            log: answer.log,
        })
    }

    /// A transaction that is in a block, whether it succeeded or not.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn tx(&self, hash: [u8; 32]) -> Result<Option<TxOutcome>, Error> {
        match self
            .http
            .tx(tendermint::Hash::Sha256(hash), false)
            .await
            .map_err(|e| self.error(&e))
        {
            Ok(found) => outcome(&hash, found.height.value(), found.tx_result).map(Some),
            Err(Error::Refused { reason, .. }) if reason.contains("not found") => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Waits until a transaction is in a block.
    ///
    /// # Errors
    /// It failed there, or it is not there in time. A node that is away for a while is asked again.
    pub async fn wait_tx(&self, hash: [u8; 32], timeout: Duration) -> Result<TxOutcome, Error> {
        let start = Instant::now();
        loop {
            match self.tx(hash).await {
                Ok(Some(outcome)) if outcome.code == 0 => return Ok(outcome),
                Ok(Some(outcome)) => return Err(Error::Failed(Box::new(outcome))),
                Ok(None) if start.elapsed() >= timeout => {
                    return Err(Error::NotIncluded {
                        hash: show_hash(&hash),
                        seconds: timeout.as_secs(),
                    });
                }
                Err(e) if !e.is_temporary() || start.elapsed() >= timeout => return Err(e),
                Ok(None) | Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// The results of the block at a height.
    ///
    /// # Errors
    /// The node does not have it, or does not answer.
    pub async fn block_results(&self, height: u64) -> Result<block_results::Response, Error> {
        self.http
            .block_results(self.height(height)?)
            .await
            .map_err(|e| self.error(&e))
    }

    /// A header and the signatures under it. Nothing of it is checked.
    ///
    /// # Errors
    /// The node does not answer, or has no such block.
    pub async fn signed_header(&self, height: u64) -> Result<SignedHeader, Error> {
        let answer = self.http.commit(self.height(height)?).await;
        Ok(answer.map_err(|e| self.error(&e))?.signed_header)
    }

    /// The set of validators of a height, to compute its hash. Nothing of it is checked.
    ///
    /// # Errors
    /// The node does not answer, or does not know them.
    pub async fn validator_set(&self, height: u64) -> Result<validator::Set, Error> {
        let validators = self.validators(height).await?.validators;
        // The library adds their powers up and does not expect too much.
        let powers = validators.iter().map(validator::Info::power);
        if powers.fold(0_u64, u64::saturating_add) > validator::Set::MAX_TOTAL_VOTING_POWER {
            return Err(Error::Decode {
                what: format!("the validators of height {height}"),
                reason: "their powers do not fit".into(),
            });
        }
        Ok(validator::Set::without_proposer(validators))
    }

    pub(crate) fn http(&self) -> &HttpClient {
        &self.http
    }

    pub(crate) fn height(&self, height: u64) -> Result<tendermint::block::Height, Error> {
        height
            .try_into()
            .map_err(|_| self.refused(format!("height {height} is above {}", i64::MAX)))
    }

    pub(crate) fn refused(&self, reason: String) -> Error {
        let url = self.url.clone();
        Error::Refused { url, reason }
    }

    pub(crate) fn error(&self, error: &tendermint_rpc::Error) -> Error {
        let url = self.url.clone();
        match error.detail() {
            ErrorDetail::Response(refused) => Error::Refused {
                url,
                reason: refused.source.to_string(),
            },
            ErrorDetail::Serde(_) | ErrorDetail::Parse(_) | ErrorDetail::MalformedJson(_) => Error::Decode {
                what: url,
                reason: error.to_string(),
            },
            // The library's own text is only "HTTP error"; what happened is in the trace.
            _ => Error::Unreachable {
                url,
                reason: error.trace().root_cause().to_string(),
            },
        }
    }
}

/// A hash as explorers show it.
#[must_use]
pub fn show_hash(hash: &[u8; 32]) -> String {
    hex::encode_upper(hash)
}

fn outcome(hash: &[u8; 32], height: u64, result: ExecTxResult) -> Result<TxOutcome, Error> {
    let decode = |reason: String| Error::Decode {
        what: format!("transaction {}", show_hash(hash)),
        reason,
    };
    // The RPC library leaves the base64 text of JSON as it is.
    let data = BASE64.decode(&result.data).map_err(|e| decode(e.to_string()))?;
    let data = TxMsgData::decode(data.as_slice()).map_err(|e| decode(e.to_string()))?;
    Ok(TxOutcome {
        hash: show_hash(hash),
        height,
        code: result.code.value(),
        codespace: result.codespace,
        log: result.log,
        gas_wanted: u64::try_from(result.gas_wanted).unwrap_or(0),
        gas_used: u64::try_from(result.gas_used).unwrap_or(0),
        responses: data.msg_responses,
        events: result.events.iter().map(Event::from).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_and_lead_to_the_event_stream() {
        let client = Client::new("tcp://127.0.0.1:26657/").unwrap();
        assert_eq!(client.url(), "http://127.0.0.1:26657");
        assert_eq!(client.websocket_url(), "ws://127.0.0.1:26657/websocket");
        assert_eq!(
            Client::new("https://node.example").unwrap().websocket_url(),
            "wss://node.example/websocket"
        );
        for bad in ["", "127.0.0.1:26657", "ftp://x", "http://"] {
            assert!(matches!(Client::new(bad), Err(Error::Url { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_sequence_mismatch_is_recognised_with_what_is_expected() {
        let rejected = |codespace: &str, code, log: &str| Error::Rejected {
            hash: String::new(),
            code,
            codespace: codespace.into(),
            log: log.into(),
        };
        let log = "account sequence mismatch, expected 12, got 11: incorrect account sequence";
        assert_eq!(rejected("sdk", 32, log).wrong_sequence(), Some(Some(12)));
        assert_eq!(
            rejected("sdk", 5, "insufficient funds, expected 3").wrong_sequence(),
            None
        );
        let simulated = Error::Query {
            path: "p".into(),
            code: 2,
            codespace: "undefined".into(),
            log: format!("rpc error: {log}"),
        };
        assert_eq!(simulated.wrong_sequence(), Some(Some(12)));
    }

    #[tokio::test]
    async fn a_silent_node_is_named() {
        let error = Client::new("http://127.0.0.1:1").unwrap().status().await.unwrap_err();
        assert!(error.is_temporary());
        assert!(
            error.to_string().starts_with("node http://127.0.0.1:1 does not answer"),
            "{error}"
        );
    }
}
