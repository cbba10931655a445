//! What agents used, by step, build, job and team.

use jb_model::{BuildId, PlanId};
use jb_store::{AgentUsage, AgentUse, Period, Position, Store, Transcribed};

use crate::world::{World, at, world};

conformance![usage_is_added_up_once, usage_outlives_what_it_was_for];

fn of(turns: u64, input_tokens: u64, cost_micros: u64) -> AgentUsage {
    let cached = AgentUsage { cache_read_tokens: 2, cache_write_tokens: 1, ..Default::default() };
    AgentUsage { turns, input_tokens, output_tokens: 3, cost_micros, ..cached }
}

async fn tell(
    world: &World,
    build: BuildId,
    plan: &str,
    model: &str,
    usage: AgentUsage,
    n: u64,
) -> bool {
    let used = AgentUse {
        plan: &PlanId::new(plan),
        name: "implement",
        model: model.to_owned(),
        usage,
        at: at(30 + i64::try_from(n).unwrap()),
    };
    let said = Transcribed { used: &[used], ..Transcribed::default() };
    let position = Position { key: plan, from: n, upto: n + 1 };
    world.store.append_transcript(build, said, None, position).await.unwrap()
}

async fn usage_is_added_up_once(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let build = world.started("ship", &[]).await.id;
    assert!(tell(&world, build, "3", "a/m", of(1, 100, 50), 0).await);
    // The same part of the journal again, as after a restart.
    assert!(!tell(&world, build, "3", "a/m", of(1, 100, 50), 0).await);
    assert!(tell(&world, build, "3", "a/m", of(1, 200, 60), 1).await);
    assert!(tell(&world, build, "3", "a/n", of(1, 1, 1), 2).await);
    assert!(tell(&world, build, "5", "a/m", of(2, 7, 0), 0).await);
    let steps = store.build_agent_usage(build).await.unwrap();
    let found: Vec<_> = steps
        .iter()
        .map(|step| (step.plan.as_str(), step.model.as_str(), step.usage.input_tokens))
        .collect();
    assert_eq!(found, [("3", "a/m", 300), ("5", "a/m", 7), ("3", "a/n", 1)]);
    assert_eq!((steps[0].usage.turns, steps[0].usage.cost_micros), (2, 110));
    assert_eq!((steps[0].usage.output_tokens, steps[0].usage.cache_read_tokens), (6, 4));
    assert_eq!((steps[0].name.as_str(), steps[0].usage.cache_write_tokens), ("implement", 2));
    let one_off = world.one_off().await;
    tell(&world, one_off, "1", "a/m", of(1, 5, 500), 0).await;

    let job = world.job("ship").await.id;
    let (total, builds) = store.job_agent_usage(job, Period::default(), 10).await.unwrap();
    assert_eq!((total.input_tokens, total.turns, builds.len()), (308, 5, 1));
    assert_eq!((builds[0].build, builds[0].name.as_deref()), (build, Some("1")));
    assert_eq!(builds[0].usage, total);
    // By when a step began to use a model.
    let early = Period { until: Some(at(32)), ..Period::default() };
    assert_eq!(store.job_agent_usage(job, early, 10).await.unwrap().0.input_tokens, 307);
    let late = Period { since: Some(at(32)), until: None };
    assert_eq!(store.job_agent_usage(job, late, 10).await.unwrap().0.input_tokens, 1);
    let never = Period { since: Some(at(99)), until: None };
    let nothing = store.job_agent_usage(job, never, 10).await.unwrap();
    assert_eq!(nothing, (AgentUsage::default(), vec![]));

    let (total, jobs) = store.team_agent_usage(world.team, Period::default(), 10).await.unwrap();
    assert_eq!((total.input_tokens, total.cost_micros), (313, 611));
    let names: Vec<_> = jobs.iter().map(|job| job.job_name.as_deref()).collect();
    assert_eq!(names, [None, Some("ship")], "the dearest first");
    assert_eq!(jobs[1].pipeline.as_ref().unwrap().name, "p");
    let (whole, first) = store.team_agent_usage(world.team, Period::default(), 1).await.unwrap();
    assert_eq!((whole, first.len()), (total, 1));
}

async fn usage_outlives_what_it_was_for(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let build = world.started("ship", &[]).await.id;
    tell(&world, build, "3", "a/m", of(1, 100, 50), 0).await;
    store.destroy_pipeline(world.pipeline).await.unwrap();
    assert_eq!(store.build(build).await.unwrap(), None);
    let (total, jobs) = store.team_agent_usage(world.team, Period::default(), 10).await.unwrap();
    assert_eq!((total.cost_micros, jobs.len()), (50, 1));
    assert_eq!((&jobs[0].job_name, &jobs[0].pipeline), (&None, &None));
}
