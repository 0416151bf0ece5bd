//! What governance decides, on real CometBFT.

use trainyard_app::testing::network::Network;
use trainyard_client::signer::{FeePolicy, Gas, GasPrice, Signer};
use trainyard_modules::governed::authority;
use trainyard_proto::any;
use trainyard_proto::coin::{UTRAIN_PER_TRAIN, utrain};
use trainyard_proto::cosmos::gov::v1::{MsgSubmitProposal, MsgVote, VoteOption};
use trainyard_proto::cosmos::upgrade::v1beta1::{MsgSoftwareUpgrade, Plan};

use super::{PATIENCE, change_genesis, wait_comet_gone};

#[tokio::test]
async fn a_proposal_that_passes_stops_every_node_before_the_upgrade() {
    let mut network = Network::make(env!("CARGO_BIN_EXE_trainyard"), 2, |plan| {
        plan.accounts = vec![("alice".into(), 1000 * UTRAIN_PER_TRAIN)];
    });
    change_genesis(&network, |genesis| {
        let params = &mut genesis.gov.params;
        for (period, seconds) in [(&mut params.voting_period, 3), (&mut params.expedited_voting_period, 2)] {
            period.as_mut().unwrap().seconds = seconds;
        }
    });
    for node in &mut network.nodes {
        node.start(&[]);
    }
    network.wait_height(2, PATIENCE).await;
    let signer = |name: &str| {
        let fees = FeePolicy {
            gas: Gas::Limit(2_000_000),
            price: GasPrice(1000),
        };
        Signer::new(
            network.client(),
            network.key(name),
            &network.plan.chain_id,
            fees,
            PATIENCE,
        )
    };
    let height = network.nodes[0].height().await.unwrap() + 80;
    let plan = MsgSoftwareUpgrade {
        authority: authority().to_string(),
        plan: Some(Plan {
            name: "v2".into(),
            height: i64::try_from(height).unwrap(),
            ..Plan::default()
        }),
    };
    let alice = signer("alice");
    let submit = MsgSubmitProposal {
        messages: vec![any::pack(&plan)],
        initial_deposit: vec![utrain(100 * UTRAIN_PER_TRAIN)],
        proposer: alice.address().to_string(),
        title: "v2".into(),
        summary: "It is better.".into(),
        ..MsgSubmitProposal::default()
    };
    alice.send(vec![any::pack(&submit)]).await.unwrap();
    for name in ["validator0", "validator1"] {
        let validator = signer(name);
        let vote = MsgVote {
            proposal_id: 1,
            voter: validator.address().to_string(),
            option: VoteOption::Yes.into(),
            metadata: String::new(),
        };
        validator.send(vec![any::pack(&vote)]).await.unwrap();
    }
    let needed = format!("UPGRADE \"v2\" NEEDED at height: {height}");
    for node in &mut network.nodes {
        assert_eq!(node.wait_exit(PATIENCE).code(), Some(1), "{}", node.log());
        assert!(node.log().contains(&needed), "{}", node.log());
        assert!(node.home.data().join("upgrade-info.json").exists());
        wait_comet_gone(node, std::time::Duration::ZERO);
    }
}
