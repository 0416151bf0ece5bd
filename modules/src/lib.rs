//! The state machine of Trainyard: accounts, money, stake, nodes, jobs, useful work. Pure and synchronous: no clock, no
//! randomness, no I/O, no threads, no floats, so that it gives the same result on every node.
//!
//! | module | keeps |
//! |---|---|
//! | [`auth`] | accounts, public keys, sequences |
//! | [`bank`] | balances and supply |
//! | [`fees`] | the least price of gas, which follows demand |
//! | [`distribution`] | what validators and delegators earn, the community's money |
//! | [`staking`] | validators and delegations |
//! | [`slashing`] | validators that vote twice or not at all |
//! | [`registry`] | workers and evaluators |
//! | [`job`] | jobs from posting to payment |
//! | [`pouw`] | the header of useful work and epoch checkpoints |
//! | [`gov`] | proposals, deposits, votes |
//! | [`authz`] | permissions to act for another account |
//! | [`feegrant`] | who pays whose fees |
//! | [`upgrade`] | which program runs from which height on |
//! | [`consensus`] | what CometBFT holds blocks to |
//!
//! A module may call those above it in this table, never those below. [`machine`] puts them together: the tables of messages
//! and queries, transactions, blocks, genesis; [`gov`], [`authz`] and [`feegrant`] look into
//! its table of messages, to carry out what was decided or permitted.
//! [`state`] gives typed access to keys, [`context`] what a handler sees, [`governed`] what governance alone may send,
//! [`words`] numbers for the sentences in which every module's `explain.rs` says why things stand as they stand.

pub mod auth;
pub mod authz;
pub mod bank;
pub mod consensus;
pub mod context;
pub mod crypto;
pub mod distribution;
pub mod error;
pub mod feegrant;
pub mod fees;
pub mod gas;
pub mod gov;
pub mod governed;
pub mod job;
pub mod machine;
pub mod page;
pub mod pouw;
pub mod registry;
pub mod slashing;
pub mod staking;
pub mod state;
pub mod upgrade;
pub mod words;
