//! The state machine as a whole: genesis, blocks, transactions, queries. Pure: the application brings the store and the
//! socket.
//!
//! | file | what |
//! |---|---|
//! | `ante.rs` | what every transaction must satisfy before its messages run: size, chain id, signatures, sequence, fee, gas |
//! | `signatures.rs` | who signed it, in which mode, with how many keys |
//! | `run.rs` | [`run_tx`]: decode → ante → messages |
//! | `router.rs` | the table of messages |
//! | `queries.rs` | the table of queries |
//! | `block.rs` | begin and end of blocks and epochs |
//! | `explain.rs` | why things stand as they stand, of all modules |
//! | `genesis.rs` | genesis and export |

pub mod ante;
mod block;
mod explain;
mod genesis;
mod queries;
pub(crate) mod router;
mod run;
mod signatures;

pub use block::{begin_block, end_block};
pub use genesis::{Genesis, export, init_genesis};
pub use queries::{query, query_paths};
pub use router::message_urls;
pub use run::{Decoded, Mode, TxResult, run_decoded, run_tx};

use crate::{authz, bank, distribution, error::Error, feegrant, gov, job, registry, slashing, staking, state::State};

/// All invariants of all modules.
///
/// # Errors
/// What does not hold; or the store failed.
pub fn invariants(state: &mut State<'_>) -> Result<(), Error> {
    bank::invariant(state)?;
    distribution::invariant(state)?;
    staking::invariant(state)?;
    slashing::invariant(state)?;
    registry::invariant(state)?;
    job::invariant(state)?;
    gov::invariant(state)?;
    authz::invariant(state)?;
    feegrant::invariant(state)
}
