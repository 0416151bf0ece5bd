//! Counting: how much stake said what.

use std::collections::BTreeMap;

use trainyard_proto::{
    address::Address,
    cosmos::{
        gov::v1::{Params, TallyResult, VoteOption, WeightedVoteOption},
        staking::v1beta1::Validator,
    },
    dec::Dec,
};

use super::{VOTES, params::share};
use crate::{
    error::Error,
    staking::{self, DELEGATIONS, POWERS, VALIDATORS, shares, tokens},
    state::State,
};

/// At most so many delegators vote on a proposal: each needs this part of the bonded stake.
pub const MAX_VOTERS: u64 = 100_000;

/// Stake of the validators that vote in consensus.
pub(super) struct Bonded {
    /// By operator.
    validators: BTreeMap<Address, Validator>,
    /// utrain of all.
    total: u64,
}

impl Bonded {
    pub(super) fn read(state: &mut State<'_>) -> Result<Self, Error> {
        let (mut validators, mut total) = (BTreeMap::new(), 0u64);
        for (operator, _) in POWERS.all(state)? {
            if let Some(validator) = VALIDATORS.get(state, &operator)? {
                total = total.saturating_add(tokens(&validator)?);
                validators.insert(operator, validator);
            }
        }
        Ok(Self { validators, total })
    }

    /// Shares that an account has of these validators, by operator.
    fn delegations(&self, state: &mut State<'_>, delegator: &Address) -> Result<Vec<(Address, Dec)>, Error> {
        let all = DELEGATIONS.under(state, delegator, usize::MAX)?;
        let all = all.into_iter().map(|((_, operator), shares)| (operator, shares));
        Ok(all
            .filter(|(operator, _)| self.validators.contains_key(operator))
            .collect())
    }

    /// utrain that shares of a validator are worth.
    fn worth(&self, operator: &Address, shares: Dec) -> Result<u64, Error> {
        self.validators
            .get(operator)
            .map_or(Ok(0), |validator| staking::worth(validator, shares))
    }

    /// Least stake with which a delegator votes, utrain.
    pub(super) fn least_stake(&self) -> u64 {
        (self.total / MAX_VOTERS).max(1)
    }

    pub(super) fn is_validator(&self, voter: &Address) -> bool {
        self.validators.contains_key(voter)
    }

    /// utrain that an account has delegated to these validators.
    pub(super) fn stake(&self, state: &mut State<'_>, voter: &Address) -> Result<u64, Error> {
        let mut stake = 0u64;
        for (operator, shares) in self.delegations(state, voter)? {
            stake = stake.saturating_add(self.worth(&operator, shares)?);
        }
        Ok(stake)
    }
}

/// What a count found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    yes: u64,
    abstain: u64,
    no: u64,
    veto: u64,
    /// Stake that voted, utrain.
    voted: u64,
    /// Stake that could have voted, utrain.
    bonded: u64,
}

/// What a count means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    Rejected { burn: bool },
}

/// The four sums, exact: parts of a utrain count.
#[derive(Default)]
struct Sums {
    options: [Dec; 4],
    voted: u64,
}

impl Sums {
    fn add(&mut self, stake: u64, options: &[WeightedVoteOption]) -> Result<(), Error> {
        let overflow = || Error::fatal("more stake voted than can exist");
        self.voted = self.voted.checked_add(stake).ok_or_else(overflow)?;
        for WeightedVoteOption { option, weight } in options {
            let Some(sum) = slot(*option).and_then(|slot| self.options.get_mut(slot)) else {
                continue;
            };
            let part = share("weight of a vote", weight)?;
            let part = Dec::whole(stake).mul_down(part).ok_or_else(overflow)?;
            *sum = sum.checked_add(part).ok_or_else(overflow)?;
        }
        Ok(())
    }
}

fn slot(option: i32) -> Option<usize> {
    match VoteOption::try_from(option).ok()? {
        VoteOption::Yes => Some(0),
        VoteOption::Abstain => Some(1),
        VoteOption::No => Some(2),
        VoteOption::NoWithVeto => Some(3),
        VoteOption::Unspecified => None,
    }
}

/// Counts the votes of a proposal over the stake as it is now.
///
/// A delegator's shares are taken out of its validator's and counted as the delegator voted. What shares are worth, and each
/// of the four counts, is rounded down to whole utrain.
pub(super) fn tally(state: &mut State<'_>, id: u64) -> Result<Tally, Error> {
    let bonded = Bonded::read(state)?;
    let mut rest = BTreeMap::new();
    for (operator, validator) in &bonded.validators {
        rest.insert(*operator, shares(validator)?);
    }
    let mut sums = Sums::default();
    let mut validators = Vec::new();
    for ((_, voter), vote) in VOTES.under(state, &id, usize::MAX)? {
        for (operator, shares) in bonded.delegations(state, &voter)? {
            if let Some(rest) = rest.get_mut(&operator) {
                *rest = rest.saturating_sub(shares);
            }
            sums.add(bonded.worth(&operator, shares)?, &vote.options)?;
        }
        if bonded.is_validator(&voter) {
            validators.push((voter, vote.options));
        }
    }
    for (operator, options) in validators {
        let shares = rest.get(&operator).copied().unwrap_or_default();
        sums.add(bonded.worth(&operator, shares)?, &options)?;
    }
    let whole = |slot: usize| sums.options[slot].floor().unwrap_or(u64::MAX);
    Ok(Tally {
        yes: whole(0),
        abstain: whole(1),
        no: whole(2),
        veto: whole(3),
        voted: sums.voted,
        bonded: bonded.total,
    })
}

impl Tally {
    /// The counts as the SDK writes them.
    pub(super) fn result(&self) -> TallyResult {
        TallyResult {
            yes_count: self.yes.to_string(),
            abstain_count: self.abstain.to_string(),
            no_count: self.no.to_string(),
            no_with_veto_count: self.veto.to_string(),
        }
    }

    /// What follows, in the SDK's order: quorum, abstentions, veto, threshold.
    pub(super) fn verdict(&self, params: &Params, expedited: bool) -> Result<Verdict, Error> {
        // Exact: a whole number times a share has no more places than the share.
        let part = |share: Dec, of: u64| {
            let part = Dec::whole(of).mul_down(share);
            part.ok_or_else(|| Error::fatal("more stake voted than can exist"))
        };
        let quorum = part(share("quorum", &params.quorum)?, self.bonded)?;
        if Dec::whole(self.voted) < quorum {
            return Ok(Verdict::Rejected {
                burn: params.burn_vote_quorum,
            });
        }
        let decided = self.voted.saturating_sub(self.abstain);
        if decided == 0 {
            return Ok(Verdict::Rejected { burn: false });
        }
        let veto = part(share("veto_threshold", &params.veto_threshold)?, self.voted)?;
        if Dec::whole(self.veto) > veto {
            return Ok(Verdict::Rejected {
                burn: params.burn_vote_veto,
            });
        }
        let threshold = if expedited {
            share("expedited_threshold", &params.expedited_threshold)?
        } else {
            share("threshold", &params.threshold)?
        };
        if Dec::whole(self.yes) > part(threshold, decided)? {
            Ok(Verdict::Passed)
        } else {
            Ok(Verdict::Rejected { burn: false })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gov::default_params;

    fn tally(yes: u64, abstain: u64, no: u64, veto: u64, bonded: u64) -> Tally {
        let voted = yes + abstain + no + veto;
        Tally {
            yes,
            abstain,
            no,
            veto,
            voted,
            bonded,
        }
    }

    #[test]
    fn each_rule_has_its_bound() {
        let params = default_params();
        let verdict = |t: Tally| t.verdict(&params, false).unwrap();
        let rejected = |burn| Verdict::Rejected { burn };
        // Quorum: 33.4 % is enough.
        assert_eq!(verdict(tally(334, 0, 0, 0, 1000)), Verdict::Passed);
        assert_eq!(verdict(tally(333, 0, 0, 0, 1000)), rejected(false));
        assert_eq!(verdict(tally(0, 0, 0, 0, 0)), rejected(false));
        // Abstentions count for the quorum only.
        assert_eq!(verdict(tally(1, 399, 0, 0, 1000)), Verdict::Passed);
        assert_eq!(verdict(tally(0, 400, 0, 0, 1000)), rejected(false));
        // More than half.
        assert_eq!(verdict(tally(500, 0, 500, 0, 1000)), rejected(false));
        assert_eq!(verdict(tally(501, 0, 499, 0, 1000)), Verdict::Passed);
        // A third of vetoes rejects whatever the rest says, and burns.
        assert_eq!(verdict(tally(666, 0, 0, 334, 1000)), Verdict::Passed);
        assert_eq!(verdict(tally(665, 0, 0, 335, 1000)), rejected(true));
        // Two thirds when it must go fast.
        let fast = |t: Tally| t.verdict(&params, true).unwrap();
        assert_eq!(fast(tally(667, 0, 333, 0, 1000)), rejected(false));
        assert_eq!(fast(tally(668, 0, 332, 0, 1000)), Verdict::Passed);
        // Sums near the largest supply.
        let half = i64::MAX as u64 / 2;
        assert_eq!(verdict(tally(half + 1, 0, half, 0, i64::MAX as u64)), Verdict::Passed);
    }
}
