//! The state machine in memory, block by block, without a store and without a node.
//!
//! | file | what |
//! |---|---|
//! | `yard.rs` | a chain over a map: accounts by name, real signatures, invariants and export after every block |
//! | `gov.rs` | proposals, deposits, votes, what governance changes |
//! | `authz.rs` | permissions: who may act for whom, in what, until when |
//! | `feegrant.rs` | allowances: who pays whose fees, how much, for what |
//! | `registry.rs` | penalties of nodes: arithmetic, jail, reputation, history, bonds on their way back |
//! | `signing.rs` | transactions as CosmJS signs them, multisig accounts |
//! | `upgrade.rs` | plans, wrong programs, migrations of a populated chain |

mod authz;
mod feegrant;
mod gov;
mod registry;
mod signing;
mod upgrade;
mod yard;
