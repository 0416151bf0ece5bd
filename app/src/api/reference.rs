//! The API reference of the book, `docs/src/reference/`: a page per package, made from the `.proto` files, the table of
//! queries and the table of messages. The tests here fail when a page is stale; `UPDATE_REFERENCE=1` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, ServiceDescriptor,
};
use trainyard_modules::machine;

use super::rest::Route;
use super::{descriptors, paths};
use crate::book;

const RENEW: &str = "UPDATE_REFERENCE=1 cargo test -p trainyard-app --lib reference";
/// Page of what has no service of its own.
const TYPES: &str = "types";

/// What the chain serves: paths of queries, and names of messages.
struct Served {
    queries: BTreeSet<&'static str>,
    messages: BTreeSet<String>,
}

impl Served {
    fn new() -> Self {
        let messages = machine::message_urls();
        Self {
            queries: paths().collect(),
            messages: messages.map(|url| url.trim_start_matches('/').to_owned()).collect(),
        }
    }

    fn has(&self, method: &MethodDescriptor) -> bool {
        self.queries.contains(grpc_path(method).as_str()) || self.messages.contains(method.input().full_name())
    }
}

fn grpc_path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// What a `.proto` file says before an element, or behind it on its line.
fn comment(file: &FileDescriptor, path: &[i32]) -> Option<String> {
    let info = file.file_descriptor_proto().source_code_info.as_ref()?;
    let place = info.location.iter().find(|place| place.path == path)?;
    let text = [place.leading_comments(), place.trailing_comments()];
    let text = text.into_iter().map(str::trim).find(|text| !text.is_empty())?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Text as it may stand in a cell of a table.
fn plain(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('*', "\\*")
}

/// The page on which a package stands.
fn page_of(pool: &DescriptorPool, package: &str) -> String {
    let own = package.starts_with("trainyard.");
    let service = pool.services().any(|service| service.package_name() == package);
    if own || service {
        package.to_owned()
    } else {
        TYPES.to_owned()
    }
}

/// Whose meaning is told elsewhere, and where.
fn foreign(name: &str) -> bool {
    name.starts_with("google.protobuf.")
}

struct Page<'a> {
    pool: &'a DescriptorPool,
    name: String,
    text: String,
}

impl Page<'_> {
    /// A link to a message or enum.
    fn link(&self, full_name: &str, package: &str) -> String {
        if foreign(full_name) {
            return format!("`{full_name}`");
        }
        let short = full_name
            .strip_prefix(package)
            .unwrap_or(full_name)
            .trim_start_matches('.');
        let page = page_of(self.pool, package);
        let heading = if page == TYPES { full_name } else { short };
        let anchor = book::anchor(heading);
        let file = if page == self.name {
            String::new()
        } else {
            format!("{page}.md")
        };
        format!("[{short}]({file}#{anchor})")
    }

    fn kind(&self, field: &FieldDescriptor) -> String {
        let one = match field.kind() {
            Kind::Message(entry) if entry.is_map_entry() => {
                let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
                return format!("map of {} to {}", self.kind(&key), self.kind(&value));
            }
            Kind::Message(message) => self.link(message.full_name(), message.package_name()),
            Kind::Enum(kind) => self.link(kind.full_name(), kind.package_name()),
            other => format!("{other:?}").to_lowercase(),
        };
        if field.cardinality() == Cardinality::Repeated {
            format!("list of {one}")
        } else {
            one
        }
    }

    fn fields(&mut self, message: &MessageDescriptor) {
        if message.fields().len() == 0 {
            return;
        }
        self.text.push_str("| field | type | |\n|---|---|---|\n");
        for field in message.fields() {
            let what = comment(&message.parent_file(), field.path()).unwrap_or_default();
            let (name, kind) = (field.name(), self.kind(&field));
            let _ = writeln!(self.text, "| `{name}` | {kind} | {} |", plain(&what));
        }
        self.text.push('\n');
    }

    fn said(&mut self, file: &FileDescriptor, path: &[i32]) {
        if let Some(text) = comment(file, path) {
            let _ = writeln!(self.text, "{}\n", text.replace('<', "&lt;"));
        }
    }

    fn service(&mut self, service: &ServiceDescriptor, served: &Served) {
        let _ = writeln!(self.text, "## {}\n", service.full_name());
        self.said(&service.parent_file(), service.path());
        let (here, absent): (Vec<_>, Vec<_>) = service.methods().partition(|method| served.has(method));
        for method in here {
            let (input, output) = (method.input(), method.output());
            let _ = writeln!(self.text, "### {}.{}\n", service.name(), method.name());
            if served.messages.contains(input.full_name()) {
                let _ = writeln!(self.text, "In a transaction: `/{}`\n", input.full_name());
            } else {
                let route = Route::of(&method);
                let verb = if route.post { "POST" } else { "GET" };
                let _ = writeln!(self.text, "`{verb} {}` · gRPC `{}`\n", route.path, grpc_path(&method));
            }
            self.said(&service.parent_file(), method.path());
            for (what, message) in [("Request", input), ("Answer", output)] {
                let fields = if message.fields().len() == 0 { ": empty" } else { "" };
                let _ = writeln!(self.text, "**{what}** `{}`{fields}\n", message.name());
                self.said(&message.parent_file(), message.path());
                self.fields(&message);
            }
        }
        if !absent.is_empty() {
            let names: Vec<_> = absent.iter().map(|method| format!("`{}`", method.name())).collect();
            let _ = writeln!(self.text, "Not served: {}.\n", names.join(", "));
        }
    }

    fn message(&mut self, message: &MessageDescriptor) {
        let heading = self.heading(message.full_name(), message.package_name());
        let _ = writeln!(self.text, "### {heading}\n");
        self.said(&message.parent_file(), message.path());
        self.fields(message);
    }

    fn choices(&mut self, kind: &EnumDescriptor) {
        let heading = self.heading(kind.full_name(), kind.package_name());
        let _ = writeln!(self.text, "### {heading}\n");
        self.said(&kind.parent_file(), kind.path());
        self.text.push_str("| value | number | |\n|---|---|---|\n");
        for value in kind.values() {
            let what = comment(&kind.parent_file(), value.path()).unwrap_or_default();
            let _ = writeln!(
                self.text,
                "| `{}` | {} | {} |",
                value.name(),
                value.number(),
                plain(&what)
            );
        }
        self.text.push('\n');
    }

    fn heading(&self, full_name: &str, package: &str) -> String {
        let short = full_name
            .strip_prefix(package)
            .unwrap_or(full_name)
            .trim_start_matches('.');
        if self.name == TYPES {
            full_name.into()
        } else {
            short.into()
        }
    }
}

/// Requests, answers and messages stand beside their methods; these are the others.
fn beside_methods(pool: &DescriptorPool) -> BTreeSet<String> {
    let methods = pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>());
    let ends = methods.flat_map(|method| [method.input(), method.output()]);
    ends.map(|message| message.full_name().to_owned()).collect()
}

/// Messages and enums that somebody meets who starts at what is served.
fn reachable(pool: &DescriptorPool, served: &Served) -> BTreeSet<String> {
    let methods = pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>());
    let mut ahead: Vec<MessageDescriptor> = methods
        .filter(|method| served.has(method))
        .flat_map(|method| [method.input(), method.output()])
        .chain(
            pool.all_messages()
                .filter(|message| message.package_name().starts_with("trainyard.")),
        )
        // What stands inside an `Any`: accounts, keys, permissions, allowances.
        .chain(IN_ANY.iter().map(|name| pool.get_message_by_name(name).expect(name)))
        .collect();
    let mut seen = BTreeSet::new();
    while let Some(message) = ahead.pop() {
        if !seen.insert(message.full_name().to_owned()) {
            continue;
        }
        for field in message.fields() {
            match field.kind() {
                Kind::Message(inner) => ahead.push(inner),
                Kind::Enum(kind) => drop(seen.insert(kind.full_name().to_owned())),
                _ => {}
            }
        }
    }
    seen
}

/// What the chain puts into an `Any`, or reads from one.
const IN_ANY: &[&str] = &[
    "cosmos.auth.v1beta1.BaseAccount",
    "cosmos.auth.v1beta1.ModuleAccount",
    "cosmos.authz.v1beta1.GenericAuthorization",
    "cosmos.bank.v1beta1.SendAuthorization",
    "cosmos.crypto.ed25519.PubKey",
    "cosmos.crypto.multisig.LegacyAminoPubKey",
    "cosmos.crypto.secp256k1.PubKey",
    "cosmos.feegrant.v1beta1.AllowedMsgAllowance",
    "cosmos.feegrant.v1beta1.BasicAllowance",
    "cosmos.feegrant.v1beta1.PeriodicAllowance",
    "cosmos.gov.v1beta1.TextProposal",
    "cosmos.staking.v1beta1.StakeAuthorization",
    "cosmos.tx.v1beta1.Tx",
];

/// All pages by name.
fn pages() -> BTreeMap<String, String> {
    let pool = descriptors().unwrap();
    let served = Served::new();
    let (beside, reachable) = (beside_methods(&pool), reachable(&pool, &served));
    let packages: BTreeSet<String> = pool.files().map(|file| file.package_name().to_owned()).collect();
    let mut pages: BTreeMap<String, Page<'_>> = BTreeMap::new();
    for package in &packages {
        let name = page_of(&pool, package);
        let page = pages.entry(name.clone()).or_insert_with(|| {
            let title = if name == TYPES { "Shared types" } else { package.as_str() };
            let source = if name == TYPES {
                "What the other packages refer to: coins, pages, keys, blocks. The names and numbers are those of the Cosmos SDK \
                 0.50 and of CometBFT 0.38.\n\n"
                    .to_owned()
            } else if package.starts_with("trainyard.") {
                String::new()
            } else {
                "The interface of the Cosmos SDK 0.50. What differs in meaning stands in \
                 [Beside the Cosmos SDK](../cosmos-sdk.md).\n\n"
                    .to_owned()
            };
            let text = format!("<!-- Made from the .proto files by `{RENEW}`. -->\n\n# {title}\n\n{source}");
            Page { pool: &pool, name, text }
        });
        for service in pool.services().filter(|service| service.package_name() == package) {
            page.service(&service, &served);
        }
        let wanted = |name: &str| reachable.contains(name) && !foreign(name);
        let messages: Vec<_> = pool
            .all_messages()
            .filter(|message| message.package_name() == package && !message.is_map_entry())
            .filter(|message| wanted(message.full_name()) && !beside.contains(message.full_name()))
            .collect();
        let enums: Vec<_> = pool
            .all_enums()
            .filter(|kind| kind.package_name() == package && wanted(kind.full_name()))
            .collect();
        if page.name != TYPES && !(messages.is_empty() && enums.is_empty()) {
            page.text.push_str("## Types\n\n");
        }
        for message in messages {
            page.message(&message);
        }
        for kind in enums {
            page.choices(&kind);
        }
    }
    pages.into_iter().map(|(name, page)| (name, page.text)).collect()
}

/// Every path in one table, and how the pages are to be read.
fn index(pages: &BTreeMap<String, String>) -> String {
    let pool = descriptors().unwrap();
    let served = Served::new();
    let mut text = format!("<!-- Made from the .proto files by `{RENEW}`. -->\n\n");
    text.push_str(include_str!("reference.md"));
    text.push_str("\n## Packages\n\n");
    for name in pages.keys() {
        let _ = writeln!(text, "- [{name}]({name}.md)");
    }
    text.push_str("\n## Paths of REST\n\n| | path | method |\n|---|---|---|\n");
    let mut rows = Vec::new();
    for service in pool.services() {
        for method in service
            .methods()
            .filter(|method| served.queries.contains(grpc_path(method).as_str()))
        {
            let route = Route::of(&method);
            let verb = if route.post { "POST" } else { "GET" };
            let anchor = book::anchor(&format!("{}.{}", service.name(), method.name()));
            let page = page_of(&pool, service.package_name());
            let name = format!("{}/{}", service.full_name(), method.name());
            rows.push(format!(
                "| {verb} | `{}` | [{name}]({page}.md#{anchor}) |\n",
                route.path
            ));
        }
    }
    rows.sort();
    text.extend(rows);
    text
}

#[test]
fn the_reference_of_the_api_is_what_the_chain_serves() {
    let mut pages = pages();
    let index = index(&pages);
    pages.insert("README".into(), index);
    for (name, text) in &pages {
        let text = text.trim_end().to_owned() + "\n";
        book::expect(&format!("reference/{name}.md"), &text, RENEW);
    }
}

/// A reader of our own packages finds what every method, field and value is for.
#[test]
fn everything_of_ours_has_a_comment() {
    let pool = descriptors().unwrap();
    let mut silent = Vec::new();
    let mut look = |file: &FileDescriptor, path: &[i32], name: &str| {
        if comment(file, path).is_none() {
            silent.push(name.to_owned());
        }
    };
    let own = |package: &str| package.starts_with("trainyard.");
    for service in pool.services().filter(|service| own(service.package_name())) {
        // A message's own comment says what sending it does.
        for method in service.methods().filter(|_| service.name() == "Query") {
            look(&service.parent_file(), method.path(), method.full_name());
        }
    }
    let beside = beside_methods(&pool);
    for message in pool.all_messages().filter(|message| own(message.package_name())) {
        let file = message.parent_file();
        let request = message.name().ends_with("Request") || message.name().ends_with("Response");
        if !(request && beside.contains(message.full_name())) {
            look(&file, message.path(), message.full_name());
        }
        for field in message.fields() {
            // Its type says it.
            let paging = matches!(field.kind(), Kind::Message(kind) if kind.full_name().ends_with(".PageRequest")
                || kind.full_name().ends_with(".PageResponse"));
            if !paging {
                look(&file, field.path(), field.full_name());
            }
        }
    }
    for kind in pool.all_enums().filter(|kind| own(kind.package_name())) {
        look(&kind.parent_file(), kind.path(), kind.full_name());
        for value in kind.values().filter(|value| value.number() != 0) {
            look(&kind.parent_file(), value.path(), value.full_name());
        }
    }
    assert!(
        silent.is_empty(),
        "without a comment in their .proto file:\n{}",
        silent.join("\n")
    );
}

/// `docs/src/cosmos-sdk.md` names every message of the SDK that the chain takes, and none of those that it does not as taken.
#[test]
fn the_page_beside_the_sdk_is_true_of_messages() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/cosmos-sdk.md")).unwrap();
    let served = Served::new();
    let sections: BTreeMap<&str, &str> = page
        .split("\n## ")
        .filter_map(|section| section.split_once('\n'))
        .collect();
    let mut checked = 0;
    for name in served.messages.iter().filter(|name| name.starts_with("cosmos.")) {
        let parts: Vec<_> = name.split('.').collect();
        let (module, message) = (format!("x/{}", parts[1]), parts[parts.len() - 1]);
        let (_, text) = sections
            .iter()
            .find(|(title, _)| title.split([' ', ',']).any(|word| word == module))
            .expect(&module);
        let same = text.split("Differs").next().unwrap_or_default();
        assert!(
            same.contains(&format!("`{message}`")),
            "{message} is not in the section of {module}"
        );
        checked += 1;
    }
    assert!(checked > 30, "{checked}");
    let messages: BTreeSet<&str> = served
        .messages
        .iter()
        .filter_map(|name| name.rsplit('.').next())
        .collect();
    for absent in page.split("Absent: ").skip(1) {
        let sentence = absent.split(".\n").next().unwrap_or_default();
        for name in sentence.split('`').skip(1).step_by(2) {
            assert!(!messages.contains(name), "{name} is not absent");
        }
    }
}
