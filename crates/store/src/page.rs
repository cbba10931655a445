//! Pages of lists, and who sees what.

use jb_model::TeamId;

use crate::sql::id_list;

/// A window on a list ordered by id, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Oldest id wanted, inclusive. Alone, it asks for the `limit` entries from there on upwards.
    pub from: Option<i64>,
    /// Newest id wanted, inclusive.
    pub to: Option<i64>,
    /// At most [`Page::MAX_LIMIT`]; more is cut down to it.
    pub limit: u32,
}

impl Page {
    /// Most entries one page may have.
    pub const MAX_LIMIT: u32 = 5_000;

    /// The newest `limit` entries.
    pub const fn newest(limit: u32) -> Self {
        Self { from: None, to: None, limit }
    }

    pub(crate) fn rows(self) -> i64 {
        i64::from(self.limit.min(Self::MAX_LIMIT))
    }

    /// True when the page is counted from its oldest entry upwards.
    pub(crate) const fn upwards(self) -> bool {
        self.from.is_some() && self.to.is_none()
    }
}

/// One page, newest first, and where the neighbours are.
#[derive(Clone, Debug, PartialEq)]
pub struct Paged<T> {
    pub items: Vec<T>,
    /// `to` of the next older page.
    pub older: Option<i64>,
    /// `from` of the next newer page.
    pub newer: Option<i64>,
}

/// Which teams' rows someone may see in lists over all teams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visible {
    All,
    /// What belongs to these teams, and what is in public pipelines of any team.
    TeamsAndPublic(Vec<TeamId>),
}

/// Whether everything is visible, and the list of teams for statements that filter by team.
pub(crate) fn visible_args(visible: &Visible) -> (bool, String) {
    match visible {
        Visible::All => (true, id_list([])),
        Visible::TeamsAndPublic(teams) => (false, id_list(teams.iter().map(|team| team.0))),
    }
}
