//! Queries of upgrades, under the SDK's names.

use trainyard_proto::cosmos::upgrade::v1beta1::{
    ModuleVersion, QueryAppliedPlanRequest, QueryAppliedPlanResponse, QueryAuthorityRequest, QueryAuthorityResponse,
    QueryCurrentPlanRequest, QueryCurrentPlanResponse, QueryModuleVersionsRequest, QueryModuleVersionsResponse,
};

use super::{APPLIED, VERSIONS, plan};
use crate::{
    error::{Error, SdkError},
    governed::authority,
    state::State,
};

/// `/cosmos.upgrade.v1beta1.Query/CurrentPlan`: nothing where none is planned.
///
/// # Errors
/// The store failed.
pub fn query_current_plan(
    state: &mut State<'_>,
    _: QueryCurrentPlanRequest,
) -> Result<QueryCurrentPlanResponse, Error> {
    Ok(QueryCurrentPlanResponse { plan: plan(state)? })
}

/// `/cosmos.upgrade.v1beta1.Query/AppliedPlan`: height 0 where it was not carried out.
///
/// # Errors
/// The store failed.
pub fn query_applied_plan(
    state: &mut State<'_>,
    request: QueryAppliedPlanRequest,
) -> Result<QueryAppliedPlanResponse, Error> {
    let height = APPLIED.get(state, &request.name)?.unwrap_or(0);
    Ok(QueryAppliedPlanResponse {
        height: i64::try_from(height).unwrap_or(i64::MAX),
    })
}

/// `/cosmos.upgrade.v1beta1.Query/ModuleVersions`: of all modules, or of one.
///
/// # Errors
/// No such module.
pub fn query_module_versions(
    state: &mut State<'_>,
    request: QueryModuleVersionsRequest,
) -> Result<QueryModuleVersionsResponse, Error> {
    let wanted = request.module_name;
    let all = VERSIONS.all(state)?.into_iter();
    let module_versions: Vec<_> = all
        .filter(|(name, _)| wanted.is_empty() || *name == wanted)
        .map(|(name, version)| ModuleVersion { name, version })
        .collect();
    if module_versions.is_empty() {
        let shown: String = wanted.chars().take(100).collect();
        return Err(SdkError::NotFound(format!("module {shown:?} not found")).into());
    }
    Ok(QueryModuleVersionsResponse { module_versions })
}

/// `/cosmos.upgrade.v1beta1.Query/Authority`: governance.
///
/// # Errors
/// None.
pub fn query_authority(_: &mut State<'_>, _: QueryAuthorityRequest) -> Result<QueryAuthorityResponse, Error> {
    Ok(QueryAuthorityResponse {
        address: authority().to_string(),
    })
}
