//! Bytes from outside, mutated: nothing panics, nothing is accepted that has another encoding, and what is accepted keeps the
//! promises of its type. Deterministic, so a failure can be repeated; `scripts/fuzz SECONDS` runs longer, over other bytes.

mod harness;
mod mutate;
mod targets;
