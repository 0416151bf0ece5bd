//! The file that cosmovisor waits for.

use serde_json::json;
use trainyard_modules::upgrade::{Plan, Refusal};

use super::error::Error;
use super::home::Home;

/// Where the file lies in a home's data folder.
const FILE: &str = "upgrade-info.json";

/// Writes down which program is needed and says so. When the file cannot be written, that is the error.
pub(super) fn needed(home: &Home, plan: &Plan) -> Error {
    let info = json!({
        "name": plan.name,
        // Plans have a height and no time, which Go writes like this.
        "time": "0001-01-01T00:00:00Z",
        "height": plan.height,
        "info": plan.info,
    });
    match super::write(home.data().join(FILE), &info.to_string()) {
        Ok(()) => Error::UpgradeNeeded {
            needed: Refusal::Needed(plan.clone().into()),
        },
        Err(error) => error,
    }
}
