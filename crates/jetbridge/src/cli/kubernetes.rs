//! Flags of `web` for clusters.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;

const KUBERNETES: &str = "Kubernetes";

/// Where steps run as pods. Without a namespace they run on this machine.
#[derive(Args)]
pub(crate) struct KubernetesOptions {
    /// Run steps as pods of this namespace instead of on this machine
    #[arg(long, value_name = "NAMESPACE", help_heading = KUBERNETES)]
    pub kubernetes_namespace: Option<String>,
    /// A further place for steps, each a worker: namespace=NAMESPACE and, parted by commas or blanks, any of
    /// name=WORKER, context=CONTEXT, team=TEAM and tag=TAG, the last two several times; what is not said is as for the
    /// first
    #[arg(long, value_name = "PLACE", help_heading = KUBERNETES)]
    pub kubernetes_place: Vec<String>,
    /// How to reach the cluster [default: what KUBECONFIG names, else as the pod this server runs in]
    #[arg(long, value_name = "FILE", help_heading = KUBERNETES)]
    pub kubernetes_kubeconfig: Option<PathBuf>,
    /// A context of that file other than its current one
    #[arg(long, value_name = "NAME", help_heading = KUBERNETES)]
    pub kubernetes_context: Option<String>,
    /// The claim that holds artifacts; all nodes mount it at the same time
    #[arg(long, value_name = "NAME", default_value = "jetbridge-artifacts", help_heading = KUBERNETES)]
    pub kubernetes_artifact_store_claim: String,
    /// The bucket that holds artifacts in place of a claim: s3://BUCKET or s3://BUCKET/PREFIX. AWS_ACCESS_KEY_ID and
    /// AWS_SECRET_ACCESS_KEY, or --s3-credentials, open it; pods get no key
    #[arg(long, value_name = "URL", help_heading = KUBERNETES)]
    pub kubernetes_artifact_store: Option<String>,
    /// Where the object store is, as this server and pods reach it [default: Amazon's of the region]
    #[arg(long, value_name = "URL", help_heading = KUBERNETES)]
    pub s3_endpoint: Option<String>,
    /// The object store's region
    #[arg(long, value_name = "NAME", default_value = "us-east-1", help_heading = KUBERNETES)]
    pub s3_region: String,
    /// A file with aws_access_key_id and aws_secret_access_key, in place of the environment
    #[arg(long, value_name = "FILE", help_heading = KUBERNETES)]
    pub s3_credentials: Option<PathBuf>,
    /// Certificates to trust when talking to the object store, in place of the system's
    #[arg(long, value_name = "FILE", help_heading = KUBERNETES)]
    pub s3_ca_cert: Option<PathBuf>,
    /// The claim that holds caches of tasks; without one they are empty in every build
    #[arg(long, value_name = "NAME", help_heading = KUBERNETES)]
    pub kubernetes_cache_pvc: Option<String>,
    /// The image with the runner and its helper
    #[arg(long, value_name = "IMAGE", default_value = concat!("localhost/jetbridge-runner:", env!("CARGO_PKG_VERSION")), help_heading = KUBERNETES)]
    pub kubernetes_runner_image: String,
    /// The image with the built-in resource types
    #[arg(long, value_name = "IMAGE", default_value = concat!("localhost/jetbridge-resources:", env!("CARGO_PKG_VERSION")), help_heading = KUBERNETES)]
    pub kubernetes_resources_image: String,
    /// The image of tasks that name none
    #[arg(long, value_name = "IMAGE", default_value = concat!("localhost/jetbridge-task:", env!("CARGO_PKG_VERSION")), help_heading = KUBERNETES)]
    pub kubernetes_task_image: String,
    /// The Pod Security level that the namespace enforces, which bounds what steps may do
    #[arg(long, value_enum, default_value = "restricted", help_heading = KUBERNETES)]
    pub kubernetes_pod_security: PodSecurityLevel,
    /// Mount images as volumes, which starts pods faster, or copy from them
    #[arg(long, value_enum, default_value = "auto", help_heading = KUBERNETES)]
    pub kubernetes_image_volumes: Detection,
    /// Give pods users of their own, so that root in them is nobody on their node
    #[arg(long, value_enum, default_value = "auto", help_heading = KUBERNETES)]
    pub kubernetes_user_namespaces: Detection,
    /// A secret with which nodes pull images
    #[arg(long, value_name = "NAME", help_heading = KUBERNETES)]
    pub kubernetes_image_pull_secret: Vec<String>,
    /// The service account of steps' pods; none of them gets its token
    #[arg(long, value_name = "NAME", help_heading = KUBERNETES)]
    pub kubernetes_service_account: Option<String>,
    /// Addresses that steps and checks must not reach, such as 10.0.0.0/8; may be given several times. The metadata of
    /// clouds and what else is link-local are denied without it
    #[arg(long, value_name = "CIDR", value_parser = denied_addresses, help_heading = KUBERNETES)]
    pub kubernetes_deny_egress: Vec<IpNet>,
    /// How long a pod may take to start, images and waiting for room included
    #[arg(long, value_name = "DURATION", default_value = "10m", help_heading = KUBERNETES)]
    pub kubernetes_pod_startup_timeout: String,
    /// How long nothing may come from a pod that was asked whether it is there, before the stream to it is made anew
    #[arg(long, value_name = "DURATION", default_value = "45s", help_heading = KUBERNETES)]
    pub kubernetes_stream_silence: String,
    /// The longest any pod lives
    #[arg(long, value_name = "DURATION", default_value = "168h", help_heading = KUBERNETES)]
    pub kubernetes_pod_deadline: String,
    /// The most pods that checks share; when all are at work, further checks wait
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..), help_heading = KUBERNETES)]
    pub kubernetes_check_pods: u32,
    /// How old such a pod may become before another takes its place
    #[arg(long, value_name = "DURATION", default_value = "1h", help_heading = KUBERNETES)]
    pub kubernetes_check_pod_age: String,
    /// How many checks one may run before another takes its place
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..), help_heading = KUBERNETES)]
    pub kubernetes_check_pod_checks: u32,
    /// How long one stays without a check to run
    #[arg(long, value_name = "DURATION", default_value = "10m", help_heading = KUBERNETES)]
    pub kubernetes_check_pod_idle: String,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum PodSecurityLevel {
    Restricted,
    Baseline,
    Privileged,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Detection {
    Auto,
    Always,
    Never,
}

/// A range of addresses, or one.
fn denied_addresses(text: &str) -> Result<IpNet, String> {
    let parsed = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().map_err(|_| {
            "it is no range of addresses: write it as 10.0.0.0/8 or fd00::/8".to_owned()
        })?,
    };
    if parsed.trunc() != parsed {
        return Err(format!("its address is within the range: write {}", parsed.trunc()));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::denied_addresses;

    #[test]
    fn ranges_of_addresses_are_understood() {
        for (text, meant) in [
            ("10.0.0.0/8", Ok("10.0.0.0/8")),
            ("192.0.2.7", Ok("192.0.2.7/32")),
            ("fd00::/8", Ok("fd00::/8")),
            ("10.1.2.3/8", Err("write 10.0.0.0/8")),
            ("10.0.0.0/33", Err("as 10.0.0.0/8")),
            ("everything", Err("as 10.0.0.0/8")),
        ] {
            match (denied_addresses(text), meant) {
                (Ok(range), Ok(meant)) => assert_eq!(range.to_string(), meant),
                (Err(said), Err(meant)) => assert!(said.contains(meant), "{text}: {said}"),
                (understood, _) => panic!("{text}: {understood:?}"),
            }
        }
    }
}
