//! The server against a raw client on a real socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use prost::Message;
use prost::bytes::Bytes;
use tempfile::TempDir;
use tendermint_proto::v0_38::abci::{
    Request, RequestCheckTx, RequestCommit, RequestEcho, RequestFinalizeBlock, RequestFlush, RequestInfo,
    RequestInitChain, RequestOfferSnapshot, RequestPrepareProposal, RequestProcessProposal, RequestQuery, Response,
    ResponseCheckTx, ResponseCommit, ResponseEcho, ResponseFinalizeBlock, ResponseInfo, ResponseInitChain,
    ResponsePrepareProposal, ResponseProcessProposal, ResponseQuery, request, response, response_offer_snapshot,
};

use super::*;

/// No read of a test waits longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers CheckTx with the transaction, waits in Commit where told to, fails and panics where told to.
#[derive(Default)]
struct Echo {
    /// Sent to when Commit begins, received from before it ends.
    commit: Option<std::sync::Mutex<(Sender<()>, Receiver<()>)>>,
}

impl Application for Echo {
    fn info(&self, _: RequestInfo) -> Result<ResponseInfo, FatalError> {
        Ok(ResponseInfo {
            last_block_height: 7,
            ..Default::default()
        })
    }
    fn init_chain(&self, _: RequestInitChain) -> Result<ResponseInitChain, FatalError> {
        Ok(ResponseInitChain::default())
    }
    fn query(&self, request: RequestQuery) -> Result<ResponseQuery, FatalError> {
        assert_ne!(request.path, "/panic", "asked to panic");
        Ok(ResponseQuery::default())
    }
    fn check_tx(&self, request: RequestCheckTx) -> Result<ResponseCheckTx, FatalError> {
        Ok(ResponseCheckTx {
            data: request.tx,
            ..Default::default()
        })
    }
    fn prepare_proposal(&self, _: RequestPrepareProposal) -> Result<ResponsePrepareProposal, FatalError> {
        Ok(ResponsePrepareProposal::default())
    }
    fn process_proposal(&self, _: RequestProcessProposal) -> Result<ResponseProcessProposal, FatalError> {
        Ok(ResponseProcessProposal::default())
    }
    fn finalize_block(&self, request: RequestFinalizeBlock) -> Result<ResponseFinalizeBlock, FatalError> {
        Err(FatalError::new(format_args!("height {} is not 8", request.height)))
    }
    fn commit(&self, _: RequestCommit) -> Result<ResponseCommit, FatalError> {
        if let Some(gate) = &self.commit {
            let gate = gate.lock().unwrap();
            gate.0.send(()).unwrap();
            gate.1.recv_timeout(PATIENCE).unwrap();
        }
        Ok(ResponseCommit { retain_height: 3 })
    }
}

struct Running {
    dir: TempDir,
    address: Address,
    stop: StopHandle,
    thread: JoinHandle<Result<(), ServerError>>,
}

impl Running {
    fn start(app: Echo) -> Self {
        let dir = TempDir::new().unwrap();
        let address = format!("unix://{}/abci.sock", dir.path().display()).parse().unwrap();
        Self::start_at(dir, &address, app)
    }

    fn start_at(dir: TempDir, address: &Address, app: Echo) -> Self {
        let server = Server::bind(address, Arc::new(app)).unwrap();
        let (address, stop) = (server.address().clone(), server.stop_handle());
        Self {
            dir,
            address,
            stop,
            thread: thread::spawn(|| server.run()),
        }
    }

    fn connect(&self) -> Client<UnixStream> {
        let Address::Unix(path) = &self.address else {
            panic!("{} is no unix socket", self.address)
        };
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(stream)
    }

    fn stop(self) -> Result<(), ServerError> {
        self.stop.stop();
        self.thread.join().unwrap()
    }
}

struct Client<S>(S);

impl<S: Read + Write> Client<S> {
    fn send(&mut self, requests: impl IntoIterator<Item = request::Value>) {
        let bytes: Vec<u8> = requests.into_iter().flat_map(encode).collect();
        self.0.write_all(&bytes).unwrap();
    }

    /// The next reply, or `None` when the server has closed the connection.
    fn receive(&mut self) -> Option<response::Value> {
        let mut prefix = Vec::new();
        loop {
            let mut byte = [0];
            match self.0.read(&mut byte) {
                Ok(0) => return None,
                Ok(_) => prefix.push(byte[0]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
            if byte[0] < 0x80 {
                break;
            }
        }
        let mut body = vec![0; prost::decode_length_delimiter(&prefix[..]).unwrap()];
        self.0.read_exact(&mut body).unwrap();
        Some(Response::decode(&body[..]).unwrap().value.unwrap())
    }

    fn exception(&mut self) -> String {
        match self.receive() {
            Some(response::Value::Exception(exception)) => exception.error,
            other => panic!("{other:?} is no exception"),
        }
    }

    fn echo(&mut self, message: &str) {
        self.send([echo(message)]);
        assert_eq!(
            self.receive(),
            Some(response::Value::Echo(ResponseEcho {
                message: message.into()
            }))
        );
    }
}

fn encode(value: request::Value) -> Vec<u8> {
    Request { value: Some(value) }.encode_length_delimited_to_vec()
}

fn echo(message: &str) -> request::Value {
    request::Value::Echo(RequestEcho {
        message: message.into(),
    })
}

fn check_tx(tx: Vec<u8>) -> request::Value {
    request::Value::CheckTx(RequestCheckTx {
        tx: tx.into(),
        ..Default::default()
    })
}

fn checked(tx: Vec<u8>) -> Option<response::Value> {
    Some(response::Value::CheckTx(ResponseCheckTx {
        data: Bytes::from(tx),
        ..Default::default()
    }))
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Running::start(Echo::default());
    let mut client = server.connect();
    let tx = |i: u32| i.to_be_bytes().repeat(50);
    let mut writer = Client(client.0.try_clone().unwrap());
    // More than the socket's buffers hold, so both directions must flow at once.
    let sender = thread::spawn(move || {
        writer.send(
            (0..20_000)
                .map(|i| check_tx(tx(i)))
                .chain([request::Value::Flush(RequestFlush {})]),
        );
    });
    for i in 0..20_000 {
        assert_eq!(client.receive(), checked(tx(i)));
    }
    assert!(matches!(client.receive(), Some(response::Value::Flush(_))));
    sender.join().unwrap();
    // A large block's worth in one request.
    let large = vec![7; 30 << 20];
    let mut writer = Client(client.0.try_clone().unwrap());
    let copy = large.clone();
    let sender = thread::spawn(move || writer.send([check_tx(copy)]));
    assert_eq!(client.receive(), checked(large));
    sender.join().unwrap();
    drop(client);
    server.stop().unwrap();
}

#[test]
fn replies_leave_when_the_input_runs_dry() {
    let server = Running::start(Echo::default());
    let mut client = server.connect();
    client.echo("no flush behind me");
    // One whole request and half of the next: the first must not wait for the second.
    let second = encode(echo("second"));
    client
        .0
        .write_all(&[encode(echo("first")), second[..4].to_vec()].concat())
        .unwrap();
    assert_eq!(
        client.receive(),
        Some(response::Value::Echo(ResponseEcho {
            message: "first".into()
        }))
    );
    client.0.write_all(&second[4..]).unwrap();
    assert_eq!(
        client.receive(),
        Some(response::Value::Echo(ResponseEcho {
            message: "second".into()
        }))
    );
    client.send([
        request::Value::Info(RequestInfo::default()),
        request::Value::OfferSnapshot(RequestOfferSnapshot::default()),
    ]);
    assert!(matches!(client.receive(), Some(response::Value::Info(info)) if info.last_block_height == 7));
    let reject = i32::from(response_offer_snapshot::Result::Reject);
    assert!(matches!(client.receive(), Some(response::Value::OfferSnapshot(offer)) if offer.result == reject));
    server.stop().unwrap();
}

#[test]
fn bad_input_ends_its_connection_and_no_other() {
    let server = Running::start(Echo::default());
    let mut good = server.connect();
    good.echo("before");
    let too_long = [0x80, 0x80, 0x80, 0x7f];
    for (bytes, complaint) in [
        (
            &too_long[..],
            "a request says it is 266338304 bytes long; at most 134217728 are accepted",
        ),
        (&[0xff; 12], "the length of a request takes more than 4 bytes"),
        (&[3, 0xff, 0xff, 0xff], "a request of 3 bytes does not decode"),
        (&[0], "a request of 0 bytes names no call"),
        (b"\x04\x22\x02\x08\x01", "a request of 4 bytes names no call"),
    ] {
        let mut client = server.connect();
        client
            .0
            .write_all(&[encode(echo("first")), bytes.to_vec()].concat())
            .unwrap();
        assert!(
            matches!(client.receive(), Some(response::Value::Echo(_))),
            "what came before is answered"
        );
        let error = client.exception();
        assert!(error.starts_with(complaint), "{error}");
        assert_eq!(client.receive(), None);
        good.echo("still here");
    }
    server.stop().unwrap();
}

#[test]
fn a_half_closed_connection_is_answered_to_the_end() {
    let server = Running::start(Echo::default());
    let mut client = server.connect();
    client.send((0..5).map(|i| check_tx(vec![i])));
    client.0.shutdown(Shutdown::Write).unwrap();
    for i in 0..5 {
        assert_eq!(client.receive(), checked(vec![i]));
    }
    assert_eq!(client.receive(), None);

    let mut client = server.connect();
    client.0.write_all(&encode(echo("cut off"))[..5]).unwrap();
    client.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(
        client.exception(),
        "the connection ended inside a request, after 5 bytes of it"
    );
    assert_eq!(client.receive(), None);
    server.stop().unwrap();
}

#[test]
fn a_fatal_error_is_told_and_ends_the_server() {
    let server = Running::start(Echo::default());
    let (mut consensus, mut query) = (server.connect(), server.connect());
    query.echo("here");
    let block = RequestFinalizeBlock {
        height: 9,
        ..Default::default()
    };
    consensus.send([request::Value::FinalizeBlock(block), echo("never answered")]);
    assert_eq!(consensus.exception(), "FinalizeBlock failed: height 9 is not 8");
    assert_eq!(consensus.receive(), None);
    assert_eq!(query.receive(), None, "no connection outlives the server");
    let error = server.thread.join().unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the application cannot go on: FinalizeBlock failed: height 9 is not 8"
    );
}

#[test]
fn a_panic_ends_the_server() {
    let server = Running::start(Echo::default());
    let (mut consensus, mut query) = (server.connect(), server.connect());
    consensus.echo("here");
    query.send([request::Value::Query(RequestQuery {
        path: "/panic".into(),
        ..Default::default()
    })]);
    let error = query.exception();
    assert!(
        error.starts_with("Query failed: panic: ") && error.contains("asked to panic"),
        "{error}"
    );
    assert_eq!(consensus.receive(), None);
    assert!(matches!(server.thread.join().unwrap(), Err(ServerError::Application(text)) if text == error));
}

#[test]
fn stopping_lets_calls_in_progress_finish() {
    let ((began, has_begun), (go_on, may_go_on)) = (channel(), channel());
    let server = Running::start(Echo {
        commit: Some((began, may_go_on).into()),
    });
    let (mut idle, mut busy) = (server.connect(), server.connect());
    idle.echo("idle");
    busy.send([request::Value::Commit(RequestCommit {})]);
    has_begun.recv_timeout(PATIENCE).unwrap();
    server.stop.stop();
    assert_eq!(idle.receive(), None);
    assert!(!server.thread.is_finished());
    go_on.send(()).unwrap();
    assert_eq!(
        busy.receive(),
        Some(response::Value::Commit(ResponseCommit { retain_height: 3 }))
    );
    assert_eq!(busy.receive(), None);
    let Running { dir, thread, stop, .. } = server;
    thread.join().unwrap().unwrap();
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "the socket is gone");
    stop.stop(); // Once more does no harm.
}

#[test]
fn too_many_connections_are_refused() {
    let server = Running::start(Echo::default());
    let mut open: Vec<_> = (0..16).map(|_| server.connect()).collect();
    open.iter_mut().for_each(|client| client.echo("in"));
    assert_eq!(server.connect().receive(), None);
    // Room again once one is gone and its end has been noticed.
    open.pop();
    let mut client = server.connect();
    while client.0.write_all(&encode(echo("in?"))).is_err() || client.receive().is_none() {
        client = server.connect();
    }
    server.stop().unwrap();
}

#[test]
fn a_stale_socket_is_replaced_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("abci.sock");
    let address = Address::Unix(path.clone());
    let bind = || Server::bind(&address, Arc::new(Echo::default()));
    drop(UnixListener::bind(&path).unwrap()); // Leaves its file behind, as a killed process would.
    let server = bind().unwrap();
    let error = bind().err().unwrap().to_string();
    assert_eq!(
        error,
        format!("another process already listens on {address}; stop it first")
    );
    drop(server);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(bind(), Err(ServerError::NotASocket(found)) if found == path));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    let missing = Address::Unix(dir.path().join("no/such/folder.sock"));
    assert!(matches!(
        Server::bind(&missing, Arc::new(Echo::default())),
        Err(ServerError::Bind { .. })
    ));
}

#[test]
fn tcp_serves_too() {
    let server = Running::start_at(
        TempDir::new().unwrap(),
        &"tcp://127.0.0.1:0".parse().unwrap(),
        Echo::default(),
    );
    let Address::Tcp(host) = &server.address else {
        panic!("{}", server.address)
    };
    let stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Client(stream);
    for _ in 0..100 {
        client.echo("over tcp");
    }
    let taken = Server::bind(&server.address, Arc::new(Echo::default()));
    assert!(matches!(taken, Err(ServerError::InUse(address)) if address == server.address));
    server.stop().unwrap();
}

#[test]
fn addresses_are_read_and_shown() {
    for text in [
        "unix:///run/trainyard/abci.sock",
        "unix://relative.sock",
        "tcp://127.0.0.1:26658",
    ] {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
    }
    for text in ["", "abci.sock", "unix://", "tcp://", "http://127.0.0.1:26658"] {
        let error = text.parse::<Address>().unwrap_err().to_string();
        assert!(error.contains(&format!("`{text}` is no ABCI address")), "{error}");
    }
}
