//! Open files: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What else the process opens: the database, 100ms, connections beyond the limit.
const OTHER_FILES: u64 = 512;

/// Raises the soft limit of open files for so many connections, as far as the hard limit allows.
pub fn allow_connections(max_connections: usize) {
    let wanted = max_connections as u64 + OTHER_FILES;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None is no limit.
    let Some(current) = current.filter(|current| *current < wanted) else {
        return;
    };
    let raised = maximum.map_or(wanted, |maximum| wanted.min(maximum));
    let limit = Rlimit {
        current: Some(raised),
        maximum,
    };
    let allowed = setrlimit(Resource::Nofile, limit).map_or(current, |()| raised);
    if allowed < wanted {
        tracing::warn!(
            open_files = allowed,
            "the limit of open files is too low for REJOIN_MAX_CONNECTIONS; raise one or lower the other"
        );
    }
}
