//! What a chain can be asked.

use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message;
use tendermint_proto::v0_38::abci;
use trainyard_modules::machine::{Genesis, ante::Tx};
use trainyard_proto::{
    address::Address,
    cosmos::{
        auth::v1beta1::{BaseAccount, QueryAccountRequest, QueryAccountResponse},
        bank::v1beta1::{QueryBalanceRequest, QueryBalanceResponse, QuerySupplyOfRequest, QuerySupplyOfResponse},
    },
    job::{Job, QueryExplainRequest, QueryExplainResponse, QueryJobRequest, QueryJobResponse},
    registry::{Node as RegistryNode, QueryNodeRequest, QueryNodeResponse},
};

use super::{Chain, address};

/// What a query failed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryError {
    /// Namespace of the code.
    pub codespace: String,
    /// Never 0.
    pub code: u32,
    /// What was wrong.
    pub log: String,
}

impl Chain {
    /// The raw ABCI query.
    #[must_use]
    pub fn abci_query(&self, path: &str, data: Vec<u8>, height: i64, prove: bool) -> abci::ResponseQuery {
        let data = data.into();
        let path = path.into();
        self.app().query(&abci::RequestQuery {
            data,
            path,
            height,
            prove,
        })
    }

    /// A typed query of the last state, as `/trainyard.job.v1.Query/Job`.
    ///
    /// # Errors
    /// What the node answered.
    ///
    /// # Panics
    /// The answer does not decode.
    pub fn query<Q: Message, R: Message + Default>(&self, path: &str, request: &Q) -> Result<R, QueryError> {
        let response = self.abci_query(path, request.encode_to_vec(), 0, false);
        if response.code != 0 {
            let abci::ResponseQuery {
                codespace, code, log, ..
            } = response;
            return Err(QueryError { codespace, code, log });
        }
        Ok(R::decode(response.value).expect("the answer decodes"))
    }

    /// The account at an address; before block 1 as the genesis numbers it.
    #[must_use]
    pub fn account(&self, address: Address) -> Option<BaseAccount> {
        if self.app().last_block().is_none() {
            return self.genesis_account(address);
        }
        let request = QueryAccountRequest {
            address: address.to_string(),
        };
        let response: QueryAccountResponse = self.query("/cosmos.auth.v1beta1.Query/Account", &request).ok()?;
        BaseAccount::decode(response.account?.value.as_slice()).ok()
    }

    /// utrain at an address.
    ///
    /// # Panics
    /// The query fails.
    #[must_use]
    pub fn balance(&self, address: Address) -> u64 {
        let request = QueryBalanceRequest {
            address: address.to_string(),
            denom: "utrain".into(),
        };
        let response: QueryBalanceResponse = self
            .query("/cosmos.bank.v1beta1.Query/Balance", &request)
            .expect("a balance");
        response.balance.unwrap_or_default().amount.parse().expect("an amount")
    }

    pub(super) fn query_supply(&self) -> u64 {
        let request = QuerySupplyOfRequest { denom: "utrain".into() };
        let response: QuerySupplyOfResponse = self
            .query("/cosmos.bank.v1beta1.Query/SupplyOf", &request)
            .expect("a supply");
        response.amount.unwrap_or_default().amount.parse().expect("an amount")
    }

    /// A job with its spec.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn job(&self, job_id: u64) -> Job {
        let response: Result<QueryJobResponse, _> =
            self.query("/trainyard.job.v1.Query/Job", &QueryJobRequest { job_id });
        response.expect("a job").job.expect("a job")
    }

    /// The node registered by a name, if any.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<RegistryNode> {
        let request = QueryNodeRequest {
            owner: address(name).to_string(),
        };
        let response: Result<QueryNodeResponse, _> = self.query("/trainyard.registry.v1.Query/Node", &request);
        response.ok()?.node
    }

    /// The lines that explain a job, or an account's part in it.
    ///
    /// # Panics
    /// There is no such job.
    #[must_use]
    pub fn explain(&self, job_id: u64, account: Option<Address>) -> String {
        let account = account.map(|a| a.to_string()).unwrap_or_default();
        let request = QueryExplainRequest { job_id, account };
        let response: Result<QueryExplainResponse, _> = self.query("/trainyard.job.v1.Query/Explain", &request);
        response.expect("an explanation").lines.join("\n")
    }

    /// Before block 1 no state can be asked: accounts are numbered as the genesis lists them, and who signed a gentx has
    /// sent one transaction.
    fn genesis_account(&self, address: Address) -> Option<BaseAccount> {
        let genesis: Genesis = serde_json::from_slice(&self.init.app_state_bytes).ok()?;
        let text = address.to_string();
        if let Some(listed) = genesis
            .auth
            .accounts
            .into_iter()
            .find(|account| account.address == text)
        {
            return Some(listed);
        }
        let position = genesis
            .bank
            .balances
            .iter()
            .position(|balance| balance.address == text)?;
        let signed = |gentx: &&String| {
            let bytes = STANDARD.decode(gentx).unwrap_or_default();
            Tx::decode(&bytes).is_ok_and(|tx| tx.signers.contains(&address))
        };
        Some(BaseAccount {
            account_number: position as u64,
            sequence: genesis.genutil.gen_txs.iter().filter(signed).count() as u64,
            ..BaseAccount::default()
        })
    }
}
