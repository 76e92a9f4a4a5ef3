//! Components that do the same and are not the same: a custom section more gives another digest.

/// The component with a number in a custom section of its own.
pub fn variant(component: &[u8], number: u8) -> Vec<u8> {
    let name = b"variant";
    let length = u8::try_from(1 + name.len() + 1).unwrap();
    let mut bytes = component.to_vec();
    bytes.extend([0, length, name.len() as u8]);
    bytes.extend(name);
    bytes.push(number);
    bytes
}

/// Pushes a component into an image-layout folder or a registry by the command that a user types; answers what it says:
/// the component's digest, and last the image's.
pub fn push(component: &[u8], image: &str) -> String {
    push_with(component, image, &[])
}

/// The same with options of `weft filter push`.
pub fn push_with(component: &[u8], image: &str, options: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("filter.wasm");
    std::fs::write(&file, component).unwrap();
    let mut command = std::process::Command::new(crate::weft());
    let output = command.args(["filter", "push"]).arg(&file).arg(image).args(options).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "weft filter push {image}: {said}");
    said
}

/// The digest of the component, as [`push`]'s words name it.
pub fn pushed_component(said: &str) -> String {
    let at =
        said.find("component sha256:").unwrap_or_else(|| panic!("no component digest in {said}")) + "component ".len();
    said[at..].split_whitespace().next().unwrap().to_owned()
}
