//! The application's side of ABCI 2.0, as CometBFT 0.38 speaks it.
//!
//! ```text
//! application.rs  the calls an application answers, and the table that routes them
//! server.rs       the socket: listening, one thread per connection, stopping
//! connection.rs   one connection: requests in, replies out
//! codec.rs        messages behind their length
//! queue.rs        requests between who reads them and who answers
//! ```

mod application;
mod codec;
mod connection;
mod queue;
mod server;
#[cfg(test)]
mod tests;

pub use application::{Application, FatalError};
pub use codec::MAX_REQUEST;
pub use server::{Address, Server, ServerError, StopHandle};
