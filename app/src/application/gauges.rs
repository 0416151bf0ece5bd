//! What an operator watches of the state: figures of every module, as gauges. Lists are counted up to a bound, so that asking
//! costs little however large the chain becomes; what grows for ever (jobs, proposals, accounts) has its own counter in state.

use trainyard_modules::{
    auth, authz, bank,
    context::Epoch,
    distribution,
    error::Error,
    feegrant, fees,
    gas::Gas,
    gov, job, pouw, registry, slashing, staking,
    state::{Key, Map, State},
    upgrade,
};
use trainyard_proto::{
    address::Address, coin::DENOM, cosmos::staking::v1beta1::BondStatus, job::JobState, prost::Message, registry::Role,
};

use super::{Application, Committed};

/// Entries of one list that are counted, at most.
const MOST: usize = 10_000;

/// Samples of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Gauge {
    /// Without the prefix of the program.
    pub name: &'static str,
    /// What it is, and its unit.
    pub help: &'static str,
    /// Labels, as name and value, and the value.
    pub samples: Vec<(Vec<(&'static str, String)>, f64)>,
}

/// Gauges in the making.
#[derive(Default)]
struct Gauges(Vec<Gauge>);

impl Gauges {
    fn one(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.all(name, help, vec![(Vec::new(), value)]);
    }

    fn by(&mut self, name: &'static str, help: &'static str, label: &'static str, values: Vec<(String, u64)>) {
        let samples = values.into_iter().map(|(key, value)| (vec![(label, key)], value));
        self.all(name, help, samples.collect());
    }

    fn all(&mut self, name: &'static str, help: &'static str, samples: Vec<(Vec<(&'static str, String)>, u64)>) {
        let samples = samples
            .into_iter()
            .map(|(labels, value)| (labels, value as f64))
            .collect();
        self.0.push(Gauge { name, help, samples });
    }
}

/// How many entries a map has under the first part of its keys, up to [`MOST`].
fn count_under<P: Key, K: Key, V: Message + Default>(
    state: &mut State<'_>,
    map: &Map<K, V>,
    part: &P,
) -> Result<u64, Error> {
    Ok(map.under(state, part, MOST)?.len() as u64)
}

/// How many entries a map has, up to [`MOST`].
fn count<K: Key + Clone, V: Message + Default>(state: &mut State<'_>, map: &Map<K, V>) -> Result<u64, Error> {
    Ok(map.from(state, None::<&K>, MOST)?.len() as u64)
}

impl Application {
    /// Gauges of the last committed state; none before block 1. `own` is the consensus address of this node's key.
    ///
    /// # Errors
    /// The store failed.
    pub fn gauges(&self, own: Option<&Address>) -> Result<Vec<Gauge>, Error> {
        let Some(last) = self.last_block() else {
            return Ok(Vec::new());
        };
        let snapshot = self.store.snapshot();
        let base = Committed::new(&snapshot);
        let state = &mut State::new(&base, Gas::unlimited());
        let mut gauges = Gauges::default();
        money(state, &mut gauges)?;
        validators(state, &mut gauges)?;
        if let Some(own) = own {
            own_validator(state, &mut gauges, own)?;
        }
        work(state, &mut gauges)?;
        decisions(state, &mut gauges)?;
        let epoch = Epoch::read(state)?;
        gauges.one("epoch", "Epoch of the next block, from 0.", epoch.number);
        gauges.one("epoch_blocks", "Blocks of an epoch.", epoch.blocks);
        gauges.one("block_time_seconds", "Time of the last block, Unix time.", last.time);
        let oldest = self.store.oldest().unwrap_or(0);
        gauges.one(
            "store_oldest_height",
            "The earliest height whose state can be read.",
            oldest,
        );
        Ok(gauges.0)
    }
}

/// auth, bank, distribution, fees, feegrant.
fn money(state: &mut State<'_>, gauges: &mut Gauges) -> Result<(), Error> {
    let accounts = auth::NEXT_NUMBER.get(state)?;
    gauges.one("accounts", "Accounts that there ever were.", accounts);
    let supply = bank::SUPPLY.get(state, &DENOM.to_owned())?.unwrap_or(0);
    gauges.one("supply_utrain", "All money, utrain.", supply);
    let mut pools = Vec::new();
    for name in bank::MODULE_ACCOUNTS {
        pools.push(((*name).to_owned(), bank::balance(state, &Address::of_module(name))?));
    }
    let help = "What modules hold, utrain: escrow of jobs, bonds of nodes, stake, rewards, the treasury.";
    gauges.by("module_balance_utrain", help, "account", pools);
    let paid_to = count(state, &distribution::WITHDRAW)?;
    gauges.one(
        "withdraw_addresses",
        "Accounts that have rewards paid to another.",
        paid_to,
    );
    let base_fee = fees::BASE_FEE.get(state)?;
    gauges.one(
        "base_fee_microutrain",
        "Least price of gas, millionths of a utrain.",
        base_fee,
    );
    let allowances = count(state, &feegrant::ALLOWANCES)?;
    gauges.one("fee_allowances", "Allowances of fees.", allowances);
    Ok(())
}

/// staking and slashing.
fn validators(state: &mut State<'_>, gauges: &mut Gauges) -> Result<(), Error> {
    let mut found = std::collections::BTreeMap::new();
    for status in ["bonded", "unbonding", "unbonded"] {
        for jailed in [false, true] {
            found.insert((status, jailed), 0);
        }
    }
    for (_, validator) in staking::VALIDATORS.from(state, None::<&Address>, MOST)? {
        let status = match validator.status() {
            BondStatus::Bonded => "bonded",
            BondStatus::Unbonding => "unbonding",
            _ => "unbonded",
        };
        *found.entry((status, validator.jailed)).or_default() += 1;
    }
    let labels = |status: &str, jailed: bool| vec![("status", status.to_owned()), ("jailed", jailed.to_string())];
    let samples = found
        .into_iter()
        .map(|((status, jailed), count)| (labels(status, jailed), count));
    gauges.all("validators", "Validators.", samples.collect());
    let powers = staking::POWERS.from(state, None::<&Address>, MOST)?;
    let power = powers
        .iter()
        .map(|(_, power)| power)
        .fold(0, |sum: u64, power| sum.saturating_add(*power));
    gauges.one("voting_power", "Voting power of all validators.", power);
    let infos = slashing::INFOS.from(state, None::<&Address>, MOST)?;
    let tombstoned = infos.iter().filter(|(_, info)| info.tombstoned).count() as u64;
    gauges.one("validators_tombstoned", "Validators that voted twice.", tombstoned);
    Ok(())
}

/// The validator whose key this node has, if it is one.
fn own_validator(state: &mut State<'_>, gauges: &mut Gauges, own: &Address) -> Result<(), Error> {
    let operator = staking::BY_CONSENSUS.get(state, own)?;
    let Some(operator) = operator.and_then(|bytes| <[u8; 20]>::try_from(bytes).ok()).map(Address) else {
        return Ok(());
    };
    let power = staking::POWERS.get(state, &operator)?.unwrap_or(0);
    gauges.one(
        "own_power",
        "Voting power of this node's validator; 0 when it is not in the set.",
        power,
    );
    let jailed = staking::VALIDATORS
        .get(state, &operator)?
        .is_some_and(|validator| validator.jailed);
    gauges.one(
        "own_jailed",
        "Whether this node's validator is jailed.",
        u64::from(jailed),
    );
    let info = slashing::INFOS.get(state, own)?.unwrap_or_default();
    let help = "Blocks of the window that this node's validator has not signed.";
    gauges.one("own_missed_blocks", help, info.missed);
    Ok(())
}

/// registry, job, pouw.
fn work(state: &mut State<'_>, gauges: &mut Gauges) -> Result<(), Error> {
    let mut roles = Vec::new();
    for (role, name) in [(Role::Worker, "worker"), (Role::Evaluator, "evaluator")] {
        let role = i32::from(role).unsigned_abs();
        roles.push((name.to_owned(), count_under(state, &registry::BY_ROLE, &role)?));
    }
    gauges.by("nodes", "Registered nodes.", "role", roles);
    let nodes = registry::NODES.from(state, None::<&Address>, MOST)?;
    let jailed = nodes.iter().filter(|(_, node)| node.jailed_until > 0).count() as u64;
    gauges.one("nodes_jailed", "Registered nodes that are jailed.", jailed);
    let engaged = nodes.iter().filter(|(_, node)| node.engagements > 0).count() as u64;
    gauges.one("nodes_engaged", "Registered nodes that work on a job.", engaged);

    let mut jobs = Vec::new();
    for (job_state, name) in [
        (JobState::Open, "open"),
        (JobState::Training, "training"),
        (JobState::Submitted, "submitted"),
        (JobState::Evaluating, "evaluating"),
        (JobState::Revealing, "revealing"),
    ] {
        let job_state = i32::from(job_state).unsigned_abs();
        jobs.push((name.to_owned(), count_under(state, &job::BY_STATE, &job_state)?));
    }
    gauges.by("jobs", "Jobs that are not over.", "state", jobs);
    let posted = job::LAST_ID.get(state)?;
    gauges.one("jobs_posted", "Jobs ever posted.", posted);
    let units = job::LOG_UNITS.get(state)?;
    gauges.one("epoch_macs", "Multiply-accumulates committed in this epoch.", units);
    let epochs = pouw::EPOCHS.get(state)?;
    gauges.one("checkpoints", "Epochs that have a checkpoint.", epochs);
    Ok(())
}

/// gov, upgrade, authz.
fn decisions(state: &mut State<'_>, gauges: &mut Gauges) -> Result<(), Error> {
    let waiting = vec![
        ("deposit".to_owned(), count(state, &gov::INACTIVE)?),
        ("voting".to_owned(), count(state, &gov::ACTIVE)?),
    ];
    gauges.by("proposals", "Proposals that are not decided.", "status", waiting);
    let submitted = gov::LAST_ID.get(state)?;
    gauges.one("proposals_submitted", "Proposals ever submitted.", submitted);
    let height = upgrade::plan(state)?.map_or(0, |plan| u64::try_from(plan.height).unwrap_or(0));
    gauges.one(
        "upgrade_height",
        "Height of the planned upgrade; 0 when none is planned.",
        height,
    );
    let grants = count(state, &authz::GRANTS)?;
    gauges.one("authz_grants", "Permissions to act for others.", grants);
    Ok(())
}
