//! What must hold of an exported state. The sums that the modules check themselves are made again here, by other code and from
//! other records, so that a mistake in a module's own sum does not hide one in its books.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_modules::{bank, machine::Genesis};
use trainyard_proto::{
    address::Address,
    coin::{MAX_SUPPLY, parse_amount, parse_utrain_list},
    cosmos::{gov::v1::ProposalStatus, staking::v1beta1::BondStatus},
    dec::Dec,
    job::{Job, JobState},
    tendermint_proto::google::protobuf::Timestamp,
};

pub(crate) fn audit(state: &Genesis, height: u64, time: u64) {
    let audit = Audit {
        state,
        balances: state
            .bank
            .balances
            .iter()
            .map(|b| (b.address.clone(), b.amount))
            .collect(),
        height,
        time,
    };
    audit.accounts();
    audit.stake();
    audit.entries();
    audit.rewards();
    audit.bonds();
    audit.jobs();
    audit.proposals();
    audit.permissions();
}

struct Audit<'a> {
    state: &'a Genesis,
    balances: BTreeMap<String, u64>,
    height: u64,
    time: u64,
}

fn seconds(time: Option<&Timestamp>) -> u64 {
    time.map_or(0, |time| u64::try_from(time.seconds).expect("a time"))
}

fn dec(atomics: &str) -> Dec {
    Dec::from_atomics(atomics).expect("a decimal")
}

fn over(job: &Job) -> bool {
    matches!(job.state(), JobState::Settled | JobState::Cancelled | JobState::Failed)
}

impl Audit<'_> {
    fn held(&self, module: &str) -> u128 {
        let account = Address::of_module(module).to_string();
        self.balances.get(&account).copied().unwrap_or(0).into()
    }

    /// Nobody holds nothing or more than there can be; who is no module has an account; numbers are given once.
    fn accounts(&self) {
        assert_eq!(
            self.balances.len(),
            self.state.bank.balances.len(),
            "a balance stands twice"
        );
        let supply: u128 = self.balances.values().map(|amount| u128::from(*amount)).sum();
        assert!(supply <= MAX_SUPPLY.into(), "{supply} utrain in all");
        let accounts: BTreeSet<&String> = self.state.auth.accounts.iter().map(|a| &a.address).collect();
        let numbers: BTreeSet<u64> = self.state.auth.accounts.iter().map(|a| a.account_number).collect();
        assert_eq!(numbers.len(), accounts.len(), "an account number stands twice");
        for (address, amount) in &self.balances {
            assert!(*amount > 0, "{address} holds zero");
            let module = bank::is_module(&address.parse().unwrap());
            assert!(module || accounts.contains(address), "{address} has no account");
        }
        assert_eq!(self.held(bank::GOV), 0, "governance's own account holds nothing");
    }

    /// The pools hold the tokens of validators and what is on its way back; shares are those of the delegations.
    fn stake(&self) {
        let (mut bonded, mut loose) = (0u128, 0u128);
        for entry in &self.state.staking.validators {
            let validator = &entry.validator;
            let tokens = parse_amount(&validator.tokens).unwrap();
            let pool = if validator.status() == BondStatus::Bonded {
                &mut bonded
            } else {
                &mut loose
            };
            *pool += u128::from(tokens);
            let shares = entry.delegations.iter().map(|(_, shares)| *shares);
            let sum = shares.fold(Dec::ZERO, |sum, part| sum.checked_add(part).unwrap());
            assert_eq!(
                sum,
                dec(&validator.delegator_shares),
                "{} has other shares",
                validator.operator_address
            );
            assert!(
                entry.delegations.iter().all(|(_, shares)| !shares.is_zero()),
                "a delegation of nothing"
            );
            let rates = validator
                .commission
                .as_ref()
                .unwrap()
                .commission_rates
                .as_ref()
                .unwrap();
            assert!(dec(&rates.rate) <= dec(&rates.max_rate), "{rates:?}");
            assert!(
                validator.status() == BondStatus::Bonded || entry.power == 0,
                "{} still votes",
                validator.operator_address
            );
        }
        for entry in &self.state.staking.unbonding {
            loose += u128::from(parse_amount(&entry.entry.balance).unwrap());
        }
        assert_eq!(self.held(bank::BONDED_POOL), bonded);
        assert_eq!(self.held(bank::NOT_BONDED_POOL), loose);
    }

    /// Entries end in the future, hold no more than they began with, and have an id each.
    fn entries(&self) {
        let staking = &self.state.staking;
        let mut ids = BTreeSet::new();
        for unbonding in &staking.unbonding {
            let entry = &unbonding.entry;
            assert!(seconds(entry.completion_time.as_ref()) > self.time, "{entry:?} is due");
            assert!(
                parse_amount(&entry.balance).unwrap() <= parse_amount(&entry.initial_balance).unwrap(),
                "{entry:?} has grown"
            );
            assert!(ids.insert(entry.unbonding_id), "id {} stands twice", entry.unbonding_id);
        }
        for redelegation in &staking.redelegations {
            let entry = &redelegation.entry;
            assert!(seconds(entry.completion_time.as_ref()) > self.time, "{entry:?} is due");
            assert!(ids.insert(entry.unbonding_id), "id {} stands twice", entry.unbonding_id);
        }
        assert!(
            ids.last().is_none_or(|last| *last <= staking.last_id),
            "an id is above the last"
        );
    }

    /// What is outstanding pays every claim: each commission, and of each delegation its shares times what a share has earned
    /// since it was last settled.
    fn rewards(&self) {
        let distribution = &self.state.distribution;
        let mut since: BTreeMap<(&str, &str), Dec> = BTreeMap::new();
        for (delegator, operator, value) in &distribution.since {
            since.insert((delegator, operator), *value);
        }
        let mut sum = distribution.dust;
        for earned in &distribution.rewards {
            let (operator, rewards) = (earned.operator.as_str(), &earned.rewards);
            sum = sum.checked_add(rewards.outstanding).unwrap();
            let mut claims = rewards.commission;
            let validators = self.state.staking.validators.iter();
            let validator = validators.clone().find(|v| v.validator.operator_address == operator);
            for (delegator, shares) in &validator
                .unwrap_or_else(|| panic!("{operator} earns and is gone"))
                .delegations
            {
                let began = since
                    .remove(&(delegator.as_str(), operator))
                    .expect("a delegation earns since some time");
                let earned = rewards
                    .cumulative
                    .checked_sub(began)
                    .expect("rewards per share only grow");
                claims = claims.checked_add(earned.mul_down(*shares).unwrap()).unwrap();
            }
            assert!(
                claims <= rewards.outstanding,
                "{operator} owes {claims}, outstanding are {}",
                rewards.outstanding
            );
        }
        assert!(since.is_empty(), "{since:?} earn without a delegation");
        let held = u64::try_from(self.held(bank::DISTRIBUTION)).unwrap();
        assert_eq!(sum, Dec::whole(held));
        assert_eq!(
            distribution.rewards.len(),
            self.state.staking.validators.len(),
            "a validator without rewards"
        );
    }

    /// The registry holds bonds and what is on its way back; nodes have a peer each, and are engaged in as many jobs as name
    /// them.
    fn bonds(&self) {
        let registry = &self.state.registry;
        let bonds = registry.nodes.iter().map(|node| u128::from(node.bond));
        let leaving = registry.unbonding.iter().map(|entry| u128::from(entry.amount));
        assert_eq!(self.held(bank::NODE_BONDS), bonds.chain(leaving).sum::<u128>());
        let peers: BTreeSet<_> = registry.nodes.iter().map(|node| &node.peer_id).collect();
        assert_eq!(peers.len(), registry.nodes.len(), "a peer id stands twice");
        for entry in &registry.unbonding {
            assert!(entry.completes_at > self.height, "{entry:?} is due");
        }
        let mut engaged: BTreeMap<&str, u32> = BTreeMap::new();
        for job in self.state.job.jobs.iter().filter(|job| !over(job)) {
            let workers = job.workers.iter().map(|worker| &worker.address);
            let evaluators = job.evaluators.iter().filter(|evaluator| !evaluator.dismissed);
            for member in workers.chain(evaluators.map(|evaluator| &evaluator.address)) {
                *engaged.entry(member).or_default() += 1;
            }
        }
        for node in &registry.nodes {
            assert!(node.reputation <= 100, "{node:?}");
            let jobs = engaged.remove(node.owner.as_str()).unwrap_or(0);
            assert_eq!(node.engagements, jobs, "the jobs that {} is in", node.owner);
        }
        assert!(engaged.is_empty(), "{engaged:?} are in jobs and not registered");
    }

    /// The escrow holds what of unfinished jobs' budgets is not paid, and their stakes; finished ones have paid all.
    fn jobs(&self) {
        let mut escrow = 0u128;
        for job in &self.state.job.jobs {
            let payments = job.payments.iter().filter(|payment| payment.reason != "stake");
            let paid: u128 = payments.map(|payment| u128::from(payment.amount)).sum();
            let stakes: u128 = job.workers.iter().map(|worker| u128::from(worker.stake)).sum();
            if over(job) {
                assert_eq!(paid, job.budget.into(), "job {} has not paid its budget", job.id);
                assert_eq!(job.deadline, 0, "job {} is over and waits", job.id);
                let returned = job.payments.iter().filter(|payment| payment.reason == "stake");
                assert_eq!(
                    returned.map(|p| u128::from(p.amount)).sum::<u128>(),
                    stakes,
                    "stakes of job {}",
                    job.id
                );
            } else {
                escrow += u128::from(job.budget) - paid + stakes;
                assert!(job.deadline > self.height, "job {} is due", job.id);
            }
            assert!(job.id <= self.state.job.last_id, "job {} is above the last", job.id);
        }
        assert_eq!(self.held(bank::ESCROW), escrow);
    }

    /// Open proposals hold their deposits and end in the future; votes are on those being voted on.
    fn proposals(&self) {
        let gov = &self.state.gov;
        let mut deposits: BTreeMap<u64, u128> = BTreeMap::new();
        for deposit in &gov.deposits {
            *deposits.entry(deposit.proposal).or_default() += u128::from(deposit.amount);
        }
        assert_eq!(self.held(bank::GOV_DEPOSITS), deposits.values().sum::<u128>());
        let mut voting = BTreeSet::new();
        for proposal in &gov.proposals {
            let ends = match proposal.status() {
                ProposalStatus::DepositPeriod => proposal.deposit_end_time.as_ref(),
                ProposalStatus::VotingPeriod => {
                    voting.insert(proposal.id);
                    proposal.voting_end_time.as_ref()
                }
                _ => continue,
            };
            assert!(seconds(ends) > self.time, "{proposal:?} is due");
            let total: u128 = parse_utrain_list(&proposal.total_deposit).unwrap().into();
            assert_eq!(
                deposits.remove(&proposal.id).unwrap_or(0),
                total,
                "deposits of proposal {}",
                proposal.id
            );
        }
        assert!(deposits.is_empty(), "deposits of {deposits:?}, which are over");
        for vote in &gov.votes {
            assert!(voting.contains(&vote.proposal_id), "{vote:?} is on nothing");
        }
    }

    /// Permissions end in the future, and nobody gives one to itself.
    fn permissions(&self) {
        for grant in &self.state.authz.grants {
            assert_ne!(grant.granter, grant.grantee);
            let ends = grant.expiration.as_ref();
            assert!(ends.is_none() || seconds(ends) > self.time, "{grant:?} is due");
        }
        for allowance in &self.state.feegrant.allowances {
            assert_ne!(allowance.granter, allowance.grantee);
        }
    }
}
