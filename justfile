# What is done often.

# Install what the checks need, on Debian.
setup:
    .ci/setup

# Everything that CI checks, but for the images. Installs nothing.
check:
    .ci/check

# The tests of all crates: on Docker's Postgres if it is there, else on an embedded one.
test *args:
    cargo test {{ args }}

# Format, and the lints that CI insists on.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo clippy --package rejoin --no-default-features --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
    cargo deny --workspace check licenses bans sources

# The benchmarks: all, or some of resume, growth, presence, saves, snapshot, webhooks, restore and process.
bench *names:
    cargo bench --bench bench -- {{ names }}

# Generated stories with faults, 60 s of them by default: --minutes 60, --seed N, --stories N.
storm *args:
    cargo test --test storm -- {{ args }}

# Whether the unit tests of src/domain notice each small change of its code: of all, or --re FILE.
mutants *args:
    PROPTEST_RNG_SEED=1 cargo mutants --package rejoin {{ args }}

# Renew .sqlx from the statements, against a throw-away Postgres.
prepare:
    .ci/prepare

# The book of docs/, in target/book.
book:
    .ci/book

# See it work.
demo *args:
    cargo run --release -- demo {{ args }}

# The program with its man pages and completions, in a directory for packages.
package dir:
    cargo build --locked --profile dist
    install -D target/dist/rejoin {{ dir }}/usr/bin/rejoin
    target/dist/rejoin man {{ dir }}/usr/share/man/man1
    mkdir -p {{ dir }}/usr/share/bash-completion/completions {{ dir }}/usr/share/zsh/site-functions {{ dir }}/usr/share/fish/vendor_completions.d
    target/dist/rejoin completions bash > {{ dir }}/usr/share/bash-completion/completions/rejoin
    target/dist/rejoin completions zsh > {{ dir }}/usr/share/zsh/site-functions/_rejoin
    target/dist/rejoin completions fish > {{ dir }}/usr/share/fish/vendor_completions.d/rejoin.fish

# The image of the service.
image:
    docker build --tag rejoin .

# The image with the demo and the simulated 100ms.
demo-image:
    docker build --tag rejoin-demo --target demo .
