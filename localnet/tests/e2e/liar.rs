//! A user who trusts no node, and a node that lies to him: `job fetch --verify` through a proxy that changes what CometBFT
//! answers.

use std::net::SocketAddr;
use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use color_eyre::eyre::{OptionExt as _, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use trainyard_localnet::{Network, run};
use trainyard_proto::job::{Job, QueryJobResponse};
use trainyard_proto::prost::Message as _;

/// What the lying node says the job's score is, parts per million.
const LIE: u32 = 999_999;
/// Height of the block that the user trusts from the start.
const TRUSTED: u64 = 2;

/// What is lied about.
#[derive(Clone, Copy)]
enum About {
    /// The job's score, in its record.
    Job,
    /// The root of the state, in headers.
    Header,
}

/// Answers as the node does, but for what it lies about.
async fn lie(node: SocketAddr, about: About) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that goes away is no failure of the test: it says itself what it did not get.
            tokio::spawn(async move { drop(serve(stream, node, about).await) });
        }
    });
    Ok(address)
}

async fn serve(stream: TcpStream, node: SocketAddr, about: About) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut request = vec![0; length];
    stream.read_exact(&mut request).await?;
    let mut upstream = TcpStream::connect(node).await?;
    // Of the older version, so that the answer ends with the connection.
    let head = format!("POST / HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    upstream.write_all(&[head.as_bytes(), &request].concat()).await?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await?;
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or_eyre("no end of the head")?
        + 4;
    let mut body: Value = serde_json::from_slice(&answer[end..])?;
    change(&serde_json::from_slice(&request)?, &mut body, about)?;
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await?;
    Ok(())
}

fn change(request: &Value, answer: &mut Value, about: About) -> Result<()> {
    match (about, request["method"].as_str()) {
        (About::Job, Some("abci_query")) => {
            let raw = request["params"]["path"] == "/store/trainyard/key";
            let asked = request["params"]["path"] == "/trainyard.job.v1.Query/Job";
            let value = &mut answer["result"]["response"]["value"];
            if let Some(text) = value.as_str().filter(|_| raw || asked) {
                let bytes = STANDARD.decode(text)?;
                let bent = if raw {
                    let mut job = Job::decode(bytes.as_slice())?;
                    job.score_ppm = LIE;
                    job.encode_to_vec()
                } else {
                    let mut found = QueryJobResponse::decode(bytes.as_slice())?;
                    found.job.get_or_insert_default().score_ppm = LIE;
                    found.encode_to_vec()
                };
                *value = STANDARD.encode(bent).into();
            }
        }
        (About::Header, Some("commit")) => {
            let header = &mut answer["result"]["signed_header"]["header"];
            let hash = header["app_hash"].as_str().unwrap_or_default();
            let first = if hash.starts_with('0') { '1' } else { '0' };
            header["app_hash"] = format!("{first}{}", hash.get(1..).unwrap_or_default()).into();
        }
        _ => {}
    }
    Ok(())
}

/// Fetches a settled job's model without trusting the node, and then from nodes that lie.
pub(super) async fn fetch_without_trust(network: &Network, job: u64, folder: &Path, honest: &Value) -> Result<()> {
    let header = network.client().signed_header(TRUSTED).await?.header;
    let (height, hash) = (TRUSTED.to_string(), header.hash().to_string());
    let refused = network.command("alice", &["light", "status"]);
    ensure!(refused.is_err_and(|e| e.to_string().contains("no block is trusted yet")));
    network.command("alice", &["light", "trust", &height, &hash])?;

    let (job, listen) = (job.to_string(), format!("/ip4/{}/tcp/0", network.plan().base));
    let fetch = |out: &str| {
        let out = folder.join(out).display().to_string();
        let words = [
            "job",
            "fetch",
            &job,
            "--out",
            &out,
            "--listen",
            &listen,
            "--bootstrap",
            network.bootstrap(),
        ];
        words.map(String::from).to_vec()
    };
    // A block's state is vouched for by the header of the next one.
    network.until_height(network.height().await? + 2).await?;
    let verified = [fetch("verified.safetensors"), vec!["--verify".into()]].concat();
    let words: Vec<&str> = verified.iter().map(String::as_str).collect();
    let fetched = network.command("alice", &words)?;
    ensure!(
        fetched["verified"] == true && fetched["sha256"] == honest["sha256"],
        "{fetched}"
    );
    ensure!(fetched["score_ppm"] == honest["score_ppm"], "{fetched}");

    // The same user, another node.
    let node: SocketAddr = network.rpc().trim_start_matches("http://").parse()?;
    let home = network.client_home("alice")?.display().to_string();
    let at = |liar: SocketAddr, words: Vec<String>| {
        let url = format!("http://{liar}");
        let own = [
            "--home",
            &home,
            "--node",
            &url,
            "--keyring-backend",
            "test",
            "--output",
            "json",
        ];
        run("trainyard", &[words, own.map(String::from).to_vec()].concat())
    };
    let liar = lie(node, About::Job).await?;
    let believed: Value = serde_json::from_str(at(liar, fetch("believed.safetensors"))?.trim())?;
    ensure!(
        believed["score_ppm"] == LIE,
        "whoever trusts a node believes it: {believed}"
    );
    for (about, said) in [(About::Job, "does not hold"), (About::Header, "the trusted one is")] {
        let liar = lie(node, about).await?;
        let words = [fetch("refused.safetensors"), vec!["--verify".into()]].concat();
        let refused = at(liar, words).err().ok_or_eyre("a lie was believed")?.to_string();
        ensure!(refused.contains(said), "{refused}");
        ensure!(
            !folder.join("refused.safetensors").exists(),
            "a refused model was written"
        );
    }
    Ok(())
}
