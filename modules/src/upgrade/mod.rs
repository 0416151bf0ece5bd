//! Upgrades of the software at a height that governance sets, the way cosmovisor works.
//!
//! | key | value |
//! |---|---|
//! | `upgrade/plan` | [`Plan`]; without a name where nothing is planned |
//! | `upgrade/applied/{name}` | height (u64) at which an upgrade was carried out |
//! | `upgrade/last` | name of the last one; empty before the first |
//! | `upgrade/version/{module}` | version (u64) of the form in which a module's state is kept |
//!
//! Messages, by governance only: `SoftwareUpgrade`, `CancelUpgrade`. Events: `upgrade_planned`, `upgrade_cancelled`,
//! `upgrade_applied`.
//!
//! A [`Binary`] says which forms of state it works on and which upgrades it can carry out. Before each block [`check`]
//! compares it with the state. One that does not know the plan runs up to the block before it and no further; the
//! application then writes `upgrade-info.json`, which cosmovisor waits for. One that knows the plan refuses to run before its
//! height, and at that height brings every module's state from its version to the binary's, a step at a time
//! ([`begin_block`]). A binary older than the state refuses to run at all.

mod genesis;
mod msgs;
mod queries;

pub use genesis::{AppliedGenesis, Genesis, export, init};
pub use queries::{query_applied_plan, query_authority, query_current_plan, query_module_versions};
pub use trainyard_proto::cosmos::upgrade::v1beta1::Plan;

use crate::{
    context::{Block, Ctx, Event},
    error::{Error, coded},
    state::{Item, Map, State},
};

/// The plan; without a name where nothing is planned.
pub const PLAN: Item<Plan> = Item::new("upgrade/plan");
/// Heights by name.
pub const APPLIED: Map<String, u64> = Map::new("upgrade/applied/");
/// Name of the last upgrade; empty before the first.
pub const LAST: Item<String> = Item::new("upgrade/last");
/// Versions by module.
pub const VERSIONS: Map<String, u64> = Map::new("upgrade/version/");

/// A step of a module's state from one form to the next.
pub struct Migration {
    /// Which module's.
    pub module: &'static str,
    /// From this version to the next one; 0 where the module is new.
    pub from: u64,
    /// Rewrites the state.
    pub run: fn(&mut State<'_>, &Block) -> Result<(), Error>,
}

/// What the state machine of a program is.
pub struct Binary {
    /// Version of every module's state, in the order in which they migrate.
    pub versions: &'static [(&'static str, u64)],
    /// Upgrades that lead to these versions, by the names of their plans.
    pub upgrades: &'static [&'static str],
    /// The steps that have ever been.
    pub migrations: &'static [Migration],
}

/// This program's.
pub static THIS: Binary = Binary {
    versions: &[
        ("auth", 1),
        ("bank", 1),
        ("distribution", 1),
        ("staking", 1),
        ("slashing", 1),
        ("registry", 1),
        ("job", 1),
        ("pouw", 1),
        ("gov", 1),
        ("authz", 1),
        ("feegrant", 1),
        ("upgrade", 1),
    ],
    upgrades: &[],
    migrations: &[],
};

/// Why a program may not execute the next block.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The plan's height has come and the program does not know it. The text is what the SDK logs.
    #[error("UPGRADE \"{}\" NEEDED at height: {}: {}", .0.name, .0.height, .0.info)]
    Needed(Box<Plan>),
    /// The program can carry out a plan whose height has not come.
    #[error(
        "BINARY UPDATED BEFORE TRIGGER! UPGRADE \"{name}\" is in this program, planned for height {height}; the next block \
         is {next}: run the program before it until then"
    )]
    Early {
        /// Of the plan.
        name: String,
        /// Of the plan.
        height: i64,
        /// The next block's.
        next: u64,
    },
    /// The last upgrade is one that the program does not know.
    #[error("wrong version: upgrade \"{0}\" was carried out, and this program does not know it: run a newer one")]
    Late(String),
    /// A module's state is in another form than the program's, and no upgrade is due.
    #[error("wrong version: the state of {module} is of version {found}, this program's of version {expected}")]
    Version {
        /// The module.
        module: String,
        /// In the state; 0 where there is none.
        found: u64,
        /// In the program; 0 where there is none.
        expected: u64,
    },
    /// The state could not be read.
    #[error("{0}")]
    State(#[from] Error),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::State(error) => error,
            other => Self::fatal(other.to_string()),
        }
    }
}

/// Errors of upgrades, with the SDK's codes where it has them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum UpgradeError {
    #[error("no upgrade is planned")]
    NoPlan,
    #[error("upgrade {name:?} was carried out at height {height} already")]
    Applied { name: String, height: u64 },
    #[error("the plan's height is {found}, expected one above {now}")]
    Past { found: i64, now: u64 },
    #[error("plan: {0}")]
    Plan(String),
}

coded!(UpgradeError, "upgrade", |error| match error {
    UpgradeError::NoPlan => 3,
    UpgradeError::Applied { .. } => 7,
    UpgradeError::Past { .. } => 8,
    UpgradeError::Plan(_) => 9,
});

/// The plan, if there is one.
///
/// # Errors
/// Out of gas, or the store failed.
pub fn plan(state: &mut State<'_>) -> Result<Option<Plan>, Error> {
    Ok(Some(PLAN.get(state)?).filter(|plan| !plan.name.is_empty()))
}

fn height(plan: &Plan) -> u64 {
    u64::try_from(plan.height).unwrap_or(0)
}

/// Whether a plan's height has come with the block at `next`, and whether `binary` knows the plan.
fn stands(plan: &Plan, next: u64, binary: &Binary) -> (bool, bool) {
    (height(plan) <= next, binary.upgrades.contains(&plan.name.as_str()))
}

/// The plan that the block at `next` needs another program than `binary` for.
///
/// # Errors
/// The store failed.
pub fn needed(state: &mut State<'_>, next: u64, binary: &Binary) -> Result<Option<Plan>, Error> {
    Ok(plan(state)?.filter(|plan| stands(plan, next, binary) == (true, false)))
}

/// Whether `binary` may execute the block at `next` on this state; true when it must carry out the plan there.
///
/// # Errors
/// Why it may not.
pub fn check(state: &mut State<'_>, next: u64, binary: &Binary) -> Result<bool, Refusal> {
    if let Some(plan) = plan(state)? {
        match stands(&plan, next, binary) {
            (true, true) => return Ok(true),
            (true, false) => return Err(Refusal::Needed(plan.into())),
            (false, true) => {
                let Plan { name, height, .. } = plan;
                return Err(Refusal::Early { name, height, next });
            }
            (false, false) => {}
        }
    }
    let last = LAST.get(state)?;
    if !last.is_empty() && !binary.upgrades.contains(&last.as_str()) {
        return Err(Refusal::Late(last));
    }
    let kept = VERSIONS.all(state)?;
    let in_state = |module: &str| kept.iter().find(|(m, _)| m == module).map_or(0, |(_, v)| *v);
    let in_binary = |module: &str| {
        binary
            .versions
            .iter()
            .find(|(m, _)| *m == module)
            .map_or(0, |(_, v)| *v)
    };
    let modules = kept.iter().map(|(m, _)| m.as_str());
    for module in modules.chain(binary.versions.iter().map(|(m, _)| *m)) {
        let (found, expected) = (in_state(module), in_binary(module));
        if found != expected {
            let module = module.to_string();
            return Err(Refusal::Version {
                module,
                found,
                expected,
            });
        }
    }
    Ok(false)
}

/// Carries out the plan where it is due, before anything else of the block.
///
/// # Errors
/// Fatal: the program is the wrong one for this block, or a migration failed.
pub fn begin_block(ctx: &mut Ctx<'_, '_>, binary: &Binary) -> Result<(), Error> {
    if !check(ctx.state, ctx.block.height, binary)? {
        return Ok(());
    }
    let Some(plan) = plan(ctx.state)? else {
        return Ok(());
    };
    for (module, target) in binary.versions {
        migrate(ctx, binary, module, *target)?;
    }
    PLAN.set(ctx.state, &Plan::default())?;
    APPLIED.set(ctx.state, &plan.name, &ctx.block.height)?;
    LAST.set(ctx.state, &plan.name)?;
    ctx.emit(
        Event::new("upgrade_applied")
            .with("name", &plan.name)
            .with("height", ctx.block.height),
    );
    // The next block asks again, and must find nothing to complain about.
    check(ctx.state, ctx.block.height, binary)?;
    Ok(())
}

fn migrate(ctx: &mut Ctx<'_, '_>, binary: &Binary, module: &str, target: u64) -> Result<(), Error> {
    let key = module.to_string();
    let found = VERSIONS.get(ctx.state, &key)?.unwrap_or(0);
    for from in found..target {
        let step = binary.migrations.iter().find(|m| m.module == module && m.from == from);
        let step =
            step.ok_or_else(|| Error::fatal(format!("nothing leads {module} from version {from} to {target}")))?;
        (step.run)(ctx.state, ctx.block)?;
        VERSIONS.set(ctx.state, &key, &(from + 1))?;
    }
    Ok(())
}
