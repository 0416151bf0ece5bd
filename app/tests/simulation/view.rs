//! What there is to act on after the last block. All of it is bounded by the number of actors, not by how long the chain runs.

use std::{collections::BTreeMap, sync::LazyLock};

use trainyard_app::testing::{Chain, address};
use trainyard_modules::{authz, feegrant, gov, job, registry, staking};
use trainyard_proto::{
    address::Address,
    cosmos::{
        gov::v1::Proposal,
        staking::v1beta1::{UnbondingDelegationEntry, Validator},
    },
    job::{Job, JobSpec},
    registry::Node,
};

use crate::world::ACTORS;

/// A name's key takes long to make.
static NAMES: LazyLock<BTreeMap<Address, &str>> =
    LazyLock::new(|| ACTORS.into_iter().map(|name| (address(name), name)).collect());

/// The name behind an account.
pub(crate) fn name_of(account: Address) -> &'static str {
    NAMES.get(&account).expect("an actor's account")
}

/// The same of an account's text.
pub(crate) fn named(text: &str) -> &'static str {
    name_of(text.parse().expect("an address"))
}

#[derive(Default)]
pub(crate) struct View {
    /// Unfinished jobs with their specs.
    pub(crate) jobs: Vec<(Job, JobSpec)>,
    /// Number of the last job.
    pub(crate) last_job: u64,
    pub(crate) nodes: Vec<(&'static str, Node)>,
    pub(crate) validators: Vec<(&'static str, Validator)>,
    /// Delegator and validator.
    pub(crate) delegations: Vec<(&'static str, &'static str)>,
    /// Delegator and validator, with the entry.
    pub(crate) unbonding: Vec<(&'static str, &'static str, UnbondingDelegationEntry)>,
    /// Those that are not decided.
    pub(crate) proposals: Vec<Proposal>,
    /// Granter, grantee, type URL.
    pub(crate) grants: Vec<(&'static str, &'static str, String)>,
    /// Granter, grantee.
    pub(crate) allowances: Vec<(&'static str, &'static str)>,
}

impl View {
    pub(crate) fn of(chain: &Chain) -> Self {
        chain.read(|state| {
            let mut view = Self {
                last_job: job::LAST_ID.get(state)?,
                ..Self::default()
            };
            for ((_, id), _) in job::DEADLINES.all(state)? {
                view.jobs.push((job::job(state, id)?, job::spec(state, id)?));
            }
            for (owner, node) in registry::NODES.all(state)? {
                view.nodes.push((name_of(owner), node));
            }
            for (operator, validator) in staking::VALIDATORS.all(state)? {
                view.validators.push((name_of(operator), validator));
            }
            for ((delegator, operator), _) in staking::DELEGATIONS.all(state)? {
                view.delegations.push((name_of(delegator), name_of(operator)));
            }
            for ((delegator, operator, _), entry) in staking::UNBONDING.all(state)? {
                view.unbonding.push((name_of(delegator), name_of(operator), entry));
            }
            let waiting = [gov::INACTIVE.all(state)?, gov::ACTIVE.all(state)?].concat();
            for ((_, id), _) in waiting {
                view.proposals.push(gov::proposal(state, id)?);
            }
            for ((granter, grantee, url), _) in authz::GRANTS.all(state)? {
                view.grants.push((name_of(granter), name_of(grantee), url));
            }
            for ((grantee, granter), _) in feegrant::ALLOWANCES.all(state)? {
                view.allowances.push((name_of(granter), name_of(grantee)));
            }
            Ok(view)
        })
    }
}
