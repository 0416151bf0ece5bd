//! The state machine over the store, driven in process as CometBFT would drive it (`trainyard_app::testing`).
//!
//! | file | what |
//! |---|---|
//! | `support.rs` | a yard with a client, workers and evaluators; the messages of a job's life |
//! | `job_life.rs` | how jobs end, and who is paid what |
//! | `job_deadlines.rs` | many deadlines at once, and what comes after one |
//! | `job_matching.rs` | who fits a job, by its capability record |
//! | `job_lineage.rs` | jobs that start from others or repeat them |
//! | `job_lists.rs` | lists of jobs, page by page |
//! | `job_money.rs` | what rounds cost, what a top-up buys |
//! | `job_evaluators.rs` | evaluators that are replaced or slashed |
//! | `job_scores.rs` | who judges, whose score counts; checkpoints |
//! | `contest.rs`, `contest_rules.rs`, `contest_support.rs` | competitive jobs: who wins, what is refused, their messages |
//! | `bad_transactions.rs`, `bad_specs.rs`, `bad_messages.rs` | what is refused, with which code and which words |
//! | `staking.rs`, `staking_moves.rs`, `slashing.rs`, `distribution.rs`, `registry.rs` | stake, rewards and nodes |
//! | `fees.rs` | the base fee |
//! | `gov.rs`, `grants.rs` | messages of governance, permissions and allowances; what they do is tested in `modules` |
//! | `consensus.rs` | the parameters of consensus, changed by governance |
//! | `epochs.rs` | how long epochs are, changed by governance |
//! | `explain.rs` | why things stand as they stand, as people read it |
//! | `codecs.rs` | addresses and amounts as texts and back |
//! | `golden.rs` | app hash over every message, raw keys, export and import |
//! | `garbage.rs` | garbage in messages and queries |
//! | `gauges.rs` | what an operator watches of the state |
//! | `permissions.rs` | who may not send which message, and when; one row for each message |
//! | `proposals.rs` | blocks of hostile or hurried proposers, the mempool, halting |
//! | `upgrade.rs` | an upgrade decided by governance, from one program to the next |

mod bad_messages;
mod bad_specs;
mod bad_transactions;
mod codecs;
mod consensus;
mod contest;
mod contest_rules;
mod contest_support;
mod distribution;
mod epochs;
mod explain;
mod fees;
mod garbage;
mod gauges;
mod golden;
mod gov;
mod grants;
mod job_deadlines;
mod job_evaluators;
mod job_life;
mod job_lineage;
mod job_lists;
mod job_matching;
mod job_money;
mod job_scores;
mod permissions;
mod proposals;
mod registry;
mod slashing;
mod staking;
mod staking_moves;
mod support;
mod upgrade;
