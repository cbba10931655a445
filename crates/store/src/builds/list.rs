//! Pages of builds.

use jb_model::{JobId, PipelineId, TeamId};

use super::{BuildRecord, build_records};
use crate::page::visible_args;
use crate::sql::{Arg, args};
use crate::{Page, Paged, Result, Store, Visible};

/// The statements of one kind of list. `$1` and `$2` bound it, `$3` is its limit, the rest narrows it.
struct BuildList {
    down: &'static str,
    up: &'static str,
    between: &'static str,
    older: &'static str,
    newer: &'static str,
}

/// Checks that the server makes by itself are in no list; they are only read by id.
macro_rules! asked_for {
    () => {
        "(b.resource_id IS NULL OR b.manual = 1) AND "
    };
}

macro_rules! build_list {
    ($order:literal, $narrow:literal, $neighbour:literal) => {
        BuildList {
            down: select_builds!(
                "WHERE b.id >= $1 AND b.id <= $2 AND ",
                asked_for!(),
                $narrow,
                " ORDER BY ",
                $order,
                " LIMIT $3"
            ),
            up: select_builds!(
                "WHERE b.id >= $1 AND b.id <= $2 AND ",
                asked_for!(),
                $narrow,
                " ORDER BY b.id LIMIT $3"
            ),
            between: select_builds!(
                "WHERE b.start_time >= $1 AND b.start_time <= $2 AND ",
                asked_for!(),
                $narrow,
                " ORDER BY ",
                $order,
                " LIMIT $3"
            ),
            older: concat!(
                "SELECT max(b.id) AS id FROM builds b LEFT JOIN pipelines p ON p.id = b.pipeline_id
                 WHERE b.id < $1 AND ",
                asked_for!(),
                $neighbour
            ),
            newer: concat!(
                "SELECT min(b.id) AS id FROM builds b LEFT JOIN pipelines p ON p.id = b.pipeline_id
                 WHERE b.id > $1 AND ",
                asked_for!(),
                $neighbour
            ),
        }
    };
}

const ALL: BuildList = build_list!(
    "b.id DESC",
    "($4 = 1 OR p.public = 1 OR b.team_id IN (SELECT value FROM json_each($5)))",
    "($2 = 1 OR p.public = 1 OR b.team_id IN (SELECT value FROM json_each($3)))"
);
const TEAM: BuildList = build_list!("b.id DESC", "b.team_id = $4", "b.team_id = $2");
const PIPELINE: BuildList = build_list!("b.id DESC", "b.pipeline_id = $4", "b.pipeline_id = $2");
const JOB: BuildList = build_list!("b.sort_id DESC, b.id DESC", "b.job_id = $4", "b.job_id = $2");

/// What the bounds of a page count.
#[derive(Clone, Copy)]
enum Window {
    Ids,
    Seconds,
}

impl Store {
    /// Builds of all teams as far as visible.
    pub async fn all_builds(&self, visible: &Visible, page: Page) -> Result<Paged<BuildRecord>> {
        let (all, teams) = visible_args(visible);
        self.build_page(&ALL, args![all, teams], page, Window::Ids).await
    }

    /// As [`Store::all_builds`], for builds started from the instant `page.from` to the instant `page.to`,
    /// in seconds since the epoch.
    pub async fn all_builds_between(
        &self,
        visible: &Visible,
        page: Page,
    ) -> Result<Paged<BuildRecord>> {
        let (all, teams) = visible_args(visible);
        self.build_page(&ALL, args![all, teams], page, Window::Seconds).await
    }

    pub async fn team_builds(&self, team: TeamId, page: Page) -> Result<Paged<BuildRecord>> {
        self.build_page(&TEAM, args![team], page, Window::Ids).await
    }

    /// As [`Store::team_builds`], for builds started from the instant `page.from` to the instant `page.to`,
    /// in seconds since the epoch.
    pub async fn team_builds_between(
        &self,
        team: TeamId,
        page: Page,
    ) -> Result<Paged<BuildRecord>> {
        self.build_page(&TEAM, args![team], page, Window::Seconds).await
    }

    pub async fn pipeline_builds(
        &self,
        pipeline: PipelineId,
        page: Page,
    ) -> Result<Paged<BuildRecord>> {
        self.build_page(&PIPELINE, args![pipeline], page, Window::Ids).await
    }

    /// As [`Store::pipeline_builds`], for builds started from the instant `page.from` to the instant `page.to`,
    /// in seconds since the epoch.
    pub async fn pipeline_builds_between(
        &self,
        pipeline: PipelineId,
        page: Page,
    ) -> Result<Paged<BuildRecord>> {
        self.build_page(&PIPELINE, args![pipeline], page, Window::Seconds).await
    }

    /// A job's builds; reruns stand with their original.
    pub async fn job_builds(&self, job: JobId, page: Page) -> Result<Paged<BuildRecord>> {
        self.build_page(&JOB, args![job], page, Window::Ids).await
    }

    /// As [`Store::job_builds`], for builds started from the instant `page.from` to the instant `page.to`,
    /// in seconds since the epoch.
    pub async fn job_builds_between(&self, job: JobId, page: Page) -> Result<Paged<BuildRecord>> {
        self.build_page(&JOB, args![job], page, Window::Seconds).await
    }
}

impl Store {
    async fn build_page(
        &self,
        list: &BuildList,
        narrow: &[Arg<'_>],
        page: Page,
        window: Window,
    ) -> Result<Paged<BuildRecord>> {
        let seconds = |bound: i64| bound.saturating_mul(1_000_000);
        let (sql, from, to) = match window {
            Window::Ids if page.upwards() => (list.up, page.from, page.to),
            Window::Ids => (list.down, page.from, page.to),
            Window::Seconds => (list.between, page.from.map(seconds), page.to.map(seconds)),
        };
        let bounds = args![from.unwrap_or(0), to.unwrap_or(i64::MAX), page.rows()];
        let bound: Vec<Arg<'_>> = bounds.iter().chain(narrow).cloned().collect();
        let mut items = build_records(&self.rows(sql, &bound).await?)?;
        if matches!(window, Window::Ids) && page.upwards() {
            items.reverse();
        }
        let ids = || items.iter().map(|build| build.id.0);
        let (Some(oldest), Some(newest)) = (ids().min(), ids().max()) else {
            return Ok(Paged { items, older: None, newer: None });
        };
        let older = self.neighbour(list.older, oldest, narrow).await?;
        let newer = self.neighbour(list.newer, newest, narrow).await?;
        Ok(Paged { items, older, newer })
    }

    async fn neighbour(
        &self,
        sql: &'static str,
        of: i64,
        narrow: &[Arg<'_>],
    ) -> Result<Option<i64>> {
        let bound: Vec<Arg<'_>> =
            std::iter::once(Arg::from(of)).chain(narrow.iter().cloned()).collect();
        match self.row(sql, &bound).await? {
            Some(row) => row.opt_int("id"),
            None => Ok(None),
        }
    }
}
