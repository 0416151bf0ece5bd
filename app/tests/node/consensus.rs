//! Parameters of consensus that governance decides, on real CometBFT.

use tendermint_rpc::{Client as _, HttpClient};
use trainyard_app::testing::network::Network;
use trainyard_modules::consensus::default_params;
use trainyard_modules::governed::authority;
use trainyard_proto::any;
use trainyard_proto::coin::{UTRAIN_PER_TRAIN, utrain};
use trainyard_proto::consensus::MsgUpdateParams;
use trainyard_proto::cosmos::gov::v1::{MsgSubmitProposal, MsgVote, VoteOption};
use trainyard_proto::cosmos::staking::v1beta1::MsgDelegate;

use super::{LONG_PATIENCE, PATIENCE, change_genesis, command, signer};

/// Seconds of a vote.
const VOTE: i64 = 2;

#[tokio::test]
async fn governance_changes_what_cometbft_holds_blocks_to() {
    let mut network = Network::make(env!("CARGO_BIN_EXE_trainyard"), 1, |plan| {
        plan.accounts = vec![("alice".into(), 10_000 * UTRAIN_PER_TRAIN)];
    });
    change_genesis(&network, |genesis| {
        genesis.gov.params.voting_period.as_mut().unwrap().seconds = VOTE;
        genesis.gov.params.expedited_voting_period.as_mut().unwrap().seconds = VOTE - 1;
    });
    network.nodes[0].start(&[]);
    network.wait_height(1, PATIENCE).await;
    let alice = signer(&network, network.client(), "alice");
    let account = alice.address().to_string();
    let mut params = default_params();
    params.block.as_mut().unwrap().max_bytes = 2 << 20;
    params.block.as_mut().unwrap().max_gas = 100_000_000;
    params.evidence.as_mut().unwrap().max_age_num_blocks = 777;
    let update = MsgUpdateParams {
        authority: authority().to_string(),
        block: params.block,
        evidence: params.evidence,
        validator: params.validator,
        abci: None,
    };
    let messages = vec![
        any::pack(&MsgDelegate {
            delegator_address: account.clone(),
            validator_address: network.key("validator0").address().operator(),
            amount: Some(utrain(5000 * UTRAIN_PER_TRAIN)),
        }),
        any::pack(&MsgSubmitProposal {
            messages: vec![any::pack(&update)],
            initial_deposit: vec![utrain(100 * UTRAIN_PER_TRAIN)],
            proposer: account.clone(),
            title: "Smaller blocks".into(),
            summary: "They travel faster.".into(),
            ..MsgSubmitProposal::default()
        }),
        any::pack(&MsgVote {
            proposal_id: 1,
            voter: account,
            option: VoteOption::Yes.into(),
            metadata: String::new(),
        }),
    ];
    alice.send(messages).await.unwrap();
    let rpc = HttpClient::new(network.nodes[0].rpc.as_str()).unwrap();
    let held = async || {
        let found = rpc.latest_consensus_params().await.ok()?.consensus_params;
        Some((
            found.block.max_bytes,
            found.block.max_gas,
            found.evidence.max_age_num_blocks,
        ))
    };
    let changed = Some((2 << 20, 100_000_000, 777));
    // While a block is being committed CometBFT may have no parameters of its height.
    let hold_them = async || (held().await == changed).then_some(());
    super::wait_for("the decision", LONG_PATIENCE, hold_them).await;
    // The chain goes on with them, and so it does after a restart.
    let ask = |network: &Network| command(network, &network.nodes[0], &["query", "consensus", "params"]).unwrap();
    let shown = ask(&network);
    assert_eq!(
        shown["params"]["block"]["max_gas"].to_string().trim_matches('"'),
        "100000000",
        "{shown}"
    );
    let height = network.nodes[0].height().await.unwrap();
    network.wait_height(height + 3, PATIENCE).await;
    assert_eq!(network.nodes[0].stop().code(), Some(0), "{}", network.nodes[0].log());
    network.nodes[0].start(&[]);
    network.wait_height(height + 5, PATIENCE).await;
    super::wait_for("the same parameters", PATIENCE, hold_them).await;
    assert_eq!(network.nodes[0].stop().code(), Some(0), "{}", network.nodes[0].log());
}
