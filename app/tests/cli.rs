//! The binary as a user runs it, as far as no node is needed.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// Runs `trainyard` in a home folder of its own, with nothing of the caller's environment that could change it.
fn trainyard(home: &Path, arguments: &[&str], environment: &[(&str, &str)], stdin: &str) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_trainyard"))
        .args(arguments)
        .env_clear()
        .env("TRAINYARD_HOME", home)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    process.wait_with_output().unwrap()
}

const TEST: (&str, &str) = ("TRAINYARD_KEYRING_BACKEND", "test");

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn answer(output: &Output) -> Value {
    serde_json::from_str(&done(output)).unwrap()
}

fn refusal(output: &Output) -> String {
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn keys_are_created_recovered_moved_and_protected() {
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], environment: &[(&str, &str)], stdin: &str| {
        trainyard(home.path(), &[&["-o", "json"], arguments].concat(), environment, stdin)
    };
    let password = ("TRAINYARD_KEYRING_PASSWORD", "correct horse");
    let alice = answer(&run(&["keys", "add", "alice"], &[password], ""));
    let mnemonic = alice["mnemonic"].as_str().unwrap();
    assert_eq!(mnemonic.split(' ').count(), 24);
    let error = refusal(&run(&["keys", "add", "alice"], &[password], ""));
    assert!(error.contains("there already is a key \"alice\""), "{error}");

    // The same words give the same account, in another keyring too.
    let recovered = answer(&run(&["keys", "add", "again", "--recover"], &[TEST], mnemonic));
    assert_eq!(recovered["address"], alice["address"]);
    assert_eq!(
        done(&run(&["keys", "show", "alice", "--address"], &[], "")).trim(),
        alice["address"]
    );

    // Its other forms.
    let operator = done(&run(&["keys", "show", "alice", "-a", "--bech", "val"], &[], ""));
    let forms = answer(&run(&["keys", "parse", operator.trim()], &[], ""));
    assert_eq!(
        (&forms["account"], &forms["operator"]),
        (&alice["address"], &json!(operator.trim()))
    );
    let bytes = forms["bytes"].as_str().unwrap();
    assert_eq!(answer(&run(&["keys", "parse", bytes], &[], "")), forms);
    let error = refusal(&run(&["keys", "parse", "cosmos1x"], &[], ""));
    assert!(error.contains("neither 40 hex digits nor an address"), "{error}");

    let export = ("TRAINYARD_EXPORT_PASSWORD", "carry me over");
    let wrong = ("TRAINYARD_KEYRING_PASSWORD", "not that one");
    let error = refusal(&run(&["keys", "export", "alice"], &[wrong, export], ""));
    assert!(error.contains("wrong password for key \"alice\""), "{error}");
    let error = refusal(&run(&["keys", "export", "alice"], &[export], ""));
    assert!(error.contains("set TRAINYARD_KEYRING_PASSWORD"), "{error}");
    let exported = done(&run(&["keys", "export", "alice"], &[password, export], ""));
    let moved = answer(&run(&["keys", "import", "moved", "-"], &[TEST, export], &exported));
    assert_eq!(moved["address"], alice["address"]);

    done(&run(&["keys", "rename", "moved", "kept"], &[TEST], ""));
    done(&run(&["keys", "delete", "again"], &[TEST], ""));
    let keys = answer(&run(&["keys", "list"], &[TEST], ""));
    let names: Vec<&Value> = keys.as_array().unwrap().iter().map(|key| &key["name"]).collect();
    assert_eq!(names, ["kept"]);
}

#[test]
fn models_are_written_and_inspected() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("cnn.onnx");
    let path = file.to_str().unwrap();
    let run = |arguments: &[&str]| trainyard(home.path(), &[&["-o", "json"], arguments].concat(), &[], "");
    let written = answer(&run(&[
        "model",
        "new",
        "cnn",
        "--filters",
        "4,8",
        "--hidden",
        "16",
        "--out",
        path,
    ]));
    let inspected = answer(&run(&["model", "inspect", path, "--nodes"]));
    assert_eq!(inspected["sha256"], written["sha256"]);
    assert_eq!(inspected["state_root"], written["state_root"]);
    assert_eq!(inspected["nodes"][0]["operator"], "Conv");
    assert_eq!(inspected["output"], "N x 10");

    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert!(refusal(&run(&["model", "inspect", path])).contains("cnn.onnx"));
    assert!(refusal(&run(&["model", "new", "cnn", "--input", "784", "--out", path])).contains("[784]"));
}

#[test]
fn data_is_packed_into_the_block_store() {
    let home = tempfile::tempdir().unwrap();
    let csv = home.path().join("points.csv");
    let rows: String = (0..20)
        .map(|i| format!("{i},{}.5,{}\n", i * 2, ["low", "high"][i / 10]))
        .collect();
    std::fs::write(&csv, format!("a,b,kind\n{rows}")).unwrap();
    let input = format!("csv:{},label=kind", csv.display());
    let run = |arguments: &[&str]| trainyard(home.path(), &[&["-o", "json"], arguments].concat(), &[], "");
    let packed = answer(&run(&[
        "data",
        "pack",
        "points",
        "--all",
        &input,
        "--test-fraction",
        "0.25",
        "--encrypt",
    ]));
    assert_eq!(
        (&packed["train"]["samples"], &packed["test"]["samples"]),
        (&json!(15), &json!(5))
    );
    assert_eq!(packed["train"]["encrypted"], true);
    let cid = packed["train"]["manifest_cid"].as_str().unwrap();
    assert!(cid.starts_with("bafkrei"), "{cid}");
    let manifest = answer(&run(&["data", "inspect", cid]));
    assert_eq!(manifest["classes"], json!(["high", "low"]));
    assert_eq!(manifest["plaintext_root"], packed["train"]["plaintext_root"]);
    assert!(home.path().join("data-keys").join(cid).is_file());

    let error = refusal(&run(&[
        "data",
        "pack",
        "points",
        "--all",
        &input.replace("kind", "sort"),
    ]));
    assert!(error.contains("no column is called \"sort\""), "{error}");
    let error = refusal(&run(&["data", "inspect", "../etc"]));
    assert!(error.contains("neither a file nor a CID"), "{error}");
}

#[test]
fn a_missing_node_is_named_and_completions_need_none() {
    let home = tempfile::tempdir().unwrap();
    let error = refusal(&trainyard(
        home.path(),
        &["status", "--node", "http://127.0.0.1:1"],
        &[],
        "",
    ));
    assert!(error.contains("node http://127.0.0.1:1 does not answer"), "{error}");
    let error = refusal(&trainyard(home.path(), &["status", "--node", "nowhere"], &[], ""));
    assert!(error.contains("http://127.0.0.1:26657"), "{error}");
    let completions = done(&trainyard(home.path(), &["completions", "bash"], &[], ""));
    assert!(completions.contains("_trainyard"));
}

#[test]
fn a_transaction_is_signed_by_two_of_three_without_a_node() {
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], stdin: &str| {
        trainyard(home.path(), &[&["-o", "json"], arguments].concat(), &[TEST], stdin)
    };
    for (name, digit) in [("alice", "1"), ("bob", "2"), ("carol", "3")] {
        done(&run(&["keys", "import", name, "-"], &digit.repeat(64)));
    }
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let keys = done(&run(
        &["keys", "multisig", "alice", "bob", "carol", "--threshold", "2"],
        "",
    ));
    std::fs::write(path("keys"), &keys).unwrap();
    let shared = serde_json::from_str::<Value>(&keys).unwrap()["address"]
        .as_str()
        .unwrap()
        .to_owned();
    // Sorted, so that everybody finds the same account.
    let again = answer(&run(
        &["keys", "multisig", "carol", "alice", "bob", "--threshold", "2"],
        "",
    ));
    assert_eq!(again["address"], shared);
    let error = refusal(&run(&["keys", "multisig", "alice", "--threshold", "2"], ""));
    assert!(error.contains("threshold 2 of 1 keys"), "{error}");

    let send = ["tx", "bank", "send", &shared, "alice", "5utrain", "--generate-only"];
    let offline = [&send[..], &["--offline"]].concat();
    assert!(refusal(&run(&offline, "")).contains("give --gas a number"));
    let unsigned = done(&run(&[&send[..], &["--gas", "200000"]].concat(), ""));
    std::fs::write(path("tx"), unsigned).unwrap();
    let mut signatures = Vec::new();
    for name in ["carol", "alice"] {
        let at = ["--chain-id", "c-1", "--account-number", "7", "--sequence", "9"];
        let sign = ["tx", "sign", &path("tx"), "--from", name, "--multisig", &shared];
        std::fs::write(path(name), done(&run(&[&sign[..], &at].concat(), ""))).unwrap();
        signatures.push(path(name));
    }
    let multisign = ["tx", "multisign", &path("tx"), &path("keys")];
    let error = refusal(&run(&[&multisign[..], &[&signatures[0]]].concat(), ""));
    assert!(error.contains("1 of the account's keys signed, 2 must"), "{error}");
    let both: Vec<&str> = signatures.iter().map(String::as_str).collect();
    let signed = answer(&run(&[&multisign[..], &both].concat(), ""));
    assert_eq!(signed["signatures"].as_array().unwrap().len(), 1);
    let signer = &signed["auth_info"]["signer_infos"][0];
    assert_eq!(signer["sequence"], "9");
    // The first and the last key.
    assert_eq!(
        signer["mode_info"]["multi"]["bitarray"]["elems"].as_str().map(str::len),
        Some(4)
    );

    // One key alone, as devices do it.
    let sign = ["tx", "sign", &path("tx"), "--from", "bob", "--sign-mode", "amino-json"];
    let at = ["--chain-id", "c-1", "--account-number", "1", "--sequence", "2"];
    let alone = answer(&run(&[&sign[..], &at].concat(), ""));
    let mode = &alone["auth_info"]["signer_infos"][0]["mode_info"]["single"]["mode"];
    assert_eq!(mode, "SIGN_MODE_LEGACY_AMINO_JSON");
}

/// What `systemd-analyze verify` says of our units, with programs that are there in the place of ours. Where the machine has
/// no systemd, only their form is looked at.
#[test]
fn the_units_are_what_systemd_takes() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../localnet/systemd");
    let scratch = tempfile::tempdir().unwrap();
    let mut copies = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let value = |key: &str| {
            let lines: Vec<_> = text
                .lines()
                .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .collect();
            assert_eq!(lines.len(), 1, "{name} has {} lines {key}=", lines.len());
            lines[0].to_owned()
        };
        // What may be written is the home, and it is the user's own.
        assert!(
            text.contains(&format!("_HOME=/var/lib/{}", value("StateDirectory"))),
            "{name}"
        );
        assert_eq!(
            (value("ProtectSystem").as_str(), value("StateDirectoryMode").as_str()),
            ("strict", "0700")
        );
        assert!(
            !value("User").is_empty() && value("ExecStart").contains(" start"),
            "{name}"
        );
        // Only who speaks the protocol says that it does.
        assert_eq!(value("Type") == "notify", name == "trainyard.service");
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            assert!(
                line.starts_with('[') && line.ends_with(']') || line.contains('='),
                "{name}: {line}"
            );
        }
        let program = value("ExecStart").split(' ').next().unwrap().to_owned();
        let runnable = text
            .replace(&program, "/bin/true")
            .replace(&format!("User={}\n", value("User")), "");
        copies.push(scratch.path().join(name));
        std::fs::write(copies.last().unwrap(), runnable).unwrap();
    }
    assert_eq!(copies.len(), 3);
    match Command::new("systemd-analyze").arg("verify").args(&copies).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            // It may complain of units of this machine as well.
            let ours = said
                .lines()
                .filter(|line| line.contains(scratch.path().to_str().unwrap()));
            assert_eq!(ours.count(), 0, "{said}");
        }
        Err(error) => eprintln!("not verified by systemd-analyze: {error}"),
    }
}

#[test]
fn settings_of_the_user_are_kept() {
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| trainyard(home.path(), arguments, &[], "");
    done(&run(&["config", "set", "client", "output", "json"]));
    done(&run(&["config", "set", "keyring-backend", "test"]));
    done(&run(&["config", "set", "node", "http://127.0.0.1:1"]));
    assert_eq!(
        answer(&run(&["config", "get", "output", "-o", "json"])),
        json!({"output": "json"})
    );
    // Without a flag or a variable: JSON, from the plain keyring.
    let added = answer(&run(&["keys", "add", "alice"]));
    assert_eq!(answer(&run(&["keys", "show", "alice"]))["address"], added["address"]);
    assert!(!done(&run(&["keys", "show", "alice", "-o", "text"])).starts_with('{'));
    let error = refusal(&run(&["status"]));
    assert!(error.contains("http://127.0.0.1:1"), "{error}");
    let error = refusal(&run(&["config", "set", "output", "xml"]));
    assert!(error.contains("expected text or json"), "{error}");
    done(&run(&["config", "set", "output", ""]));
    let all = answer(&run(&["config", "view", "client", "-o", "json"]));
    assert_eq!((&all["output"], &all["keyring-backend"]), (&json!(""), &json!("test")));
    // What somebody else wrote there is named.
    std::fs::write(home.path().join("config/client.toml"), "output = \"xml\"\n").unwrap();
    let error = refusal(&run(&["keys", "list"]));
    assert!(
        error.contains("client.toml") && error.contains("expected text or json"),
        "{error}"
    );
}
