//! The table of queries: path → function, each listed once. ABCI serves it now; gRPC and REST read the same table.

use trainyard_proto::{
    cosmos::base::abci::v1beta1::{GasInfo, Result as SimulateResult, TxMsgData},
    cosmos::tx::v1beta1::{SimulateRequest, SimulateResponse},
    prost::Message,
};

use super::{
    Mode,
    ante::{self, Direct},
    explain,
    run::run_tx,
};
use crate::{
    auth, authz, bank, consensus,
    context::{Block, Texts},
    distribution,
    error::{Error, SdkError},
    feegrant, fees,
    gov::{self, legacy_queries as gov_legacy},
    job, pouw, registry, slashing, staking,
    state::State,
    upgrade,
};

/// Answers one path.
type Answer = fn(&mut State<'_>, &Block, &[u8]) -> Result<Vec<u8>, Error>;

fn typed<Q: Message + Default, R: Message>(
    state: &mut State<'_>,
    request: &[u8],
    answer: impl FnOnce(&mut State<'_>, Q) -> Result<R, Error>,
) -> Result<Vec<u8>, Error> {
    let request = Q::decode(request).map_err(|e| SdkError::InvalidRequest(format!("request does not decode: {e}")))?;
    Ok(answer(state, request)?.encode_to_vec())
}

/// One line of the table: a path and the function that answers it.
macro_rules! answer {
    ($path:literal, $function:path) => {
        ($path, |state, _, request| typed(state, request, $function))
    };
}

/// The same of a function that must know the last block.
macro_rules! answer_at {
    ($path:literal, $function:path) => {
        ($path, |state, block, request| {
            typed(state, request, |state, request| $function(state, block, request))
        })
    };
}

static QUERIES: &[(&str, Answer)] = &[
    answer!("/cosmos.auth.v1beta1.Query/Account", bank::query_account),
    answer!(
        "/cosmos.auth.v1beta1.Query/AccountAddressByID",
        auth::query_address_by_number
    ),
    answer!("/cosmos.auth.v1beta1.Query/AccountInfo", auth::query_account_info),
    answer!("/cosmos.auth.v1beta1.Query/Accounts", auth::query_accounts),
    answer!(
        "/cosmos.auth.v1beta1.Query/AddressBytesToString",
        auth::query_address_string
    ),
    answer!(
        "/cosmos.auth.v1beta1.Query/AddressStringToBytes",
        auth::query_address_bytes
    ),
    answer!("/cosmos.auth.v1beta1.Query/Bech32Prefix", auth::query_bech32_prefix),
    answer!(
        "/cosmos.auth.v1beta1.Query/ModuleAccountByName",
        bank::query_module_account
    ),
    answer!("/cosmos.auth.v1beta1.Query/ModuleAccounts", bank::query_module_accounts),
    answer!("/cosmos.auth.v1beta1.Query/Params", ante::query_params),
    answer!("/cosmos.authz.v1beta1.Query/GranteeGrants", authz::query_grantee_grants),
    answer!("/cosmos.authz.v1beta1.Query/GranterGrants", authz::query_granter_grants),
    answer!("/cosmos.authz.v1beta1.Query/Grants", authz::query_grants),
    answer!("/cosmos.bank.v1beta1.Query/AllBalances", bank::query_all_balances),
    answer!("/cosmos.bank.v1beta1.Query/Balance", bank::query_balance),
    answer!("/cosmos.bank.v1beta1.Query/DenomMetadata", bank::query_metadata),
    answer!(
        "/cosmos.bank.v1beta1.Query/DenomMetadataByQueryString",
        bank::query_metadata_by_query
    ),
    answer!("/cosmos.bank.v1beta1.Query/DenomOwners", bank::query_owners),
    answer!(
        "/cosmos.bank.v1beta1.Query/DenomOwnersByQuery",
        bank::query_owners_by_query
    ),
    answer!("/cosmos.bank.v1beta1.Query/DenomsMetadata", bank::query_metadata_list),
    answer!("/cosmos.bank.v1beta1.Query/Params", bank::query_params),
    answer!("/cosmos.bank.v1beta1.Query/SendEnabled", bank::query_send_enabled),
    answer!(
        "/cosmos.bank.v1beta1.Query/SpendableBalanceByDenom",
        bank::query_spendable_of
    ),
    answer!("/cosmos.bank.v1beta1.Query/SpendableBalances", bank::query_spendable),
    answer!("/cosmos.bank.v1beta1.Query/SupplyOf", bank::query_supply_of),
    answer!("/cosmos.bank.v1beta1.Query/TotalSupply", bank::query_total_supply),
    answer!("/cosmos.consensus.v1.Query/Params", consensus::query_params),
    answer!(
        "/cosmos.distribution.v1beta1.Query/CommunityPool",
        distribution::query_community_pool
    ),
    answer!(
        "/cosmos.distribution.v1beta1.Query/DelegationRewards",
        staking::query_delegation_rewards
    ),
    answer!(
        "/cosmos.distribution.v1beta1.Query/DelegationTotalRewards",
        staking::query_total_rewards
    ),
    answer!(
        "/cosmos.distribution.v1beta1.Query/DelegatorValidators",
        staking::query_delegator_validators
    ),
    answer!(
        "/cosmos.distribution.v1beta1.Query/DelegatorWithdrawAddress",
        distribution::query_withdraw_address
    ),
    answer!("/cosmos.distribution.v1beta1.Query/Params", distribution::query_params),
    answer!(
        "/cosmos.distribution.v1beta1.Query/ValidatorCommission",
        distribution::query_commission
    ),
    answer!(
        "/cosmos.distribution.v1beta1.Query/ValidatorDistributionInfo",
        staking::query_validator_distribution
    ),
    answer!(
        "/cosmos.distribution.v1beta1.Query/ValidatorOutstandingRewards",
        distribution::query_outstanding
    ),
    answer!(
        "/cosmos.distribution.v1beta1.Query/ValidatorSlashes",
        distribution::query_slashes
    ),
    answer!("/cosmos.feegrant.v1beta1.Query/Allowance", feegrant::query_allowance),
    answer!("/cosmos.feegrant.v1beta1.Query/Allowances", feegrant::query_allowances),
    answer!(
        "/cosmos.feegrant.v1beta1.Query/AllowancesByGranter",
        feegrant::query_allowances_by_granter
    ),
    answer!("/cosmos.gov.v1.Query/Constitution", gov::query_constitution),
    answer!("/cosmos.gov.v1.Query/Deposit", gov::query_deposit),
    answer!("/cosmos.gov.v1.Query/Deposits", gov::query_deposits),
    answer!("/cosmos.gov.v1.Query/Params", gov::query_params),
    answer!("/cosmos.gov.v1.Query/Proposal", gov::query_proposal),
    answer!("/cosmos.gov.v1.Query/Proposals", gov::query_proposals),
    answer!("/cosmos.gov.v1.Query/TallyResult", gov::query_tally_result),
    answer!("/cosmos.gov.v1.Query/Vote", gov::query_vote),
    answer!("/cosmos.gov.v1.Query/Votes", gov::query_votes),
    answer!("/cosmos.gov.v1beta1.Query/Deposit", gov_legacy::query_deposit),
    answer!("/cosmos.gov.v1beta1.Query/Deposits", gov_legacy::query_deposits),
    answer!("/cosmos.gov.v1beta1.Query/Params", gov_legacy::query_params),
    answer!("/cosmos.gov.v1beta1.Query/Proposal", gov_legacy::query_proposal),
    answer!("/cosmos.gov.v1beta1.Query/Proposals", gov_legacy::query_proposals),
    answer!("/cosmos.gov.v1beta1.Query/TallyResult", gov_legacy::query_tally_result),
    answer!("/cosmos.gov.v1beta1.Query/Vote", gov_legacy::query_vote),
    answer!("/cosmos.gov.v1beta1.Query/Votes", gov_legacy::query_votes),
    answer!("/cosmos.slashing.v1beta1.Query/Params", slashing::query_params),
    ("/cosmos.slashing.v1beta1.Query/SigningInfo", |state, block, request| {
        typed(state, request, |state, request| {
            slashing::query_signing_info(state, block.height, request)
        })
    }),
    (
        "/cosmos.slashing.v1beta1.Query/SigningInfos",
        |state, block, request| {
            typed(state, request, |state, request| {
                slashing::query_signing_infos(state, block.height, request)
            })
        },
    ),
    answer!("/cosmos.staking.v1beta1.Query/Delegation", staking::query_delegation),
    answer!(
        "/cosmos.staking.v1beta1.Query/DelegatorDelegations",
        staking::query_delegator_delegations
    ),
    answer!(
        "/cosmos.staking.v1beta1.Query/DelegatorUnbondingDelegations",
        staking::query_delegator_unbonding
    ),
    answer!(
        "/cosmos.staking.v1beta1.Query/DelegatorValidator",
        staking::query_delegators_validator
    ),
    answer!(
        "/cosmos.staking.v1beta1.Query/DelegatorValidators",
        staking::query_delegators_validators
    ),
    answer!("/cosmos.staking.v1beta1.Query/HistoricalInfo", staking::query_history),
    answer!(
        "/cosmos.staking.v1beta1.Query/Redelegations",
        staking::query_redelegations
    ),
    answer!(
        "/cosmos.staking.v1beta1.Query/ValidatorDelegations",
        staking::query_validator_delegations
    ),
    answer!("/cosmos.staking.v1beta1.Query/Params", staking::query_params),
    answer!("/cosmos.staking.v1beta1.Query/Pool", staking::query_pool),
    answer!(
        "/cosmos.staking.v1beta1.Query/UnbondingDelegation",
        staking::query_unbonding
    ),
    answer!("/cosmos.staking.v1beta1.Query/Validator", staking::query_validator),
    answer!(
        "/cosmos.staking.v1beta1.Query/ValidatorUnbondingDelegations",
        staking::query_validator_unbonding
    ),
    answer!("/cosmos.staking.v1beta1.Query/Validators", staking::query_validators),
    ("/cosmos.tx.v1beta1.Service/Simulate", simulate),
    answer!("/cosmos.upgrade.v1beta1.Query/AppliedPlan", upgrade::query_applied_plan),
    answer!("/cosmos.upgrade.v1beta1.Query/Authority", upgrade::query_authority),
    answer!("/cosmos.upgrade.v1beta1.Query/CurrentPlan", upgrade::query_current_plan),
    answer!(
        "/cosmos.upgrade.v1beta1.Query/ModuleVersions",
        upgrade::query_module_versions
    ),
    answer_at!("/trainyard.explain.v1.Query/Account", explain::account),
    answer_at!("/trainyard.explain.v1.Query/Node", explain::node),
    answer_at!("/trainyard.explain.v1.Query/Validator", explain::validator),
    answer!("/trainyard.fees.v1.Query/BaseFee", fees::query_base_fee),
    answer!("/trainyard.fees.v1.Query/Params", fees::query_params),
    answer_at!("/trainyard.job.v1.Query/Explain", job::query_explain),
    answer!("/trainyard.job.v1.Query/Grant", job::query_grant),
    answer!("/trainyard.job.v1.Query/Job", job::query_job),
    answer!("/trainyard.job.v1.Query/Jobs", job::query_jobs),
    answer_at!("/trainyard.job.v1.Query/OpenJobsFor", job::query_open_jobs_for),
    answer!("/trainyard.job.v1.Query/Params", job::query_params),
    answer!("/trainyard.job.v1.Query/Round", job::query_round),
    ("/trainyard.pouw.v1.Query/Beacon", |state, block, request| {
        typed(state, request, |state, request| {
            pouw::query_beacon(state, block.height, request)
        })
    }),
    answer!("/trainyard.pouw.v1.Query/Checkpoint", pouw::query_checkpoint),
    answer!("/trainyard.pouw.v1.Query/Epoch", pouw::query_epoch),
    answer!("/trainyard.pouw.v1.Query/Params", pouw::query_params),
    answer!("/trainyard.registry.v1.Query/Members", registry::query_members),
    answer!("/trainyard.registry.v1.Query/Node", registry::query_node),
    answer!("/trainyard.registry.v1.Query/NodeByPeer", registry::query_node_by_peer),
    answer!("/trainyard.registry.v1.Query/Nodes", registry::query_nodes),
    answer!("/trainyard.registry.v1.Query/Params", registry::query_params),
    answer!("/trainyard.registry.v1.Query/Penalties", registry::query_penalties),
    answer!("/trainyard.registry.v1.Query/Unbonding", registry::query_unbonding),
];

/// Answers a query on a state; `block` is the last one executed in it.
///
/// # Errors
/// No such path, a request that does not decode, or what the function says.
pub fn query(state: &mut State<'_>, block: &Block, path: &str, request: &[u8]) -> Result<Vec<u8>, Error> {
    let shown = || path.chars().take(100).collect::<String>();
    let found = QUERIES.iter().find(|(name, _)| *name == path);
    let (_, answer) = found.ok_or_else(|| SdkError::UnknownRequest(format!("unknown query path {:?}", shown())))?;
    answer(state, block, request)
}

/// All paths.
pub fn query_paths() -> impl Iterator<Item = &'static str> {
    QUERIES.iter().map(|(path, _)| *path)
}

fn simulate(state: &mut State<'_>, block: &Block, request: &[u8]) -> Result<Vec<u8>, Error> {
    typed(state, request, |state, request: SimulateRequest| {
        let next = Block {
            height: block.height + 1,
            ..block.clone()
        };
        let result = run_tx(state, &next, &request.tx_bytes, Mode::Simulate, &Direct)?;
        if let Some(error) = result.error {
            return Err(error);
        }
        let data = TxMsgData::decode(result.data.as_slice()).unwrap_or_default();
        let mut texts = Texts::default();
        let events = result.events.iter().map(|event| event.to_abci(&mut texts));
        Ok(SimulateResponse {
            gas_info: Some(GasInfo {
                gas_wanted: result.gas_wanted,
                gas_used: result.gas_used,
            }),
            result: Some(SimulateResult {
                events: events.collect(),
                msg_responses: data.msg_responses,
                ..SimulateResult::default()
            }),
        })
    })
}
