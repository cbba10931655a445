//! The keys and certificates of a cluster.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::cluster::place::{self, Place};

/// One certificate: its file name, whom it names, and under which names and addresses.
struct Subject {
    file: &'static str,
    organization: Option<&'static str>,
    name: String,
    dns: &'static [&'static str],
    addresses: Vec<IpAddr>,
}

/// The administrator's name in certificates and configurations.
pub(crate) const ADMIN: &str = "admin";
pub(crate) const KUBELET: &str = "kubelet";

/// Writes a new authority and what it issues into the cluster's `pki` directory.
pub(crate) fn write(place: &Place) -> anyhow::Result<()> {
    let dir = place.dir.join("pki");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name(None, "jetbridge-test-cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    file(&dir, "ca.crt", &authority.pem())?;
    file(&dir, "ca.key", &authority.key().serialize_pem())?;
    for subject in subjects(place) {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(
            subject.dns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(),
        )?;
        params.distinguished_name = name(subject.organization, &subject.name);
        params.subject_alt_names.extend(subject.addresses.into_iter().map(SanType::IpAddress));
        let certificate = params.signed_by(&key, &authority)?;
        file(&dir, &format!("{}.crt", subject.file), &certificate.pem())?;
        file(&dir, &format!("{}.key", subject.file), &key.serialize_pem())?;
    }
    // Tokens of service accounts are signed with a key of their own.
    let key = KeyPair::generate()?;
    file(&dir, "service-accounts.key", &key.serialize_pem())?;
    file(&dir, "service-accounts.pub", &key.public_key_pem())
}

fn subjects(place: &Place) -> Vec<Subject> {
    let node = IpAddr::V4(place.node_address());
    vec![
        Subject {
            file: "apiserver",
            organization: None,
            name: "kube-apiserver".to_owned(),
            dns: &[
                "localhost",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local",
            ],
            addresses: vec![IpAddr::from([127, 0, 0, 1]), IpAddr::V4(place::API_SERVICE), node],
        },
        Subject {
            file: ADMIN,
            organization: Some("system:masters"),
            name: ADMIN.to_owned(),
            dns: &[],
            addresses: Vec::new(),
        },
        Subject {
            file: "apiserver-kubelet",
            organization: Some("system:masters"),
            name: "kube-apiserver-kubelet-client".to_owned(),
            dns: &[],
            addresses: Vec::new(),
        },
        Subject {
            file: KUBELET,
            organization: Some("system:nodes"),
            name: format!("system:node:{}", place::NODE),
            dns: &[place::NODE],
            addresses: vec![node],
        },
    ]
}

fn name(organization: Option<&str>, common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common);
    name
}

fn file(dir: &Path, name: &str, content: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let path = dir.join(name);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("write {}", path.display()))?;
    file.write_all(content.as_bytes()).with_context(|| format!("write {}", path.display()))
}
