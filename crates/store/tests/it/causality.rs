//! What a version led to and came from, and the dump of versions.

use jb_model::{BuildId, BuildStatus, VersionId};
use jb_store::{Causality, Direction, DumpedRerun, DumpedUse, Store, Traced};
use serde_json::json;

use crate::world::{Checked, World, at, version, world};

conformance![
    versions_are_followed_both_ways,
    what_is_not_there,
    the_dump_has_what_resolving_goes_by
];

/// `ship` makes `out` of `src`, and `unit` uses that beside `tool`.
struct Chain {
    world: World,
    src: Checked,
    tool: Checked,
    out: Checked,
    made: VersionId,
    ship: BuildId,
    unit: BuildId,
}

async fn chain(store: Store) -> Chain {
    let world = world(store).await;
    let store = &world.store;
    let src = world.checked("src", &["a", "b"]).await;
    let tool = world.checked("tool", &["t"]).await;
    let mut out = world.checked("out", &["o"]).await;
    let ship = world.started("ship", &[(&src, 0)]).await.id;
    let made = store.save_put_version(out.scope, &version("made"), &[]).await.unwrap();
    store.save_build_output(ship, "out", out.resource, made).await.unwrap();
    store.finish_build(ship, BuildStatus::Succeeded, None, at(20)).await.unwrap();
    out.ids.push(made);
    // Another build, of another version, is on nobody's way.
    world.ended("ship", &[(&src, 1)], BuildStatus::Succeeded).await;
    let inputs = [("made", out.input(1)), ("tool", tool.input(0))];
    let inputs = inputs.map(|(name, input)| jb_store::BuildInput { name: name.into(), ..input });
    let job = world.job("unit").await.id;
    store.save_next_inputs(job, &[], &[], true, false).await.unwrap();
    let unit = store.create_job_build(job, None, at(21)).await.unwrap().id;
    assert!(store.start_build(unit, &json!({}), &inputs, &[], at(22)).await.unwrap());
    store.finish_build(unit, BuildStatus::Failed, None, at(23)).await.unwrap();
    Chain { world, src, tool, out, made, ship, unit }
}

async fn found(chain: &Chain, of: &Checked, index: usize, direction: Direction) -> Causality {
    let store = &chain.world.store;
    match store.causality(of.resource, of.ids[index], direction).await.unwrap() {
        Traced::Found(causality) => causality,
        other => panic!("{other:?}"),
    }
}

fn builds(causality: &Causality) -> Vec<BuildId> {
    causality.builds.iter().map(|build| build.build).collect()
}

async fn versions_are_followed_both_ways(store: Store) {
    let chain = chain(store).await;
    let down = found(&chain, &chain.src, 0, Direction::Downstream).await;
    assert_eq!(builds(&down), [chain.ship, chain.unit]);
    assert_eq!(down.builds[1].job_name, "unit");
    assert_eq!(down.builds[1].status, BuildStatus::Failed);
    let uses: Vec<_> = down.uses.iter().map(|used| (used.build, used.made, used.version)).collect();
    let (src, tool) = (chain.src.ids[0], chain.tool.ids[0]);
    let mut of_unit = [(chain.tool.resource, tool), (chain.out.resource, chain.made)];
    of_unit.sort();
    assert_eq!(
        uses,
        [
            (chain.ship, false, src),
            (chain.ship, true, chain.made),
            (chain.unit, false, of_unit[0].1),
            (chain.unit, false, of_unit[1].1),
        ]
    );
    assert_eq!(down.uses[1].resource_name, "out");
    assert_eq!(down.uses[1].fields, version("made"));

    let up = found(&chain, &chain.out, 1, Direction::Upstream).await;
    assert_eq!(builds(&up), [chain.ship]);
    assert_eq!(up.uses.len(), 2);
}

async fn what_is_not_there(store: Store) {
    let chain = chain(store).await;
    let store = &chain.world.store;
    let nothing = VersionId(9_999);
    let traced = store.causality(chain.src.resource, nothing, Direction::Upstream).await.unwrap();
    assert_eq!(traced, Traced::UnknownVersion);
    let up = found(&chain, &chain.src, 0, Direction::Upstream).await;
    assert_eq!(up, Causality::default(), "nobody made it");
}

async fn the_dump_has_what_resolving_goes_by(store: Store) {
    let chain = chain(store).await;
    let (world, store) = (&chain.world, &chain.world.store);
    let rerun = store.create_rerun(chain.ship, None, at(30)).await.unwrap().id;
    let (src, off) = (&chain.src, chain.src.ids[1]);
    store.set_version_enabled(src.resource, off, false, at(31)).await.unwrap();
    let dump = store.dump_versions(world.pipeline).await.unwrap().unwrap();
    let unit = world.job("unit").await.id;
    let ship = world.job("ship").await.id;
    assert!(dump.jobs.contains(&(unit, "unit".to_owned())) && dump.jobs.len() == 2);
    assert!(dump.resources.contains(&(src.resource, "src".to_owned(), Some(src.scope))));
    let mut versions: Vec<_> = dump.versions.iter().map(|found| found.version).collect();
    versions.sort();
    let mut wanted = vec![src.ids[0], chain.tool.ids[0], chain.out.ids[0], chain.made];
    wanted.sort();
    assert_eq!(versions, wanted, "without the disabled one");
    let brief = |used: &DumpedUse| (used.build, used.job, used.version.version, used.succeeded);
    let outputs: Vec<_> = dump.outputs.iter().map(brief).collect();
    assert_eq!(outputs, [(chain.ship, ship, chain.made, true)]);
    let inputs: Vec<_> = dump.inputs.iter().map(brief).collect();
    assert_eq!(
        inputs,
        [
            (chain.ship, ship, src.ids[0], true),
            (chain.unit, unit, chain.made, false),
            (chain.unit, unit, chain.tool.ids[0], false),
        ]
    );
    assert_eq!(dump.inputs[1].name, "made");
    assert_eq!(dump.reruns, [DumpedRerun { build: rerun, job: ship, of: chain.ship }]);
}
