//! The daemon's own record: on chain (registry) and in the DHT.

use color_eyre::eyre::{Context, Result};
use trainyard_proto::{
    coin::{show, utrain},
    overlay::{CapabilityRecord, Gpu},
    registry::{MsgRegister, MsgUpdate, Node as Record},
};

use crate::{engine, roles::Node, upkeep::least_bond};

/// Registers the node, or brings its registration up to date. Waits for funds where there are none yet.
pub async fn register(node: &Node) -> Result<CapabilityRecord> {
    let record = capabilities(node)?;
    let mut chain = node.chain.clone();
    let owner = chain.address().to_string();
    let mut told = false;
    loop {
        match try_register(node, &record, &owner).await {
            Ok(()) => return Ok(record),
            Err(e) if !told => {
                tracing::warn!(
                    error = format!("{e:#}"),
                    account = owner,
                    "is not registered yet; the account may need funds. Trying again with every block"
                );
                told = true;
            }
            Err(e) => tracing::debug!(error = format!("{e:#}"), "is not registered yet"),
        }
        chain.next_block().await?;
    }
}

async fn try_register(node: &Node, record: &CapabilityRecord, owner: &str) -> Result<()> {
    let config = &node.config;
    let roles = config.roles()?;
    let wanted = Record {
        owner: owner.to_string(),
        roles: roles.iter().map(|r| (*r).into()).collect(),
        peer_id: node.overlay.peer_id().to_string(),
        x25519_key: node.sealing.public().to_vec(),
        capability_hash: record.hash().to_vec(),
        classes: config.classes()?.iter().map(|c| (*c).into()).collect(),
        moniker: config.moniker.clone(),
        ..Record::default()
    };
    let Some(found) = node.chain.node(owner).await? else {
        let params = node.chain.registry_params().await?;
        let bond = config.bond_for(least_bond(&roles, &params))?;
        let message = MsgRegister {
            owner: wanted.owner,
            operator: config.operator.clone(),
            roles: wanted.roles,
            bond: Some(utrain(bond)),
            peer_id: wanted.peer_id,
            x25519_key: wanted.x25519_key,
            capability_hash: wanted.capability_hash,
            classes: wanted.classes,
            moniker: wanted.moniker,
        };
        node.chain.send(&message).await.wrap_err("cannot register")?;
        tracing::info!(bond = show(bond), "registered");
        return Ok(());
    };
    let same = found.roles == wanted.roles
        && found.peer_id == wanted.peer_id
        && found.x25519_key == wanted.x25519_key
        && found.capability_hash == wanted.capability_hash
        && found.classes == wanted.classes
        && (wanted.moniker.is_empty() || found.moniker == wanted.moniker);
    if same {
        return Ok(());
    }
    let message = MsgUpdate {
        owner: wanted.owner,
        peer_id: wanted.peer_id,
        x25519_key: wanted.x25519_key,
        capability_hash: wanted.capability_hash,
        roles: wanted.roles,
        classes: wanted.classes,
        add_bond: None,
        moniker: wanted.moniker,
    };
    node.chain
        .send(&message)
        .await
        .wrap_err("cannot update the registration")?;
    tracing::info!("updated its registration");
    Ok(())
}

/// What this machine offers.
fn capabilities(node: &Node) -> Result<CapabilityRecord> {
    let config = &node.config;
    let gpus = engine::gpus()
        .into_iter()
        .map(|g| Gpu {
            model: g.model,
            memory_mib: g.memory_mib,
        })
        .collect();
    Ok(CapabilityRecord {
        gpus,
        memory_mib: memory_mib().unwrap_or(0),
        cores: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        bandwidth_mbit: 0,
        region: config.region.clone(),
        versions: vec![format!("trainerd {}", env!("CARGO_PKG_VERSION")), engine::version()],
        price_utrain: config.price_utrain,
        addresses: node.overlay.listen_addrs().iter().map(ToString::to_string).collect(),
        classes: config.classes.clone(),
        subnets: config.subnets.clone(),
    })
}

/// Main memory, from the kernel.
fn memory_mib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemTotal:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}
