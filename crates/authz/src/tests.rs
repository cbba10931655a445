#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use super::*;

/// The callers of the matrix, all looking at things of the team `main`.
const COLUMNS: [&str; 10] = [
    "nobody", "invalid", "viewer", "operator", "member", "owner", "other", "teamless", "admin",
    "system",
];

fn actor(column: &str) -> Actor {
    let on = |team: &str, role: Role| Actor {
        token: Token::Valid,
        teams: [(team.to_owned(), vec![role])].into(),
        ..Actor::default()
    };
    match column {
        "nobody" => Actor::default(),
        "invalid" => Actor { token: Token::Invalid, ..Actor::default() },
        "viewer" => on("main", Role::Viewer),
        "operator" => on("main", Role::Operator),
        "member" => on("main", Role::Member),
        "owner" => on("main", Role::Owner),
        "other" => on("elsewhere", Role::Owner),
        "teamless" => Actor { token: Token::Valid, ..Actor::default() },
        "admin" => Actor { admin: true, ..on("admins", Role::Owner) },
        "system" => Actor { token: Token::Valid, system: true, ..Actor::default() },
        other => panic!("no caller {other}"),
    }
}

fn private(guard: Guard) -> Subject<'static> {
    let hidden = PipelineView { public: false, public_job: false };
    match guard {
        Guard::Team => Subject::Team("main"),
        Guard::Pipeline => Subject::Pipeline { team: "main", public: false },
        Guard::BuildRead | Guard::BuildReadPublicJob | Guard::BuildWrite => {
            Subject::Build { team: "main", pipeline: Some(hidden) }
        }
        Guard::Worker => Subject::Worker { team: Some("main") },
        _ => Subject::Nothing,
    }
}

fn mark(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "ok",
        Decision::Unauthorized => "401",
        Decision::Forbidden => "403",
        Decision::NotFound => "404",
    }
}

fn decide(route: &Route, column: &str, subject: Subject<'_>) -> Decision {
    authorize(route, &RoleOverrides::default(), &actor(column), subject)
}

/// Every route with every caller, against the reviewed table in `tests/matrix.txt`.
#[test]
fn the_matrix_is_the_reviewed_one() {
    let mut table = format!("{:<31}", "route");
    for column in COLUMNS {
        table += &format!(" {column:<8}");
    }
    table = table.trim_end().to_owned() + "\n";
    for route in &ROUTES {
        let mut line = format!("{:<31}", route.action.name());
        for column in COLUMNS {
            line += &format!(" {:<8}", mark(decide(route, column, private(route.guard))));
        }
        table += line.trim_end();
        table += "\n";
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/matrix.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap();
    for (line, expected) in table.lines().zip(expected.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(table.lines().count(), expected.lines().count());
}

#[test]
fn the_table_and_the_actions_agree() {
    let names: BTreeSet<&str> = ROUTES.iter().map(|route| route.action.name()).collect();
    assert_eq!(names.len(), 118);
    let places: BTreeSet<(&str, Method)> = ROUTES.iter().map(|r| (r.path, r.method)).collect();
    assert_eq!(places.len(), 118);
    for route in &ROUTES {
        assert_eq!(route.action.route(), route);
        assert_eq!(Action::from_name(route.action.name()), Some(route.action));
    }
    assert_eq!(ROUTES.iter().filter(|route| route.rejects_archived).count(), 13);
}

#[test]
fn a_higher_role_never_loses_a_right() {
    for route in &ROUTES {
        let allowed = ["viewer", "operator", "member", "owner"]
            .map(|column| decide(route, column, private(route.guard)) == Decision::Allow);
        assert!(allowed.is_sorted(), "{:?}", route.action);
    }
}

#[test]
fn what_is_public_can_be_read_by_anyone() {
    for route in &ROUTES {
        let all = PipelineView { public: true, public_job: true };
        let pipeline = PipelineView { public: true, public_job: false };
        match route.guard {
            Guard::Pipeline => assert_eq!(
                decide(route, "nobody", Subject::Pipeline { team: "main", public: true }),
                Decision::Allow
            ),
            Guard::BuildRead => assert_eq!(
                decide(route, "nobody", Subject::Build { team: "main", pipeline: Some(pipeline) }),
                Decision::Allow
            ),
            Guard::BuildReadPublicJob => {
                let build = |view| Subject::Build { team: "main", pipeline: Some(view) };
                assert_eq!(decide(route, "nobody", build(pipeline)), Decision::Unauthorized);
                assert_eq!(decide(route, "other", build(pipeline)), Decision::Forbidden);
                assert_eq!(decide(route, "nobody", build(all)), Decision::Allow);
            }
            _ => {}
        }
    }
}

#[test]
fn what_is_missing_is_missing_before_or_after_the_token_is_asked_for() {
    for route in &ROUTES {
        let nobody = decide(route, "nobody", Subject::Missing);
        let owner = decide(route, "owner", Subject::Missing);
        match route.guard {
            Guard::Pipeline | Guard::BuildRead | Guard::BuildReadPublicJob => {
                assert_eq!((nobody, owner), (Decision::NotFound, Decision::NotFound));
            }
            Guard::BuildWrite | Guard::Worker => {
                assert_eq!((nobody, owner), (Decision::Unauthorized, Decision::NotFound));
            }
            _ => {}
        }
    }
}

#[test]
fn roles_can_be_set_per_action() {
    let overrides = RoleOverrides::new([
        ("viewer", vec!["CreateJobBuild", "AbortBuild"]),
        ("owner", vec!["GetConfig"]),
    ])
    .unwrap();
    let with = |action: Action, column: &str| {
        authorize(action.route(), &overrides, &actor(column), private(action.route().guard))
    };
    assert_eq!(with(Action::CreateJobBuild, "viewer"), Decision::Allow);
    assert_eq!(with(Action::AbortBuild, "viewer"), Decision::Allow);
    assert_eq!(with(Action::GetConfig, "member"), Decision::Forbidden);
    assert_eq!(with(Action::GetConfig, "owner"), Decision::Allow);
    assert_eq!(with(Action::PauseJob, "viewer"), Decision::Forbidden);
    assert_eq!(
        RoleOverrides::new([("king", vec![])]).unwrap_err().to_string(),
        "failed to customize roles: unknown role king"
    );
    assert_eq!(
        RoleOverrides::new([("owner", vec!["Rule"])]).unwrap_err().to_string(),
        "failed to customize roles: unknown action Rule"
    );
}

#[test]
fn users_and_groups_give_roles() {
    let auth: TeamAuth = [
        ("owner".to_owned(), RoleAuth { users: vec!["Local:Ann".into()], groups: vec![] }),
        ("member".to_owned(), RoleAuth { users: vec![], groups: vec!["cf:org:dev".into()] }),
        ("viewer".to_owned(), RoleAuth::default()),
        ("king".to_owned(), RoleAuth::default()),
    ]
    .into();
    let person = |connector: &str, id: &str, name: &str, groups: &[&str]| Identity {
        connector: connector.into(),
        user_id: id.into(),
        user_name: name.into(),
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
    };
    assert_eq!(roles_of(&person("local", "", "ann", &[]), &auth), [Role::Viewer, Role::Owner]);
    assert_eq!(roles_of(&person("local", "ann", "", &[]), &auth), [Role::Viewer, Role::Owner]);
    assert_eq!(roles_of(&person("github", "ann", "", &[]), &auth), [Role::Viewer]);
    assert_eq!(
        roles_of(&person("CloudFoundry", "7", "", &["org:dev"]), &auth),
        [Role::Viewer, Role::Member]
    );
}

#[test]
fn approvers_are_named_or_have_a_role() {
    let ann = Identity { connector: "local".into(), user_id: "ann".into(), ..Identity::default() };
    let guest = Identity { groups: vec!["org:dev".into()], ..ann.clone() };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let may = |roles: &[&str], users: &[&str], groups: &[&str], who: &Identity, column: &str| {
        let (roles, users, groups) = (names(roles), names(users), names(groups));
        let approvers = Approvers { roles: &roles, users: &users, groups: &groups };
        may_answer(approvers, who, &actor(column), "main")
    };
    for (column, expected) in
        [("viewer", false), ("member", true), ("owner", true), ("other", false), ("admin", true)]
    {
        assert_eq!(may(&["member"], &[], &[], &ann, column), expected, "{column}");
    }
    // An administrator has every role, but is not everyone.
    assert!(!may(&[], &["local:bob"], &[], &ann, "admin"));
    assert!(may(&["owner"], &["Local:Ann"], &[], &ann, "viewer"));
    assert!(may(&[], &[], &["local:org:dev"], &guest, "viewer"));
    assert!(!may(&["king"], &[], &["github:org:dev"], &guest, "admin"));
}

#[test]
fn paths_lead_to_routes() {
    let found = |method, path| match find(method, path) {
        Found::Route(found) => found,
        other => panic!("{path} leads to {other:?}"),
    };
    let job = found(Method::Get, "/api/v1/teams/main/pipelines/p/jobs/a%2Fb%20c");
    assert_eq!(job.route.action, Action::GetJob);
    assert_eq!(job.param("job_name"), "a/b c");
    assert_eq!(job.param("resource_name"), "");
    let ordering = "/api/v1/teams/main/pipelines/ordering";
    assert_eq!(found(Method::Put, ordering).route.action, Action::OrderPipelines);
    assert_eq!(found(Method::Get, ordering).route.action, Action::GetPipeline);
    assert_eq!(find(Method::Post, ordering), Found::OtherMethod);
    assert_eq!(find(Method::Get, "/api/v1/nosuch"), Found::Nothing);
    assert_eq!(find(Method::Get, "/api/v1/teams//containers"), Found::Nothing);
    assert_eq!(find(Method::Get, "/api/v1/builds/%ff"), Found::Nothing);
    for route in &ROUTES {
        assert_eq!(found(route.method, route.path).route.action, route.action);
    }
}
