use super::*;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn facts(name: &str, teams: &[&str], tags: &[&str]) -> Facts {
    Facts {
        name: name.to_owned(),
        teams: texts(teams),
        tags: texts(tags),
        base_types: texts(&["git", "time"]),
        ..Facts::default()
    }
}

/// Where a team's step with these tags goes, or why nowhere.
fn placed(places: &[Facts], team: &str, tags: &[&str]) -> String {
    let tags = texts(tags);
    let wanted = Wanted { team, tags: &tags, base_type: None };
    place(&wanted, places).unwrap_or_else(|refusal| refusal.to_string())
}

#[test]
fn tags_and_places_with_tags_are_for_each_other() {
    let places = [facts("all", &[], &[]), facts("gpu", &[], &["gpu", "big"])];
    assert_eq!(placed(&places, "main", &[]), "all");
    assert_eq!(placed(&places, "main", &["gpu"]), "gpu");
    assert_eq!(placed(&places, "main", &["big", "gpu"]), "gpu");
    assert_eq!(placed(&places, "main", &["arm"]), "no worker has tag `arm` for team `main`");
    assert_eq!(
        placed(&places, "main", &["gpu", "arm"]),
        "no worker has tags `gpu` and `arm` for team `main`"
    );
    assert_eq!(placed(&places[1..], "main", &[]), "no worker for team `main`");
}

#[test]
fn a_team_with_places_of_its_own_uses_no_others() {
    let places =
        [facts("all", &[], &[]), facts("of-a", &["a", "b"], &[]), facts("gpu", &[], &["gpu"])];
    assert_eq!(placed(&places, "a", &[]), "of-a");
    assert_eq!(placed(&places, "b", &[]), "of-a");
    assert_eq!(placed(&places, "c", &[]), "all");
    assert_eq!(placed(&places, "c", &["gpu"]), "gpu");
    assert_eq!(placed(&places, "a", &["gpu"]), "no worker has tag `gpu` for team `a`");
    assert_eq!(placed(&places[1..2], "c", &[]), "no worker for team `c`");
}

#[test]
fn inputs_count_first_then_containers_then_names() {
    let mut places = [facts("c", &[], &[]), facts("b", &[], &[]), facts("a", &[], &[])];
    assert_eq!(placed(&places, "main", &[]), "a");
    places[2].n_containers = 1;
    assert_eq!(placed(&places, "main", &[]), "b");
    places[0].n_inputs = 1;
    places[0].n_containers = 100;
    assert_eq!(placed(&places, "main", &[]), "c");
    places[2].n_inputs = 2;
    assert_eq!(placed(&places, "main", &[]), "a");
}

#[test]
fn a_place_that_does_not_answer_gets_nothing_new() {
    let mut places = [facts("a", &[], &[]), facts("b", &[], &[])];
    places[0].is_stalled = true;
    assert_eq!(placed(&places, "main", &[]), "b");
    places[1].is_stalled = true;
    assert_eq!(placed(&places, "main", &[]), "workers `a` and `b` do not answer");
    assert_eq!(placed(&places[..1], "main", &[]), "worker `a` does not answer");
}

#[test]
fn a_type_that_comes_with_the_place_must_be_there() {
    let mut places = [facts("a", &[], &[]), facts("b", &[], &[])];
    places[1].base_types.push("mock".to_owned());
    let wanted = |name| Wanted { team: "main", tags: &[], base_type: Some(name) };
    assert_eq!(place(&wanted("git"), &places), Ok("a".to_owned()));
    assert_eq!(place(&wanted("mock"), &places), Ok("b".to_owned()));
    let refusal = place(&wanted("svn"), &places).map_err(|refusal| refusal.to_string());
    assert_eq!(
        refusal,
        Err("worker `a` has no resource type `svn`, but only git, time".to_owned())
    );
}
