//! What blocks did: their events, in order and without gaps.
//!
//! The websocket only says that there is a new block; what happened in it always comes from `/block_results`. So
//! following the chain and catching up after a gap are one path, and a lost message costs a moment, not a block.

use std::time::Duration;

use futures::StreamExt as _;
use tendermint_rpc::query::EventType;
use tendermint_rpc::{SubscriptionClient as _, WebSocketClient};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::rpc::{Client, Error};

/// Blocks that wait for a slow reader.
const BUFFER: usize = 64;
/// How long the websocket may be silent before the node is asked for its height.
const SILENCE: Duration = Duration::from_secs(5);
/// First and longest pause before the next attempt to connect.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// An event of a transaction or a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its type, as `transfer`.
    pub kind: String,
    /// Its attributes, in order.
    pub attributes: Vec<(String, String)>,
}

impl Event {
    /// The first attribute of that name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

impl From<&tendermint::abci::Event> for Event {
    fn from(event: &tendermint::abci::Event) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let attributes = event
            .attributes
            .iter()
            .map(|a| (text(a.key_bytes()), text(a.value_bytes())))
            .collect();
        Self {
            kind: event.kind.clone(),
            attributes,
        }
    }
}

/// A block's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockEvents {
    /// The block's height.
    pub height: u64,
    /// Those of its successful transactions in order, then the block's own.
    pub events: Vec<Event>,
}

/// Every block's events from some height on, strictly in order, across reconnections.
#[derive(Debug)]
pub struct BlockStream {
    blocks: mpsc::Receiver<BlockEvents>,
    task: JoinHandle<()>,
}

impl BlockStream {
    /// Follows a node from height `from` on (0: from the next block). Must run inside a tokio runtime.
    #[must_use]
    pub fn new(client: Client, from: u64) -> Self {
        let (sender, blocks) = mpsc::channel(BUFFER);
        let mut follower = Follower {
            client,
            next: from,
            sender,
        };
        let task = tokio::spawn(async move { follower.run().await });
        Self { blocks, task }
    }

    /// The next block, once there is one.
    pub async fn next(&mut self) -> Option<BlockEvents> {
        self.blocks.recv().await
    }
}

impl Drop for BlockStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Follower {
    client: Client,
    /// The next height to hand over; 0 until it is known.
    next: u64,
    sender: mpsc::Sender<BlockEvents>,
}

/// Why following ends.
enum Stop {
    /// The connection broke; connect again.
    Broken(String),
    /// Nobody reads any more.
    Dropped,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<tendermint_rpc::Error> for Stop {
    fn from(error: tendermint_rpc::Error) -> Self {
        Self::Broken(error.detail().to_string())
    }
}

impl Follower {
    async fn run(&mut self) {
        let mut pause = PAUSE.0;
        loop {
            let before = self.next;
            match self.follow().await {
                Stop::Dropped => return,
                Stop::Broken(reason) => {
                    pause = if self.next > before {
                        PAUSE.0
                    } else {
                        (pause * 2).min(PAUSE.1)
                    };
                    tracing::debug!(next = self.next, reason, "the event stream broke, connecting again");
                }
            }
            tokio::select! {
                () = self.sender.closed() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Connects, and hands blocks over until something breaks.
    async fn follow(&mut self) -> Stop {
        let connection = async {
            let (client, driver) = WebSocketClient::new(self.client.websocket_url().as_str()).await?;
            let driver = tokio::spawn(driver.run());
            Ok::<_, Stop>((client, AbortOnDrop(driver)))
        };
        let (websocket, _driver) = match connection.await {
            Ok(connection) => connection,
            Err(stop) => return stop,
        };
        let mut news = match websocket.subscribe(EventType::NewBlock.into()).await {
            Ok(news) => news,
            Err(e) => return e.into(),
        };
        loop {
            // Also right after subscribing: what came before counts as news.
            if let Err(stop) = self.catch_up().await {
                return stop;
            }
            tokio::select! {
                () = self.sender.closed() => return Stop::Dropped,
                message = tokio::time::timeout(SILENCE, news.next()) => match message {
                    Ok(Some(Ok(_))) | Err(_) => {}
                    Ok(Some(Err(e))) => return e.into(),
                    Ok(None) => return Stop::Broken("the node closed the subscription".into()),
                },
            }
        }
    }

    /// Hands over every block up to the node's latest.
    async fn catch_up(&mut self) -> Result<(), Stop> {
        let sync = self.client.status().await?.sync_info;
        let (earliest, latest) = (sync.earliest_block_height.value(), sync.latest_block_height.value());
        if self.next == 0 {
            self.next = latest + 1;
        }
        if self.next < earliest {
            tracing::warn!(
                from = self.next,
                to = earliest,
                "the node no longer has these blocks, their events are lost"
            );
            self.next = earliest;
        }
        while self.next <= latest {
            let results = self.client.block_results(self.next).await?;
            let txs = results.txs_results.unwrap_or_default();
            let of_txs = txs.iter().filter(|tx| tx.code.is_ok()).flat_map(|tx| &tx.events);
            let events = of_txs.chain(&results.finalize_block_events).map(Event::from).collect();
            let block = BlockEvents {
                height: self.next,
                events,
            };
            self.sender.send(block).await.map_err(|_| Stop::Dropped)?;
            self.next += 1;
        }
        Ok(())
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
