//! Homes of several validators on one machine: one loopback address each, the same ports for all.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use trainyard_client::keys::{Backend, Keyring, PrivateKey, generate_mnemonic};
use trainyard_proto::coin::UTRAIN_PER_TRAIN;

use super::comet_config::CometConfig;
use super::genesis::GenesisDoc;
use super::home::Home;
use super::settings::{Doors, NodeType};
use super::{Error, gentx};

/// What a validator stakes, utrain.
const STAKE: u64 = 1000 * UTRAIN_PER_TRAIN;
/// What a validator's account keeps beside its stake, utrain.
const POCKET: u64 = 1000 * UTRAIN_PER_TRAIN;
/// Memory for the state's cache, MiB: several nodes share the machine.
const CACHE_MB: u16 = 32;

/// A local network to be made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its folder: `node0/`, `node1/`, … and `keys/`.
    pub folder: PathBuf,
    /// The chain's id.
    pub chain_id: String,
    /// How many validators.
    pub validators: u8,
    /// Address of the first validator; the others follow.
    pub base_ip: Ipv4Addr,
    /// Port for peers; RPC is on the next one, gRPC and REST where [`Doors::beside`] says.
    pub base_port: u16,
    /// Time between blocks.
    pub block_time: Duration,
    /// Blocks of an epoch; none is the default.
    pub epoch_blocks: Option<u64>,
    /// Further accounts, each with a key in the `test` keyring of `keys/`: name and utrain.
    pub accounts: Vec<(String, u64)>,
}

/// A local network's nodes and keys on disk.
#[derive(Debug, Clone)]
pub struct Localnet {
    /// The validators, by number.
    pub nodes: Vec<LocalNode>,
    /// Home of the keyring (`test` backend) with all accounts: `validator0`, … and those of the plan.
    pub keys: PathBuf,
}

/// One validator.
#[derive(Debug, Clone)]
pub struct LocalNode {
    /// Its home.
    pub home: Home,
    /// Where its RPC will be.
    pub rpc: String,
}

impl Plan {
    /// Four validators at 127.0.0.1 to 127.0.0.4 on CometBFT's ports, a block every half a second.
    #[must_use]
    pub fn new(folder: &Path, chain_id: &str) -> Self {
        Self {
            folder: folder.into(),
            chain_id: chain_id.into(),
            validators: 4,
            base_ip: Ipv4Addr::LOCALHOST,
            base_port: 26656,
            block_time: Duration::from_millis(500),
            epoch_blocks: None,
            accounts: Vec::new(),
        }
    }

    /// Makes the homes and the keys.
    ///
    /// # Errors
    /// The plan cannot be carried out, the folder is taken, CometBFT is not installed, or the disk refuses.
    pub fn create(&self) -> Result<Localnet, Error> {
        let mut genesis = GenesisDoc::new(&self.chain_id, self.epoch_blocks)?;
        let addresses = self.addresses()?;
        // Before anything is written: what is half made would be in the way of the next attempt.
        super::find_cometbft()?;
        if fs::read_dir(&self.folder).is_ok_and(|mut found| found.next().is_some()) {
            let folder = self.folder.display();
            return Err(Error::Value(format!(
                "{folder} is not empty; choose another folder or move it away"
            )));
        }
        let keys = self.folder.join("keys");
        let keyring = Keyring::open(&keys, Backend::Test, None);
        let mut new_key = |name: &str, amount: u64| -> Result<PrivateKey, Error> {
            let key = PrivateKey::from_mnemonic(&generate_mnemonic())?;
            genesis.add_account(&key.address(), amount)?;
            keyring.add(name, &key)?;
            Ok(key)
        };
        let mut operators = Vec::new();
        for index in 0..addresses.len() {
            operators.push(new_key(&format!("validator{index}"), STAKE + POCKET)?);
        }
        for (name, amount) in &self.accounts {
            new_key(name, *amount)?;
        }
        let mut nodes = Vec::new();
        let mut peers = Vec::new();
        for (index, ((p2p, rpc), key)) in addresses.iter().zip(&operators).enumerate() {
            let home = Home::new(&self.folder.join(format!("node{index}")))?;
            home.create(
                &self.config(index, *p2p, *rpc),
                CACHE_MB,
                &Doors::beside(*rpc),
                &genesis,
            )?;
            let peer = gentx::peer(&home, None)?;
            let tx = gentx::sign(&home, &genesis, key, STAKE, &format!("node{index}"), &peer)?;
            genesis.app_state.genutil.gen_txs.push(tx);
            peers.push(peer);
            nodes.push(LocalNode {
                home,
                rpc: format!("http://{rpc}"),
            });
        }
        genesis.check()?;
        for (index, node) in nodes.iter().enumerate() {
            genesis.save(&node.home)?;
            let others = peers.iter().enumerate().filter(|(other, _)| *other != index);
            node.home
                .set_peers(&others.map(|(_, peer)| peer.clone()).collect::<Vec<_>>())?;
        }
        Ok(Localnet { nodes, keys })
    }

    /// Makes the home of a further node, number `index`, with the settings of a type: it follows the node of `peer`, a home of
    /// this network, and has no stake. Returns the home and where its RPC will be.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_node(&self, index: u8, peer: &Home, node_type: NodeType) -> Result<(Home, String), Error> {
        let wider = Self {
            validators: index.saturating_add(1),
            ..self.clone()
        };
        let (p2p, rpc) = wider.addresses()?[usize::from(index)];
        let home = Home::new(&self.folder.join(format!("node{index}")))?;
        home.create(
            &CometConfig {
                node_type,
                ..self.config(usize::from(index), p2p, rpc)
            },
            CACHE_MB,
            &Doors::beside(rpc),
            &GenesisDoc::load(peer)?,
        )?;
        home.set_peers(&[gentx::peer(peer, None)?])?;
        Ok((home, format!("http://{rpc}")))
    }

    /// Per validator where it listens for peers and for RPC.
    fn addresses(&self) -> Result<Vec<(SocketAddr, SocketAddr)>, Error> {
        let Self {
            validators,
            base_ip,
            base_port,
            ..
        } = self;
        let first = base_ip.octets();
        let fits = base_ip.is_loopback() && *validators > 0 && first[3].checked_add(*validators).is_some();
        let (true, Some(rpc_port)) = (fits, base_port.checked_add(1)) else {
            return Err(Error::Value(format!(
                "{validators} validators from {base_ip}:{base_port} on do not fit; expected at least one, from a loopback \
                 address as 127.0.0.1 on, whose last number stays below 256"
            )));
        };
        let at = |index| IpAddr::from([first[0], first[1], first[2], first[3] + index]);
        Ok((0..*validators)
            .map(|index| ((at(index), *base_port).into(), (at(index), rpc_port).into()))
            .collect())
    }

    fn config(&self, index: usize, p2p: SocketAddr, rpc: SocketAddr) -> CometConfig {
        CometConfig {
            moniker: format!("node{index}"),
            block_time: self.block_time,
            p2p,
            rpc,
            local: true,
            node_type: NodeType::Full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_one_another_and_stay_on_this_machine() {
        let mut plan = Plan::new(Path::new("/nowhere"), "trainyard-1");
        plan.base_ip = Ipv4Addr::new(127, 9, 8, 1);
        let last = plan.addresses().unwrap()[3];
        assert_eq!(last.0, "127.9.8.4:26656".parse().unwrap());
        assert_eq!(last.1, "127.9.8.4:26657".parse().unwrap());
        let wrong = |change: fn(&mut Plan)| {
            let mut plan = Plan::new(Path::new("/nowhere"), "trainyard-1");
            change(&mut plan);
            plan.addresses().unwrap_err().to_string()
        };
        assert!(wrong(|p| p.validators = 0).contains("0 validators"));
        assert!(wrong(|p| p.validators = 255).contains("255 validators"));
        assert!(wrong(|p| p.base_ip = Ipv4Addr::new(10, 0, 0, 1)).contains("10.0.0.1"));
        assert!(wrong(|p| p.base_port = u16::MAX).contains("65535"));
    }
}
