//! What the demo needs before its curtain rises: filters built and pushed, and a folder of YAML that names them.

use super::{Options, cast, ports::Ports};
use crate::filter::{RegistryOptions, artifact, component, push};
use crate::output::progress;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use weft_filter_build::{BuildOptions, Built, CargoOutput};
use weft_oci::{Images, Pushed, Reference};

/// What `examples/bookinfo/mesh` names its images by.
const LAYOUT_PREFIX: &str = "oci-layout:../filters/";
/// The weights that each version of the canary filter has compiled in.
pub(super) const CANARY_BEFORE: &str = "v1=90,v3=10";
pub(super) const CANARY_AFTER: &str = "v1=50,v3=50";

pub(super) struct Stage {
    pub(super) folder: PathBuf,
    pub(super) ports: Ports,
    /// Removes the folder at the end, unless it was asked to be kept.
    _temporary: Option<tempfile::TempDir>,
    shelf: Shelf,
    next_canary: Built,
}

/// Where images go.
struct Shelf {
    images: Images,
    /// `oci-layout:FOLDER/` or `oci://HOST/weft-demo/`.
    target: String,
}

impl Shelf {
    async fn push(&self, name: &str, built: &Built) -> Result<Pushed> {
        let image: Reference = format!("{}{name}:1", self.target).parse()?;
        let pushed = push(&self.images, &image, artifact(name, built.component.clone())?).await?;
        progress(format_args!("pushed {image}: {} bytes, component {}", built.component.len(), pushed.component));
        Ok(pushed)
    }
}

impl Stage {
    pub(super) async fn prepare(options: &Options) -> Result<Self> {
        let source = source(options)?;
        let (folder, temporary) = folder(options)?;
        for name in ["mesh", "filters", "state", "logs", "ports"] {
            let path = folder.join(name);
            std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let host = options.registry.as_deref();
        let images = RegistryOptions::default().images(host);
        let target = match host {
            Some(host) => format!("oci://{host}/weft-demo/"),
            None => format!("oci-layout:{}/", folder.join("filters").display()),
        };
        progress("building the filters canary, headers and authz …");
        let next_canary = build(&source, "canary", CANARY_AFTER)?;
        let first = build(&source, "canary", CANARY_BEFORE)?;
        let shelf = Shelf { images, target };
        shelf.push("canary", &first).await?;
        for name in ["headers", "authz"] {
            shelf.push(name, &build(&source, name, CANARY_BEFORE)?).await?;
        }
        // Last: a port that is free now may be another program's by the time that filters are built.
        let ports = Ports::settle(cast::app_ports())?;
        write_mesh(&source.join("examples/bookinfo/mesh"), &folder.join("mesh"), host, &ports)?;
        Ok(Self { folder, ports, _temporary: temporary, shelf, next_canary })
    }

    /// Pushes the second canary under the tag of the first.
    pub(super) async fn push_next_canary(&self) -> Result<Pushed> {
        self.shelf.push("canary", &self.next_canary).await
    }

    pub(super) fn path(&self, folder: &str, file: &str) -> PathBuf {
        self.folder.join(folder).join(file)
    }
}

fn build(source: &Path, name: &str, weights: &str) -> Result<Built> {
    let options = BuildOptions {
        cargo_output: CargoOutput::Kept,
        env: vec![("WEFT_CANARY_SUBSETS".to_owned(), weights.to_owned())],
        ..BuildOptions::default()
    };
    component(&source.join("filters").join(name), &options)
}

/// Weft's own source: the demo builds its filters from it.
fn source(options: &Options) -> Result<PathBuf> {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned);
    let candidates =
        options.source.clone().map_or_else(|| [Some(PathBuf::from(".")), built_from], |path| [Some(path), None]);
    let found = candidates.into_iter().flatten().find(|path| path.join("filters/canary/Cargo.toml").is_file());
    match found {
        Some(path) => path.canonicalize().context("cannot resolve the source folder"),
        None => bail!(
            "the demo builds its filters from Weft's source, and it is not here; run it in a clone, or name one with --source"
        ),
    }
}

fn folder(options: &Options) -> Result<(PathBuf, Option<tempfile::TempDir>)> {
    if let Some(folder) = &options.folder {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        if std::fs::read_dir(folder)?.next().is_some() {
            bail!("{} is not empty; name an empty or a new folder", folder.display());
        }
        return Ok((folder.canonicalize()?, None));
    }
    let temporary =
        tempfile::Builder::new().prefix("weft-demo-").tempdir().context("cannot make a temporary folder")?;
    Ok((temporary.path().to_owned(), Some(temporary)))
}

fn write_mesh(from: &Path, to: &Path, registry: Option<&str>, ports: &Ports) -> Result<()> {
    let mut copied = 0;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|ending| ending == "yaml")) else {
            continue;
        };
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = match registry {
            Some(host) => text.replace(LAYOUT_PREFIX, &format!("oci://{host}/weft-demo/")),
            None => text,
        };
        std::fs::write(to.join(name), ports.put_into(&text))?;
        copied += 1;
    }
    if copied == 0 {
        bail!("{} holds no .yaml file", from.display());
    }
    let plain =
        registry.map_or_else(String::new, |host| format!("\n  registries:\n  - host: {host}\n    plainHttp: true"));
    let mesh = format!(
        "apiVersion: weft.dev/v1alpha1\nkind: Mesh\nmetadata:\n  name: demo\nspec:\n  trustDomain: cluster.local\n  outboundTrafficPolicy: {{mode: REGISTRY_ONLY}}{plain}\n"
    );
    std::fs::write(to.join("mesh.yaml"), mesh).context("cannot write mesh.yaml")
}
