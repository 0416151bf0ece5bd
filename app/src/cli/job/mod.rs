//! `trainyard job …`: post, top up, repost, watch, show, fetch, cancel, explain.
//!
//! | file | what |
//! |---|---|
//! | `post.rs` | a spec from files and flags; the message |
//! | `repost.rs` | a failed or cancelled job once more |
//! | `computation.rs` | model, start weights and task, once or for each variant |
//! | `mesh.rs` | the client's own peer on the overlay: serves model and data, listens to the job |
//! | `watch.rs` | follows a job and grants its keys |
//! | `fetch.rs` | downloads the artifact and checks it |

mod computation;
mod fetch;
mod mesh;
mod post;
mod repost;
mod watch;

use clap::Subcommand;
use color_eyre::eyre::{OptionExt, Result};
use trainyard_client::rpc::Client;
use trainyard_proto::{
    address::Address,
    any::{self, Any},
    coin,
    job::{Job, JobState, MsgCancelJob, MsgTopUpJob, QueryJobRequest, QueryJobResponse},
    registry::{Node, QueryNodeRequest, QueryNodeResponse},
};

pub(super) use mesh::{Serve, serve};

use super::{
    Global, explain,
    tx::{self, TxOptions},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Post a job: model and data are offered to the network, the budget goes into escrow
    Post(Box<post::Post>),
    /// Follow a job to its end; with --from its client's key, grant the data keys it waits for
    Watch(watch::Watch),
    /// Show a job
    Show {
        /// The job's number
        job: u64,
    },
    /// Download a settled job's model, check hash, roots and signatures, and write it
    Fetch(fetch::Fetch),
    /// Cancel an open job; the budget returns, the posting fee does not
    Cancel {
        /// The job's number
        job: u64,
        #[command(flatten)]
        options: TxOptions,
    },
    /// Add to the budget of a job that is open or in training; the posting fee is charged on it too
    TopUp {
        /// The job's number
        job: u64,
        /// What is added, as 100TRAIN
        #[arg(value_parser = tx::amount)]
        amount: u64,
        #[command(flatten)]
        options: TxOptions,
    },
    /// Post a failed or cancelled job again
    Repost(Box<repost::Repost>),
    /// Say in sentences why a job stands where it stands, or why an account was paid, dropped or not drawn
    Explain {
        /// The job's number
        job: u64,
        /// An address or a key's name
        account: Option<String>,
    },
}

pub(super) async fn run(global: &Global, command: Command) -> Result<()> {
    match command {
        Command::Post(post) => post::run(global, *post).await,
        Command::Repost(repost) => repost::run(global, *repost).await,
        Command::Watch(watch) => watch::run(global, watch).await,
        Command::Show { job } => global.print(&job_of(&global.client()?, job).await?),
        Command::Fetch(fetch) => fetch::run(global, fetch).await,
        Command::Cancel { job, options } => {
            let cancel = |client| any::pack(&MsgCancelJob { client, job_id: job });
            send(global, &options, cancel).await
        }
        Command::TopUp { job, amount, options } => {
            let amount = Some(coin::utrain(amount));
            let top_up = |client| {
                any::pack(&MsgTopUpJob {
                    client,
                    job_id: job,
                    amount,
                })
            };
            send(global, &options, top_up).await
        }
        Command::Explain { job, account } => explain::job(global, job, account).await,
    }
}

/// Sends a client's message and prints what became of it.
async fn send(global: &Global, options: &TxOptions, message: impl FnOnce(String) -> Any) -> Result<()> {
    let build = |client: Address| Ok(vec![message(client.to_string())]);
    let outcome = tx::send(global, options, build).await?;
    outcome.map_or(Ok(()), |outcome| global.print(&tx::view(&outcome)))
}

/// A job with its spec.
async fn job_of(client: &Client, job_id: u64) -> Result<Job> {
    let answer: QueryJobResponse = client
        .query("/trainyard.job.v1.Query/Job", &QueryJobRequest { job_id })
        .await?;
    answer.job.ok_or_eyre("the node sent no job")
}

/// A registered node.
async fn node_of(client: &Client, owner: &str) -> Result<Node> {
    let request = QueryNodeRequest { owner: owner.into() };
    let answer: QueryNodeResponse = client.query("/trainyard.registry.v1.Query/Node", &request).await?;
    answer.node.ok_or_eyre("the node sent no node")
}

/// Whether a job has ended.
fn is_over(job: &Job) -> bool {
    matches!(job.state(), JobState::Settled | JobState::Cancelled | JobState::Failed)
}
