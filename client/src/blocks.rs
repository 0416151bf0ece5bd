//! What CometBFT knows beside the state: blocks, validators and transactions it has indexed.

use tendermint_rpc::Client as _;
use tendermint_rpc::endpoint::{block, tx, validators};
use tendermint_rpc::query::Query;
use tendermint_rpc::{Order, Paging};

use crate::rpc::{Client, Error};

/// A page of transactions that a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The transactions of the page.
    pub txs: Vec<tx::Response>,
    /// How many there are on all pages.
    pub total: u64,
}

impl Client {
    /// The block at a height, or the latest one.
    ///
    /// # Errors
    /// The node does not have it, or does not answer.
    pub async fn block(&self, height: Option<u64>) -> Result<block::Response, Error> {
        let answer = match height {
            Some(height) => self.http().block(self.height(height)?).await,
            None => self.http().latest_block().await,
        };
        answer.map_err(|e| self.error(&e))
    }

    /// All validators of a height.
    ///
    /// # Errors
    /// The node does not know them, or does not answer.
    pub async fn validators(&self, height: u64) -> Result<validators::Response, Error> {
        let answer = self.http().validators(self.height(height)?, Paging::All).await;
        answer.map_err(|e| self.error(&e))
    }

    /// A transaction in a block with its bytes, if there is one of this hash.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn indexed_tx(&self, hash: [u8; 32]) -> Result<Option<tx::Response>, Error> {
        match self.http().tx(tendermint::Hash::Sha256(hash), false).await {
            Ok(found) => Ok(Some(found)),
            Err(e) => match self.error(&e) {
                Error::Refused { reason, .. } if reason.contains("not found") => Ok(None),
                other => Err(other),
            },
        }
    }

    /// Transactions in blocks whose events satisfy a query in CometBFT's language, as `message.sender='train1…'`. Pages count
    /// from 1 and hold at most 100.
    ///
    /// # Errors
    /// The query or the page is none, or the node does not answer.
    pub async fn search_txs(&self, query: &str, page: u32, limit: u8, newest_first: bool) -> Result<Found, Error> {
        let order = if newest_first {
            Order::Descending
        } else {
            Order::Ascending
        };
        let query: Query = query
            .parse()
            .map_err(|e: tendermint_rpc::Error| self.refused(e.to_string()))?;
        let answer = self.http().tx_search(query, false, page, limit, order).await;
        let answer = answer.map_err(|e| self.error(&e))?;
        Ok(Found {
            txs: answer.txs,
            total: answer.total_count.into(),
        })
    }

    /// Hands a transaction to the node without waiting for its `CheckTx`.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn broadcast_unchecked(&self, tx: Vec<u8>) -> Result<(), Error> {
        self.http()
            .broadcast_tx_async(tx)
            .await
            .map(drop)
            .map_err(|e| self.error(&e))
    }
}
