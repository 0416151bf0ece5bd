//! `trainyard status`

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use color_eyre::eyre::Result;
use serde_json::{Value, json};
use trainyard_client::rpc::Client;
use trainyard_proto::address::Address;
use trainyard_proto::cosmos::base::query::v1beta1::PageRequest;
use trainyard_proto::cosmos::staking::v1beta1::{
    BondStatus, QueryValidatorsRequest, QueryValidatorsResponse, Validator,
};

use super::Global;

/// Validators shown, at most.
const MAX_VALIDATORS: u64 = 100;

/// Prints what a node says of itself and of the validators.
pub(super) async fn run(global: &Global) -> Result<()> {
    let client = global.client()?;
    let status = client.status().await?;
    let (node, sync, own) = (&status.node_info, &status.sync_info, &status.validator_info);
    // Before block 1 there is no state to ask.
    let validators = if sync.latest_block_height.value() == 0 {
        Vec::new()
    } else {
        validators(&client).await?
    };
    global.print(&json!({
        "chain_id": node.network.as_str(),
        "moniker": node.moniker.to_string(),
        "node_id": node.id.to_string(),
        "cometbft": node.version.to_string(),
        "latest_height": sync.latest_block_height.value(),
        "latest_time": sync.latest_block_time.to_rfc3339(),
        "app_hash": sync.latest_app_hash.to_string(),
        "catching_up": sync.catching_up,
        "voting_power": own.power.value(),
        "consensus_address": Address::of_consensus_key(&own.pub_key.to_bytes()).consensus(),
        "consensus_pubkey": STANDARD.encode(own.pub_key.to_bytes()),
        "validators": validators,
    }))
}

async fn validators(client: &Client) -> Result<Vec<Value>> {
    let request = QueryValidatorsRequest {
        pagination: Some(PageRequest {
            limit: MAX_VALIDATORS,
            ..PageRequest::default()
        }),
        ..QueryValidatorsRequest::default()
    };
    let path = "/cosmos.staking.v1beta1.Query/Validators";
    let answer: QueryValidatorsResponse = client.query(path, &request).await?;
    Ok(answer.validators.iter().map(show).collect())
}

fn show(validator: &Validator) -> Value {
    let status = match validator.status() {
        BondStatus::Bonded => "bonded",
        BondStatus::Unbonding => "unbonding",
        BondStatus::Unbonded | BondStatus::Unspecified => "unbonded",
    };
    json!({
        "moniker": validator.description.as_ref().map_or("", |d| &d.moniker),
        "operator": validator.operator_address,
        "stake_utrain": validator.tokens,
        "status": status,
        "jailed": validator.jailed,
    })
}
