//! What the explorer Ping.pub and the relayer Hermes read of a chain: the endpoints exist and answer with the fields that they
//! use. The lists are theirs (ping-pub/explorer `src/libs`, informalsystems/hermes `crates/relayer/src/chain/cosmos`), apart from
//! what is about modules that this chain has not got: IBC, mint and the older params.

use std::time::Duration;

use prost::Message as _;
use serde_json::Value;
use tendermint_rpc::query::Query;
use tendermint_rpc::{Client as _, HttpClient, Order, Paging};
use trainyard_proto::address::Address;
use trainyard_proto::any;
use trainyard_proto::coin::{UTRAIN_PER_TRAIN, utrain};
use trainyard_proto::cosmos::auth::v1beta1::{BaseAccount, QueryAccountRequest, QueryAccountResponse};
use trainyard_proto::cosmos::bank::v1beta1::{QueryBalanceRequest, QueryBalanceResponse};
use trainyard_proto::cosmos::base::node::v1beta1::{ConfigRequest, ConfigResponse};
use trainyard_proto::cosmos::base::tendermint::v1beta1::{GetNodeInfoRequest, GetNodeInfoResponse};
use trainyard_proto::cosmos::gov::v1beta1::{MsgSubmitProposal, MsgVote, TextProposal, VoteOption};
use trainyard_proto::cosmos::staking::v1beta1::{MsgDelegate, MsgUndelegate, QueryParamsRequest, QueryParamsResponse};
use trainyard_proto::cosmos::upgrade::v1beta1::{QueryCurrentPlanRequest, QueryCurrentPlanResponse};

use super::wire::{Wire, get};
use super::{doors_of, network, signer};

/// Finds `proposals.0.status` in an answer.
fn at<'a>(answer: &'a Value, place: &str) -> &'a Value {
    let mut found = answer;
    for part in place.split('.') {
        found = match part.parse::<usize>() {
            Ok(index) => &found[index],
            Err(_) => &found[part],
        };
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_pub_finds_what_it_reads() {
    let network = network().await;
    let alice = signer(&network, "alice");
    let who = alice.address().to_string();
    let operator = network.key("validator0").address().operator();
    let amount = |train: u64| utrain(train * UTRAIN_PER_TRAIN);
    let propose = |title: &str| {
        any::pack(&MsgSubmitProposal {
            content: Some(any::pack(&TextProposal {
                title: title.into(),
                description: "d".into(),
            })),
            initial_deposit: vec![amount(100)],
            proposer: who.clone(),
        })
    };
    let sent = alice
        .send(vec![
            any::pack(&MsgDelegate {
                delegator_address: who.clone(),
                validator_address: operator.clone(),
                amount: Some(amount(60)),
            }),
            any::pack(&MsgUndelegate {
                delegator_address: who.clone(),
                validator_address: operator.clone(),
                amount: Some(amount(1)),
            }),
            propose("first"),
            propose("second"),
            any::pack(&MsgVote {
                proposal_id: 1,
                voter: who.clone(),
                option: VoteOption::Yes.into(),
            }),
        ])
        .await
        .unwrap();
    let (hash, height) = (&sent.hash, sent.height);

    let page = "pagination.limit=10&pagination.count_total=true&pagination.offset=0";
    let newest = format!("{page}&pagination.reverse=true");
    let reads: Vec<(String, &[&str])> = vec![
        (
            "auth/v1beta1/params".into(),
            &["params.max_memo_characters", "params.tx_sig_limit"],
        ),
        (
            format!("auth/v1beta1/accounts?{page}"),
            &["accounts.0.@type", "pagination.total"],
        ),
        (
            format!("auth/v1beta1/accounts/{who}"),
            &[
                "account.@type",
                "account.account_number",
                "account.sequence",
                "account.pub_key.key",
            ],
        ),
        ("bank/v1beta1/params".into(), &["params.default_send_enabled"]),
        (
            format!("bank/v1beta1/balances/{who}"),
            &["balances.0.amount", "balances.0.denom"],
        ),
        (
            "bank/v1beta1/denoms_metadata".into(),
            &[
                "metadatas.0.base",
                "metadatas.0.denom_units.1.exponent",
                "metadatas.0.symbol",
            ],
        ),
        (
            format!("bank/v1beta1/supply?{page}"),
            &["supply.0.amount", "supply.0.denom"],
        ),
        ("bank/v1beta1/supply/by_denom?denom=utrain".into(), &["amount.amount"]),
        (
            "distribution/v1beta1/params".into(),
            &["params.community_tax", "params.withdraw_addr_enabled"],
        ),
        ("distribution/v1beta1/community_pool".into(), &["pool"]),
        (
            format!("distribution/v1beta1/delegators/{who}/rewards"),
            &["rewards.0.validator_address", "total"],
        ),
        (
            format!("distribution/v1beta1/validators/{operator}/commission"),
            &["commission.commission"],
        ),
        (
            format!("distribution/v1beta1/validators/{operator}/outstanding_rewards"),
            &["rewards.rewards"],
        ),
        (
            format!("distribution/v1beta1/validators/{operator}/slashes"),
            &["slashes"],
        ),
        (
            "slashing/v1beta1/params".into(),
            &[
                "params.signed_blocks_window",
                "params.min_signed_per_window",
                "params.slash_fraction_double_sign",
            ],
        ),
        (
            "slashing/v1beta1/signing_infos?pagination.limit=300".into(),
            &[
                "info.0.address",
                "info.0.start_height",
                "info.0.missed_blocks_counter",
                "info.0.jailed_until",
            ],
        ),
        (
            "gov/v1/params/voting".into(),
            &["voting_params.voting_period", "params.voting_period"],
        ),
        (
            "gov/v1/params/tallying".into(),
            &["tally_params.quorum", "tally_params.threshold"],
        ),
        ("gov/v1/params/deposit".into(), &["deposit_params.min_deposit.0.amount"]),
        ("gov/v1beta1/params/voting".into(), &["voting_params.voting_period"]),
        (
            "gov/v1beta1/params/tallying".into(),
            &["tally_params.quorum", "tally_params.veto_threshold"],
        ),
        (
            "gov/v1beta1/params/deposit".into(),
            &["deposit_params.min_deposit.0.amount"],
        ),
        (
            format!("gov/v1/proposals?proposal_status=2&{newest}"),
            &[
                "proposals.0.id",
                "proposals.0.title",
                "proposals.0.status",
                "proposals.0.voting_end_time",
                "pagination.total",
            ],
        ),
        (
            "gov/v1/proposals/1".into(),
            &[
                "proposal.title",
                "proposal.final_tally_result.yes_count",
                "proposal.total_deposit.0.amount",
            ],
        ),
        (
            "gov/v1/proposals/1/tally".into(),
            &["tally.yes_count", "tally.no_with_veto_count"],
        ),
        (
            format!("gov/v1/proposals/1/votes?{newest}"),
            &["votes.0.voter", "votes.0.options.0.option"],
        ),
        (format!("gov/v1/proposals/1/votes/{who}"), &["vote.options.0.weight"]),
        ("gov/v1/proposals/1/deposits".into(), &["deposits.0.amount.0.amount"]),
        (
            format!("gov/v1beta1/proposals?proposal_status=2&{newest}"),
            &[
                "proposals.0.proposal_id",
                "proposals.0.content.@type",
                "proposals.0.content.title",
            ],
        ),
        (
            "gov/v1beta1/proposals/1".into(),
            &["proposal.content.description", "proposal.final_tally_result.yes"],
        ),
        ("gov/v1beta1/proposals/1/tally".into(), &["tally.yes", "tally.abstain"]),
        (format!("gov/v1beta1/proposals/1/votes?{newest}"), &["votes.0.option"]),
        (format!("gov/v1beta1/proposals/1/votes/{who}"), &["vote.option"]),
        ("gov/v1beta1/proposals/1/deposits".into(), &["deposits.0.depositor"]),
        (
            format!("staking/v1beta1/delegations/{who}"),
            &[
                "delegation_responses.0.delegation.validator_address",
                "delegation_responses.0.balance.amount",
            ],
        ),
        (
            format!("staking/v1beta1/delegators/{who}/redelegations"),
            &["redelegation_responses"],
        ),
        (
            format!("staking/v1beta1/delegators/{who}/unbonding_delegations"),
            &[
                "unbonding_responses.0.entries.0.completion_time",
                "unbonding_responses.0.entries.0.balance",
            ],
        ),
        (
            format!("staking/v1beta1/delegators/{who}/validators"),
            &["validators.0.operator_address"],
        ),
        (
            "staking/v1beta1/params".into(),
            &["params.bond_denom", "params.unbonding_time", "params.max_validators"],
        ),
        (
            "staking/v1beta1/pool".into(),
            &["pool.bonded_tokens", "pool.not_bonded_tokens"],
        ),
        (
            "staking/v1beta1/validators?pagination.limit=200&status=BOND_STATUS_BONDED".into(),
            &[
                "validators.0.operator_address",
                "validators.0.consensus_pubkey.@type",
                "validators.0.consensus_pubkey.key",
                "validators.0.description.moniker",
                "validators.0.description.identity",
                "validators.0.tokens",
                "validators.0.delegator_shares",
                "validators.0.jailed",
                "validators.0.commission.commission_rates.rate",
                "validators.0.min_self_delegation",
            ],
        ),
        (
            format!("staking/v1beta1/validators/{operator}"),
            &["validator.unbonding_height", "validator.status"],
        ),
        (
            format!("staking/v1beta1/validators/{operator}/delegations?{page}"),
            &["delegation_responses.0.delegation.shares", "pagination.total"],
        ),
        (
            format!("staking/v1beta1/validators/{operator}/delegations/{who}"),
            &["delegation_response.balance.denom"],
        ),
        (
            format!("staking/v1beta1/validators/{operator}/delegations/{who}/unbonding_delegation"),
            &["unbond.entries.0.creation_height"],
        ),
        (
            "base/tendermint/v1beta1/blocks/latest".into(),
            &[
                "block_id.hash",
                "block.header.height",
                "block.header.chain_id",
                "block.header.time",
                "block.header.proposer_address",
                "block.data.txs",
                "block.last_commit.signatures.0.validator_address",
            ],
        ),
        (
            format!("base/tendermint/v1beta1/blocks/{height}"),
            &["block.data.txs.0", "block.header.last_block_id.hash"],
        ),
        (
            "base/tendermint/v1beta1/node_info".into(),
            &[
                "default_node_info.network",
                "default_node_info.version",
                "application_version.app_name",
                "application_version.version",
                "application_version.cosmos_sdk_version",
                "application_version.build_deps.0.path",
            ],
        ),
        (
            "base/tendermint/v1beta1/validatorsets/latest?pagination.limit=100&pagination.offset=0".into(),
            &[
                "block_height",
                "validators.0.address",
                "validators.0.pub_key.key",
                "pagination.total",
            ],
        ),
        (
            format!("base/tendermint/v1beta1/validatorsets/{height}?pagination.limit=100&pagination.offset=0"),
            &["validators.0.voting_power", "validators.0.proposer_priority"],
        ),
        (
            format!("tx/v1beta1/txs?query=message.sender='{who}'&pagination.limit=10&pagination.offset=0"),
            &[
                "tx_responses.0.txhash",
                "tx_responses.0.code",
                "txs.0.body.messages.0.@type",
                "total",
            ],
        ),
        (
            format!("tx/v1beta1/txs?events=message.sender='{who}'&pagination.limit=10&pagination.offset=0"),
            &["tx_responses.0.timestamp"],
        ),
        (
            format!("tx/v1beta1/txs/block/{height}"),
            &["txs.0.body.messages.0.@type", "block.header.height"],
        ),
        (
            format!("tx/v1beta1/txs/{hash}"),
            &[
                "tx.auth_info.fee.amount.0.amount",
                "tx_response.height",
                "tx_response.gas_used",
                "tx_response.gas_wanted",
                "tx_response.events.0.attributes.0.key",
                "tx_response.tx.body.memo",
            ],
        ),
    ];
    let rest = doors_of(&network).rest;
    for (path, fields) in reads {
        let (status, answer) = get(rest, &format!("/cosmos/{path}"), 0);
        assert_eq!(status, 200, "{path}: {answer}");
        for field in fields {
            assert!(!at(&answer, field).is_null(), "{path} has no {field}: {answer}");
        }
    }
    // The newest proposal comes first, and both are counted.
    let (_, answer) = get(rest, &format!("/cosmos/gov/v1/proposals?proposal_status=2&{newest}"), 0);
    assert_eq!(
        (at(&answer, "proposals.0.title"), at(&answer, "pagination.total")),
        (&"second".into(), &"2".into())
    );
    let (_, answer) = get(
        rest,
        "/cosmos/gov/v1/proposals?pagination.limit=1&pagination.reverse=true",
        0,
    );
    let next = at(&answer, "pagination.next_key").as_str().unwrap();
    let next = next.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let (_, answer) = get(
        rest,
        &format!("/cosmos/gov/v1/proposals?pagination.limit=1&pagination.reverse=true&pagination.key={next}"),
        0,
    );
    assert_eq!(at(&answer, "proposals.0.title"), "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn hermes_finds_what_it_reads() {
    let network = network().await;
    let alice = signer(&network, "alice");
    let sent = alice
        .send(vec![any::pack(&trainyard_proto::cosmos::bank::v1beta1::MsgSend {
            from_address: alice.address().to_string(),
            to_address: Address([3; 20]).to_string(),
            amount: vec![utrain(1)],
        })])
        .await
        .unwrap();
    let mut wire = Wire::connect(doors_of(&network).grpc).await;

    // The health check: versions, an index of transactions, a price of gas, parameters.
    let node: GetNodeInfoResponse = call(
        &mut wire,
        "/cosmos.base.tendermint.v1beta1.Service/GetNodeInfo",
        &GetNodeInfoRequest {},
    )
    .await;
    let version = node.application_version.unwrap();
    for (path, starts) in [("cosmos/cosmos-sdk", "v0.50."), ("cometbft/cometbft", "v0.38.")] {
        let module = version
            .build_deps
            .iter()
            .find(|module| module.path.contains(path))
            .unwrap();
        assert!(module.version.starts_with(starts), "{module:?}");
    }
    let config: ConfigResponse = call(&mut wire, "/cosmos.base.node.v1beta1.Service/Config", &ConfigRequest {}).await;
    let price: f64 = config
        .minimum_gas_price
        .strip_suffix("utrain")
        .unwrap()
        .parse()
        .unwrap();
    assert!(price > 0.0);
    let staking: QueryParamsResponse = call(
        &mut wire,
        "/cosmos.staking.v1beta1.Query/Params",
        &QueryParamsRequest {},
    )
    .await;
    let staking = staking.params.unwrap();
    assert!(staking.unbonding_time.unwrap().seconds > 0);
    let account: QueryAccountResponse = call(
        &mut wire,
        "/cosmos.auth.v1beta1.Query/Account",
        &QueryAccountRequest {
            address: alice.address().to_string(),
        },
    )
    .await;
    let account = account.account.unwrap();
    assert_eq!(account.type_url, "/cosmos.auth.v1beta1.BaseAccount");
    let account = BaseAccount::decode(account.value.as_slice()).unwrap();
    assert_eq!(account.sequence, 1);
    let balance: QueryBalanceResponse = call(
        &mut wire,
        "/cosmos.bank.v1beta1.Query/Balance",
        &QueryBalanceRequest {
            address: alice.address().to_string(),
            denom: "utrain".into(),
        },
    )
    .await;
    assert_eq!(balance.balance.unwrap().denom, "utrain");
    let plan: QueryCurrentPlanResponse = call(
        &mut wire,
        "/cosmos.upgrade.v1beta1.Query/CurrentPlan",
        &QueryCurrentPlanRequest {},
    )
    .await;
    assert_eq!(plan.plan, None);
    // Nobody is told by gRPC's code.
    let nobody = QueryAccountRequest {
        address: Address([9; 20]).to_string(),
    };
    let refused = wire
        .call("/cosmos.auth.v1beta1.Query/Account", &nobody.encode_to_vec(), 0)
        .await;
    assert_eq!(refused.unwrap_err().0, 5);

    // The rest is CometBFT's RPC.
    let rpc = HttpClient::new(network.nodes[0].rpc.as_str()).unwrap();
    let done = tokio::time::timeout(Duration::from_secs(60), async {
        rpc.health().await.unwrap();
        let status = rpc.status().await.unwrap();
        assert!(bool::from(status.node_info.other.tx_index) && !status.sync_info.catching_up);
        let params = rpc.latest_consensus_params().await.unwrap().consensus_params;
        assert!(params.block.max_bytes > 0);
        let height = tendermint::block::Height::try_from(sent.height).unwrap();
        let header = rpc.header(height).await.unwrap().header;
        let commit = rpc.commit(height).await.unwrap().signed_header;
        assert_eq!(header, commit.header);
        let validators = rpc.validators(height, Paging::All).await.unwrap().validators;
        assert_eq!(validators.len(), 1);
        rpc.block_results(height).await.unwrap();
        let by_hash = Query::eq("tx.hash", sent.hash.clone());
        let found = rpc.tx_search(by_hash, false, 1, 1, Order::Ascending).await.unwrap();
        assert_eq!(found.txs[0].height, height);
        let by_height = Query::eq("block.height", sent.height);
        let found = rpc.block_search(by_height, 1, 1, Order::Descending).await.unwrap();
        assert_eq!(found.blocks[0].block.header.height, height);
        // Proofs are asked for by store, at a height, and are of one operation here, whose root is the header's app hash.
        let key = trainyard_modules::bank::SUPPLY.raw_key(&"utrain".to_owned());
        let answer = rpc
            .abci_query(Some("store/bank/key".into()), key, Some(height), true)
            .await
            .unwrap();
        assert!(
            answer.code.is_ok() && answer.proof.unwrap().ops.len() == 1,
            "{}",
            answer.log
        );
    })
    .await;
    done.expect("RPC answers in time");
}

/// A call over gRPC at the last height.
async fn call<Q: prost::Message, R: prost::Message + Default>(wire: &mut Wire, path: &str, request: &Q) -> R {
    let answer = wire.call(path, &request.encode_to_vec(), 0).await;
    R::decode(
        answer
            .unwrap_or_else(|(code, text)| panic!("{path}: {code} {text}"))
            .as_slice(),
    )
    .unwrap()
}
