//! Temporary files.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

/// A directory that an embedded Postgres can use: it runs as another user where the tests run as
/// root.
pub(crate) fn temp_dir() -> TempDir {
    tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .expect("a temporary directory")
}
