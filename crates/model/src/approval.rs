//! The approval step as the language means it: what people are asked, who may answer, and what their answers come to.

/// A step that waits for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApproveStep {
    pub name: String,
    /// What is asked, with `((vars))` until the step runs. Empty asks by the step's name alone.
    pub message: String,
    /// Artifacts to look at before answering.
    pub artifacts: Vec<String>,
    pub approvers: Approvers,
    /// How many people have to approve; 0 means one.
    pub quorum: u32,
}

/// The plan of an approval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovePlan {
    pub step: ApproveStep,
    /// A duration as written; empty waits as long as it takes.
    pub timeout: String,
}

/// Who may answer: whoever has one of the roles on the build's team, is one of the users, or is in one of the groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approvers {
    /// Names of roles; a higher role includes the lower ones.
    pub roles: Vec<String>,
    /// Each as `connector:name`.
    pub users: Vec<String>,
    /// Each as `connector:name`.
    pub groups: Vec<String>,
}

impl Approvers {
    /// The role that may answer when nobody is named.
    pub const DEFAULT_ROLE: &'static str = "member";

    /// With the default where nobody is named.
    #[must_use]
    pub fn or_default(mut self) -> Self {
        if self.roles.is_empty() && self.users.is_empty() && self.groups.is_empty() {
            self.roles.push(Self::DEFAULT_ROLE.to_owned());
        }
        self
    }
}

impl std::fmt::Display for Approvers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lists = [("role", &self.roles), ("user", &self.users), ("group", &self.groups)];
        let lists = lists.iter().filter(|(_, names)| !names.is_empty());
        let lists: Vec<String> =
            lists.map(|(kind, names)| format!("{kind} {}", names.join(", "))).collect();
        f.write_str(&lists.join(" or "))
    }
}

/// Where an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApprovalStatus {
    Waiting,
    Approved,
    Rejected,
    /// Its time was up.
    Expired,
    /// The build was stopped before it was decided.
    Withdrawn,
}

impl ApprovalStatus {
    pub const ALL: [Self; 5] =
        [Self::Waiting, Self::Approved, Self::Rejected, Self::Expired, Self::Withdrawn];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// What the answers come to; true are approvals. One rejection decides, however many approve.
pub fn decide(quorum: u32, answers: impl IntoIterator<Item = bool>) -> ApprovalStatus {
    let mut approvals = 0;
    for approves in answers {
        if !approves {
            return ApprovalStatus::Rejected;
        }
        approvals += 1;
    }
    if approvals >= quorum.max(1) { ApprovalStatus::Approved } else { ApprovalStatus::Waiting }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_approves_and_one_rejection_rejects() {
        use ApprovalStatus::{Approved, Rejected, Waiting};
        for (quorum, answers, expected) in [
            (0, &[][..], Waiting),
            (0, &[true], Approved),
            (1, &[true], Approved),
            (2, &[true], Waiting),
            (2, &[true, true], Approved),
            (2, &[true, false], Rejected),
            (1, &[false], Rejected),
        ] {
            assert_eq!(decide(quorum, answers.iter().copied()), expected, "{quorum} {answers:?}");
        }
    }
}
