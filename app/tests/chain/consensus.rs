//! The parameters of consensus: decided by governance, kept in state, told to CometBFT.

use trainyard_app::testing::{Chain, TRAIN, VALIDATOR, send};
use trainyard_modules::{consensus::default_params, governed::authority};
use trainyard_proto::{
    any::{self, Any},
    consensus::{MsgUpdateParams, QueryParamsRequest, QueryParamsResponse},
    tendermint_proto::v0_38::types::ConsensusParams,
};

use crate::{
    gov::{short_votes, submit, vote_yes},
    support::*,
};

fn params(chain: &Chain) -> ConsensusParams {
    let path = "/cosmos.consensus.v1.Query/Params";
    let response: QueryParamsResponse = chain.query(path, &QueryParamsRequest {}).unwrap();
    response.params.unwrap()
}

fn update(change: impl Fn(&mut ConsensusParams)) -> Any {
    let mut params = default_params();
    change(&mut params);
    any::pack(&MsgUpdateParams {
        authority: authority().to_string(),
        block: params.block,
        evidence: params.evidence,
        validator: params.validator,
        abci: params.abci,
    })
}

/// The only validator lets governance carry out `message`.
pub(crate) fn decide(chain: &mut Chain, message: Any) {
    let outcome = chain.ok(CLIENT, &submit(CLIENT, vec![message], 100 * TRAIN));
    let id = outcome.attribute("submit_proposal", "proposal_id").unwrap().parse();
    chain.ok(VALIDATOR, &vote_yes(VALIDATOR, id.unwrap()));
    chain.pass_time(60);
    chain.skip(1);
    let result = chain.events().iter().find(|e| e.r#type == "active_proposal").unwrap();
    let result = result.attributes.iter().find(|a| a.key == "proposal_result").unwrap();
    assert_eq!(result.value, "proposal_passed", "{:?}", chain.events());
}

/// Of nine transactions with the largest limit there is, those that a block takes.
fn included(chain: &mut Chain) -> usize {
    let craft = chain.craft("w1", vec![any::pack(&send("w1", "w2", 1))]);
    let craft = craft.gas(50_000_000).fee(TRAIN);
    let txs: Vec<_> = (0..9).map(|n| craft.clone().sequence_offset(n).sign()).collect();
    chain.block(txs).iter().filter(|outcome| outcome.included).count()
}

#[test]
fn governance_changes_what_blocks_are_held_to_and_an_export_keeps_it() {
    let mut chain = builder().genesis(short_votes).build();
    chain.skip(1);
    assert_eq!((params(&chain), chain.consensus_update()), (default_params(), None));
    assert_eq!(included(&mut chain), 8);
    let smaller = update(|params| {
        let block = params.block.as_mut().unwrap();
        (block.max_bytes, block.max_gas) = (2 << 20, 150_000_000);
        params.evidence.as_mut().unwrap().max_age_num_blocks = 5_000;
    });
    decide(&mut chain, smaller);
    // CometBFT is told with the block that decides, and once; both hold the next block to it.
    let told = chain.consensus_update().cloned().unwrap();
    assert_eq!(told, params(&chain));
    assert_eq!(
        (told.block.unwrap().max_bytes, told.evidence.unwrap().max_age_num_blocks),
        (2 << 20, 5_000)
    );
    assert_eq!(included(&mut chain), 3);
    assert_eq!(chain.consensus_update(), None);
    let mut twin = Chain::from_genesis(chain.chain_id(), &chain.export(), chain.height() + 1, chain.time());
    assert_eq!(
        twin.consensus_update(),
        Some(&told),
        "CometBFT hears it from the genesis"
    );
    assert_eq!(included(&mut twin), 3);
    assert_eq!(params(&twin), told);
}

#[test]
fn a_proposal_that_would_stop_the_chain_is_refused() {
    let mut chain = builder().genesis(short_votes).build();
    chain.skip(1);
    for (change, words) in [
        (
            &(|p: &mut ConsensusParams| p.block.as_mut().unwrap().max_gas = 1) as &dyn Fn(&mut ConsensusParams),
            "block.max_gas is 1, expected 50000000 to",
        ),
        (&|p| p.block.as_mut().unwrap().max_bytes = 0, "block.max_bytes is 0"),
        (&|p| p.validator = None, "are all needed"),
    ] {
        let message = any::pack(&submit(CLIENT, vec![update(change)], 100 * TRAIN));
        assert_message_refused(&mut chain, CLIENT, message, ("gov", 12), &[words]);
    }
}
