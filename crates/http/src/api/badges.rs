//! Badges: how a job or a pipeline stands, as a picture for other pages.

use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, EXPIRES, HeaderValue};
use axum::response::Response;
use jb_model::BuildStatus;

use crate::call::{Call, store_failure};
use crate::query::encode;
use crate::reply::{Result, redirect, respond};

struct Badge {
    width: usize,
    colour: &'static str,
    status: &'static str,
}

const PASSING: Badge = Badge { width: 88, colour: "#44cc11", status: "passing" };
const FAILING: Badge = Badge { width: 80, colour: "#e05d44", status: "failing" };
const UNKNOWN: Badge = Badge { width: 98, colour: "#9f9f9f", status: "unknown" };
const ABORTED: Badge = Badge { width: 90, colour: "#8f4b2d", status: "aborted" };
const ERRORED: Badge = Badge { width: 88, colour: "#fe7d37", status: "errored" };

/// Width of the left part when it says `build`.
const TITLE_WIDTH: usize = 37;
/// The longest title that is drawn.
const MAX_TITLE: usize = 100;

fn badge(status: Option<BuildStatus>) -> Badge {
    match status {
        Some(BuildStatus::Succeeded) => PASSING,
        Some(BuildStatus::Failed) => FAILING,
        Some(BuildStatus::Aborted) => ABORTED,
        Some(BuildStatus::Errored) => ERRORED,
        Some(BuildStatus::Pending | BuildStatus::Started) | None => UNKNOWN,
    }
}

pub(super) async fn job(call: Call) -> Result<Response> {
    let job = call.job().await?;
    let status = job.finished_build.map(|build| build.status);
    Ok(picture(&call, status))
}

/// The worst of the pipeline's jobs.
pub(super) async fn pipeline(call: Call) -> Result<Response> {
    let pipeline = call.pipeline_id().await?;
    let jobs = call.store().pipeline_jobs(pipeline).await.map_err(store_failure)?;
    let statuses: Vec<_> =
        jobs.iter().filter_map(|job| job.finished_build.as_ref()).map(|b| b.status).collect();
    let worst =
        [BuildStatus::Failed, BuildStatus::Errored, BuildStatus::Aborted, BuildStatus::Succeeded];
    let status = worst.into_iter().find(|status| statuses.contains(status));
    Ok(picture(&call, status))
}

pub(super) fn main_job(call: Call) -> Result<Response> {
    let (pipeline, job) = (call.param("pipeline_name"), call.param("job_name"));
    let query = call.parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!(
        "/api/v1/teams/main/pipelines/{}/jobs/{}/badge{query}",
        encode(pipeline),
        encode(job)
    );
    Ok(redirect(StatusCode::MOVED_PERMANENTLY, &location))
}

fn picture(call: &Call, status: Option<BuildStatus>) -> Response {
    let svg = draw(&badge(status), call.query.get("title"));
    let mut response = respond(StatusCode::OK, "image/svg+xml", svg);
    let headers = response.headers_mut();
    let fresh = HeaderValue::from_static("no-cache, no-store, must-revalidate");
    headers.insert(CACHE_CONTROL, fresh);
    headers.insert(EXPIRES, HeaderValue::from_static("0"));
    response
}

fn draw(badge: &Badge, title: &str) -> String {
    let status_width = badge.width - TITLE_WIDTH;
    let title: String = title.chars().take(MAX_TITLE).collect();
    let (title, title_width, title_x, status_x) = if title.is_empty() {
        let status_x = format!("{:.1}", badge.width as f64 / 2.0 + 17.5);
        ("build".to_owned(), TITLE_WIDTH, "18.5".to_owned(), status_x)
    } else {
        let title = crate::html::escape(&title);
        let padding = match title.len() {
            0..=8 => 12,
            9..=15 => 6,
            _ => 0,
        };
        let width = title.len() * 6 + padding;
        let status_x = width as f64 + status_width as f64 / 2.0;
        (title, width, format!("{:.1}", width as f64 / 2.0), format!("{status_x:.1}"))
    };
    let width = title_width + status_width;
    let Badge { colour, status, .. } = badge;
    [
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>".to_owned(),
        format!("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"20\">"),
        "   <linearGradient id=\"b\" x2=\"0\" y2=\"100%\">".to_owned(),
        "      <stop offset=\"0\" stop-color=\"#bbb\" stop-opacity=\".1\" />".to_owned(),
        "      <stop offset=\"1\" stop-opacity=\".1\" />".to_owned(),
        "   </linearGradient>".to_owned(),
        "   <mask id=\"a\">".to_owned(),
        format!("      <rect width=\"{width}\" height=\"20\" rx=\"3\" fill=\"#fff\" />"),
        "   </mask>".to_owned(),
        "   <g mask=\"url(#a)\">".to_owned(),
        format!("      <path fill=\"#555\" d=\"M0 0h{title_width}v20H0z\" />"),
        format!(
            "      <path fill=\"{colour}\" d=\"M{title_width} 0h{status_width}v20H{title_width}z\" />"
        ),
        format!("      <path fill=\"url(#b)\" d=\"M0 0h{width}v20H0z\" />"),
        "   </g>".to_owned(),
        "   <g fill=\"#fff\" text-anchor=\"middle\" font-family=\"DejaVu Sans,Verdana,Geneva,sans-serif\" font-size=\"11\">".to_owned(),
        format!("      <text x=\"{title_x}\" y=\"15\" fill=\"#010101\" fill-opacity=\".3\">{title}</text>"),
        format!("      <text x=\"{title_x}\" y=\"14\">{title}</text>"),
        format!("      <text x=\"{status_x}\" y=\"15\" fill=\"#010101\" fill-opacity=\".3\">{status}</text>"),
        format!("      <text x=\"{status_x}\" y=\"14\">{status}</text>"),
        "   </g>".to_owned(),
        "</svg>".to_owned(),
    ]
    .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_makes_room_and_is_escaped() {
        let plain = draw(&PASSING, "");
        assert!(plain.contains("width=\"88\"") && plain.contains("x=\"61.5\""), "{plain}");
        let titled = draw(&FAILING, "<b>");
        assert!(titled.contains("&lt;b&gt;") && !titled.contains("<b>"), "{titled}");
        assert!(titled.contains("width=\"103\""), "{titled}");
    }
}
