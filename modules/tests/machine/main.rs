//! The state machine in memory, block by block, without a store and without a node.
//!
//! | file | what |
//! |---|---|
//! | `yard.rs` | a chain over a map: accounts by name, real signatures, invariants and export after every block |
//! | `gov.rs` | proposals, deposits, votes, what governance changes |
//! | `upgrade.rs` | plans, wrong programs, migrations of a populated chain |

mod gov;
mod upgrade;
mod yard;
