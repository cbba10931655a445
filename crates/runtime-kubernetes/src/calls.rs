//! Counts every call to the API server, by what it asks for.

use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::future::BoxFuture;
use http::{Method, Request, Response, Uri};
use jb_metrics::{Call, Calls};
use tower::{Layer, Service};

/// Stands around the client's connections.
#[derive(Clone, Debug)]
pub(crate) struct Counting(pub(crate) Calls);

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, calls: self.0.clone() }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    inner: S,
    calls: Calls,
}

impl<S, A, B> Service<Request<A>> for Counted<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (verb, resource) = asked(request.method(), request.uri());
        let (calls, begin) = (self.calls.clone(), Instant::now());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map(|answer| answer.status().as_str().to_owned());
            let code = code.as_deref().unwrap_or("none");
            calls.made(&Call { verb, resource, code }, begin.elapsed());
            answer
        })
    }
}

/// What this crate asks for; all else is `other`.
const RESOURCES: &[&str] = &[
    "events",
    "networkpolicies",
    "persistentvolumeclaims",
    "pods",
    "pods/exec",
    "pods/log",
    "pods/portforward",
];

/// The verb and resource of a request, as a Role names them. Those that become streams are `create`, by whichever method they are made.
fn asked(method: &Method, uri: &Uri) -> (&'static str, &'static str) {
    // /api/v1/namespaces/<namespace>/<resource>[/<name>[/<subresource>]]
    let after = uri.path().split_once("/namespaces/").map_or("", |(_, after)| after);
    let mut parts = after.split('/').skip(1).filter(|part| !part.is_empty());
    let (resource, name, sub) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let found = RESOURCES.iter().find(|known| match (known.split_once('/'), sub) {
        (Some((of, part)), Some(sub)) => of == resource && part == sub,
        (None, None) => **known == resource,
        _ => false,
    });
    let is_watch = uri.query().is_some_and(|query| query.contains("watch=true"));
    let verb = match *method {
        _ if matches!(sub, Some("exec" | "portforward")) => "create",
        Method::GET if name.is_some() => "get",
        Method::GET if is_watch => "watch",
        Method::GET => "list",
        Method::POST => "create",
        Method::PATCH => "patch",
        Method::PUT => "update",
        Method::DELETE if name.is_some() => "delete",
        Method::DELETE => "deletecollection",
        _ => "other",
    };
    (verb, found.copied().unwrap_or("other"))
}

#[cfg(test)]
mod tests;
