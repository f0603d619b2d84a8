//! The examples for CI systems in resources/ci: their shell steps are run as they stand, each file's in one folder.

use crate::debian::has;
use crate::expect::{guest, path, state};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

/// The lines below `key`, which is indented by less, without their own indentation.
fn block<'a>(text: &'a str, key: &str) -> impl Iterator<Item = Vec<&'a str>> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let lines: Vec<&str> = text.lines().collect();
    let starts: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].trim_start() == key).collect();
    starts.into_iter().map(move |at| {
        let own = indent(lines[at]);
        let inside = lines[at + 1..].iter().take_while(|line| line.trim().is_empty() || indent(line) > own);
        let first = lines.get(at + 1).map_or(0, |line| indent(line));
        inside.map(|line| line.get(first..).unwrap_or_default()).collect()
    })
}

/// Each step is a shell of its own, as on runners; any that fails ends the job.
fn run(steps: &[String], image: &str, folder: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_ami-run")).parent().unwrap();
    let search = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let state = state();
    let mut said = String::new();
    for step in steps {
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", step])
            .current_dir(folder)
            .envs([("PATH", search.as_str()), ("IMAGE", image), ("CI_JOB_ID", "4711")])
            .env("AMI_RUN_STATE_DIR", state.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{step}\n--- output\n{out}\n--- errors\n{err}");
        said.push_str(&out);
    }
    said
}

fn example(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../resources/ci").join(name);
    std::fs::read_to_string(file).unwrap()
}

/// The recipe's image, on the stream-optimized VMDK that EC2 exports. It lies in `folder`.
fn on_vmdk(recipe: &Path, formats: &Path, folder: &Path) -> String {
    std::fs::copy(recipe.join("image.json"), folder.join("image.json")).unwrap();
    symlink(formats.join("disk.vmdk"), folder.join("snap-0123456789abcdef0.vmdk")).unwrap();
    path(folder, "image.json")
}

#[test]
fn on_a_vmdk_github_s_example_passes() {
    let (Some(recipe), Some(formats)) = (guest("AMI_RUN_GUEST_DEBIAN"), guest("AMI_RUN_GUEST_FORMATS"))
    else {
        return;
    };
    let text = example("github-actions.yml");
    let steps: Vec<String> = block(&text, "run: |").map(|lines| lines.join("\n")).collect();
    assert_eq!(steps.len(), 2);
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let image = on_vmdk(&recipe, &formats, folder.path());
    let said = run(&steps, &image, folder.path());
    has(&said, &["\"Result\": \"Succeeded\"", "\"SshAnswered\": ", "\"BootMode\": \"uefi\""]);
    let console = std::fs::read_to_string(folder.path().join("console.log")).unwrap();
    has(&console, &["login: ", "reboot: Power down"]);
}

#[test]
fn on_gitlab_the_example_passes() {
    let Some(recipe) = guest("AMI_RUN_GUEST_DEBIAN") else { return };
    let text = example("gitlab-ci.yml");
    let item = |line: &str| line.strip_prefix("- ").unwrap().to_owned();
    let steps: Vec<String> =
        ["script:", "after_script:"].iter().flat_map(|key| block(&text, key)).flatten().map(item).collect();
    assert_eq!(steps.len(), 8);
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    run(&steps, &path(&recipe, "image.json"), folder.path());
    let console = std::fs::read_to_string(folder.path().join("console.log")).unwrap();
    has(&console, &["login: "]);
}

#[test]
fn steps_are_found_in_the_examples() {
    let text = "a:\n  script:\n    - one\n    - two\n  other:\n    - three\nb:\n  - run: |\n";
    assert_eq!(block(text, "script:").collect::<Vec<_>>(), [["- one", "- two"]]);
    assert_eq!(
        block("x:\n    run: |\n      a \\\n        b\n    y: z", "run: |").next().unwrap(),
        ["a \\", "  b"]
    );
}
