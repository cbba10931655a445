//! Artifacts that `fly execute` uploads and downloads: gzip outside, plain tar inside.

use std::io;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::TryStreamExt as _;
use jb_model::ArtifactId;
use jb_runtime::ByteStream;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::io::{ReaderStream, StreamReader};

use super::present;
use crate::call::{Call, store_failure};
use crate::gzip;
use crate::reply::{BAD_REQUEST, Failure, NOT_FOUND, Result, json, respond};

/// Takes an archive. It is unpacked as it comes, and its size is bounded by the runtime's own limits.
pub(super) async fn create(mut call: Call) -> Result<Response> {
    let team = call.team().await?;
    let body = call.take_body();
    let packed = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
    let tar: ByteStream = Box::new(gzip::unpack(packed));
    let volume =
        call.state.engine().upload_artifact(team.id, tar).await.map_err(|error| {
            Failure::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
        })?;
    let now = call.state.now();
    let artifact = call.store().create_artifact(team.id, None, "", &volume, now).await;
    let artifact = artifact.map_err(store_failure)?;
    Ok(json(StatusCode::CREATED, &present::artifact(&artifact)))
}

pub(super) async fn get(call: Call) -> Result<Response> {
    let team = call.team().await?;
    let id = call.param("artifact_id").parse().map_err(|_| BAD_REQUEST)?;
    let artifact = call.store().artifact(ArtifactId(id)).await.map_err(store_failure)?;
    let artifact = artifact.filter(|artifact| artifact.team_id == team.id).ok_or(NOT_FOUND)?;
    let tar = call.state.engine().artifact_stream(&artifact.volume).await;
    let packed = gzip::pack(tar.map_err(Failure::internal)?);
    let body = Body::from_stream(ReaderStream::new(first_read(packed).await?));
    Ok(respond(StatusCode::OK, "application/octet-stream", body))
}

/// Reads the first bytes before the answer begins, so that a volume that is gone is no 200.
async fn first_read(mut stream: impl AsyncRead + Send + Unpin) -> Result<impl AsyncRead + Send> {
    let mut first = vec![0; 4096];
    let length = stream.read(&mut first).await.map_err(Failure::internal)?;
    first.truncate(length);
    Ok(io::Cursor::new(first).chain(stream))
}
