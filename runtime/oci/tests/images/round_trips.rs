//! Push, resolve and pull: registry and folder, TLS and passwords.

use crate::kit::{artifact, at, component, images, limits, reference, told};
use crate::registry::{Access, PASSWORD, Registry, Transport, USER};
use std::fs;
use std::path::Path;
use weft_oci::{Cause, Credentials, DockerConfig, Images, PlainHttp, Reference, Registries, Roots, TITLE_ANNOTATION};

async fn round_trip(images: &Images, reference: &Reference) -> weft_oci::Pushed {
    let folder = tempfile::tempdir().unwrap();
    let pushed = images.push(reference, artifact("one")).await.unwrap();
    assert_eq!(images.resolve(reference).await.unwrap(), pushed.image, "resolve {reference}");
    let pulled = images.pull(reference, folder.path()).await.unwrap();
    assert_eq!((pulled.image, pulled.component.digest()), (pushed.image, pushed.component), "pull {reference}");
    assert_eq!(pulled.annotations.get(TITLE_ANNOTATION).map(String::as_str), Some("test"));
    assert_eq!(fs::read(pulled.component.path()).unwrap(), component("one"));
    drop(pulled);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the spool is gone");
    pushed
}

#[tokio::test]
async fn a_registry_and_a_folder_hold_the_same_image() {
    let registry = Registry::plain();
    let folder = tempfile::tempdir().unwrap();
    let layout = reference(&format!("oci-layout:{}/images:1.0", folder.path().display()));
    let images = images();
    let by_registry = round_trip(&images, &at(registry.address, "filters/canary:1.0")).await;
    let by_folder = round_trip(&images, &layout).await;
    assert_eq!(by_registry, by_folder);
}

#[tokio::test]
async fn a_tag_moves_and_a_digest_does_not() {
    let registry = Registry::plain();
    let folder = tempfile::tempdir().unwrap();
    let images = images();
    let layout = reference(&format!("oci-layout:{}:1", folder.path().join("images").display()));
    for tag in [at(registry.address, "canary:1"), layout] {
        let one = images.push(&tag, artifact("one")).await.unwrap();
        let two = images.push(&tag, artifact("two")).await.unwrap();
        assert_ne!(one, two);
        assert_eq!(images.resolve(&tag).await.unwrap(), two.image, "{tag}");
        let pinned = tag.clone().pinned(one.image);
        let pulled = images.pull(&pinned, folder.path()).await.unwrap();
        assert_eq!((pulled.image, pulled.component.digest()), (one.image, one.component), "{pinned}");
    }
}

#[tokio::test]
async fn writers_of_one_folder_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let pushes = (0..24).map(|n| {
        let tag = reference(&format!("oci-layout:{}:{n}", folder.path().join("images").display()));
        tokio::spawn(async move { (images().push(&tag, artifact(&n.to_string())).await.unwrap(), tag) })
    });
    for push in pushes.collect::<Vec<_>>() {
        let (pushed, tag) = push.await.unwrap();
        assert_eq!(images().resolve(&tag).await.unwrap(), pushed.image, "{tag}");
    }
    let marker = fs::read_to_string(folder.path().join("images/oci-layout")).unwrap();
    assert_eq!(marker, r#"{"imageLayoutVersion":"1.0.0"}"#);
}

fn registries(registry: &Registry, ca: Option<&Path>, credentials: Option<Credentials>) -> Images {
    let entry = weft_oci::Registry {
        ca: ca.map(|path| path.to_owned().into()),
        credentials,
        ..weft_oci::Registry::new(registry.address.to_string())
    };
    Images::new(Registries { entries: vec![entry], ..Registries::default() }, limits())
}

#[tokio::test]
async fn tls_with_a_ca_of_ones_own() {
    let registry = Registry::start(Transport::Tls, Access::Anybody);
    let image = at(registry.address, "canary:1");
    round_trip(&registries(&registry, Some(&registry.ca()), None), &image).await;

    let error = registries(&registry, None, None).resolve(&image).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Certificates { .. }), "without the CA: {}", told(&error));
    assert!(told(&error).contains("`ca`"), "{}", told(&error));
}

#[tokio::test]
async fn plain_http_only_where_it_is_allowed() {
    let registry = Registry::plain();
    let image = at(registry.address, "canary:1");
    let error = registries(&registry, None, None).resolve(&image).await.unwrap_err();
    assert!(told(&error).contains("plainHttp"), "{}", told(&error));

    let entry =
        weft_oci::Registry { plain_http: PlainHttp::Use, ..weft_oci::Registry::new(registry.address.to_string()) };
    let images = Images::new(Registries { entries: vec![entry], ..Registries::default() }, limits());
    round_trip(&images, &image).await;
}

#[tokio::test]
async fn a_pull_secret_and_roots_as_text_go_before_what_entries_say() {
    use base64::Engine as _;
    let registry = Registry::start(Transport::Tls, Access::Password);
    let image = at(registry.address, "canary:1");
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let text = |host: &str, auth: &str| DockerConfig::Text {
        origin: "Secret shop/pull".to_owned(),
        json: format!(r#"{{"auths":{{"{host}":{{"auth":"{auth}"}}}}}}"#),
    };
    let pem = fs::read_to_string(registry.ca()).unwrap();
    let wrong = Credentials::Password { user: USER.to_owned(), file: registry.file("wrong", "guess") };
    let entry = weft_oci::Registry {
        ca: Some(Roots::Text { origin: "ConfigMap weft-system/ca".to_owned(), pem }),
        credentials: Some(wrong),
        ..weft_oci::Registry::new(registry.address.to_string())
    };
    let host = registry.address.to_string();
    let cases = [
        ("its own", text(&host, &encoded), ""),
        ("another host's", text("other.example", &encoded), "refuses access (401)"),
        ("garbage", text(&host, "?"), "Secret shop/pull: auth is not base64"),
    ];
    for (row, secret, refusal) in cases {
        assert!(!format!("{secret:?}").contains(&encoded), "no secret in logs");
        let entries = vec![entry.clone()];
        let images = Images::new(Registries { entries, pull_secret: Some(secret), ..Registries::default() }, limits());
        if refusal.is_empty() {
            round_trip(&images, &image).await;
        } else {
            let error = images.resolve(&image).await.unwrap_err();
            assert!(error.to_string().contains(refusal), "{row}: {}", told(&error));
        }
    }
}

#[tokio::test]
async fn passwords_from_a_file_and_from_docker() {
    use base64::Engine as _;
    let registry = Registry::start(Transport::Tls, Access::Password);
    let image = at(registry.address, "canary:1");
    let file = registry.file("password", &format!("{PASSWORD}\n"));
    let wrong_file = registry.file("wrong", "guess");
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let docker =
        registry.file("config.json", &format!(r#"{{"auths":{{"{}":{{"auth":"{encoded}"}}}}}}"#, registry.address));
    let other = registry.file("other.json", &format!(r#"{{"auths":{{"other.example":{{"auth":"{encoded}"}}}}}}"#));
    let password = |file| Some(Credentials::Password { user: USER.to_owned(), file });
    let missing = registry.ca().with_file_name("missing");
    let cases = [
        ("a password file", password(file), ""),
        ("a docker config", Some(Credentials::DockerConfig(docker.into())), ""),
        ("nothing", None, "refuses access (401)"),
        ("a wrong password", password(wrong_file), "refuses access (401)"),
        ("a docker config for another host", Some(Credentials::DockerConfig(other.into())), "refuses access (401)"),
        ("a missing file", password(missing), "No such file"),
    ];
    for (row, credentials, refusal) in cases {
        let images = registries(&registry, Some(&registry.ca()), credentials);
        if refusal.is_empty() {
            round_trip(&images, &image).await;
        } else {
            let error = images.resolve(&image).await.unwrap_err();
            assert!(error.to_string().contains(refusal), "{row}: {}", told(&error));
        }
    }
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_may_be_down() {
    let (mirror, registry) = (Registry::plain(), Registry::plain());
    let plain = |host: String, mirror| weft_oci::Registry {
        plain_http: PlainHttp::Use,
        mirror,
        ..weft_oci::Registry::new(host)
    };
    let entries = vec![
        plain(registry.address.to_string(), Some(mirror.address.to_string())),
        plain(mirror.address.to_string(), None),
    ];
    let images = Images::new(Registries { entries, ..Registries::default() }, limits());
    let own = images.push(&at(registry.address, "canary:1"), artifact("own")).await.unwrap();
    let image = at(registry.address, "canary:1");
    assert_eq!(images.resolve(&image).await.unwrap(), own.image, "the mirror does not have it");
    let mirrored = images.push(&at(mirror.address, "canary:1"), artifact("mirrored")).await.unwrap();
    assert_eq!(images.resolve(&image).await.unwrap(), mirrored.image, "the mirror has it");
    mirror.stop();
    assert_eq!(images.resolve(&image).await.unwrap(), own.image, "the mirror is down");
}
