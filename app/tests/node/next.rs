//! How a release with an upgrade is made: the same node, whose state machine has one more version of a module's state and
//! says how to get there. The tests upgrade a running chain to it.
//!
//! A release changes [`upgrade::THIS`] itself; here it is left alone, so that both programs can be built at once.

use std::process::ExitCode;

use trainyard_modules::{
    context::Block,
    error::Error,
    staking,
    state::State,
    upgrade::{self, Binary, Migration},
};

/// The next release. A plan named `v2` leads to it.
static NEXT: Binary = Binary {
    versions: &VERSIONS,
    upgrades: &["v2"],
    migrations: &[Migration {
        module: "staking",
        from: 1,
        run: keep_history,
    }],
};

/// This release's versions, but for staking's.
static VERSIONS: [(&str, u64); upgrade::THIS.versions.len()] = {
    let mut versions = [("", 0); upgrade::THIS.versions.len()];
    let mut at = 0;
    while at < versions.len() {
        versions[at] = upgrade::THIS.versions[at];
        // Constants cannot compare texts.
        if let b"staking" = versions[at].0.as_bytes() {
            versions[at].1 += 1;
        }
        at += 1;
    }
    versions
};

/// From staking's version 1 to 2: the last 100 sets of validators are kept, and every validator says whom to tell of a hole.
fn keep_history(state: &mut State<'_>, _: &Block) -> Result<(), Error> {
    let mut params = staking::PARAMS.get(state)?;
    params.historical_entries = 100;
    staking::PARAMS.set(state, &params)?;
    for (operator, mut validator) in staking::VALIDATORS.all(state)? {
        let mut description = validator.description.unwrap_or_default();
        if description.security_contact.is_empty() {
            description.security_contact.clone_from(&validator.operator_address);
        }
        validator.description = Some(description);
        staking::VALIDATORS.set(state, &operator, &validator)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    trainyard_app::cli::main(&NEXT)
}
