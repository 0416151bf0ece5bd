//! Parameters of governance, and what it may change elsewhere.

use trainyard_proto::{
    address::Address,
    coin::{self, UTRAIN_PER_TRAIN},
    cosmos::{
        distribution::v1beta1::{
            MsgCommunityPoolSpend, MsgCommunityPoolSpendResponse, MsgUpdateParams as UpdateDistribution,
            MsgUpdateParamsResponse as DistributionResponse,
        },
        gov::v1::{MsgUpdateParams, MsgUpdateParamsResponse, Params},
        staking::v1beta1::{MsgUpdateParams as UpdateStaking, MsgUpdateParamsResponse as StakingResponse},
    },
    dec::Dec,
    tendermint_proto::google::protobuf::Duration,
};

use super::{PARAMS, bad_request, coins};
use crate::{
    bank::{self, is_module, transfer},
    context::{Ctx, Handler},
    distribution,
    error::{Error, SdkError},
    governed::{given, only_governance, update_params},
    staking,
};

/// Longest period, seconds: a year.
const MAX_PERIOD: i64 = 365 * 24 * 3600;

/// The SDK's: two days for deposits, two of voting (one when expedited), quorum 33.4 %, more than half yes (two thirds when
/// expedited), 33.4 % veto. A tenth of the least deposit comes with the proposal, so that nobody fills the queue for gas.
#[must_use]
pub fn default_params() -> Params {
    let days = |days: i64| {
        Some(Duration {
            seconds: days * 24 * 3600,
            nanos: 0,
        })
    };
    Params {
        min_deposit: coins(100 * UTRAIN_PER_TRAIN),
        max_deposit_period: days(2),
        voting_period: days(2),
        quorum: "0.334000000000000000".into(),
        threshold: "0.500000000000000000".into(),
        veto_threshold: "0.334000000000000000".into(),
        min_initial_deposit_ratio: "0.100000000000000000".into(),
        proposal_cancel_ratio: "0.500000000000000000".into(),
        proposal_cancel_dest: String::new(),
        expedited_voting_period: days(1),
        expedited_threshold: "0.667000000000000000".into(),
        expedited_min_deposit: coins(500 * UTRAIN_PER_TRAIN),
        burn_vote_quorum: false,
        burn_proposal_deposit_prevote: false,
        burn_vote_veto: true,
        min_deposit_ratio: "0.010000000000000000".into(),
    }
}

/// A share from 0 to 1 in a parameter.
pub(super) fn share(name: &str, text: &str) -> Result<Dec, Error> {
    let share = text.parse().ok().filter(|share| *share <= Dec::ONE);
    share.ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        bad_request(format!("gov {name} is {shown:?}, expected a decimal from 0 to 1"))
    })
}

pub(super) fn check_params(params: &Params) -> Result<(), Error> {
    let Params {
        min_deposit,
        max_deposit_period,
        voting_period,
        quorum,
        threshold,
        veto_threshold,
        min_initial_deposit_ratio,
        proposal_cancel_ratio,
        proposal_cancel_dest,
        expedited_voting_period,
        expedited_threshold,
        expedited_min_deposit,
        burn_vote_quorum: _,
        burn_proposal_deposit_prevote: _,
        burn_vote_veto: _,
        min_deposit_ratio,
    } = params;
    let periods = [
        ("max_deposit_period", max_deposit_period),
        ("voting_period", voting_period),
        ("expedited_voting_period", expedited_voting_period),
    ];
    for (name, period) in periods {
        let period = period.unwrap_or_default();
        if !(1..=MAX_PERIOD).contains(&period.seconds) || period.nanos != 0 {
            let (seconds, nanos) = (period.seconds, period.nanos);
            return Err(bad_request(format!(
                "gov {name} is {seconds} s and {nanos} ns, expected whole seconds from 1 to {MAX_PERIOD}"
            )));
        }
    }
    let seconds = |period: &Option<Duration>| period.map_or(0, |p| p.seconds);
    if seconds(expedited_voting_period) >= seconds(voting_period) {
        let (fast, slow) = (seconds(expedited_voting_period), seconds(voting_period));
        return Err(bad_request(format!(
            "gov expedited_voting_period is {fast} s, expected less than the voting_period of {slow} s"
        )));
    }
    let (least, expedited) = (
        coin::parse_utrain_list(min_deposit)?,
        coin::parse_utrain_list(expedited_min_deposit)?,
    );
    if least == 0 || expedited < least {
        return Err(bad_request(format!(
            "gov min_deposit is {least}utrain and expedited_min_deposit {expedited}utrain, expected at least 1 and no less \
             than it"
        )));
    }
    for (name, text) in [
        ("min_initial_deposit_ratio", min_initial_deposit_ratio),
        ("proposal_cancel_ratio", proposal_cancel_ratio),
        ("min_deposit_ratio", min_deposit_ratio),
        ("quorum", quorum),
    ] {
        share(name, text)?;
    }
    for (name, text) in [
        ("threshold", threshold),
        ("veto_threshold", veto_threshold),
        ("expedited_threshold", expedited_threshold),
    ] {
        if share(name, text)?.is_zero() {
            return Err(bad_request(format!("gov {name} is 0, expected more")));
        }
    }
    if share("expedited_threshold", expedited_threshold)? < share("threshold", threshold)? {
        return Err(bad_request(format!(
            "gov expedited_threshold is {expedited_threshold}, expected no less than the threshold of {threshold}"
        )));
    }
    if !proposal_cancel_dest.is_empty() {
        let to: Address = proposal_cancel_dest.parse()?;
        if is_module(&to) && to != Address::of_module(bank::TREASURY) {
            return Err(bad_request(format!(
                "gov proposal_cancel_dest {to} is a module's account, expected a person's or the treasury"
            )));
        }
    }
    Ok(())
}

update_params!(MsgUpdateParams, MsgUpdateParamsResponse, check_params, PARAMS);

update_params!(UpdateStaking, StakingResponse, staking::check_params, staking::PARAMS);

fn distribution_params(message: &UpdateDistribution) -> Result<distribution::Params, Error> {
    let params = given(message.params.as_ref())?;
    let community_tax = Dec::from_atomics(&params.community_tax).map_err(|e| bad_request(e.to_string()))?;
    let params = distribution::Params {
        community_tax,
        withdraw_addr_enabled: params.withdraw_addr_enabled,
    };
    params.check()?;
    Ok(params)
}

impl Handler for UpdateDistribution {
    type Response = DistributionResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.authority.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        distribution_params(self).map(drop)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<DistributionResponse, Error> {
        only_governance(self.signer()?)?;
        distribution::PARAMS.set(ctx.state, &distribution_params(self)?)?;
        Ok(DistributionResponse {})
    }
}

impl Handler for MsgCommunityPoolSpend {
    type Response = MsgCommunityPoolSpendResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.authority.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        self.recipient.parse::<Address>()?;
        if coin::parse_utrain_list(&self.amount)? == 0 {
            return Err(SdkError::InvalidCoins("the amount to spend is zero".into()).into());
        }
        Ok(())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgCommunityPoolSpendResponse, Error> {
        only_governance(self.signer()?)?;
        let to = self.recipient.parse()?;
        if is_module(&to) {
            return Err(SdkError::Unauthorized(format!("{to} is not allowed to receive funds")).into());
        }
        let amount = coin::parse_utrain_list(&self.amount)?;
        transfer(ctx, Address::of_module(bank::TREASURY), to, amount)?;
        Ok(MsgCommunityPoolSpendResponse {})
    }
}
