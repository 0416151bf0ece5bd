//! `trainyard query tx`, `txs`, `block` and what else CometBFT knows.

use clap::{Subcommand, ValueEnum};
use color_eyre::eyre::{Result, WrapErr as _, ensure, eyre};
use trainyard_proto::cosmos::base::query::v1beta1::PageRequest;
use trainyard_proto::cosmos::base::tendermint::v1beta1 as comet;
use trainyard_proto::cosmos::tx::v1beta1 as service;

use super::{Ask, tx};

#[derive(Debug, Subcommand)]
pub(super) enum Blocks {
    /// A transaction in a block
    Tx {
        /// Its hash, 64 hex digits, or what --type says
        what: String,
        /// By what it is looked for
        #[arg(long = "type", value_name = "KIND", default_value = "hash")]
        kind: Kind,
    },
    /// Transactions in blocks
    Txs {
        /// What their events must satisfy, as message.sender='train1…' AND tx.height>5
        #[arg(long)]
        query: String,
        /// Which page, from 1
        #[arg(long, default_value_t = 1)]
        page: u64,
        /// Most transactions of a page, up to 100
        #[arg(long, default_value_t = 30)]
        limit: u64,
        /// Oldest or newest first
        #[arg(
            long = "order",
            visible_alias = "order_by",
            value_name = "ORDER",
            default_value = "asc"
        )]
        order: Order,
    },
    /// A block
    Block {
        /// Its height [default: the last one]
        block: Option<i64>,
    },
    /// Validators with their voting power, as CometBFT knows them
    #[command(visible_alias = "comet-validator-set")]
    ValidatorSet {
        /// Of the block at this height [default: the last one]
        block: Option<i64>,
    },
    /// Names and versions of the node
    NodeInfo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// Its hash
    Hash,
    /// An account and its sequence, as train1…/7
    #[value(alias = "acc_seq")]
    AccSeq,
    /// One of its signatures, in base64
    Signature,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Order {
    Asc,
    Desc,
}

impl Ask<'_> {
    pub(super) async fn blocks(&self, command: Blocks) -> Result<()> {
        match command {
            Blocks::Tx { what, kind } => self.tx(&what, kind).await,
            Blocks::Txs {
                query,
                page,
                limit,
                order,
            } => {
                ensure!((1..=100).contains(&limit), "--limit {limit} is outside 1..=100");
                let order = match order {
                    Order::Asc => service::OrderBy::Asc,
                    Order::Desc => service::OrderBy::Desc,
                };
                let request = service::GetTxsEventRequest {
                    query,
                    page,
                    limit,
                    order_by: order.into(),
                    ..Default::default()
                };
                let path = "/cosmos.tx.v1beta1.Service/GetTxsEvent";
                self.call::<_, service::GetTxsEventResponse>(path, request).await
            }
            Blocks::Block { block } => match self.block_height(block)? {
                None => {
                    let path = "/cosmos.base.tendermint.v1beta1.Service/GetLatestBlock";
                    self.call::<_, comet::GetLatestBlockResponse>(path, comet::GetLatestBlockRequest {})
                        .await
                }
                Some(height) => {
                    let path = "/cosmos.base.tendermint.v1beta1.Service/GetBlockByHeight";
                    self.call::<_, comet::GetBlockByHeightResponse>(path, comet::GetBlockByHeightRequest { height })
                        .await
                }
            },
            Blocks::ValidatorSet { block } => {
                let pagination = Some(PageRequest::default());
                match self.block_height(block)? {
                    None => {
                        let path = "/cosmos.base.tendermint.v1beta1.Service/GetLatestValidatorSet";
                        let request = comet::GetLatestValidatorSetRequest { pagination };
                        self.call::<_, comet::GetLatestValidatorSetResponse>(path, request)
                            .await
                    }
                    Some(height) => {
                        let path = "/cosmos.base.tendermint.v1beta1.Service/GetValidatorSetByHeight";
                        let request = comet::GetValidatorSetByHeightRequest { height, pagination };
                        self.call::<_, comet::GetValidatorSetByHeightResponse>(path, request)
                            .await
                    }
                }
            }
            Blocks::NodeInfo => {
                let path = "/cosmos.base.tendermint.v1beta1.Service/GetNodeInfo";
                self.call::<_, comet::GetNodeInfoResponse>(path, comet::GetNodeInfoRequest {})
                    .await
            }
        }
    }

    /// The height of a block that is asked for, in whichever way.
    fn block_height(&self, block: Option<i64>) -> Result<Option<i64>> {
        match (block, self.height) {
            (Some(height), _) => Ok(Some(height)),
            (None, Some(height)) => Ok(Some(height.try_into().wrap_err("--height")?)),
            (None, None) => Ok(None),
        }
    }

    async fn tx(&self, what: &str, kind: Kind) -> Result<()> {
        let hash = match kind {
            Kind::Hash => what.to_owned(),
            Kind::AccSeq | Kind::Signature => {
                // It stands in the query's quotes.
                ensure!(
                    !what.contains('\''),
                    "{what:?} is not what is looked for: it has a quote in it"
                );
                let name = if kind == Kind::AccSeq { "acc_seq" } else { "signature" };
                let found = self
                    .client
                    .search_txs(&format!("tx.{name}='{what}'"), 1, 1, false)
                    .await?;
                let first = found.txs.first();
                first
                    .ok_or_else(|| eyre!("no transaction with {name} {what} in a block"))?
                    .hash
                    .to_string()
            }
        };
        let mut bytes = [0; 32];
        hex::decode_to_slice(hash.trim_start_matches("0x"), &mut bytes)
            .wrap_err_with(|| format!("{hash:?} is not a transaction's hash: 64 hex digits"))?;
        let found = self.client.tx(bytes).await?;
        self.global.print(&tx::view(
            &found.ok_or_else(|| eyre!("no transaction {hash} in a block"))?,
        ))
    }
}
