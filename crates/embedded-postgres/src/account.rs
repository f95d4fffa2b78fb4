//! Whom Postgres runs as. It refuses root, so root hands it and its files to an unprivileged user.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::EmbeddedError;

/// Who may own the processes and files of Postgres, in order of preference. The last is the one of
/// macOS.
const UNPRIVILEGED: [&str; 3] = ["postgres", "nobody", "_postgres"];

/// The user that Postgres runs as.
#[derive(Debug, Clone)]
pub(super) enum Account {
    /// The user that this process runs as.
    Own,
    /// Another one: this process runs as root.
    Other { name: String, uid: u32, gid: u32 },
}

impl Account {
    /// The account for a data directory: its present owner, unless that is root.
    pub(super) fn for_data(data: &Path) -> Result<Self, EmbeddedError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Own);
        }
        match fs::metadata(data) {
            Ok(found) if found.uid() != 0 => Ok(Self::Other {
                name: found.uid().to_string(),
                uid: found.uid(),
                gid: found.gid(),
            }),
            _ => Self::unprivileged(&fs::read_to_string("/etc/passwd").unwrap_or_default()),
        }
    }

    fn unprivileged(passwd: &str) -> Result<Self, EmbeddedError> {
        let users: Vec<_> = passwd.lines().filter_map(Self::from_passwd_line).collect();
        let named = |wanted| {
            users
                .iter()
                .find(|user| matches!(user, Self::Other { name, .. } if name == wanted))
                .cloned()
        };
        UNPRIVILEGED
            .into_iter()
            .find_map(named)
            .ok_or(EmbeddedError::NoUser)
    }

    fn from_passwd_line(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self::Other { name, uid, gid })
    }

    /// Makes `command` run as this user, without any group of root's.
    pub(super) fn run_as(&self, command: &mut Command) {
        if let Self::Other { uid, gid, .. } = *self {
            command.uid(uid).gid(gid);
        }
    }

    /// Gives a file or directory (not what is in it) to this user.
    pub(super) fn give(&self, path: &Path) -> io::Result<()> {
        match *self {
            Self::Own => Ok(()),
            Self::Other { uid, gid, .. } => chown(path, Some(uid), Some(gid)),
        }
    }

    /// Checks that this user may enter `dir`, of which only the first part need exist, and all that
    /// leads to it.
    pub(super) fn check_reach(&self, dir: &Path) -> Result<(), EmbeddedError> {
        let Self::Other { name, .. } = self else {
            return Ok(());
        };
        match self.barrier(dir) {
            None => Ok(()),
            Some(dir) => Err(EmbeddedError::Unreachable {
                user: name.clone(),
                dir,
            }),
        }
    }

    /// Whether this user may enter `dir` and all that leads to it.
    pub(super) fn reaches(&self, dir: &Path) -> bool {
        self.check_reach(dir).is_ok()
    }

    fn barrier(&self, dir: &Path) -> Option<PathBuf> {
        let closed = |dir: &&Path| fs::metadata(dir).is_ok_and(|found| !self.may_enter(&found));
        dir.ancestors().find(closed).map(ToOwned::to_owned)
    }

    fn may_enter(&self, dir: &fs::Metadata) -> bool {
        let Self::Other { uid, gid, .. } = *self else {
            return true;
        };
        let bit = match dir {
            _ if dir.uid() == uid => 0o100,
            _ if dir.gid() == gid => 0o010,
            _ => 0o001,
        };
        dir.mode() & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_prefers_the_postgres_user() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65533::/:/bin/false\npostgres:x:101:104::/:/bin/sh\n";
        let Ok(Account::Other { name, uid, gid }) = Account::unprivileged(passwd) else {
            panic!()
        };
        assert_eq!((name.as_str(), uid, gid), ("postgres", 101, 104));
        let Ok(Account::Other { uid, gid, .. }) =
            Account::unprivileged(&passwd.replace("postgres", "other"))
        else {
            panic!()
        };
        assert_eq!((uid, gid), (65534, 65533));
        assert!(matches!(
            Account::unprivileged("root:x:0:0::/root:/bin/sh"),
            Err(EmbeddedError::NoUser)
        ));
    }

    #[test]
    fn a_closed_directory_on_the_way_is_named() {
        use std::os::unix::fs::PermissionsExt;
        let top = tempfile::tempdir().unwrap();
        let inner = top.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let open_to =
            |mode| fs::set_permissions(top.path(), fs::Permissions::from_mode(mode)).unwrap();
        open_to(0o700);
        let stranger = Account::Other {
            name: "stranger".into(),
            uid: 4_000_000,
            gid: 4_000_000,
        };
        let error = stranger
            .check_reach(&inner.join("not/there/yet"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`stranger`") && error.contains(top.path().to_str().unwrap()),
            "{error}"
        );
        open_to(0o755);
        assert!(stranger.reaches(&inner));
        assert!(Account::Own.reaches(&inner));
    }
}
