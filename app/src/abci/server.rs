//! The socket that CometBFT connects to.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::application::Application;
use super::connection::{self, Broken};

/// CometBFT opens four connections; a few more leave room for one that is just being replaced, and for tools.
const MAX_CONNECTIONS: usize = 16;
/// How long a stopping server waits for calls in progress.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Where the server listens: `unix:///path/to/socket` or `tcp://host:port`.
///
/// Whoever can connect can speak for consensus: a TCP address must not be reachable from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
}

impl FromStr for Address {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, ServerError> {
        match text.split_once("://") {
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            Some(("tcp", host)) if !host.is_empty() => Ok(Self::Tcp(host.to_owned())),
            _ => Err(ServerError::Address(text.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The text is no address.
    #[error("`{0}` is no ABCI address; use unix:///path/to/socket or tcp://host:port")]
    Address(String),
    /// Somebody listens there.
    #[error("another process already listens on {0}; stop it first")]
    InUse(Address),
    /// There is a file that this server did not make.
    #[error("{} exists and is no socket; move it away or choose another ABCI address", .0.display())]
    NotASocket(PathBuf),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: Address,
        /// What the operating system said.
        source: io::Error,
    },
    /// No more connections come in.
    #[error("cannot accept connections: {0}")]
    Accept(io::Error),
    /// The application gave up, or panicked. CometBFT has been told.
    #[error("the application cannot go on: {0}")]
    Application(String),
}

/// Serves an [`Application`] to CometBFT.
pub struct Server<A> {
    app: Arc<A>,
    address: Address,
    listener: Listener,
    events: Sender<Event>,
    inbox: Receiver<Event>,
}

/// Stops a running [`Server`]. Cheap to clone.
#[derive(Clone)]
pub struct StopHandle(Sender<Event>);

impl StopHandle {
    /// Lets calls in progress finish, for at most ten seconds, and ends [`Server::run`].
    pub fn stop(&self) {
        let _ = self.0.send(Event::Stop); // Nobody is there to be stopped: fine.
    }
}

enum Event {
    Connected(Stream),
    CannotAccept(io::Error),
    Ended(u64, Result<(), Broken>),
    Stop,
}

impl<A: Application> Server<A> {
    /// Listens on `address`. A unix socket that a dead process left behind is replaced.
    pub fn bind(address: &Address, app: Arc<A>) -> Result<Self, ServerError> {
        let listener = Listener::bind(address)?;
        let address = listener.address().map_err(|source| ServerError::Bind {
            address: address.clone(),
            source,
        })?;
        let (events, inbox) = mpsc::channel();
        Ok(Self {
            app,
            address,
            listener,
            events,
            inbox,
        })
    }

    /// Where the server listens; a TCP port 0 has become the real one.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A handle that stops the server from another thread.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.events.clone())
    }

    /// Serves until stopped (`Ok`) or until the application or the socket fails. Blocks.
    ///
    /// After an error the caller should exit: calls on other connections may still be running.
    pub fn run(self) -> Result<(), ServerError> {
        let Self {
            app,
            address,
            listener,
            events,
            inbox,
        } = self;
        let stopping = Arc::new(AtomicBool::new(false));
        let acceptor = {
            let (events, stopping) = (events.clone(), Arc::clone(&stopping));
            thread::spawn(move || accept_all(&listener, &events, &stopping))
        };
        let mut connections = Connections {
            app,
            events,
            open: BTreeMap::new(),
            count: 0,
        };
        let result = connections.serve(&inbox);
        stopping.store(true, Ordering::SeqCst);
        if address.connect().is_ok() {
            let _ = acceptor.join(); // It wakes up for the connection and finds the flag.
        }
        if let Address::Unix(path) = &address {
            let _ = fs::remove_file(path);
        }
        if result.is_ok() {
            connections.drain(&inbox)
        } else {
            result
        }
    }
}

fn accept_all(listener: &Listener, events: &Sender<Event>, stopping: &AtomicBool) {
    loop {
        let event = match listener.accept() {
            Ok(stream) => Event::Connected(stream),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                ) =>
            {
                continue;
            }
            Err(error) => Event::CannotAccept(error),
        };
        let last = matches!(event, Event::CannotAccept(_)) || stopping.load(Ordering::SeqCst);
        if events.send(event).is_err() || last {
            return;
        }
    }
}

/// The open connections, each with a thread of its own.
struct Connections<A> {
    app: Arc<A>,
    events: Sender<Event>,
    open: BTreeMap<u64, Stream>,
    count: u64,
}

impl<A: Application> Connections<A> {
    /// Until someone stops the server, or something fatal happens.
    fn serve(&mut self, inbox: &Receiver<Event>) -> Result<(), ServerError> {
        while let Ok(event) = inbox.recv() {
            match event {
                Event::Connected(stream) => self.start(stream),
                Event::Ended(id, outcome) => self.end(id, outcome)?,
                Event::CannotAccept(error) => return Err(ServerError::Accept(error)),
                Event::Stop => break,
            }
        }
        Ok(())
    }

    fn start(&mut self, stream: Stream) {
        if self.open.len() >= MAX_CONNECTIONS {
            tracing::warn!(target: "abci", "refused an ABCI connection: {MAX_CONNECTIONS} are open already");
            return;
        }
        let (input, output) = match stream.halves() {
            Ok(halves) => halves,
            Err(error) => {
                tracing::warn!(target: "abci", %error, "dropped an ABCI connection");
                return;
            }
        };
        self.count += 1;
        let (id, app, events) = (self.count, Arc::clone(&self.app), self.events.clone());
        tracing::debug!(target: "abci", id, "ABCI connection opened");
        self.open.insert(id, stream);
        thread::spawn(move || {
            let outcome = connection::serve(app.as_ref(), input, output);
            // Whoever hears of the end may exit the process: a database that is being closed meanwhile would crash it.
            drop(app);
            let _ = events.send(Event::Ended(id, outcome)); // The server may be over.
        });
    }

    fn end(&mut self, id: u64, outcome: Result<(), Broken>) -> Result<(), ServerError> {
        if let Some(stream) = self.open.remove(&id) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        match outcome {
            Ok(()) => tracing::debug!(target: "abci", id, "ABCI connection closed"),
            Err(Broken::Peer(error)) => tracing::warn!(target: "abci", id, %error, "ABCI connection closed"),
            Err(broken @ Broken::Application { .. }) => return Err(ServerError::Application(broken.to_string())),
        }
        Ok(())
    }

    /// Lets every connection answer what it has read, and no more.
    fn drain(&mut self, inbox: &Receiver<Event>) -> Result<(), ServerError> {
        for stream in self.open.values() {
            let _ = stream.shutdown(Shutdown::Read);
        }
        let deadline = Instant::now() + STOP_PATIENCE;
        while !self.open.is_empty() {
            let Ok(event) = inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())) else {
                tracing::warn!(target: "abci", "stopped with {} ABCI calls still running", self.open.len());
                break;
            };
            if let Event::Ended(id, outcome) = event {
                self.end(id, outcome)?;
            }
        }
        Ok(())
    }
}

impl<A> Drop for Connections<A> {
    fn drop(&mut self) {
        for stream in self.open.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Address {
    /// Connects to whoever listens there.
    fn connect(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
            Self::Tcp(host) => TcpStream::connect(host).map(Stream::Tcp),
        }
    }
}

enum Listener {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

impl Listener {
    fn bind(address: &Address) -> Result<Self, ServerError> {
        let cannot = |source| ServerError::Bind {
            address: address.clone(),
            source,
        };
        match address {
            Address::Unix(path) => {
                remove_stale(address, path)?;
                Ok(Self::Unix(UnixListener::bind(path).map_err(cannot)?, path.clone()))
            }
            Address::Tcp(host) => match TcpListener::bind(host) {
                Ok(listener) => Ok(Self::Tcp(listener)),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(ServerError::InUse(address.clone())),
                Err(error) => Err(cannot(error)),
            },
        }
    }

    fn address(&self) -> io::Result<Address> {
        match self {
            Self::Unix(_, path) => Ok(Address::Unix(path.clone())),
            Self::Tcp(listener) => Ok(Address::Tcp(listener.local_addr()?.to_string())),
        }
    }

    fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener, _) => Ok(Stream::Unix(listener.accept()?.0)),
            Self::Tcp(listener) => Ok(Stream::Tcp(listener.accept()?.0)),
        }
    }
}

/// Removes the socket that a dead process left behind.
fn remove_stale(address: &Address, path: &Path) -> Result<(), ServerError> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(ServerError::NotASocket(path.to_owned())),
        Ok(_) if UnixStream::connect(path).is_ok() => Err(ServerError::InUse(address.clone())),
        Ok(_) => fs::remove_file(path).map_err(|source| ServerError::Bind {
            address: address.clone(),
            source,
        }),
        Err(_) => Ok(()), // Nothing there; if it cannot even be looked at, binding will say why.
    }
}

/// A connection of either kind.
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    /// The stream twice: to read from and to write to.
    fn halves(&self) -> io::Result<(Self, Self)> {
        match self {
            Self::Unix(stream) => Ok((Self::Unix(stream.try_clone()?), Self::Unix(stream.try_clone()?))),
            Self::Tcp(stream) => {
                // Without it every small reply waits 40 ms for the acknowledgement of the one before.
                stream.set_nodelay(true)?;
                Ok((Self::Tcp(stream.try_clone()?), Self::Tcp(stream.try_clone()?)))
            }
        }
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.shutdown(how),
            Self::Tcp(stream) => stream.shutdown(how),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(buffer),
            Self::Tcp(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
