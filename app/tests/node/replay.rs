//! An independent replay: the blocks that a node's RPC gives, executed by an application of our own.

use tendermint::block::Height;
use tendermint_proto::v0_38::abci::{RequestFinalizeBlock, RequestInitChain};
use tendermint_rpc::{Client as _, HttpClient};
use trainyard_app::application::{Application, Config};
use trainyard_app::node::genesis::GenesisDoc;
use trainyard_app::store::{Options, Store};
use trainyard_app::testing::network::Node;

/// What a replay found.
pub(super) struct Replayed {
    /// Heights executed.
    pub(super) heights: u64,
    /// Transactions in them, headers of useful work left out.
    pub(super) txs: usize,
}

/// Executes all blocks of a node from its genesis on and compares the app hash of each with the one in the next header.
pub(super) async fn replay(node: &Node) -> Replayed {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &Options::default()).unwrap();
    let app = Application::new(store, Config::default()).unwrap();
    let genesis = GenesisDoc::load(&node.home).unwrap();
    let time = tendermint::Time::parse_from_rfc3339(&genesis.genesis_time).unwrap();
    app.init_chain(RequestInitChain {
        time: Some(time.into()),
        chain_id: genesis.chain_id.clone(),
        app_state_bytes: serde_json::to_vec(&genesis.app_state).unwrap().into(),
        initial_height: 1,
        ..RequestInitChain::default()
    })
    .unwrap();
    let rpc = HttpClient::new(node.rpc.as_str()).unwrap();
    let latest = rpc.latest_block().await.unwrap().block.header.height.value();
    let mut expected = None;
    let mut txs = 0;
    for height in 1..=latest {
        let found = rpc.block(Height::try_from(height).unwrap()).await.unwrap();
        let header = &found.block.header;
        if let Some(expected) = expected {
            assert_eq!(
                header.app_hash.as_bytes(),
                expected,
                "app hash of height {}",
                height - 1
            );
        }
        let response = app
            .finalize_block(RequestFinalizeBlock {
                txs: found.block.data.iter().cloned().map(Into::into).collect(),
                hash: found.block_id.hash.as_bytes().to_vec().into(),
                height: i64::try_from(height).unwrap(),
                time: Some(header.time.into()),
                proposer_address: header.proposer_address.as_bytes().to_vec().into(),
                ..RequestFinalizeBlock::default()
            })
            .unwrap();
        app.commit().unwrap();
        txs += response.tx_results.len() - 1;
        expected = Some(response.app_hash.to_vec());
    }
    app.check_invariants().unwrap();
    Replayed { heights: latest, txs }
}
