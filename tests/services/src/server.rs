//! One server: started by its first user in any process, used by all of them.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::ready;

/// How long a server may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// A server that stays for as long as this does.
#[derive(Debug)]
pub(crate) struct Server {
    url: String,
    /// A shared lock: the keeper stops the server when nobody has one. The system takes it back from the dead.
    _users: File,
}

impl Server {
    /// Uses the server of this name, and starts it where nobody does.
    pub(crate) fn start(name: &str) -> Self {
        let folder = folder();
        install(&folder);
        let place = folder.join(name);
        fs::create_dir_all(&place).unwrap();
        let starting = open(&place.join("start.lock"));
        starting.lock().unwrap();
        // Waits where a keeper is just stopping the server: its endpoint is gone afterwards.
        let users = open(&place.join("users"));
        users.lock_shared().unwrap();
        let url = match endpoint(&place).filter(|url| ready::is_ready(name, url)) {
            Some(url) => url,
            None => launch(name, &folder, &place),
        };
        Self { url, _users: users }
    }
    /// Where it answers: `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// Starts a keeper, which starts the server, and waits until that answers.
#[expect(clippy::zombie_processes, reason = "the keeper outlives this process")]
fn launch(name: &str, folder: &Path, place: &Path) -> String {
    let _ = fs::remove_file(place.join("endpoint"));
    let log = File::create(place.join("keeper.log")).unwrap();
    let mut keeper = Command::new(script())
        .arg("keep")
        .arg(folder)
        .arg(name)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        // It outlives this process, and a Ctrl-C for it.
        .process_group(0)
        .spawn()
        .unwrap();
    let began = Instant::now();
    loop {
        if let Some(url) = endpoint(place).filter(|url| ready::is_ready(name, url)) {
            return url;
        }
        let ended = keeper.try_wait().unwrap();
        if ended.is_some() || began.elapsed() > PATIENCE {
            let _ = keeper.kill();
            panic!("the local server {name} does not start:\n{}{}", tail(place, "keeper.log"), tail(place, "log"));
        }
        sleep(LOOK);
    }
}

/// Installs the servers where that is not done; once a process looks.
fn install(folder: &Path) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let output = Command::new(script()).arg("install").arg(folder).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the local AWS servers cannot be installed:\n{told}");
    });
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("serve.sh")
}

/// Where servers are installed and keep what they need: `MILLSTREAM_SERVICES`, else `services` in the target folder.
fn folder() -> PathBuf {
    std::env::var_os("MILLSTREAM_SERVICES").map_or_else(
        || {
            // target/debug/deps/a_test
            let test = std::env::current_exe().unwrap();
            test.ancestors().nth(3).expect("a test is run from the target folder").join("services")
        },
        PathBuf::from,
    )
}

fn open(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

fn endpoint(place: &Path) -> Option<String> {
    fs::read_to_string(place.join("endpoint")).ok().map(|text| text.trim().to_owned())
}

/// The end of a log.
fn tail(place: &Path, log: &str) -> String {
    let bytes = fs::read(place.join(log)).unwrap_or_default();
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(4_000)..]).into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder of its own with what another one has installed.
    fn place() -> (PathBuf, PathBuf) {
        let installed = folder();
        install(&installed);
        let folder = std::env::temp_dir().join(crate::name("services"));
        fs::create_dir_all(folder.join("dynamodb")).unwrap();
        for part in ["node_modules", "venv"] {
            symlink(installed.join(part), folder.join(part)).unwrap();
        }
        (folder.clone(), folder.join("dynamodb"))
    }

    fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < PATIENCE, "{what}");
            sleep(LOOK);
        }
    }

    #[test]
    fn all_servers_start_and_a_second_user_gets_the_same() {
        assert!(!crate::environment().is_empty());
        for (name, url) in [
            ("kinesis", crate::kinesis()),
            ("dynamodb", crate::dynamodb()),
            ("s3", crate::s3()),
            ("ministack", crate::ministack()),
        ] {
            assert!(ready::is_ready(name, url), "{name} at {url}");
            assert_eq!(Server::start(name).url(), url);
        }
    }

    #[test]
    fn a_server_ends_after_its_last_user() {
        let (folder, place) = place();
        let users = open(&place.join("users"));
        users.lock_shared().unwrap();
        let keeper = Command::new(script())
            .arg("keep")
            .arg(&folder)
            .arg("dynamodb")
            .env("MILLSTREAM_SERVICES_LINGER", "1")
            .stdin(Stdio::null())
            .spawn();
        let mut keeper = keeper.unwrap();
        let mut url = String::new();
        until("it starts", || {
            url = endpoint(&place).unwrap_or_default();
            ready::is_ready("dynamodb", &url)
        });
        drop(users);
        assert!(keeper.wait().unwrap().success());
        assert!(!ready::is_ready("dynamodb", &url) && endpoint(&place).is_none());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn registries_that_cannot_be_reached_fail_and_are_named() {
        let nowhere = "http://127.0.0.1:1";
        for (name, variables) in [
            ("npm", vec![("npm_config_registry", nowhere), ("npm_config_fetch_retries", "0")]),
            ("pip", vec![("PIP_INDEX_URL", nowhere), ("PIP_RETRIES", "0"), ("PIP_NO_CACHE_DIR", "1")]),
        ] {
            let folder = std::env::temp_dir().join(crate::name("unreachable"));
            let mut command = Command::new(script());
            command.arg("install").arg(&folder).envs(variables);
            if name == "npm" {
                command.env("npm_config_cache", folder.join("cache"));
            }
            let output = command.output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success(), "{name}: {told}");
            assert!(told.contains(&format!("error: {name} cannot install")), "{told}");
            assert!(!folder.join("installed").exists(), "{name}");
            fs::remove_dir_all(folder).unwrap();
        }
    }

    #[test]
    fn a_server_dies_with_its_keeper() {
        let (folder, place) = place();
        let users = open(&place.join("users"));
        users.lock_shared().unwrap();
        let mut keeper = Command::new(script()).arg("keep").arg(&folder).arg("dynamodb").spawn().unwrap();
        let mut url = String::new();
        until("it starts", || {
            url = endpoint(&place).unwrap_or_default();
            ready::is_ready("dynamodb", &url)
        });
        keeper.kill().unwrap();
        keeper.wait().unwrap();
        until("it dies", || !ready::is_ready("dynamodb", &url));
        fs::remove_dir_all(folder).unwrap();
    }
}
