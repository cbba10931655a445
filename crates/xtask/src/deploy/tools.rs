//! helm and kustomize, built once per machine and kept in the cache directory.

use std::path::PathBuf;

use anyhow::bail;

use crate::go;

const HELM: &str = "helm.sh/helm/v4/cmd/helm@v4.2.4";
const KUSTOMIZE: &str = "sigs.k8s.io/kustomize/kustomize/v5@v5.8.1";

pub(crate) struct Tools {
    pub(crate) helm: PathBuf,
    pub(crate) kustomize: PathBuf,
}

impl Tools {
    /// Where they are or will be: a version has a place of its own.
    fn places() -> anyhow::Result<Self> {
        let cache = crate::images::cache()?.join("deploy");
        let place = |module: &str, name: &str| {
            let version = module.rsplit('@').next().unwrap_or_default();
            cache.join(format!("{name}-{version}")).join(name)
        };
        Ok(Self { helm: place(HELM, "helm"), kustomize: place(KUSTOMIZE, "kustomize") })
    }

    /// The tools as they were built before.
    pub(crate) fn built() -> anyhow::Result<Self> {
        let tools = Self::places()?;
        for path in [&tools.helm, &tools.kustomize] {
            if !path.exists() {
                bail!("{} is missing; run `cargo xtask deploy tools`", path.display());
            }
        }
        Ok(tools)
    }
}

/// Builds what is missing.
pub(crate) fn build() -> anyhow::Result<Tools> {
    let tools = Tools::places()?;
    for (module, path) in [(HELM, &tools.helm), (KUSTOMIZE, &tools.kustomize)] {
        go::kept(module, path, |path| go::install(module, path))?;
    }
    Ok(tools)
}
