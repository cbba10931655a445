//! Tokens, the way of a browser, cookies and CSRF.

use axum::http::StatusCode;
use serde_json::json;

use crate::server::Server;

const GRANT: &[(&str, &str)] = &[
    ("grant_type", "password"),
    ("username", "test"),
    ("password", "test"),
    ("scope", "openid profile email federated:id groups"),
];

#[tokio::test]
async fn fly_gets_a_token_for_a_password() {
    let server = Server::new().await;
    let answer = server
        .post("/sky/issuer/token")
        .header("Authorization", "Basic Zmx5OlpteDU=")
        .form(GRANT)
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let granted = answer.json();
    assert_eq!(granted["token_type"], "bearer");
    assert_eq!(granted["expires_in"], 86400);
    let token = granted["access_token"].as_str().unwrap();
    let user = server.get("/api/v1/user").token(token).send().await;
    assert_eq!(
        user.text(),
        "{\"sub\":\"CgR0ZXN0EgVsb2NhbA\",\"name\":\"test\",\"user_id\":\"test\",\"user_name\":\"\",\"email\":\"test\",\"is_admin\":true,\"is_system\":false,\"teams\":{\"main\":[\"owner\"]},\"connector\":\"local\",\"display_user_id\":\"test\"}\n"
    );
    assert_eq!(user.header("x-concourse-version"), "8.2.5");
}

#[tokio::test]
async fn the_client_may_name_itself_in_the_form() {
    let server = Server::new().await;
    let fields = [GRANT, &[("client_id", "fly"), ("client_secret", "Zmx5")]].concat();
    let answer = server.post("/sky/issuer/token").form(&fields).send().await;
    assert_eq!(answer.status, StatusCode::OK);
    let fields = [GRANT, &[("client_id", "fly"), ("client_secret", "nope")]].concat();
    let answer = server.post("/sky/issuer/token").form(&fields).send().await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.json()["error"], "invalid_client");
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_many_of_them_have_to_wait() {
    let server = Server::new().await;
    let attempt = |name: &'static str, password: &'static str| {
        server.post("/sky/issuer/token").header("Authorization", "Basic Zmx5OlpteDU=").form(&[
            ("grant_type", "password"),
            ("username", name),
            ("password", password),
            ("scope", "openid"),
        ])
    };
    for _ in 0..10 {
        let answer = attempt("guest", "wrong").send().await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(
            answer.json(),
            json!({"error": "access_denied", "error_description": "Invalid username or password"})
        );
    }
    let answer = attempt("guest", "guest").send().await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.header("retry-after"), "6");
    assert_eq!(attempt("test", "test").send().await.status, StatusCode::OK);
    server.pass(6);
    assert_eq!(attempt("guest", "guest").send().await.status, StatusCode::OK);
}

#[tokio::test]
async fn tokens_end() {
    let server = Server::new().await;
    let token = server.login("test").await;
    server.pass(24 * 60 * 60 - 1);
    let status = |token: &str| server.get("/api/v1/user").token(token);
    assert_eq!(status(&token).send().await.status, StatusCode::OK);
    server.pass(2);
    let late = status(&token).send().await;
    assert_eq!((late.status, late.text().as_str()), (StatusCode::UNAUTHORIZED, "not authorized"));
    assert_eq!(status("made-up").send().await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(server.get("/api/v1/user").send().await.status, StatusCode::UNAUTHORIZED);
    // A token that is sent must be good even where none is needed.
    assert_eq!(server.get("/api/v1/info").send().await.status, StatusCode::OK);
    let info = server.get("/api/v1/info").token("made-up").send().await;
    assert_eq!(info.status, StatusCode::UNAUTHORIZED);
}

/// Follows the form of `target` to the end; the cookies and where it led.
async fn browse(server: &Server, target: &str) -> (String, String) {
    let begun = server.get(&format!("/sky/login?redirect_uri={target}")).send().await;
    assert_eq!(begun.status, StatusCode::TEMPORARY_REDIRECT);
    let state_cookie = begun.cookies();
    let form = server.get(begun.header("location")).cookie(&state_cookie).send().await;
    assert_eq!(form.status, StatusCode::OK);
    let page = form.text();
    for part in ["lang=\"en\"", "<label for=\"login\">", "<label for=\"password\">"] {
        assert!(page.contains(part), "{page}");
    }
    let state = page.split("name=\"state\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let wrong = server
        .post("/sky/issuer/auth")
        .cookie(&state_cookie)
        .form(&[("state", state), ("login", "test"), ("password", "wrong")])
        .send()
        .await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(wrong.text().contains("role=\"alert\""));
    let right = [("state", state), ("login", "test"), ("password", "test")];
    // Another browser cannot use the state, so no other site can log someone in.
    let foreign = server.post("/sky/issuer/auth").form(&right).send().await;
    assert_eq!(foreign.status, StatusCode::BAD_REQUEST);
    let passed = server.post("/sky/issuer/auth").cookie(&state_cookie).form(&right).send().await;
    assert_eq!(passed.status, StatusCode::SEE_OTHER);
    let callback = passed.header("location");
    let foreign = server.get(callback).send().await;
    assert_eq!(foreign.status, StatusCode::BAD_REQUEST);
    let entered = server.get(callback).cookie(&state_cookie).send().await;
    assert_eq!(entered.status, StatusCode::TEMPORARY_REDIRECT);
    for cookie in entered.headers.get_all("set-cookie") {
        let cookie = cookie.to_str().unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    }
    (entered.cookies(), entered.header("location").to_owned())
}

#[tokio::test]
async fn a_browser_logs_in_for_fly() {
    let server = Server::new().await;
    let legacy = server.get("/login?fly_port=4711").send().await;
    assert_eq!(legacy.status, StatusCode::FOUND);
    assert_eq!(legacy.header("location"), "/sky/login?redirect_uri=/fly_success%3Ffly_port=4711");
    let (cookies, location) = browse(&server, "/fly_success%3Ffly_port=4711").await;
    assert!(location.starts_with("/fly_success?csrf_token="), "{location}");
    assert!(location.ends_with("&fly_port=4711"), "{location}");
    let page = server.get(&location).cookie(&cookies).send().await.text();
    assert!(page.contains("http://127.0.0.1:4711/?token=bearer+"), "{page}");
    // A cookie that is still good needs no form.
    let again = server.get("/sky/login?redirect_uri=/teams/main").cookie(&cookies).send().await;
    assert_eq!(again.status, StatusCode::TEMPORARY_REDIRECT);
    assert!(again.header("location").starts_with("/teams/main?csrf_token="));
    // Only ports of this machine get the token.
    let page = server.get("/fly_success?fly_port=@evil.example").cookie(&cookies).send().await;
    assert!(!page.text().contains("evil"), "{}", page.text());
    let noop = server.get("/fly_success?noop=true").send().await;
    assert!(noop.text().contains("You can close this page"));
}

#[tokio::test]
async fn cookies_count_as_tokens_and_writing_needs_the_csrf_token() {
    let server = Server::new().await;
    let (cookies, location) = browse(&server, "/").await;
    let csrf = location.split("csrf_token=").nth(1).unwrap();
    assert_eq!(server.get("/api/v1/user").cookie(&cookies).send().await.status, StatusCode::OK);
    let wall = json!({"message": "hello"});
    let write = || server.put("/api/v1/wall").cookie(&cookies).json(&wall);
    let refused = write().send().await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(refused.cookies().contains("skymarshal_auth=;"), "{}", refused.cookies());
    let wrong = write().header("X-Csrf-Token", "guess").send().await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    let right = write().header("X-Csrf-Token", csrf).send().await;
    assert_eq!((right.status, right.text()), (StatusCode::OK, String::new()));
    // A token in a header is not sent by a browser by itself.
    let token = server.login("test").await;
    let bearer = server.put("/api/v1/wall").token(&token).json(&wall).send().await;
    assert_eq!(bearer.status, StatusCode::OK);
    assert_eq!(server.get("/sky/logout").send().await.status, StatusCode::UNAUTHORIZED);
    let out = server.get("/sky/logout").cookie(&cookies).send().await;
    assert_eq!(out.status, StatusCode::OK);
    let gone = server.get("/api/v1/user").cookie(&cookies).send().await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn redirects_stay_here() {
    let server = Server::new().await;
    let (cookies, location) = browse(&server, "https://evil.example/").await;
    assert!(location.starts_with("/https://evil.example/?csrf_token="), "{location}");
    let refused =
        server.get("/sky/login?redirect_uri=/%5Cevil.example").cookie(&cookies).send().await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn every_answer_asks_browsers_to_be_careful() {
    let server = Server::new().await;
    for path in ["/", "/healthz", "/api/v1/info", "/api/v1/nosuch", "/sky/login"] {
        let answer = server.get(path).send().await;
        assert_eq!(answer.header("x-frame-options"), "deny", "{path}");
        assert_eq!(answer.header("content-security-policy"), "frame-ancestors 'none'");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("x-download-options"), "noopen");
        assert_eq!(answer.header("cache-control"), "no-store, private");
    }
    let ready = server.get("/readyz").send().await;
    assert_eq!((ready.status, ready.text().as_str()), (StatusCode::OK, "ok\n"));
    let page = server.get("/").send().await.text();
    assert!(page.contains("<main>") && page.contains("/sky/login"), "{page}");
    let document = server.get("/openapi.json").send().await.json();
    assert_eq!(document["openapi"], "3.1.0");
}
