//! How long epochs are: decided by governance, while their numbers go on one by one.

use trainyard_app::testing::{Chain, TRAIN, address};
use trainyard_modules::governed::authority;
use trainyard_proto::{
    any::{self, Any},
    pouw::{
        MsgUpdateParams, Params, QueryCheckpointRequest, QueryCheckpointResponse, QueryEpochRequest,
        QueryEpochResponse, QueryParamsRequest, QueryParamsResponse,
    },
    registry::{QueryNodeRequest, QueryNodeResponse, Role},
};

use crate::{
    consensus::decide,
    gov::{short_votes, submit},
    registry::renew,
    support::*,
};

fn last(epoch_blocks: u64) -> Any {
    any::pack(&MsgUpdateParams {
        authority: authority().to_string(),
        params: Some(Params { epoch_blocks }),
    })
}

/// Number, first and last height of the epoch of the next block.
fn epoch(chain: &Chain) -> (u64, u64, u64) {
    let path = "/trainyard.pouw.v1.Query/Epoch";
    let found: QueryEpochResponse = chain.query(path, &QueryEpochRequest {}).unwrap();
    (found.epoch, found.first_height, found.last_height)
}

/// First and last heights of the epochs that are over.
fn checkpoints(chain: &Chain) -> Vec<(u64, u64)> {
    let over = epoch(chain).0;
    let of = |epoch: u64| {
        let request = QueryCheckpointRequest { epoch };
        let path = "/trainyard.pouw.v1.Query/Checkpoint";
        let found: QueryCheckpointResponse = chain.query(path, &request).unwrap();
        found.checkpoint.unwrap()
    };
    // Number 0 asks for the latest.
    let found = (1..over).map(of).map(|c| (c.first_height, c.last_height));
    found.collect()
}

fn node(chain: &Chain, name: &str) -> QueryNodeResponse {
    let owner = address(name).to_string();
    let path = "/trainyard.registry.v1.Query/Node";
    chain.query(path, &QueryNodeRequest { owner }).unwrap()
}

#[test]
fn epochs_become_longer_and_shorter_and_are_numbered_one_by_one() {
    let mut chain = builder().epoch_blocks(10).genesis(short_votes).build();
    chain.skip(1);
    assert_eq!(epoch(&chain), (0, 1, 10));
    chain.skip_to(10);
    assert_eq!(epoch(&chain), (1, 11, 20));
    // Longer: the epoch that goes on is.
    decide(&mut chain, last(25));
    assert_eq!((chain.height(), epoch(&chain)), (13, (1, 11, 35)));
    chain.skip_to(34);
    assert_eq!(epoch(&chain).0, 1);
    chain.skip(1);
    assert_eq!(epoch(&chain), (2, 36, 60));
    // Shorter than it has been already: it ends with the block that decides, and is paid.
    chain.skip_to(50);
    decide(&mut chain, last(4));
    assert_eq!((chain.height(), epoch(&chain)), (53, (3, 54, 57)));
    assert!(chain.events().iter().any(|e| e.r#type == "epoch_checkpoint"));
    chain.skip_to(61);
    assert_eq!(epoch(&chain), (5, 62, 65));
    assert_eq!(checkpoints(&chain), [(11, 35), (36, 53), (54, 57), (58, 61)]);
    let path = "/trainyard.pouw.v1.Query/Params";
    let params: QueryParamsResponse = chain.query(path, &QueryParamsRequest {}).unwrap();
    assert_eq!(params.params, Some(Params { epoch_blocks: 4 }));
    // A chain that goes on from an export does so in the middle of the epoch.
    chain.skip(2);
    let mut twin = Chain::from_genesis(chain.chain_id(), &chain.export(), chain.height() + 1, chain.time());
    for chain in [&mut chain, &mut twin] {
        chain.skip(3);
        assert_eq!(epoch(chain), (6, 66, 69));
    }
    assert_eq!(twin.app_hash(), chain.app_hash());
}

#[test]
fn what_holds_for_epochs_follows_their_length() {
    let mut chain = builder().epoch_blocks(10).genesis(short_votes).build();
    chain.ok("w1", &register("w1", Role::Worker, 100 * TRAIN));
    let found = node(&chain, "w1");
    assert_eq!((found.renew_from, found.lapses_at), (11, 21));
    decide(&mut chain, last(30));
    let found = node(&chain, "w1");
    assert_eq!((found.renew_from, found.lapses_at), (31, 61));
    chain.skip_to(40);
    chain.ok("w1", &renew("w1"));
    assert_eq!(node(&chain, "w1").lapses_at, 91);
    decide(&mut chain, last(5));
    assert_eq!((chain.height(), epoch(&chain)), (44, (2, 45, 49)));
    let found = node(&chain, "w1");
    assert_eq!((found.renew_from, found.lapses_at), (45, 50));
}

#[test]
fn epochs_have_bounds() {
    let mut chain = builder().genesis(short_votes).build();
    chain.skip(1);
    for (blocks, words) in [(0, "epoch_blocks is 0, expected 1 to 1000000"), (1_000_001, "1000001")] {
        let message = any::pack(&submit(CLIENT, vec![last(blocks)], 100 * TRAIN));
        assert_message_refused(&mut chain, CLIENT, message, ("gov", 12), &[words]);
    }
}
