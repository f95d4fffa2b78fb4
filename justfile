# What is done often. `just check` is what CI runs.

# Everything that CI runs.
check:
    .ci/run

# The tests: on Docker's Postgres if it is there, else on an embedded one.
test *args:
    cargo test {{ args }}

# Format, and the lints that CI insists on.
lint:
    cargo fmt --check
    cargo clippy --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked
    cargo deny check licenses bans sources

# The benchmarks: all, or some of resume, growth, saves, snapshot, webhooks and process.
bench *names:
    cargo bench --bench bench -- {{ names }}

# Renew .sqlx from the statements, against a throw-away Postgres.
prepare:
    .ci/prepare

# See it work.
demo *args:
    cargo run --release -- demo {{ args }}

# The image.
image:
    docker build --tag rejoin .
