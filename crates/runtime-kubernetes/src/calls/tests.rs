#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

#[test]
fn requests_have_the_verbs_and_resources_of_roles() {
    let pods = "/api/v1/namespaces/ci/pods";
    let policies = "/apis/networking.k8s.io/v1/namespaces/ci/networkpolicies";
    for (method, uri, verb, resource) in [
        (Method::POST, format!("{pods}?"), "create", "pods"),
        (Method::POST, format!("{pods}?&dryRun=All"), "create", "pods"),
        (Method::GET, format!("{pods}/a?"), "get", "pods"),
        (Method::GET, format!("{pods}?&labelSelector=a%3Db"), "list", "pods"),
        (Method::GET, format!("{pods}?&watch=true&resourceVersion=3"), "watch", "pods"),
        (Method::DELETE, format!("{pods}/a?"), "delete", "pods"),
        (Method::GET, format!("{pods}/a/exec?command=true"), "create", "pods/exec"),
        (Method::GET, format!("{pods}/a/portforward?ports=1"), "create", "pods/portforward"),
        (Method::PATCH, format!("{policies}/a?"), "patch", "networkpolicies"),
        (Method::GET, "/api/v1/namespaces/ci/secrets/a".to_owned(), "get", "other"),
        (Method::GET, "/version".to_owned(), "list", "other"),
    ] {
        let asked = asked(&method, &uri.parse().unwrap());
        assert_eq!(asked, (verb, resource), "{method} {uri}");
    }
}
