//! Bytes from outside on a chain that a crowd has lived on, mutated: transactions, messages, sign documents, keys, queries, raw
//! keys, blocks and genesis files. Nothing panics, nothing stops the node, and what is accepted leaves a state that adds up.
//! Deterministic, so a failure can be repeated; `scripts/fuzz SECONDS` runs longer, over other bytes.
//!
//! | file | what |
//! |---|---|
//! | `genesis.rs` | genesis files, bent value by value |
//! | `messages.rs` | transactions, their messages, and what is signed of them |
//! | `records.rs` | what workers say they have |
//! | `snapshots.rs` | snapshots of the state, offered and sent in chunks |
//! | `queries.rs` | queries, raw keys, and blocks of other proposers |

#[path = "../simulation/actions/mod.rs"]
#[allow(dead_code)]
mod actions;
#[path = "../simulation/audit.rs"]
#[allow(dead_code)]
mod audit;
#[path = "../chain/contest_support.rs"]
#[allow(dead_code)]
mod contest_support;
mod genesis;
#[path = "../../../exact/tests/fuzz/harness.rs"]
mod harness;
mod messages;
#[path = "../../../exact/tests/fuzz/mutate.rs"]
mod mutate;
mod queries;
#[path = "../simulation/random.rs"]
#[allow(dead_code)]
mod random;
mod records;
mod snapshots;
#[path = "../chain/support.rs"]
#[allow(dead_code)]
mod support;
#[path = "../simulation/tally.rs"]
#[allow(dead_code)]
mod tally;
#[path = "../simulation/view.rs"]
#[allow(dead_code)]
mod view;
#[path = "../simulation/world.rs"]
#[allow(dead_code)]
mod world;

use std::sync::LazyLock;

use trainyard_modules::{
    context::Block,
    gas::Gas,
    machine::{self, Genesis},
    state::{Changes, Empty, State},
    upgrade,
};
use world::{Plan, World};

/// Operations that the crowd has tried before.
const OPERATIONS: u64 = 600;

/// What the crowd left: the state in memory, and operations as it would go on with.
struct Populated {
    genesis: Genesis,
    block: Block,
    changes: Changes,
    operations: Vec<actions::Operation>,
    /// The same, signed.
    txs: Vec<Vec<u8>>,
}

static POPULATED: LazyLock<Populated> = LazyLock::new(|| {
    let mut world = World::new(7, &Plan::large(OPERATIONS));
    world.run();
    let operations: Vec<_> = (0..200).map(|_| world.operation()).collect();
    let sign = |(signer, message): &actions::Operation| world.chain.craft(signer, vec![message.clone()]).sign();
    let txs = operations.iter().map(sign).collect();
    let block = Block {
        chain_id: world.chain.chain_id().into(),
        height: world.chain.height(),
        time: world.chain.time(),
        proposer: Vec::new(),
        hash: Vec::new(),
    };
    let genesis = world.chain.export();
    let mut state = State::new(&Empty, Gas::unlimited());
    machine::init_genesis(&mut state, &block, &genesis, &upgrade::THIS, &mut Vec::new()).unwrap();
    Populated {
        genesis,
        block,
        changes: state.into_changes(),
        operations,
        txs,
    }
});

impl Populated {
    /// The state, to be read from or written over.
    fn base(&self) -> State<'static> {
        State::resume(&Empty, self.changes.clone(), Gas::unlimited())
    }
}
