//! Why a plan cannot be made or walked.

use jb_model::PlanId;

/// Why a plan cannot be made or walked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error(
        "the plan has more than {limit} steps; split the job or shorten `across` and `attempts`"
    )]
    TooManySteps { limit: usize },
    #[error("the plan nests steps more than {limit} deep")]
    TooDeep { limit: usize },
    #[error("the plan uses the id `{0}` twice")]
    DuplicateId(PlanId),
    #[error("the `across` step `{0}` has no vars")]
    AcrossWithoutVars(PlanId),
    #[error("resource types of resource types go more than {limit} deep at type `{kind}`")]
    TypesTooDeep { limit: usize, kind: String },
    #[error("unknown resource `{0}`")]
    UnknownResource(String),
    #[error("unknown prototype `{0}`")]
    UnknownPrototype(String),
    #[error("no version is known for the input `{0}`")]
    VersionNotProvided(String),
}
