//! Packages of Debian and its children, installed where that takes no question.

use std::time::Duration;

use crate::process::{Failure, Program, on_path};

/// Installs packages as root, where apt-get exists; otherwise says why it does not.
pub(crate) fn install(packages: &[&str]) -> Result<(), String> {
    let is_root = Program::new("id")
        .args(["-u"])
        .answer()
        .is_some_and(|id| id == "0");
    if !on_path("apt-get") || !is_root {
        return Err("apt-get cannot be used: it is missing, or this is not root".into());
    }
    let install = ["install", "-y", "--no-install-recommends"]
        .into_iter()
        .chain(packages.iter().copied());
    apt_get(["update"])
        .and_then(|()| apt_get(install))
        .map_err(|failure| failure.to_string())
}

/// Whether all of them are installed; `None` where nobody keeps account of packages this way.
pub(crate) fn has(packages: &[&str]) -> Option<bool> {
    if !on_path("dpkg-query") {
        return None;
    }
    // It fails where a package is unknown, and says "not-installed" where it was removed.
    let query = Program::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}\n"]);
    let states = query.args(packages).answer().unwrap_or_default();
    let installed = states.lines().filter(|state| *state == "installed").count();
    Some(installed == packages.len())
}

/// What a person types to install them.
pub(crate) fn remedy(packages: &[&str]) -> String {
    format!("on Debian, `apt-get install {}`", packages.join(" "))
}

/// Another apt-get may be at work: wait for its lock, but not for ever.
fn apt_get<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<(), Failure> {
    Program::new("apt-get")
        .args([
            "-qq",
            "-o",
            "DPkg::Lock::Timeout=300",
            "-o",
            "Dpkg::Use-Pty=0",
        ])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run_within(Duration::from_secs(900))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_does_not_exist_is_not_installed() {
        let expected = on_path("dpkg-query").then_some(false);
        assert_eq!(has(&["no-such-package"]), expected);
        assert_eq!(has(&["dpkg", "no-such-package"]), expected);
        assert_eq!(has(&["dpkg"]), expected.map(|_| true));
    }

    #[test]
    fn the_remedy_can_be_typed() {
        let text = remedy(&["chromium", "chromium-driver"]);
        assert_eq!(
            text,
            "on Debian, `apt-get install chromium chromium-driver`"
        );
    }
}
